package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/virt-grow/virt-grow/guest/block"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
	"github.com/virt-grow/virt-grow/plan/table"
)

// Image is an image file or a block device. One that Open returns has passed
// every check that can be made without looking at what it contains.
type Image struct {
	plan.Target
	// Size is the virtual size, Info what qemu-img says about the image itself.
	Size size.Bytes
	Info block.Info
	// Stamp shows whether the image was written to since it was opened.
	Stamp Stamp
	// Notes are messages for the user about the image.
	Notes []string
	// Access is block.Shared for the disk of a running guest.
	Access block.Access

	given    string // the path as the user gave it, for messages
	keepSize bool
}

// Options are what cannot be found out from the image.
type Options struct {
	// Format is the format that the user or the domain's definition gives; ""
	// takes the one that the file's name ends in.
	Format string
	// Sector is the sector size that the guest sees; 0 takes that of the block
	// device or of the GPT.
	Sector size.Bytes
	// Access is block.Shared for the disk of a running guest.
	Access block.Access
	// KeepSize leaves out the checks that matter only to an image that is resized.
	KeepSize bool
}

// Open finds an image and refuses one that cannot be worked on safely.
func Open(ctx context.Context, path string, o Options) (*Image, error) {
	img, err := Locate(path)
	if err != nil {
		return nil, err
	}
	img.Access, img.keepSize = o.Access, o.KeepSize
	if err := img.SetFormat(o.Format); err != nil {
		return nil, err
	}
	if err := img.ReadChain(ctx); err != nil {
		return nil, err
	}
	if err := img.check(); err != nil {
		return nil, err
	}
	if img.Access == block.Exclusive {
		if err := img.CheckBitmaps(ctx, nil); err != nil {
			return nil, err
		}
	}
	return img, img.findSector(ctx, o.Sector)
}

// Locate finds the file or block device, and resolves symbolic links. Nothing is
// read from it.
func Locate(path string) (*Image, error) {
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
	img := &Image{given: path}
	img.Path, img.Block = full, info.Mode().Type() == fs.ModeDevice
	if !info.Mode().IsRegular() && !img.Block {
		return nil, plan.Refuse(plan.FormatUnsupported, path, "%s is neither a file nor a block device", path)
	}
	img.Stamp, err = StampOf(full)
	return img, err
}

// ReadChain reads the image's size and what qemu-img says about it, and its
// backing chain.
func (img *Image) ReadChain(ctx context.Context) error {
	chain, err := ReadChain(ctx, block.Inspect, img.Path, img.Format, img.Access)
	if err != nil {
		return err
	}
	img.Info, img.Size, img.Backing = chain[0].Info, chain[0].Info.VirtualSize, nil
	for _, link := range chain[1:] {
		img.Backing = append(img.Backing, link.Link)
	}
	return nil
}

// check refuses images whose size cannot be changed, or not without damage.
func (img *Image) check() error {
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
	case info.Snapshots > 0 && info.Version == 2 && !img.keepSize:
		return refuse(plan.InternalSnapshot, "has %d internal snapshot(s), and qcow2 version 2 cannot be resized with them", info.Snapshots)
	case img.Size < size.MiB:
		return refuse(plan.UnknownContent, "has only %s", img.Size)
	}
	if info.Snapshots > 0 && !img.keepSize {
		img.Notes = append(img.Notes, fmt.Sprintf("the image has %d internal snapshot(s): they keep the old size, and reverting to one undoes the growth", info.Snapshots))
	}
	if img.Block {
		return img.checkNotMounted()
	}
	return nil
}

// checkNotMounted refuses a block device that the host itself uses: opening it
// exclusively fails while it is mounted or part of something (open(2)).
func (img *Image) checkNotMounted() error {
	fd, err := unix.Open(img.Path, unix.O_RDONLY|unix.O_EXCL|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.EBUSY) {
		return plan.Refuse(plan.InUse, img.Path, "%s is in use on this host: mounted, or part of a volume group or RAID", img.Path)
	}
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// findSector finds the sector size that the partition table was written for.
func (img *Image) findSector(ctx context.Context, given size.Bytes) error {
	switch {
	case given != 0:
		img.SectorSize = given
	case img.Block:
		return img.readDeviceSector()
	default:
		head, err := block.ReadHead(ctx, img.Path, img.Format, min(img.Size, 32*size.KiB), img.Access)
		if err != nil {
			return err
		}
		img.SectorSize = table.SniffSectorSize(strings.NewReader(string(head)), img.Size)
	}
	return nil
}

func (img *Image) readDeviceSector() error {
	f, err := os.Open(img.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	n, err := unix.IoctlGetInt(int(f.Fd()), unix.BLKSSZGET)
	if err != nil {
		return fmt.Errorf("cannot read the sector size of %s: %w", img.Path, err)
	}
	img.SectorSize = size.Bytes(n)
	return nil
}

// RefuseInUse turns QEMU's error about a locked image into a refusal, and returns
// every other error as it is.
func RefuseInUse(path string, err error) error {
	if errors.Is(err, block.ErrInUse) {
		return plan.Refuse(plan.InUse, path, "%s is in use: a running QEMU or qemu-img holds its lock", path)
	}
	return err
}
