package lab

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// kernel is a kernel of the host whose modules are installed.
type kernel struct{ version, image string }

// findKernel returns the last of the kernels, by name.
func findKernel() (kernel, error) {
	images, _ := filepath.Glob("/boot/vmlinuz-*")
	slices.Sort(images)
	for _, image := range slices.Backward(images) {
		version := strings.TrimPrefix(image, "/boot/vmlinuz-")
		if _, err := os.Stat("/lib/modules/" + version + "/modules.dep"); err == nil {
			return kernel{version, image}, nil
		}
	}
	return kernel{}, errors.New("no /boot/vmlinuz-VERSION with its /lib/modules/VERSION")
}

// Compressions of a kernel's payload, by magic, and the programs that undo them.
var compressions = []struct {
	magic   string
	program []string
}{
	{"\xfd7zXZ\x00", []string{"xz", "-dc"}},
	{"\x28\xb5\x2f\xfd", []string{"zstd", "-dc"}},
	{"\x1f\x8b", []string{"gzip", "-dc"}},
	{"\x02\x21\x4c\x18", []string{"lz4", "-dc"}},
}

// unpacked returns the ELF file inside a bzImage. QEMU starts it directly (PVH),
// which saves the seconds that an emulated processor takes to decompress it. A kernel that
// QEMU cannot start directly is returned unchanged.
func (k kernel) unpacked(ctx context.Context) ([]byte, error) {
	image, err := os.ReadFile(k.image)
	if err != nil {
		return nil, err
	}
	payload, err := payload(image)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", k.image, err)
	}
	elf, err := decompress(ctx, payload)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", k.image, err)
	}
	// The note that says where to start: owner "Xen", type PHYS32_ENTRY (18).
	note := []byte("\x04\x00\x00\x00\x08\x00\x00\x00\x12\x00\x00\x00Xen\x00")
	if !bytes.HasPrefix(elf, []byte("\x7fELF")) || !bytes.Contains(elf, note) {
		return image, nil
	}
	return elf, nil
}

// payload returns the compressed part of a bzImage; its place is in the header (the
// kernel's Documentation/arch/x86/boot.rst).
func payload(image []byte) ([]byte, error) {
	if len(image) < 0x250 || string(image[0x202:0x206]) != "HdrS" {
		return nil, errors.New("the kernel is not a bzImage")
	}
	setup := (int(image[0x1f1]) + 1) * 512
	offset := setup + int(binary.LittleEndian.Uint32(image[0x248:]))
	length := int(binary.LittleEndian.Uint32(image[0x24c:]))
	if offset+length > len(image) {
		return nil, errors.New("the bzImage is truncated")
	}
	return image[offset : offset+length], nil
}

// decompress decompresses b; uncompressed data is returned unchanged. In a kernel, four bytes
// with the size follow, of which the programs complain after they have decompressed
// everything.
func decompress(ctx context.Context, b []byte) ([]byte, error) {
	for _, c := range compressions {
		if !bytes.HasPrefix(b, []byte(c.magic)) {
			continue
		}
		cmd := exec.CommandContext(ctx, c.program[0], c.program[1:]...)
		cmd.Stdin = bytes.NewReader(b)
		out, err := cmd.Output()
		if len(out) == 0 {
			return nil, fmt.Errorf("%s: %w", c.program[0], err)
		}
		return out, nil
	}
	return b, nil
}
