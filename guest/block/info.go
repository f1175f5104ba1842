package block

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/virt-grow/virt-grow/plan/size"
)

// Info is what qemu-img reports about one image.
type Info struct {
	Path        string
	Format      string
	VirtualSize size.Bytes
	// Allocated is the space that the file occupies on its file system.
	Allocated size.Bytes
	// Version is the version of qcow2: 2 ("compat 0.10") or 3 ("compat 1.1").
	Version int
	// Snapshots counts internal snapshots.
	Snapshots int
	// Encrypted reports that qcow2 encryption is on.
	Encrypted bool
	// DataFile is the external data file of a qcow2; "" if it has none.
	DataFile string
	// Corrupt and Dirty are qcow2 header flags.
	Corrupt, Dirty bool
	// Backing and BackingFormat are the path and format of the next image of the chain.
	Backing, BackingFormat string
	// Cluster, RefcountBits and ExtendedL2 determine a qcow2's largest size; 0 if not
	// known.
	Cluster      size.Bytes
	RefcountBits int
	ExtendedL2   bool
	// Inconsistent are the persistent bitmaps that are marked as in use: by a QEMU that
	// crashed, or by one that runs.
	Inconsistent []string
	// Bitmaps are all persistent bitmaps.
	Bitmaps []Bitmap
}

// imgInfo has the fields of qemu-img info's JSON that are used here (QEMU 2.x to 9.x).
type imgInfo struct {
	Filename    string            `json:"filename"`
	Format      string            `json:"format"`
	VirtualSize int64             `json:"virtual-size"`
	ActualSize  int64             `json:"actual-size"`
	Snapshots   []json.RawMessage `json:"snapshots"`
	Encrypted   bool              `json:"encrypted"`
	Cluster     int64             `json:"cluster-size"`
	Dirty       bool              `json:"dirty-flag"`
	Backing     string            `json:"backing-filename"`
	FullBacking string            `json:"full-backing-filename"`
	BackingFmt  string            `json:"backing-filename-format"`
	Specific    struct {
		Data struct {
			Compat   string `json:"compat"`
			Corrupt  bool   `json:"corrupt"`
			DataFile string `json:"data-file"`
			Refcount int    `json:"refcount-bits"`
			Extended bool   `json:"extended-l2"`
			Bitmaps  []struct {
				Name  string   `json:"name"`
				Flags []string `json:"flags"`
				Grain int64    `json:"granularity"`
			} `json:"bitmaps"`
		} `json:"data"`
	} `json:"format-specific"`
}

func parseInfo(data []byte) (Info, error) {
	var r imgInfo
	if err := json.Unmarshal(data, &r); err != nil {
		return Info{}, fmt.Errorf("qemu-img info: %w", err)
	}
	info := Info{
		Path: r.Filename, Format: r.Format,
		VirtualSize: size.Bytes(r.VirtualSize), Allocated: size.Bytes(r.ActualSize),
		Snapshots: len(r.Snapshots), Encrypted: r.Encrypted,
		Corrupt: r.Specific.Data.Corrupt, Dirty: r.Dirty, DataFile: r.Specific.Data.DataFile,
		Backing: r.FullBacking, BackingFormat: r.BackingFmt,
	}
	if info.Backing == "" {
		info.Backing = r.Backing
	}
	d := r.Specific.Data
	info.Cluster, info.RefcountBits, info.ExtendedL2 = size.Bytes(r.Cluster), d.Refcount, d.Extended
	for _, b := range d.Bitmaps {
		info.Bitmaps = append(info.Bitmaps, Bitmap{Name: b.Name, Granularity: size.Bytes(b.Grain),
			Recording: slices.Contains(b.Flags, "auto"), InUse: slices.Contains(b.Flags, "in-use")})
		if slices.Contains(b.Flags, "in-use") {
			info.Inconsistent = append(info.Inconsistent, b.Name)
		}
	}
	switch r.Specific.Data.Compat {
	case "0.10":
		info.Version = 2
	case "1.1":
		info.Version = 3
	}
	return info, nil
}

// Access says whether QEMU's locks are respected when an image is opened.
type Access bool

// Exclusive respects the image's lock. Shared ignores it, so the result may be outdated:
// it is good for an estimate, never for a change.
const (
	Exclusive Access = false
	Shared    Access = true
)

func (a Access) flags(more ...string) []string {
	if a == Shared {
		return append([]string{"-U"}, more...)
	}
	return more
}

// Inspect describes one image, without its backing files.
func Inspect(ctx context.Context, path, format string, a Access) (Info, error) {
	args := append([]string{"info"}, a.flags("--output=json", "-f", format, path)...)
	out, err := Run(ctx, "qemu-img", args...)
	if err != nil {
		return Info{}, asInUse(err)
	}
	return parseInfo(out)
}

// ReadHead reads the first n bytes of an image as the guest sees it, through qemu-img. n
// is a multiple of 512.
func ReadHead(ctx context.Context, path, format string, n size.Bytes, a Access) ([]byte, error) {
	dir, err := os.MkdirTemp("", "virt-grow-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "head")
	args := append([]string{"dd"}, a.flags("-f", format, "-O", "raw", "bs=512",
		fmt.Sprintf("count=%d", int64(n/512)), "if="+path, "of="+out)...)
	_, err = Run(ctx, "qemu-img", args...)
	if err != nil {
		return nil, asInUse(err)
	}
	return os.ReadFile(out)
}

// Free returns how much an unprivileged user can still write to the file system of dir.
func Free(dir string) (size.Bytes, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, err
	}
	return size.Bytes(s.Bavail) * size.Bytes(s.Bsize), nil
}

// Allocated returns the space that a file takes on the disk.
func Allocated(path string) (size.Bytes, error) {
	var s unix.Stat_t
	if err := unix.Stat(path, &s); err != nil {
		return 0, err
	}
	return size.Bytes(s.Blocks) * 512, nil // in units of 512 bytes on every file system, stat(2)
}

// SameFS reports whether two paths are on one file system.
func SameFS(a, b string) bool {
	var x, y unix.Stat_t
	return unix.Stat(a, &x) == nil && unix.Stat(b, &y) == nil && x.Dev == y.Dev
}
