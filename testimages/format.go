package testimages

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// create makes the image file with its table and with whatever sits directly
// on a partition or the disk, formatted by the host's tools. Files come later.
func (img Image) create(ctx context.Context, path string) (err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := f.Truncate(img.Size); err != nil {
		return err
	}
	if err := writeTable(f, img); err != nil {
		return err
	}
	for _, v := range img.direct() {
		if err := img.formatInto(ctx, f, v); err != nil {
			return fmt.Errorf("%s: format %s: %w", img.Name, v.Name, err)
		}
	}
	return nil
}

// formatInto formats a plain file of the volume's size and copies it into its
// window of the disk.
func (img Image) formatInto(ctx context.Context, disk *os.File, v volume) (err error) {
	switch v.Kind {
	case "", "pv":
		return nil
	case "random":
		_, err := disk.WriteAt(newRandom(img.Name+"/"+v.Name).bytes(1<<20), v.start)
		return err
	}
	return window(disk, v.start, v.size, false, func(f *os.File) error {
		cmd := img.formatter(ctx, v, f.Name())
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, bytes.TrimSpace(out))
		}
		if v.Kind == "ntfs" {
			serial, _ := hex.DecodeString(img.serial(v))
			return setNTFSSerial(f, v.size, serial)
		}
		return nil
	})
}

// window calls fn with a temporary file that stands for a part of the disk: it
// has the part's content if load is set, and its content ends up there.
func window(disk *os.File, start, size int64, load bool, fn func(*os.File) error) (err error) {
	f, err := os.Create(filepath.Join(filepath.Dir(disk.Name()), "window"))
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := f.Truncate(size); err != nil {
		return err
	}
	if load {
		if err := sparseCopy(f, 0, disk, start, size); err != nil {
			return err
		}
	}
	if err := fn(f); err != nil {
		return err
	}
	if load { // blocks may have become zero
		_, err := io.Copy(io.NewOffsetWriter(disk, start), io.NewSectionReader(f, 0, size))
		return err
	}
	return sparseCopy(disk, start, f, 0, size)
}

// formatter returns the command that formats the plain file at path as v wants it.
func (img Image) formatter(ctx context.Context, v volume, path string) *exec.Cmd {
	tool := func(name string, args ...string) *exec.Cmd {
		return exec.CommandContext(ctx, name, append(append(args, v.Opts...), path)...)
	}
	id := img.uuid(v)
	switch v.Kind {
	case "ext2", "ext3", "ext4":
		return tool("mke2fs", "-q", "-F", "-t", v.Kind, "-b", "4096", "-U", id, "-L", v.Label,
			"-E", "lazy_itable_init=0,lazy_journal_init=0,hash_seed="+id)
	case "xfs":
		return tool("mkfs.xfs", "-q", "-f", "-m", "uuid="+id, "-L", v.Label, "-s", "size="+strconv.Itoa(img.Sector))
	case "btrfs":
		return tool("mkfs.btrfs", "-q", "-f", "-U", id, "-L", v.Label)
	case "ntfs":
		return tool("mkntfs", "-q", "-F", "-Q", "-s", strconv.Itoa(img.Sector), "-H", "255", "-S", "63",
			"-p", strconv.FormatInt(v.start/int64(img.Sector), 10), "-L", v.Label)
	case "vfat":
		return tool("mkfs.vfat", "--invariant", "-i", img.serial(v)[:8], "-n", v.Label,
			"-S", strconv.Itoa(img.Sector), "-h", strconv.FormatInt(v.start/int64(img.Sector), 10))
	case "swap":
		return tool("mkswap", "-q", "-U", id, "-L", v.Label)
	case "luks1", "luks2":
		cmd := tool("cryptsetup", "luksFormat", "-q", "--type", v.Kind, "--uuid", id, "--key-file", "-",
			"--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000")
		cmd.Stdin = strings.NewReader(key)
		return cmd
	}
	panic("recipe: no tool for " + v.Kind)
}

// uuid returns the UUID of a volume; for file systems with serial numbers, in the
// form blkid prints.
func (img Image) uuid(v volume) string {
	switch v.Kind {
	case "vfat":
		s := strings.ToUpper(img.serial(v)[:8])
		return s[:4] + "-" + s[4:]
	case "ntfs":
		b, _ := hex.DecodeString(img.serial(v))
		return fmt.Sprintf("%X", []byte{b[7], b[6], b[5], b[4], b[3], b[2], b[1], b[0]})
	case "luks1", "luks2":
		return uuidOf(img.Name + "/" + v.Name + "/luks")
	}
	return uuidOf(img.Name + "/" + v.Name)
}

// serial returns the serial number of a volume, 16 hex digits.
func (img Image) serial(v volume) string {
	return strings.ReplaceAll(uuidOf(img.Name+"/"+v.Name), "-", "")[:16]
}
