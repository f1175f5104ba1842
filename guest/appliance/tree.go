package appliance

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"libguestfs.org/guestfs"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
)

// Tree reads a guest's files by the paths that the guest itself uses. A path of Windows
// begins with a drive letter; without one, it is on the system's drive. The appliance
// follows symbolic links, so they cannot lead to files of the host.
type Tree struct {
	a *Appliance
	// drives has the volumes of Windows, by letter; nil for other systems.
	drives map[string]string
	// system is the volume for paths without a letter.
	system string
	// mounts has the mounts, the longest path first; failed those that did not work.
	mounts []mount
	failed map[string]error
}

type mount struct{ point, mountable string }

// OpenTree finds the guest's root and mounts what its fstab mounts. With a device, it
// mounts only that file system, at /. On disks without an operating system, it mounts the
// only file system at /.
func (a *Appliance) OpenTree(ctx context.Context, device string) (*Tree, error) {
	all, locked, err := a.openAll(ctx)
	if err != nil {
		return nil, err
	}
	t := &Tree{a: a}
	mounts, err := t.choose(ctx, all, locked, device)
	if err != nil {
		return nil, err
	}
	return t, t.mount(ctx, mounts)
}

// choose returns what is mounted where.
func (t *Tree) choose(ctx context.Context, all []volume, locked map[string]*plan.Refusal, device string) (map[string]string, error) {
	if device != "" {
		v, err := t.a.find(ctx, all, device)
		if err == nil && locked[v.name] != nil {
			err = locked[v.name]
		}
		return map[string]string{"/": v.mountable}, err
	}
	roots, err := t.a.systems(ctx)
	if err != nil {
		return nil, err
	}
	if len(roots) == 1 {
		s, err := t.a.system(ctx, roots[0])
		if !s.windows || err != nil {
			return s.mounts, err
		}
		t.drives, t.system = s.mounts, roots[0]
		return map[string]string{"/": roots[0]}, nil
	}
	return t.chooseData(all, locked, roots)
}

// chooseData chooses the only file system of disks without an operating system.
func (t *Tree) chooseData(all []volume, locked map[string]*plan.Refusal, roots []string) (map[string]string, error) {
	open := slices.DeleteFunc(slices.Clone(all), func(v volume) bool {
		return v.kind == plan.ContentLUKS || strings.HasPrefix(v.mountable, subvolume)
	})
	switch {
	case len(roots) > 1:
		return nil, plan.Refuse(plan.AmbiguousTarget, "", "%d operating systems are installed, on %s, and each has its own /", len(roots), t.a.namesOf(roots))
	case len(open) > 1:
		return nil, plan.Refuse(plan.AmbiguousTarget, "", "no installed system was found that defines /, and there are several file systems: %s", t.a.list(open))
	case len(open) == 1:
		return map[string]string{"/": open[0].mountable}, nil
	}
	for _, refusal := range locked {
		return nil, refusal
	}
	return nil, plan.Refuse(plan.NotFound, "", "the disks have no file system")
}

func (a *Appliance) namesOf(mountables []string) string {
	var names []string
	for _, m := range mountables {
		names = append(names, a.deviceOf(m))
	}
	return strings.Join(names, ", ")
}

// mount mounts read-only, / first. Unclean journals are replayed into the overlay. A mount
// that fails is only an error if one of its files is needed.
func (t *Tree) mount(ctx context.Context, mounts map[string]string) error {
	if err := t.a.do(ctx, t.a.g.Umount_all); err != nil {
		return err
	}
	t.mounts, t.failed = nil, map[string]error{}
	points := slices.SortedFunc(maps.Keys(mounts), func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) })
	for _, point := range points {
		mountable := mounts[point]
		err := t.a.do(ctx, func() error { return t.a.g.Mount_ro(mountable, point) })
		switch {
		case err == nil:
			t.mounts = append(t.mounts, mount{point, mountable})
		case ctx.Err() != nil:
			return err
		case point == "/":
			device := t.a.deviceOf(mountable)
			kind, _ := t.a.fsType(ctx, t.a.path(device))
			return t.a.judge(ctx, device, device, kind, err)
		default:
			t.failed[point] = err
		}
	}
	slices.Reverse(t.mounts)
	return nil
}

// Close unmounts everything.
func (t *Tree) Close(ctx context.Context) error { return t.a.do(ctx, t.a.g.Umount_all) }

// within reports whether a path is at or below another.
func within(p, root string) bool {
	return p == root || root == "/" || strings.HasPrefix(p, root+"/")
}

// reach mounts the drive of a Windows path, and returns the path on that drive, in the
// appliance's syntax.
func (t *Tree) reach(ctx context.Context, p string) (string, error) {
	letter, rest := SplitDrive(p)
	if letter == "" && t.drives == nil {
		return p, nil
	}
	volume := t.system
	if letter != "" {
		ok := false
		if volume, ok = t.drives[letter]; !ok {
			return "", plan.Refuse(plan.NotFound, p, "there is no drive %s: in the guest; %s", letter, t.letters())
		}
	}
	if len(t.mounts) != 1 || t.mounts[0].mountable != volume {
		if err := t.mount(ctx, map[string]string{"/": volume}); err != nil {
			return "", err
		}
	}
	var found string
	err := t.a.do(ctx, func() (e error) { found, e = t.a.g.Case_sensitive_path(rest); return })
	return found, t.explain(p, err)
}

func (t *Tree) letters() string {
	if t.drives == nil {
		return "the guest is not Windows"
	}
	return "it has " + strings.Join(slices.Sorted(maps.Keys(t.drives)), ":, ") + ":"
}

// explain turns the error "no such file" into a refusal.
func (t *Tree) explain(p string, err error) error {
	var e *Error
	if errors.As(err, &e) && (e.Errno == syscall.ENOENT || e.Errno == syscall.ENOTDIR) {
		return plan.Refuse(plan.NotFound, p, "there is no %s in the guest", p)
	}
	return err
}

// Entry is one file, directory or link of a guest.
type Entry struct {
	// Name is the last part of its path.
	Name string
	// Mode is st_mode of inode(7).
	Mode     uint32
	UID, GID int64
	Size     size.Bytes
	Changed  time.Time
	// Link is where a symbolic link points to.
	Link  string
	names int64
}

// IsDir reports whether it is a directory, IsFile whether it is a plain file.
func (e Entry) IsDir() bool  { return e.Mode&syscall.S_IFMT == syscall.S_IFDIR }
func (e Entry) IsFile() bool { return e.Mode&syscall.S_IFMT == syscall.S_IFREG }

func (e Entry) isLink() bool { return e.Mode&syscall.S_IFMT == syscall.S_IFLNK }

func entry(name string, s guestfs.StatNS) Entry {
	return Entry{Name: name, Mode: uint32(s.St_mode), UID: s.St_uid, GID: s.St_gid, Size: size.Bytes(s.St_size),
		Changed: time.Unix(s.St_mtime_sec, s.St_mtime_nsec).UTC(), names: s.St_nlink}
}

// stat returns the entry of a path of the guest, and the path without links in the
// appliance's syntax.
func (t *Tree) stat(ctx context.Context, p string) (real string, e Entry, err error) {
	inside, err := t.reach(ctx, p)
	if err != nil {
		return "", e, err
	}
	if err := t.a.do(ctx, func() (e error) { real, e = t.a.g.Realpath(inside); return }); err != nil {
		return "", e, t.missed(p, inside, t.explain(p, err))
	}
	var s *guestfs.StatNS
	if err := t.a.do(ctx, func() (e error) { s, e = t.a.g.Lstatns(real); return }); err != nil {
		return "", e, t.explain(p, err)
	}
	return real, entry(filepath.Base(strings.ReplaceAll(p, `\`, "/")), *s), t.missed(p, real, nil)
}

// missed returns a refusal if the path is on a file system that could not be mounted, else
// err.
func (t *Tree) missed(p, inside string, err error) error {
	for point, why := range t.failed {
		if within(inside, point) {
			return plan.Refuse(plan.NotFound, p, "%s is on a file system that cannot be mounted: %v", p, why)
		}
	}
	return err
}

// Stat returns the entry of a path. It follows links.
func (t *Tree) Stat(ctx context.Context, p string) (Entry, error) {
	_, e, err := t.stat(ctx, p)
	return e, err
}

// List returns the entries of a directory, sorted by name; for a path that is not a
// directory, its own entry.
func (t *Tree) List(ctx context.Context, p string) ([]Entry, error) {
	dir, e, err := t.stat(ctx, p)
	if err != nil || !e.IsDir() {
		return []Entry{e}, err
	}
	var names []string
	if err := t.a.do(ctx, func() (e error) { names, e = t.a.g.Ls(dir); return }); err != nil || len(names) == 0 {
		return nil, err
	}
	var stats *[]guestfs.StatNS
	if err := t.a.do(ctx, func() (e error) { stats, e = t.a.g.Lstatnslist(dir, names); return }); err != nil {
		return nil, err
	}
	if len(*stats) != len(names) {
		return nil, fmt.Errorf("%s has %d names, and %d files", p, len(names), len(*stats))
	}
	var all []Entry
	for i, s := range *stats {
		all = append(all, entry(names[i], s))
	}
	return all, t.links(ctx, dir, all)
}

// links adds the targets of the symbolic links in a directory.
func (t *Tree) links(ctx context.Context, dir string, all []Entry) error {
	var names []string
	for _, e := range all {
		if e.isLink() {
			names = append(names, e.Name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	var targets []string
	if err := t.a.do(ctx, func() (e error) { targets, e = t.a.g.Readlinklist(dir, names); return }); err != nil || len(targets) != len(names) {
		return err
	}
	for i := range all {
		if all[i].isLink() {
			all[i].Link, targets = targets[0], targets[1:]
		}
	}
	return nil
}

// file finds a plain file.
func (t *Tree) file(ctx context.Context, p string) (string, Entry, error) {
	real, e, err := t.stat(ctx, p)
	switch {
	case err != nil:
		return "", e, err
	case e.IsDir():
		return "", e, plan.Refuse(plan.NotAFile, p, "%s is a directory", p)
	case !e.IsFile():
		return "", e, plan.Refuse(plan.NotAFile, p, "%s is not a regular file, but a device, a socket or a pipe", p)
	}
	return real, e, nil
}

// Read copies a file's content to w. The file is never in memory as a whole.
func (t *Tree) Read(ctx context.Context, p string, w io.Writer) error {
	real, _, err := t.file(ctx, p)
	if err != nil {
		return err
	}
	return t.a.stream(ctx, w, func(file string) error { return t.a.g.Download(real, file) })
}

// Archive writes a directory to w as a tar stream, with names relative to the directory.
func (t *Tree) Archive(ctx context.Context, p string, w io.Writer) error {
	real, e, err := t.stat(ctx, p)
	if err != nil {
		return err
	}
	if !e.IsDir() {
		return plan.Refuse(plan.NotAFile, p, "%s is not a directory", p)
	}
	return t.a.stream(ctx, w, func(file string) error {
		return t.a.g.Tar_out(real, file, &guestfs.OptargsTar_out{Numericowner_is_set: true, Numericowner: true})
	})
}

// stream runs a call that writes to a file, and copies that file's content to w.
func (a *Appliance) stream(ctx context.Context, w io.Writer, call func(file string) error) error {
	out, in, err := os.Pipe()
	if err != nil {
		return err
	}
	copied := make(chan error, 1)
	go func() {
		_, err := io.Copy(w, out)
		// If w fails, closing the pipe makes the call fail.
		copied <- errors.Join(err, out.Close())
	}()
	err = a.do(ctx, func() error { return call(fmt.Sprintf("/dev/fd/%d", in.Fd())) })
	closed := in.Close()
	if failed := <-copied; failed != nil {
		return failed
	}
	return errors.Join(err, closed)
}

// SplitDrive splits a path of Windows into its letter ("" if it has none) and the rest,
// with slashes.
func SplitDrive(p string) (letter, rest string) {
	if len(p) < 2 || p[1] != ':' || !isLetter(p[0]) {
		return "", p
	}
	rest = strings.ReplaceAll(p[2:], `\`, "/")
	if rest == "" {
		rest = "/"
	}
	return strings.ToUpper(p[:1]), rest
}

func isLetter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }
