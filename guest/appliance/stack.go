package appliance

import (
	"context"
	"fmt"
	"slices"

	"libguestfs.org/guestfs"

	"github.com/virt-grow/virt-grow/plan"
)

// openCrypt opens the LUKS container on a device. If it cannot be opened, the refusal says
// why.
func (a *Appliance) openCrypt(ctx context.Context, device, uuid string) (*plan.Refusal, error) {
	keys, err := a.keysFor(device, uuid)
	if err != nil {
		return nil, err
	}
	if len(keys) == 0 {
		return plan.Refuse(plan.LUKSLocked, device, "%s is encrypted with LUKS, and no key was given for it", device), nil
	}
	var last error
	for _, key := range keys {
		last = a.do(ctx, func() error {
			version, err := a.g.Version()
			if err != nil {
				return err
			}
			return a.g.Cryptsetup_open(a.path(device), luksKey(*version, key), cryptName(device), &guestfs.OptargsCryptsetup_open{})
		})
		if ctx.Err() != nil {
			return nil, last
		}
		if last == nil {
			a.passed[device] = key
			a.open = append(a.open, opened{crypt: cryptName(device), device: device})
			return nil, nil
		}
	}
	return plan.Refuse(plan.LUKSLocked, device, "%s is encrypted with LUKS, and none of the %d key(s) given opens it", device, len(keys)), nil
}

// luksKey returns a key in the form of that version of libguestfs. Since 1.60, libguestfs
// decodes a key that begins with "base64:" and removes the prefix "text:" (guestfs(3),
// cryptsetup-open), so the key is passed with "text:".
func luksKey(version guestfs.Version, key string) string {
	if version.Major > 1 || version.Major == 1 && version.Minor >= 60 {
		return "text:" + key
	}
	return key
}

func (a *Appliance) keysFor(device, uuid string) ([]string, error) {
	if key, ok := a.passed[device]; ok {
		return []string{key}, nil
	}
	if a.keys == nil {
		return nil, nil
	}
	keys, err := a.keys(device, uuid)
	if err != nil {
		return nil, fmt.Errorf("key for %s: %w", device, err)
	}
	return keys, nil
}

// openLVM finds the volume groups and activates them.
func (a *Appliance) openLVM(ctx context.Context) error {
	a.groups = true // some may be active even after an error
	if err := a.do(ctx, func() error { return a.g.Lvm_scan(true) }); err != nil {
		return err
	}
	a.open = append(a.open, opened{})
	return nil
}

// deactivate deactivates the volume groups, if there are any.
func (a *Appliance) deactivate(ctx context.Context) error {
	if !a.groups {
		return nil
	}
	return a.do(ctx, func() error { return a.g.Vg_activate_all(false) })
}

// closeStack closes everything that was opened, in reverse order: the kernel reads a
// partition table again only if nothing on the disk is in use.
func (a *Appliance) closeStack(ctx context.Context) error {
	for _, o := range slices.Backward(a.open) {
		var err error
		if o.crypt == "" {
			err = a.deactivate(ctx)
		} else {
			err = a.do(ctx, func() error { return a.g.Cryptsetup_close("/dev/mapper/" + o.crypt) })
		}
		if err != nil {
			return err
		}
	}
	a.open = nil
	return nil
}

// reopen opens again what closeStack closed.
func (a *Appliance) reopen(ctx context.Context, was []opened) error {
	a.stale = false
	for _, o := range was {
		if o.crypt == "" {
			if err := a.openLVM(ctx); err != nil {
				return err
			}
			continue
		}
		problem, err := a.openCrypt(ctx, o.device, "")
		if err != nil {
			return err
		}
		if problem != nil {
			return problem
		}
	}
	return nil
}
