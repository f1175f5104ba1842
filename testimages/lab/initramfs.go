package lab

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// modules are loaded by init/enter.go, in the initramfs. Not every kernel has
// the optional ones.
var modules = []struct {
	name     string
	optional bool
}{
	{"virtio_pci", false}, {"virtio_blk", false}, {"virtio_console", false}, {"virtio_scsi", true}, {"sd_mod", true},
	{"ata_piix", true}, {"ahci", true},
	{"9pnet_virtio", false}, {"9p", false}, {"button", false}, {"evdev", false}, {"dm-mod", false}, {"xfs", false}, {"ext4", false}, {"btrfs", false}, {"ntfs3", true}, {"fuse", true},
}

// The two kinds of initramfs: the demonstration and most tests do not need ntfs3, which may
// have to be built from the kernel's source.
const (
	plainInitramfs = "initramfs"
	ntfs3Initramfs = "initramfs-ntfs3"
)

// writeInitramfs writes the initramfs: init, modules, and LVM's program. It is
// not compressed, because decompressing takes longer than reading.
func writeInitramfs(ctx context.Context, w io.Writer, k kernel, init string, withNTFS3 bool) error {
	t := tree{}
	if err := t.addPrograms(ctx, "lvm"); err != nil {
		return err
	}
	if err := t.addHostFile("/init", init, 0o755); err != nil {
		return err
	}
	if err := t.addModules(ctx, k); err != nil {
		return err
	}
	if withNTFS3 {
		if err := t.addNTFS3(ctx, k); err != nil {
			return err
		}
	}
	t.addFile("/etc/lvm/lvm.conf", lvmConf)
	return t.writeCPIO(w)
}

// addModules adds modules, and the list that init/modules.go reads.
func (t tree) addModules(ctx context.Context, k kernel) error {
	var list strings.Builder
	for _, m := range modules {
		out, err := output(ctx, "modprobe", "--show-depends", "--set-version", k.version, m.name)
		if err != nil && m.optional {
			continue
		}
		if err != nil {
			return err
		}
		files := []string{m.name}
		for line := range strings.Lines(out) {
			fields := strings.Fields(line)
			if len(fields) < 2 || fields[0] != "insmod" { // builtin
				continue
			}
			name, _, _ := strings.Cut(filepath.Base(fields[1]), ".")
			if slices.Contains(files[1:], name) {
				continue
			}
			files = append(files, name)
			if err := t.addModule(ctx, name, fields[1]); err != nil {
				return err
			}
		}
		fmt.Fprintln(&list, strings.Join(files, " "))
	}
	t.addFile("/modules/list", list.String())
	return nil
}

// addModule adds a module, uncompressed.
func (t tree) addModule(ctx context.Context, name, path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if b, err = decompress(ctx, b); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	t.addFile("/modules/"+name, string(unsigned(b)))
	return nil
}

// unsigned removes a module's signature (the kernel's module_signature.h): on an emulated
// processor, checking a long signature takes most of the loading time.
func unsigned(module []byte) []byte {
	const magic, header = "~Module signature appended~\n", 12
	end := len(module) - len(magic) - header
	if end < 0 || !bytes.HasSuffix(module, []byte(magic)) {
		return module
	}
	length := int(binary.BigEndian.Uint32(module[end+header-4:]))
	return module[:max(0, end-length)]
}

// writeCPIO writes the tree in the format of an initramfs: the "new ASCII" format of cpio(5).
func (t tree) writeCPIO(w io.Writer) error {
	var b bytes.Buffer
	inode := 0
	entry := func(name string, mode uint32, data string, major, minor int) {
		inode++
		fmt.Fprintf(&b, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
			inode, mode, 0, 0, 1, 0, len(data), 0, 0, major, minor, len(name)+1, 0, name)
		pad(&b)
		b.WriteString(data)
		pad(&b)
	}
	for _, path := range t.sorted() {
		e := t[path]
		entry(strings.TrimPrefix(path, "/"), e.mode, e.data, 0, 0)
	}
	entry("dev", typeDir|0o755, "", 0, 0)
	entry("dev/console", typeChar|0o600, "", 5, 1) // the first process's standard output
	entry("TRAILER!!!", 0, "", 0, 0)
	_, err := b.WriteTo(w)
	return err
}

func pad(b *bytes.Buffer) {
	for b.Len()%4 != 0 {
		b.WriteByte(0)
	}
}
