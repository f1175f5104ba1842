package inside

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"

	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/guest/poll"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/fstab"
	"github.com/virt-grow/virt-grow/plan/live"
)

// CheckMountPoint returns a refusal if something is mounted at a place in the guest, or
// if its fstab has a line for the place.
func (g *Guest) CheckMountPoint(ctx context.Context, at string) error {
	mounted, err := g.agent.FileSystems(ctx)
	if err != nil {
		return err
	}
	if isMountedAt(mounted, at) {
		return plan.Refuse(plan.MountTaken, at, "something is mounted at %s in %s", at, g.name)
	}
	text, err := g.readFstab(ctx)
	if err != nil {
		return err
	}
	return CheckEntry(g.name, text, fstab.Entry{Spec: "UUID=new", Mount: at})
}

func isMountedAt(mounted []domain.FS, at string) bool {
	return slices.ContainsFunc(mounted, func(f domain.FS) bool { return f.MountPoint == at })
}

// Mount mounts what the fstab has for a place, and checks that it is on the device and
// that the agent sees it. made is called with the directories that Mount is about to
// make for the mount point, the uppermost first.
func (g *Guest) Mount(ctx context.Context, device, at string, made func([]string) error) error {
	if mounted, err := g.isMountedFrom(ctx, device, at); err != nil || mounted {
		return err
	}
	if err := g.makeMountPoint(ctx, at, made); err != nil {
		return err
	}
	if _, err := g.output(ctx, "mount", at); err != nil {
		return fmt.Errorf("cannot mount %s: %w", at, err)
	}
	all, err := g.agent.FileSystems(ctx)
	if err != nil {
		return err
	}
	if !isMountedAt(all, at) {
		return fmt.Errorf("mounted at %s, but the guest agent does not see it", at)
	}
	if mounted, err := g.isMountedFrom(ctx, device, at); err != nil || !mounted {
		return errors.Join(fmt.Errorf("what is mounted at %s is not on %s", at, device), err)
	}
	return nil
}

// isMountedFrom reports whether a device, or what lies on it, is mounted at a place.
func (g *Guest) isMountedFrom(ctx context.Context, device, at string) (bool, error) {
	devices, err := g.Blocks(ctx, device)
	return slices.ContainsFunc(mountsOf(devices), func(m mount) bool { return m.at == at }), err
}

func (g *Guest) makeMountPoint(ctx context.Context, at string, made func([]string) error) error {
	var missing []string
	for dir := at; dir != "/"; dir = path.Dir(dir) {
		there, err := g.test(ctx, "test", "-d", dir)
		if err != nil {
			return err
		}
		if there {
			break
		}
		missing = append(missing, dir)
	}
	if len(missing) == 0 {
		return nil
	}
	slices.Reverse(missing)
	if err := made(missing); err != nil {
		return err
	}
	_, err := g.output(ctx, "mkdir", "-p", at)
	return err
}

// Unmount undoes Mount: it unmounts the place if it is mounted from the device,
// deactivates the logical volumes on the device, and removes the directories that were
// made.
func (g *Guest) Unmount(ctx context.Context, device, at string, made []string) error {
	mounted, err := g.isMountedFrom(ctx, device, at)
	if mounted {
		_, err = g.output(ctx, "umount", at)
	}
	if err != nil {
		return err
	}
	devices, err := g.Blocks(ctx, device)
	if err == nil {
		err = g.deactivateVolumes(ctx, devices)
	}
	if err != nil {
		return err
	}
	for _, dir := range slices.Backward(made) {
		if there, err := g.test(ctx, "test", "-d", dir); err != nil || !there {
			return err
		}
		if _, err := g.output(ctx, "rmdir", dir); err != nil {
			return err
		}
	}
	return nil
}

// mount is a place where a device is mounted, or swap that is in use.
type mount struct {
	live.Device
	at string
}

// mountsOf lists the mounts of the devices, those within others last.
func mountsOf(devices []live.Device) []mount {
	var all []mount
	for _, d := range devices {
		for _, at := range d.MountPoints() {
			all = append(all, mount{d, at})
		}
	}
	slices.SortStableFunc(all, func(a, b mount) int { return len(a.at) - len(b.at) })
	return all
}

// MountPoints lists the places where the devices are mounted, those within others first.
func MountPoints(devices []live.Device) []string {
	var all []string
	for _, m := range slices.Backward(mountsOf(devices)) {
		all = append(all, m.at)
	}
	return slices.Compact(all)
}

// Release ends the guest's use of a device and of all that lies on it: what is mounted
// is unmounted, swap is turned off, and logical volumes are deactivated.
func (g *Guest) Release(ctx context.Context, device string) error {
	devices, err := g.Blocks(ctx, device)
	if err != nil {
		return err
	}
	for _, m := range slices.Backward(mountsOf(devices)) {
		command := []string{"umount", m.at}
		if m.at == live.Swap {
			command = []string{"swapoff", m.Path}
		}
		if _, err := g.output(ctx, command...); err != nil {
			return fmt.Errorf("cannot unmount %s: %w", m.at, err)
		}
	}
	return g.deactivateVolumes(ctx, devices)
}

// Reuse undoes Release. before are the devices as they were; the disk may have another
// name now, and the guest may still be looking at it. Each place is mounted by its line
// in the fstab, or by the UUID if lsblk named the place for the device. The places for
// which there is neither are returned: a bind mount, or a second subvolume.
func (g *Guest) Reuse(ctx context.Context, before []live.Device) (left []string, err error) {
	mounts := mountsOf(before)
	if len(mounts) == 0 {
		return nil, nil
	}
	text, err := g.readFstab(ctx)
	if err != nil {
		return nil, err
	}
	for _, m := range mounts {
		command := m.command(fstab.Entries(text))
		if command == nil {
			left = append(left, m.at)
			continue
		}
		if err := g.mountAgain(ctx, m, command, before); err != nil {
			return left, fmt.Errorf("cannot mount %s again: %w", m.at, err)
		}
	}
	return left, nil
}

// command returns the program that mounts a device again; nil if there is none.
func (m mount) command(lines []fstab.Entry) []string {
	switch {
	case m.at == live.Swap:
		return []string{"swapon", "-U", m.UUID}
	case slices.ContainsFunc(lines, func(e fstab.Entry) bool { return e.Mount == m.at }):
		return []string{"mount", m.at}
	case m.at == m.Mounted:
		return []string{"mount", "UUID=" + m.UUID, m.at}
	}
	return nil
}

func (g *Guest) mountAgain(ctx context.Context, m mount, command []string, before []live.Device) error {
	var failed error
	err := poll.Until(ctx, poll.Wait{For: m.at + " to be mounted", Every: g.waits.every, Limit: g.waits.mount}, func() (bool, error) {
		if all, err := g.Blocks(ctx, ""); err == nil && m.isAmong(all) {
			return true, nil
		}
		g.activateVolumes(ctx, before)
		_, failed = g.output(ctx, command...)
		return failed == nil, nil
	})
	if errors.Is(err, poll.ErrTimeout) {
		return failed
	}
	return err
}

// isAmong reports whether something is mounted at the place, or for swap whether the
// same swap is in use.
func (m mount) isAmong(devices []live.Device) bool {
	return slices.ContainsFunc(mountsOf(devices), func(o mount) bool {
		return o.at == m.at && (m.at != live.Swap || o.UUID == m.UUID)
	})
}
