// Package appliance reads and changes the content of disks (file systems, volume groups,
// LUKS containers) in the libguestfs appliance, never with the host's kernel. It launches
// the appliance on an NBD export, reads the layout (Probe), grows it step by step (the
// methods of apply.Editor), and checks the result.
//
// libguestfs calls take no context. When a context ends, the appliance's QEMU is killed,
// and the current call returns an error.
package appliance

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"libguestfs.org/guestfs"

	"github.com/virt-grow/virt-grow/guest/block"
	"github.com/virt-grow/virt-grow/guest/poll"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/journal"
	"github.com/virt-grow/virt-grow/plan/size"
	"github.com/virt-grow/virt-grow/plan/table"
)

// Accel says how the appliance's QEMU runs.
type Accel string

// The accelerations. Auto tries KVM and falls back to TCG, also if /dev/kvm exists but
// does not work.
const (
	Auto Accel = "auto"
	KVM  Accel = "kvm"
	TCG  Accel = "tcg"
)

// Options are the options of Launch.
type Options struct {
	// Drives are the appliance's disks.
	Drives []Drive
	// Disks is the size of all disks together. The appliance's memory depends on it.
	Disks size.Bytes
	Accel Accel
	// Keys finds the keys of LUKS containers; nil opens none.
	Keys KeyFinder
	// Started is called with the appliance's QEMU as soon as it runs; may be nil.
	Started func(journal.Proc)
	// Limit is how long the appliance may take to start; 0 is 5 minutes.
	Limit time.Duration
	// Processors is how many processors the appliance has; 0 is two, if the host has them.
	Processors int

	// scratch, if not 0, is the size of an empty disk to boot on instead of
	// an export.
	scratch size.Bytes
}

// Drive is an NBD export that becomes a disk.
type Drive struct {
	// Name is the disk's name for people, for example "vda". Without names the disks are
	// sda, sdb and so on.
	Name string
	// Socket and Export name the NBD export.
	Socket, Export string
	Sector         size.Bytes
	// Disk reads and writes the same export from this process.
	Disk Export
}

// Export reads and writes the disk as a client of the NBD export. For a partition table,
// that is several times faster than through the appliance. Read returns fewer bytes at
// the disk's end. block.Gate implements it.
type Export interface {
	Read(ctx context.Context, n, at size.Bytes) ([]byte, error)
	Write(ctx context.Context, data []byte, at size.Bytes) error
}

// KeyFinder returns the keys to try on a LUKS container, by its device's name
// and its UUID.
type KeyFinder func(device, uuid string) ([]string, error)

// Appliance is a running appliance. A growth uses one disk, /dev/sda; a guest's file tree
// may need several.
type Appliance struct {
	// Used is the acceleration that is in use: TCG if KVM did not work.
	Used Accel
	// KVMError is why Used is TCG although there is a /dev/kvm; else nil.
	KVMError error

	drives []drive
	// memory is how much memory it has, in MiB.
	memory int

	g    *guestfs.Guestfs
	qemu *block.Process // nil before it runs
	keys KeyFinder
	// kernel is the unpacked kernel that the appliance boots; nil for its own.
	kernel *kernel

	// open are the LUKS containers and volume groups in the order they were
	// opened.
	open []opened
	// groups reports that there are volume groups on the disk.
	groups bool
	// filtered reports that LVM sees only some of the devices; pvs are the devices on
	// which Probe found a PV.
	filtered bool
	pvs      []string
	// blocked is why some md arrays could not be stopped; nil if all were.
	blocked error
	// claimed reports that some partitions are members of md arrays.
	claimed bool
	// stale reports that a volume below an open container has grown.
	stale bool
	// known and closer are used by ProbeAgain; ntfsCluster is what it needs from the
	// first Probe.
	known       *plan.Layout
	closer      []string
	ntfsCluster map[string]size.Bytes
	// kernelRelease is the release from uname(2), once it was read.
	kernelRelease string
	// measured has the sizes of file systems when they were last mounted, for the next
	// ContentSize.
	measured map[string]size.Bytes
	// passed has the keys that opened a container, so that it can be opened again
	// without another prompt. They are never written anywhere.
	passed map[string]string
}

// drive is one of the appliance's disks.
type drive struct {
	Drive
	// table is the table that the disk has: read by Probe, or written; nil for none. size
	// is the size of the disk that the table is for.
	table *table.Table
	size  size.Bytes
}

// opened is an open LUKS container, or the active volume groups.
type opened struct {
	crypt  string // mapping name; "" for LVM
	device string // what the container lies on
}

// do makes one libguestfs call. Handles are not used from two goroutines at
// once.
func (a *Appliance) do(ctx context.Context, call func() error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	stop := context.AfterFunc(ctx, func() { _ = a.qemu.Signal(unix.SIGKILL) })
	err := silently(a.g, call)
	if !stop() && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// plain turns an error of the binding into one line: its own String prints the errno in
// the wrong cases, and it may be a typed nil.
func plain(err error) error {
	var g *guestfs.GuestfsError
	if !errors.As(err, &g) {
		return err
	}
	if g == nil {
		return nil
	}
	return &Error{Op: g.Op, Text: strings.TrimSpace(g.Errmsg), Errno: g.Errno}
}

// Error is a failed libguestfs call.
type Error struct {
	Op, Text string
	Errno    syscall.Errno
}

// advice matches libguestfs's advice on debugging below an error, which does not help the
// user of this program.
var advice = regexp.MustCompile(`(?s)(To see full error messages|Do:\n\s*export LIBGUESTFS_DEBUG).*`)

func (e *Error) Error() string {
	text := strings.Join(strings.Fields(advice.ReplaceAllString(e.Text, "")), " ")
	if strings.HasPrefix(text, e.Op+": ") {
		return text
	}
	return e.Op + ": " + text
}

// SetKeys replaces the keys given at launch.
func (a *Appliance) SetKeys(keys KeyFinder) { a.keys = keys }

// Refresh makes the appliance read the disk anew, after the gate was pointed to another
// image or the table was written: the kernel drops its cache of the disk, and reads the
// table again (Linux, bdev_disk_changed; before 5.7 the cache is dropped when the last
// user closes the disk, which blockdev does). The kernel does so only while no partition
// is open, but udev in the appliance opens them after every change: to read them, to
// activate volume groups, and to assemble arrays. So these are stopped, and the call is
// repeated.
func (a *Appliance) Refresh(ctx context.Context) error {
	for i := range a.drives {
		if err := a.refresh(ctx, "/dev/"+diskName(i)); err != nil {
			return err
		}
	}
	return nil
}

func (a *Appliance) refresh(ctx context.Context, disk string) error {
	wait := poll.Wait{For: "the partitions of " + disk + " to be closed", Every: 100 * time.Millisecond}
	attempt := 0
	return poll.Until(ctx, wait, func() (bool, error) {
		if attempt > 0 {
			if err := a.release(ctx, attempt%5 == 2); err != nil {
				return false, err
			}
		}
		err := a.do(ctx, func() error { return a.g.Blockdev_rereadpt(disk) })
		attempt++
		if err != nil && ctx.Err() == nil && attempt <= 20 && busy(err) {
			return false, nil
		}
		return err == nil, err
	})
}

// reader reads the disk for package table. It reads and keeps whole windows, because
// reading a table takes many small reads close together.
type reader struct {
	ctx     context.Context
	disk    Export
	windows map[int64][]byte
}

// window is how many bytes are read at once: enough for a GPT with its header.
const window = 32 << 10

func (d *drive) reader(ctx context.Context) *reader {
	return &reader{ctx, d.Disk, map[int64][]byte{}}
}

// ReadAt implements io.ReaderAt.
func (r *reader) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	for n < len(p) {
		at := off + int64(n)
		data, err := r.window(at / window)
		if err != nil {
			return n, err
		}
		inside := int(at % window)
		if inside >= len(data) {
			return n, errShort
		}
		n += copy(p[n:], data[inside:])
	}
	return n, nil
}

func (r *reader) window(i int64) ([]byte, error) {
	if data, ok := r.windows[i]; ok {
		return data, nil
	}
	data, err := r.disk.Read(r.ctx, window, size.Bytes(i*window))
	if err == nil {
		r.windows[i] = data
	}
	return data, err
}

var errShort = errors.New("unexpected end of the disk")

// Settle closes everything that was opened, and writes all caches to the gate. After it,
// the gate can be pointed to another image, or the appliance closed.
func (a *Appliance) Settle(ctx context.Context) error {
	if err := a.do(ctx, func() error { return a.g.Umount_all() }); err != nil {
		return err
	}
	if err := a.closeStack(ctx); err != nil {
		return err
	}
	if err := a.unfilter(ctx); err != nil {
		return err
	}
	if a.claimed {
		if err := a.release(ctx, false); err != nil {
			return err
		}
	}
	a.groups, a.claimed = false, false
	if err := a.do(ctx, func() error { return a.g.Sync() }); err != nil {
		return err
	}
	for i := range a.drives {
		a.drives[i].table = nil
	}
	clear(a.passed)
	clear(a.measured)
	return nil
}

// Kill ends the appliance at once, without writing its caches.
func (a *Appliance) Kill() {
	_ = a.qemu.Signal(unix.SIGKILL)
	a.free()
}

// free closes the handle, and ignores how QEMU ended.
func (a *Appliance) free() {
	_ = silently(a.g, func() error { a.g.Close(); return nil })
	if a.qemu != nil {
		a.qemu.Close()
	}
}

// usage has the figures of statvfs(2) for a mounted file system, and the names in its top
// directory.
type usage struct {
	total, used, block size.Bytes
	files              int64
	names              []string
}

// statfs mounts the device read-only, and returns its usage.
func (a *Appliance) statfs(ctx context.Context, device string) (u usage, err error) {
	err = a.do(ctx, func() error { return a.g.Mount_options("ro", a.path(device), "/") })
	if err != nil {
		return u, err
	}
	defer func() {
		if e := a.do(ctx, func() error { return a.g.Umount("/", nil) }); err == nil {
			err = e
		}
	}()
	if err := a.do(ctx, func() (e error) { u.names, e = a.g.Ls("/"); return }); err != nil {
		return u, err
	}
	var stat *guestfs.StatVFS
	err = a.do(ctx, func() (e error) { stat, e = a.g.Statvfs("/"); return })
	if err != nil {
		return u, err
	}
	u.block = size.Bytes(stat.Frsize)
	u.total = size.Bytes(stat.Blocks) * u.block
	u.files = max(0, stat.Files-stat.Ffree)
	u.used = size.Bytes(stat.Blocks-stat.Bfree) * u.block
	return u, nil
}

// deviceSize returns the block device's size according to the appliance's kernel.
func (a *Appliance) deviceSize(ctx context.Context, name string) (size.Bytes, error) {
	var n int64
	err := a.do(ctx, func() (e error) { n, e = a.g.Blockdev_getsize64(a.path(name)); return })
	return size.Bytes(n), err
}

// refuse returns a refusal for a failed call.
func refuse(reason plan.Reason, device string, what string, err error) *plan.Refusal {
	return plan.Refuse(reason, device, "%s on %s: %v", what, device, err)
}
