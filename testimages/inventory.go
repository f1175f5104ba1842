package testimages

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"reflect"
	"slices"
	"strings"
)

// Manifest is what the file systems of an image hold, by volume: "sda1", "vg/lv".
type Manifest map[string]Files

// Files is what one file system holds, by path from its root (".").
type Files map[string]File

// File has the attributes of a file that must not change when its file system grows.
type File struct {
	Type   string            `json:"type"` // "file", "dir", "symlink", "link", or tar's type byte
	Mode   int64             `json:"mode"`
	UID    int               `json:"uid"`
	GID    int               `json:"gid"`
	MTime  int64             `json:"mtime"` // seconds; 0 for directories
	Size   int64             `json:"size,omitempty"`
	SHA256 string            `json:"sha256,omitempty"` // of a file's content
	Link   string            `json:"link,omitempty"`   // target of a symbolic or hard link
	XAttrs map[string]string `json:"xattrs,omitempty"` // user.*
}

// Diff returns one line for each difference between m and got, in order.
func (m Manifest) Diff(got Manifest) []string {
	var ds []string
	for name := range union(m, got) {
		if m[name] == nil || got[name] == nil {
			ds = append(ds, fmt.Sprintf("file system %s: %d files, want %d", name, len(got[name]), len(m[name])))
			continue
		}
		for path := range union(m[name], got[name]) {
			w, wok := m[name][path]
			g, gok := got[name][path]
			switch {
			case !gok:
				ds = append(ds, fmt.Sprintf("%s: %s is missing", name, path))
			case !wok:
				ds = append(ds, fmt.Sprintf("%s: %s is new: %+v", name, path, g))
			case !reflect.DeepEqual(g, w):
				ds = append(ds, fmt.Sprintf("%s: %s is %+v, want %+v", name, path, g, w))
			}
		}
	}
	slices.Sort(ds)
	return ds
}

func union[V any](a, b map[string]V) map[string]bool {
	keys := map[string]bool{}
	for k := range a {
		keys[k] = true
	}
	for k := range b {
		keys[k] = true
	}
	return keys
}

// Disk is a (grown) copy of an image whose files are to be listed.
type Disk struct {
	Path   string
	Format string // "raw" or "qcow2"
	Sector int    // 0 = the image's
	Image  Image
}

// Inventory lists the files of many disks, by path, in one appliance. The disks
// are not written to. Copies of the same image with LVM or btrfs, which
// one kernel cannot tell apart, need an appliance each.
func Inventory(ctx context.Context, disks []Disk) (map[string]Manifest, error) {
	tmp, err := os.MkdirTemp("", "virt-grow-inventory")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	all := map[string]Manifest{}
	for _, round := range rounds(disks) {
		if err := inventory(ctx, tmp, round, all); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// rounds divides the disks into rounds. The disks of a round have no identifiers in
// common that the kernel or LVM registers.
func rounds(disks []Disk) [][]Disk {
	var rounds [][]Disk
	seen := map[string]int{}
	for _, d := range disks {
		n := 0
		if d.Image.registered() {
			n = seen[d.Image.Name]
			seen[d.Image.Name]++
		}
		for n >= len(rounds) {
			rounds = append(rounds, nil)
		}
		rounds[n] = append(rounds[n], d)
	}
	return rounds
}

func (img Image) registered() bool {
	found := false
	img.walk(func(v volume) { found = found || v.Kind == "pv" || v.Kind == "btrfs" })
	return found
}

func inventory(ctx context.Context, tmp string, disks []Disk, all map[string]Manifest) error {
	var drives []drive
	for _, d := range disks {
		if d.Sector == 0 {
			d.Sector = d.Image.Sector
		}
		drives = append(drives, drive{d.Path, d.Format, d.Sector, true})
	}
	a, err := launch(ctx, tmp, drives)
	if err != nil {
		return err
	}
	defer a.close()
	opened, err := a.openAll(disks)
	if err != nil {
		return err
	}
	for i, d := range disks {
		m := Manifest{}
		for _, v := range d.Image.filesystems() {
			dev := device(deviceName(i), v)
			if o := opened[dev]; o != "" {
				dev = o
			}
			if m[v.Name], err = a.list(dev); err != nil {
				return fmt.Errorf("%s: %s: %w", d.Path, v.Name, err)
			}
		}
		all[d.Path] = m
	}
	return nil
}

// openAll opens LUKS containers and LVM; it maps containers to their devices.
func (a *appliance) openAll(disks []Disk) (map[string]string, error) {
	opened := map[string]string{}
	var errs []error
	lvm := false
	for i, d := range disks {
		d.Image.walk(func(v volume) {
			lvm = lvm || v.Kind == "pv"
			if v.Inner == nil {
				return
			}
			dev := device(deviceName(i), v)
			mapped, err := a.openLUKS(dev, d.Image.Key)
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", d.Path, err))
			}
			opened[dev] = mapped
		})
	}
	if lvm {
		errs = append(errs, a.Lvm_scan(true))
	}
	return opened, errors.Join(errs...)
}

func (a *appliance) list(dev string) (Files, error) {
	if err := a.ctx.Err(); err != nil {
		return nil, err
	}
	if err := a.Mount_ro(dev, "/"); err != nil {
		return nil, err
	}
	defer a.Umount_all()
	return a.readFiles()
}

func readTar(r io.Reader) (Files, error) {
	files := Files{}
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return files, nil
		}
		if err != nil {
			return nil, err
		}
		f, err := readEntry(h, tr)
		if err != nil {
			return nil, err
		}
		files[path.Clean(h.Name)] = f
	}
}

func readEntry(h *tar.Header, r io.Reader) (File, error) {
	f := File{Mode: h.Mode, UID: h.Uid, GID: h.Gid, Link: h.Linkname, MTime: h.ModTime.Unix(), Type: string(h.Typeflag)}
	switch h.Typeflag {
	case tar.TypeReg:
		sum := sha256.New()
		n, err := io.Copy(sum, r)
		if err != nil {
			return f, err
		}
		f.Type, f.Size, f.SHA256 = "file", n, hex.EncodeToString(sum.Sum(nil))
	case tar.TypeDir:
		f.Type, f.MTime = "dir", 0
	case tar.TypeSymlink:
		f.Type = "symlink"
	case tar.TypeLink:
		f.Type = "link"
	}
	for k, v := range h.PAXRecords {
		if name, ok := strings.CutPrefix(k, xattrPrefix+"user."); ok {
			if f.XAttrs == nil {
				f.XAttrs = map[string]string{}
			}
			f.XAttrs["user."+name] = v
		}
	}
	return f, nil
}
