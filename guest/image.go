package guest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/virt-grow/virt-grow/guest/block"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
	"github.com/virt-grow/virt-grow/plan/table"
)

// Image is an image file or a block device that passed every check that can be
// made from outside.
type Image struct {
	plan.Target
	// Size is the virtual size, Info what qemu-img says of the image itself.
	Size size.Bytes
	Info block.Info
	// Stamp tells whether somebody wrote to the image since.
	Stamp Stamp
	// Notes are what a person should know, growing or not.
	Notes []string

	// access is Shared for the disk of a running guest.
	access block.Access
	// keeps says that the image is to keep its size.
	keeps bool
	// owner is the domain, for a domain's disk.
	owner *owner
}

// Stamp is a file's identity and the state it is in.
type Stamp struct {
	Device uint64    `json:"device"`
	Inode  uint64    `json:"inode"`
	Bytes  int64     `json:"bytes"`
	Time   time.Time `json:"time"`
}

// StampOf reads a file's stamp. A block device's time says nothing: writing
// to it does not change its node.
func StampOf(path string) (Stamp, error) {
	info, err := os.Stat(path)
	if err != nil {
		return Stamp{}, err
	}
	stat := info.Sys().(*syscall.Stat_t)
	if info.Mode()&fs.ModeDevice != 0 {
		return Stamp{Device: stat.Rdev}, nil
	}
	return Stamp{Device: stat.Dev, Inode: stat.Ino, Bytes: stat.Size, Time: info.ModTime().UTC()}, nil
}

// Identity names the disk for a lock, whatever path leads to it.
func (s Stamp) Identity() string { return fmt.Sprintf("disk-%x-%x", s.Device, s.Inode) }

// OpenOptions say what cannot be found out.
type OpenOptions struct {
	// Format is the user's word; "" goes by the file's name.
	Format string
	// Sector is the sector size the guest sees; 0 goes by the block device or
	// the GPT.
	Sector size.Bytes

	// access is Shared for the disk of a running guest.
	access block.Access
	// keeps says that the image is to keep its size.
	keeps bool
}

// Open finds an image and refuses what could not be grown safely.
func Open(ctx context.Context, path string, o OpenOptions) (*Image, error) {
	img, err := locate(path)
	if err != nil {
		return nil, err
	}
	img.access, img.keeps = o.access, o.keeps
	if img.Format, err = format(img, path, o.Format); err != nil {
		return nil, err
	}
	if err := img.readChain(ctx); err != nil {
		return nil, err
	}
	if err := img.judge(); err != nil {
		return nil, err
	}
	if img.access == block.Exclusive {
		if err := img.checkBitmaps(ctx, nil); err != nil {
			return nil, err
		}
	}
	return img, img.findSector(ctx, o.Sector)
}

func locate(path string) (*Image, error) {
	full, err := filepath.Abs(path)
	if err == nil {
		full, err = filepath.EvalSymlinks(full)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, plan.Refuse(plan.NotFound, path, "there is no image %s", path)
	}
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(full)
	if err != nil {
		return nil, err
	}
	img := &Image{}
	img.Path, img.Block = full, info.Mode().Type() == fs.ModeDevice
	if !info.Mode().IsRegular() && !img.Block {
		return nil, plan.Refuse(plan.FormatUnsupported, path, "%s is neither a file nor a block device", path)
	}
	img.Stamp, err = StampOf(full)
	return img, err
}

// format decides by the user's word, the name, or the kind of file; never by
// content, which a guest controls.
func format(img *Image, path, given string) (string, error) {
	f := given
	if f == "" {
		switch strings.ToLower(filepath.Ext(path)) {
		case ".qcow2":
			f = "qcow2"
		case ".raw":
			f = "raw"
		}
	}
	if f == "" && img.Block {
		f = "raw"
	}
	switch f {
	case "":
		return "", plan.Refuse(plan.FormatMissing, path, "the name of %s does not say whether it is qcow2 or raw, and content is not to be trusted", path)
	case "qcow2", "raw":
		return f, contradiction(img, path, f)
	}
	return "", plan.Refuse(plan.FormatUnsupported, path, "cannot grow images of format %s: only qcow2 and raw", f)
}

// magics are the first bytes of formats that a raw disk does not begin with.
var magics = []struct{ format, magic string }{
	{"qcow2", "QFI\xfb"}, {"vmdk", "KDMV"}, {"vhdx", "vhdxfile"}, {"qed", "QED\x00"},
}

func contradiction(img *Image, path, format string) error {
	head, err := readHead(img.Path, 8)
	if err != nil {
		return err
	}
	looks := ""
	for _, m := range magics {
		if strings.HasPrefix(string(head), m.magic) {
			looks = m.format
		}
	}
	switch {
	case format == "raw" && looks != "":
		return plan.Refuse(plan.FormatMismatch, path, "%s begins like %s, but is to be used as raw: a guest that has it as raw sees a disk of %d bytes, the file's own size", path, looks, img.Stamp.Bytes)
	case format == "qcow2" && looks != "qcow2":
		return plan.Refuse(plan.FormatMismatch, path, "%s does not begin like qcow2", path)
	}
	return nil
}

// readHead reads the file's first bytes, fewer when it is shorter.
func readHead(path string, n int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, n))
}

// readChain asks qemu-img about the image and everything below it, one at a
// time: a chain with a missing format would be guessed if asked as a whole.
func (img *Image) readChain(ctx context.Context) error {
	path, format := img.Path, img.Format
	for depth := 0; ; depth++ {
		info, err := block.Inspect(ctx, path, format, img.access)
		if errors.Is(err, block.ErrInUse) {
			return plan.Refuse(plan.InUse, path, "%s is in use: a running QEMU or qemu-img holds its lock", path)
		}
		if err != nil {
			return err
		}
		if depth == 0 {
			img.Info, img.Size = info, info.VirtualSize
		} else {
			img.Backing = append(img.Backing, plan.Link{Path: path, Format: format})
		}
		if info.Backing == "" {
			return nil
		}
		if err := backing(path, info); err != nil {
			return err
		}
		if depth == 64 {
			return plan.Refuse(plan.FormatUnsupported, img.Path, "the backing chain of %s is longer than 64 images", img.Path)
		}
		path, format = info.Backing, info.BackingFormat
	}
}

// backing refuses what cannot be opened without a guess.
func backing(path string, info block.Info) error {
	if info.BackingFormat == "" {
		return plan.Refuse(plan.FormatMissing, path, "%s does not say which format its backing file %s has", path, info.Backing)
	}
	if !filepath.IsAbs(info.Backing) {
		return plan.Refuse(plan.FormatUnsupported, path, "the backing file of %s is no local file: %s", path, info.Backing)
	}
	if _, err := os.Stat(info.Backing); errors.Is(err, fs.ErrNotExist) {
		return plan.Refuse(plan.NotFound, info.Backing, "the backing file of %s is gone: %s", path, info.Backing)
	}
	return nil
}

// judge refuses images that growing would fail on, or break.
func (img *Image) judge() error {
	info := img.Info
	refuse := func(reason plan.Reason, format string, args ...any) error {
		return plan.Refuse(reason, img.Path, "%s %s", img.Path, fmt.Sprintf(format, args...))
	}
	switch {
	case info.Encrypted:
		return refuse(plan.FormatUnsupported, "is encrypted by qcow2 itself")
	case info.DataFile != "":
		return refuse(plan.FormatUnsupported, "keeps its data in another file: %s", info.DataFile)
	case info.Corrupt:
		return refuse(plan.ImageDamaged, "is marked as corrupt by QEMU")
	case info.Snapshots > 0 && info.Version == 2 && !img.keeps:
		return refuse(plan.InternalSnapshot, "has %d internal snapshot(s), and qcow2 version 2 cannot be resized with them", info.Snapshots)
	case img.Size < size.MiB:
		return refuse(plan.UnknownContent, "has only %s", img.Size)
	}
	if info.Snapshots > 0 && !img.keeps {
		img.Notes = append(img.Notes, fmt.Sprintf("the image has %d internal snapshot(s): they keep the old size, and going back to one undoes the growth", info.Snapshots))
	}
	if img.Block {
		return img.notMounted()
	}
	return nil
}

// notMounted refuses a block device that the host itself uses: opening it
// exclusively fails while it is mounted or part of something (open(2)).
func (img *Image) notMounted() error {
	fd, err := unix.Open(img.Path, unix.O_RDONLY|unix.O_EXCL|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.EBUSY) {
		return plan.Refuse(plan.InUse, img.Path, "%s is in use on this host: mounted, or part of a volume group or RAID", img.Path)
	}
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// findSector finds the sector size the table was written for.
func (img *Image) findSector(ctx context.Context, given size.Bytes) error {
	switch {
	case given != 0:
		img.SectorSize = given
	case img.Block:
		return img.askSector()
	default:
		head, err := block.ReadHead(ctx, img.Path, img.Format, min(img.Size, 32*size.KiB), img.access)
		if err != nil {
			return err
		}
		img.SectorSize = table.SniffSectorSize(strings.NewReader(string(head)), img.Size)
	}
	return nil
}

func (img *Image) askSector() error {
	f, err := os.Open(img.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	n, err := unix.IoctlGetInt(int(f.Fd()), unix.BLKSSZGET)
	if err != nil {
		return fmt.Errorf("cannot ask %s for its sector size: %w", img.Path, err)
	}
	img.SectorSize = size.Bytes(n)
	return nil
}
