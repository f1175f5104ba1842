package domain

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"

	"github.com/virt-grow/virt-grow/plan"
)

// profiles is where libvirt keeps the AppArmor profile of each guest. The files of a guest's
// disks are in UUID.files, which virt-aa-helper writes when the guest starts, and to which it
// adds lines while the guest runs.
const profiles = "/etc/apparmor.d/libvirt"

func rulesOf(dir, uuid string) string { return filepath.Join(dir, "libvirt-"+uuid+".files") }

// allowCommit prepares the AppArmor profile of a guest that was started on an overlay for
// the commit into the overlay's image. Before libvirt 12.1, virt-aa-helper denies writes to
// images below an overlay, in addition to not allowing them. At the commit libvirt adds a
// rule that allows them, but in AppArmor a denial is stronger than any permission, and the
// commit fails (libvirt's issue 806). So the denial is removed, and libvirt loads the profile
// with its own rule. Nothing is changed without AppArmor, or where there is no denial.
func allowCommit(dir, uuid, image string) error {
	path := rulesOf(dir, uuid)
	rules, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot read the guest's AppArmor profile, which denies the commit into %s: %w", image, err)
	}
	resolved, err := filepath.EvalSymlinks(image) // as virt-aa-helper names it
	if err != nil {
		return err
	}
	changed := withoutDenial(rules, resolved)
	if bytes.Equal(changed, rules) {
		return nil
	}
	if err := renameio.WriteFile(path, changed, 0o600, renameio.WithExistingPermissions()); err != nil {
		return fmt.Errorf("cannot change the guest's AppArmor profile, which denies the commit into %s: %w", image, err)
	}
	return nil
}

// withoutDenial removes the rules that deny writes to one file, with their comments.
func withoutDenial(rules []byte, path string) []byte {
	denial := []byte(`deny "` + path + `" w,`) // virt-aa-helper escapes nothing
	comment := []byte("# don't audit writes to readonly files")
	var kept [][]byte
	for _, line := range bytes.SplitAfter(rules, []byte("\n")) {
		if bytes.Equal(bytes.TrimSpace(line), denial) {
			if last := len(kept) - 1; last >= 0 && bytes.Equal(bytes.TrimSpace(kept[last]), comment) {
				kept = kept[:last]
			}
			continue
		}
		kept = append(kept, line)
	}
	return bytes.Join(kept, nil)
}

// CheckCommit refuses a trial whose commit AppArmor would deny because this user may not
// change the guest's profile. It knows this before the guest is stopped. A libvirt that does
// not confine its guests with AppArmor, such as a user's own, has no profiles.
func (d *Domain) CheckCommit(ctx context.Context) error {
	drivers, err := d.conn.SecurityDrivers(ctx)
	if err != nil {
		return err
	}
	return checkCommit(drivers, profiles, d.Name, unix.Access)
}

func checkCommit(drivers []string, dir, name string, access func(path string, mode uint32) error) error {
	if !slices.Contains(drivers, "apparmor") {
		return nil
	}
	err := access(dir, unix.W_OK)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return plan.Refuse(plan.Confined, name, "AppArmor would deny the commit after the trial: for it, the profile of %s in %s has to be changed, and this user may not do that (%v)", name, dir, err)
}
