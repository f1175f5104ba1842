package appliance

import (
	"bytes"
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"
	"libguestfs.org/guestfs"
)

// A kernel unpacks itself when it boots. With software emulation, that takes a quarter of
// an appliance's launch (4 of 16 s). The host unpacks it in one second and keeps the result.

// kernel is the appliance's kernel, unpacked.
type kernel struct {
	// packed is the path of libguestfs's file, and sum the checksum of its content.
	packed string
	sum    [sha256.Size]byte
	// unpacked is the path of the unpacked file.
	unpacked string
}

// errOtherKernel reports that libguestfs has just built a new appliance, because the host
// has a new kernel.
var errOtherKernel = errors.New("the appliance's kernel has just changed")

// unpack finds the kernel of libguestfs's cached appliance (guestfs(3), "SUPERMIN
// APPLIANCE"), and unpacks it into the user's cache directory, unless it is there already.
// There is no kernel before libguestfs has built its first appliance.
func unpack(ctx context.Context, g *guestfs.Guestfs) (*kernel, error) {
	var cache string
	if err := silently(g, func() (e error) { cache, e = g.Get_cachedir(); return }); err != nil {
		return nil, err
	}
	own, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	packed := applianceKernel(cache)
	image, err := os.ReadFile(packed)
	if err != nil {
		return nil, err
	}
	k := &kernel{packed: packed, sum: sha256.Sum256(image)}
	dir := filepath.Join(own, "virt-grow")
	k.unpacked = filepath.Join(dir, "kernel-"+hex.EncodeToString(k.sum[:8]))
	if _, err := os.Stat(k.unpacked); err == nil {
		return k, nil
	}
	elf, err := vmlinux(ctx, image)
	if err != nil {
		return nil, err
	}
	return k, k.keep(dir, elf)
}

// applianceKernel returns the path of the kernel in libguestfs's cache.
func applianceKernel(cache string) string {
	return filepath.Join(cache, fmt.Sprintf(".guestfs-%d", os.Geteuid()), "appliance.d", "kernel")
}

// keep writes the unpacked kernel, and deletes those of earlier kernels.
func (k *kernel) keep(dir string, content []byte) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if old, err := filepath.Glob(filepath.Join(dir, "kernel-*")); err == nil {
		for _, file := range old {
			_ = os.Remove(file)
		}
	}
	return renameio.WriteFile(k.unpacked, content, 0o600)
}

// unpackKernel makes QEMU boot the unpacked kernel: -machine kernel= overrides an earlier
// -kernel.
func (a *Appliance) unpackKernel(ctx context.Context) error {
	k, err := unpack(ctx, a.g)
	if err != nil {
		return err
	}
	a.kernel = k
	option := "kernel=" + strings.ReplaceAll(k.unpacked, ",", ",,")
	return silently(a.g, func() error { return a.g.Config("-machine", &option) })
}

// stale reports whether libguestfs's kernel has changed since it was unpacked.
func (k *kernel) stale() bool {
	image, err := os.ReadFile(k.packed)
	return err != nil || sha256.Sum256(image) != k.sum
}

// The setup header of a bzImage (Linux, Documentation/arch/x86/boot.rst).
const (
	setupSectors  = 0x1f1 // length of what comes before the protected-mode code
	setupMagic    = 0x202 // "HdrS"
	setupVersion  = 0x206
	payloadOffset = 0x248 // from the protected-mode code's begin; since 2.08
	payloadLength = 0x24c
	headerEnd     = 0x250
)

// unpackers has the program for each magic number of a payload, and how many bytes the
// kernel's build appends to the payload (Linux, scripts/Makefile.lib).
var unpackers = []struct {
	magic, program string
	appended       int
}{
	{"\x1f\x8b", "gzip", 0},
	{"\xfd7zXZ\x00", "xz", 4},
	{"\x28\xb5\x2f\xfd", "zstd", 4},
}

// vmlinux returns the ELF file in a bzImage, if QEMU can boot it.
func vmlinux(ctx context.Context, image []byte) ([]byte, error) {
	packed, err := payload(image)
	if err != nil {
		return nil, err
	}
	for _, u := range unpackers {
		if !bytes.HasPrefix(packed, []byte(u.magic)) {
			continue
		}
		cmd := exec.CommandContext(ctx, u.program, "-dc")
		cmd.Stdin = bytes.NewReader(packed[:len(packed)-u.appended])
		out, err := cmd.Output()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", u.program, err)
		}
		return out, bootable(out)
	}
	return nil, errors.New("unknown compression of the kernel")
}

func payload(image []byte) ([]byte, error) {
	if len(image) < headerEnd || string(image[setupMagic:setupMagic+4]) != "HdrS" ||
		binary.LittleEndian.Uint16(image[setupVersion:]) < 0x208 {
		return nil, errors.New("the kernel is not a bzImage")
	}
	sectors := int(image[setupSectors])
	if sectors == 0 {
		sectors = 4 // boot.rst: "for backwards compatibility"
	}
	code := int64(sectors+1) * 512
	begin := code + int64(binary.LittleEndian.Uint32(image[payloadOffset:]))
	end := begin + int64(binary.LittleEndian.Uint32(image[payloadLength:]))
	if end > int64(len(image)) || end-begin < 16 {
		return nil, errors.New("the bzImage is truncated")
	}
	return image[begin:end], nil
}

// pvhEntry is in the note that has the entry point QEMU uses: its type and its
// name (Xen, public/elfnote.h, XEN_ELFNOTE_PHYS32_ENTRY).
var pvhEntry = []byte("\x12\x00\x00\x00Xen\x00")

// bootable returns an error if QEMU cannot boot the unpacked kernel.
func bootable(vmlinux []byte) error {
	file, err := elf.NewFile(bytes.NewReader(vmlinux))
	if err != nil {
		return fmt.Errorf("the unpacked kernel: %w", err)
	}
	for _, p := range file.Progs {
		if p.Type != elf.PT_NOTE || p.Filesz > 1<<20 {
			continue
		}
		notes := make([]byte, p.Filesz)
		if _, err := p.ReadAt(notes, 0); err == nil && bytes.Contains(notes, pvhEntry) {
			return nil
		}
	}
	return errors.New("the kernel has no PVH entry point")
}
