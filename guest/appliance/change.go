package appliance

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"libguestfs.org/guestfs"

	"github.com/virt-grow/virt-grow/plan"
)

// Place is the place of a file in a guest. A job stores it, and finds the file again after
// a crash.
type Place struct {
	// Path is the path on the file system, without links.
	Path string `json:"path"`
	// Mountable is libguestfs's name of the file system, Device the name for people;
	// Content is its type.
	Mountable string `json:"mountable"`
	Device    string `json:"device"`
	Content   string `json:"content"`
	// Disks are the indexes of the disks that hold the file system.
	Disks []int `json:"disks"`
}

// Change is the new content of one file.
type Change struct {
	// Path is the path on the file system of the Place.
	Path string `json:"path"`
	// Was is the SHA-256 of the present content, "" if there is no file; Is is that of
	// the new content.
	Was string `json:"was,omitempty"`
	Is  string `json:"is"`
	// Mode has the permissions of a new file. An existing file keeps its own.
	Mode uint32 `json:"mode,omitempty"`
}

// Sum returns the checksum of a content, for Change.
func Sum(text []byte) string {
	s := sha256.Sum256(text)
	return hex.EncodeToString(s[:])
}

// Locate finds the place of a file or directory. It follows links.
func (t *Tree) Locate(ctx context.Context, p string) (Place, Entry, error) {
	real, e, err := t.stat(ctx, p)
	if err != nil {
		return Place{}, e, err
	}
	for _, m := range t.mounts { // the longest path first
		if !within(real, m.point) {
			continue
		}
		place := Place{Path: cmp.Or(strings.TrimPrefix(real, strings.TrimSuffix(m.point, "/")), "/"), Mountable: m.mountable}
		place.Device = t.a.deviceOf(m.mountable)
		if place.Content, err = t.a.fsType(ctx, m.mountable); err == nil {
			place.Disks, err = t.a.disksOf(ctx, t.a.deviceOf(m.mountable))
		}
		return place, e, err
	}
	return Place{}, e, fmt.Errorf("nothing is mounted at %s", real)
}

// Lstat returns the entry for a name in a directory that Locate found, without following
// links; nil if there is none. Windows ignores case: the entry has the name as stored.
func (t *Tree) Lstat(ctx context.Context, parent Place, name string) (*Entry, error) {
	root := "/"
	for _, m := range t.mounts {
		if m.mountable == parent.Mountable {
			root = m.point
		}
	}
	file := filepath.Join(root, parent.Path, name)
	if t.drives != nil {
		var err error
		if file, err = t.sameName(ctx, file); err != nil {
			return nil, err
		}
	}
	var s *guestfs.StatNS
	err := t.a.do(ctx, func() (e error) { s, e = t.a.g.Lstatns(file); return })
	var missing *Error
	if errors.As(err, &missing) && missing.Errno == syscall.ENOENT {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	e := entry(filepath.Base(file), *s)
	return &e, nil
}

// sameName returns a path of Windows in the case in which it is stored.
func (t *Tree) sameName(ctx context.Context, file string) (same string, err error) {
	err = t.a.do(ctx, func() (e error) { same, e = t.a.g.Case_sensitive_path(file); return })
	return same, err
}

func (a *Appliance) fsType(ctx context.Context, mountable string) (kind string, err error) {
	err = a.do(ctx, func() (e error) { kind, e = a.g.Vfs_type(mountable); return })
	return kind, err
}

// Sum returns the SHA-256 of a file.
func (t *Tree) Sum(ctx context.Context, p string) (string, error) {
	real, _, err := t.file(ctx, p)
	if err != nil {
		return "", err
	}
	return t.a.sum(ctx, real)
}

func (a *Appliance) sum(ctx context.Context, file string) (sum string, err error) {
	err = a.do(ctx, func() (e error) { sum, e = a.g.Checksum("sha256", file); return })
	return sum, err
}

// disksOf returns the indexes of the disks that hold a device.
func (a *Appliance) disksOf(ctx context.Context, name string) ([]int, error) {
	devices, err := a.lowerOf(ctx, name)
	if err != nil {
		return nil, err
	}
	var disks []int
	for _, lower := range devices {
		if lower == name {
			i, err := a.diskOf(ctx, name)
			return []int{i}, err
		}
		more, err := a.disksOf(ctx, lower)
		if err != nil {
			return nil, err
		}
		disks = append(disks, more...)
	}
	slices.Sort(disks)
	return slices.Compact(disks), nil
}

func (a *Appliance) diskOf(ctx context.Context, name string) (int, error) {
	for i := range a.drives {
		if _, ok := plan.PartitionNumber(name, a.driveName(i)); ok {
			return i, nil
		}
	}
	return 0, plan.Refuse(plan.UnsupportedLayout, name, "cannot find the disks that hold %s", name)
}

// lowerOf returns the devices directly below a device; the device itself if it is a disk
// or a partition.
func (a *Appliance) lowerOf(ctx context.Context, name string) ([]string, error) {
	for _, o := range a.open {
		if o.crypt == name {
			return []string{o.device}, nil
		}
	}
	group, _, isLV := strings.Cut(name, "/")
	if !isLV {
		return []string{name}, nil
	}
	var uuids, pvs []string
	if err := a.do(ctx, func() (e error) { uuids, e = a.g.Vgpvuuids(group); return }); err != nil {
		return nil, err
	}
	if err := a.do(ctx, func() (e error) { pvs, e = a.g.Pvs(); return }); err != nil {
		return nil, err
	}
	var lower []string
	for _, pv := range pvs {
		var uuid string
		if err := a.do(ctx, func() (e error) { uuid, e = a.g.Pvuuid(pv); return }); err != nil {
			return nil, err
		}
		if slices.Contains(uuids, uuid) {
			lower = append(lower, a.nameOf(pv))
		}
	}
	if len(lower) != len(uuids) {
		return nil, plan.Refuse(plan.UnsupportedLayout, group, "%s has %d PVs, and %d of them are not on these disks", group, len(uuids), len(uuids)-len(lower))
	}
	return lower, nil
}

// checkers are the file systems that have a checker.
var checkers = []string{"ext2", "ext3", "ext4", "xfs", "ntfs", "btrfs"}

// Write writes the new content of files of one file system. content returns the path of
// the new content on the host. Write checks the file system before and after, and reads
// everything back. A file keeps owner, mode and extended attributes.
func (a *Appliance) Write(ctx context.Context, p Place, changes []Change, content func(Change) string) error {
	if _, _, err := a.openAll(ctx); err != nil {
		return err
	}
	device := a.deviceOf(p.Mountable)
	checked := slices.Contains(checkers, p.Content)
	if err := a.writable(ctx, p, checked); err != nil {
		return err
	}
	if err := a.do(ctx, func() error { return a.g.Mount(p.Mountable, "/") }); err != nil {
		return err
	}
	want := map[string]attributes{}
	for _, c := range changes {
		was, err := a.replace(ctx, p, c, content(c))
		if err != nil {
			return fmt.Errorf("%s: %w", c.Path, err)
		}
		want[c.Path] = was
	}
	if err := a.do(ctx, a.g.Umount_all); err != nil {
		return err
	}
	if err := a.readBack(ctx, p, changes, want); err != nil || !checked {
		return err
	}
	return a.VerifyFS(ctx, device, p.Content)
}

// writable refuses a file system that should not be written to.
func (a *Appliance) writable(ctx context.Context, p Place, checked bool) error {
	device := a.deviceOf(p.Mountable)
	if p.Content == "ntfs" {
		var c plan.Content
		if err := a.askNTFSProbe(ctx, device, &c); err != nil {
			return err
		}
		if c.Problem != nil {
			return c.Problem
		}
	}
	if !checked {
		return nil
	}
	return a.Check(ctx, device, p.Content)
}

// attributes are what a file keeps when its content changes.
type attributes struct {
	mode     uint32
	uid, gid int64
	x        []guestfs.XAttr
}

func (a *Appliance) attributesOf(ctx context.Context, file string) (at attributes, e Entry, err error) {
	var s *guestfs.StatNS
	if err := a.do(ctx, func() (e error) { s, e = a.g.Lstatns(file); return }); err != nil {
		return at, e, err
	}
	e = entry(filepath.Base(file), *s)
	at = attributes{mode: e.Mode, uid: e.UID, gid: e.GID}
	var x *[]guestfs.XAttr
	if err := a.do(ctx, func() (e error) { x, e = a.g.Lgetxattrs(file); return }); err != nil {
		if ctx.Err() != nil {
			return at, e, err
		}
		return at, e, nil // a file system without extended attributes
	}
	at.x = *x
	slices.SortFunc(at.x, func(a, b guestfs.XAttr) int { return cmp.Compare(a.Attrname, b.Attrname) })
	return at, e, nil
}

func (at attributes) differ(now attributes) string {
	same := slices.EqualFunc(at.x, now.x, func(a, b guestfs.XAttr) bool {
		return a.Attrname == b.Attrname && bytes.Equal(a.Attrval, b.Attrval)
	})
	switch {
	case at.mode != now.mode:
		return fmt.Sprintf("mode %o, not %o", now.mode, at.mode)
	case at.uid != now.uid || at.gid != now.gid:
		return fmt.Sprintf("owner %d:%d, not %d:%d", now.uid, now.gid, at.uid, at.gid)
	case !same:
		return "other extended attributes"
	}
	return ""
}

// replace writes one file, and returns the attributes that it must have afterwards. The
// new content is written to a new file in the same directory, which is then renamed. The
// file is overwritten in place if renaming would lose something: hard links, or NTFS
// attributes that no call copies.
func (a *Appliance) replace(ctx context.Context, p Place, c Change, from string) (attributes, error) {
	was, e, err := a.attributesOf(ctx, c.Path)
	var missing *Error
	if errors.As(err, &missing) && missing.Errno == syscall.ENOENT {
		return a.create(ctx, c, from)
	}
	if err != nil {
		return was, err
	}
	if err := a.unchanged(ctx, c, e); err != nil {
		return was, err
	}
	if p.Content == "ntfs" || e.names > 1 {
		return was, a.do(ctx, func() error { return a.g.Upload(from, c.Path) })
	}
	uploaded, err := a.uploadNextTo(ctx, c.Path, from)
	if err != nil {
		return was, err
	}
	if err := a.own(ctx, uploaded, was); err != nil {
		return was, err
	}
	err = a.do(ctx, func() error {
		return a.g.Copy_attributes(c.Path, uploaded, &guestfs.OptargsCopy_attributes{Xattributes_is_set: true, Xattributes: true})
	})
	if err != nil && len(was.x) > 0 {
		return was, err
	}
	return was, a.do(ctx, func() error { return a.g.Rename(uploaded, c.Path) })
}

// unchanged refuses a file that has changed since the change was prepared.
func (a *Appliance) unchanged(ctx context.Context, c Change, e Entry) error {
	if !e.IsFile() {
		return plan.Refuse(plan.NotAFile, c.Path, "%s is not a regular file", c.Path)
	}
	now, err := a.sum(ctx, c.Path)
	if err == nil && now != c.Was {
		err = plan.Refuse(plan.StalePlan, c.Path, "%s has changed since the edit", c.Path)
	}
	return err
}

// uploadNextTo uploads to a new file in the same directory.
func (a *Appliance) uploadNextTo(ctx context.Context, file, from string) (uploaded string, err error) {
	err = a.do(ctx, func() (e error) {
		uploaded, e = a.g.Mktemp(filepath.Join(filepath.Dir(file), ".virt-grow-XXXXXX"), nil)
		return
	})
	if err == nil {
		err = a.do(ctx, func() error { return a.g.Upload(from, uploaded) })
	}
	return uploaded, err
}

// own sets a file's owner and mode, unless it has them already: on some file systems all
// files have the same.
func (a *Appliance) own(ctx context.Context, file string, want attributes) error {
	now, _, err := a.attributesOf(ctx, file)
	if err == nil && (now.uid != want.uid || now.gid != want.gid) {
		err = a.do(ctx, func() error { return a.g.Chown(int(want.uid), int(want.gid), file) })
	}
	if err == nil && now.mode != want.mode {
		err = a.do(ctx, func() error { return a.g.Chmod(int(want.mode&0o7777), file) })
	}
	return err
}

// create makes a new file. It belongs to root, and has the SELinux label of its
// directory, like a file that the guest's kernel creates without a policy rule.
func (a *Appliance) create(ctx context.Context, c Change, from string) (attributes, error) {
	if c.Was != "" {
		return attributes{}, plan.Refuse(plan.StalePlan, c.Path, "%s has been deleted since the edit", c.Path)
	}
	parent, _, err := a.attributesOf(ctx, filepath.Dir(c.Path))
	if err != nil {
		return parent, err
	}
	uploaded, err := a.uploadNextTo(ctx, c.Path, from)
	if err != nil {
		return parent, err
	}
	if err := a.own(ctx, uploaded, attributes{mode: syscall.S_IFREG | c.Mode}); err != nil && ctx.Err() != nil {
		return parent, err
	}
	for _, x := range parent.x {
		if x.Attrname == "security.selinux" {
			label := string(x.Attrval)
			if err := a.do(ctx, func() error { return a.g.Lsetxattr(x.Attrname, label, len(label), uploaded) }); err != nil {
				return parent, err
			}
		}
	}
	made, _, err := a.attributesOf(ctx, uploaded)
	if err != nil {
		return made, err
	}
	return made, a.do(ctx, func() error { return a.g.Rename(uploaded, c.Path) })
}

// readBack mounts the file system again, and compares every file with what was written.
func (a *Appliance) readBack(ctx context.Context, p Place, changes []Change, want map[string]attributes) error {
	if err := a.do(ctx, func() error { return a.g.Mount_ro(p.Mountable, "/") }); err != nil {
		return err
	}
	for _, c := range changes {
		sum, err := a.sum(ctx, c.Path)
		if err != nil {
			return err
		}
		if sum != c.Is {
			return fmt.Errorf("%s differs from what was written", c.Path)
		}
		now, _, err := a.attributesOf(ctx, c.Path)
		if err != nil {
			return err
		}
		if what := want[c.Path].differ(now); what != "" {
			return fmt.Errorf("%s has %s now", c.Path, what)
		}
	}
	return a.do(ctx, a.g.Umount_all)
}
