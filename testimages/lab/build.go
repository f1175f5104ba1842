package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/virt-grow/virt-grow/testimages/kvm"
)

// recipe describes one image.
type recipe struct {
	size   int64
	table  string      // for sfdisk
	script string      // for guestfish: DEV is the disk, FILES.tar what goes in
	files  func() tree // nil: the root file system, on device
	device string
	fs     string
}

// Starts and sizes are in 512-byte sectors; XFS must have 300 MiB.
var recipes = map[string]recipe{
	"xfs": {size: 512 << 20, device: "LABEL=root", fs: "xfs",
		table: `label: gpt
start=2048, size=65536, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, name=ESP
start=67584, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, name=root
`,
		script: `
mkfs vfat DEV1 label:ESP
mkfs xfs DEV2 label:root
mount DEV1 /
write /startup.nsh "fs0:\n"
umount /
mount DEV2 /
tar-in FILES.tar /
umount /
`},
	"lvm": {size: 512 << 20, device: "/dev/vg/root", fs: "ext4",
		table: `label: gpt
start=2048, type=E6D6D379-F507-44C2-A23C-238F2A3DF928
`,
		script: `
pvcreate DEV1
vgcreate vg DEV1
lvcreate-free root vg 100
mkfs ext4 /dev/vg/root label:root
mount /dev/vg/root /
tar-in FILES.tar /
umount /
`},
	"ntfs-data": {size: 128 << 20, files: dataTree,
		table: `label: gpt
start=2048, type=EBD0A0A2-B9E5-4433-87C0-68B6B72699C7
`,
		script: `
mkfs ntfs DEV1 label:data
mount DEV1 /
tar-in FILES.tar /
umount /
`},
}

func init() {
	winre := recipes["ntfs-data"]
	winre.table = `label: gpt
start=2048, size=180224, type=EBD0A0A2-B9E5-4433-87C0-68B6B72699C7
type=DE94BBA4-06D1-4D40-A16A-BFD50179D6AC, attrs="RequiredPartition GUID:63", name=Recovery
`
	winre.script += `
mkfs ntfs DEV2 label:Recovery
mount DEV2 /
tar-in FILES.tar /
umount /
`
	recipes["ntfs-winre"] = winre
}

// dataTree returns the files of the NTFS data disk.
func dataTree() tree {
	t := tree{}
	t.addFile("/readme.txt", "Files of the data disk.\r\n")
	t.addFile("/folder/numbers.txt", strings.Repeat("0123456789abcdef\r\n", 20000))
	t.addFile("/folder/deeper/empty.txt", "")
	return t
}

// build makes files of the cache in a directory next to dir, and moves them to dir when they
// are complete. One appliance makes all images. The caller holds the lock.
func build(ctx context.Context, dir string, k kernel, names []string) error {
	if len(names) == 0 {
		return nil
	}
	tmp := dir + ".build"
	if err := errors.Join(os.RemoveAll(tmp), os.MkdirAll(tmp+"/work", 0o755)); err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	var variants []string
	for _, name := range names {
		if variant, ok := strings.CutSuffix(name, ".qcow2"); ok {
			variants = append(variants, variant)
		} else if err := buildFile(ctx, tmp, k, name); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if err := buildImages(ctx, tmp, variants); err != nil {
		return err
	}
	for _, name := range names {
		if err := os.Rename(filepath.Join(tmp, name), filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// buildFile makes one of the files that are not images.
func buildFile(ctx context.Context, tmp string, k kernel, name string) error {
	switch name {
	case "supervisor":
		_, err := compile(ctx, name, tmp)
		return err
	case "kernel":
		unpacked, err := k.unpacked(ctx)
		if err != nil {
			return err
		}
		return os.WriteFile(tmp+"/kernel", unpacked, 0o444)
	case plainInitramfs, ntfs3Initramfs:
		init, err := compile(ctx, "init", tmp+"/work")
		if err != nil {
			return err
		}
		return create(filepath.Join(tmp, name), func(w io.Writer) error {
			return writeInitramfs(ctx, w, k, init, name == ntfs3Initramfs)
		})
	}
	return errors.New("no such file of the test guest")
}

// compile builds one of the programs of this package in dir, from embedded sources: so it
// works in any directory.
func compile(ctx context.Context, name, dir string) (program string, err error) {
	program = filepath.Join(dir, name)
	src, err := os.MkdirTemp(dir, name)
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(src)
	if err := os.CopyFS(src, sources); err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(src, name, "go.mod"), []byte("module "+name+"\n\ngo 1.24\n"), 0o644); err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program, ".")
	cmd.Dir = filepath.Join(src, name)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=", "GOOS=linux")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w: %s", name, err, out)
	}
	return program, nil
}

// buildImages makes images in one appliance.
func buildImages(ctx context.Context, tmp string, variants []string) error {
	if len(variants) == 0 {
		return nil
	}
	init, err := compile(ctx, "init", tmp+"/work")
	if err != nil {
		return err
	}
	adds, script := "", "run\n"
	for i, name := range variants {
		r, work := recipes[name], filepath.Join(tmp, "work", name)
		if err := r.prepare(ctx, work, init); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		adds += "add " + work + ".raw format:raw cachemode:unsafe\n"
		dev := "/dev/sd" + string(rune('a'+i))
		script += strings.NewReplacer("DEV", dev, "FILES", work).Replace(r.script)
	}
	if err := guestfish(ctx, adds+script+"shutdown\n"); err != nil {
		return err
	}
	for _, name := range variants {
		if err := compact(ctx, filepath.Join(tmp, "work", name+".raw"), imagePath(tmp, name)); err != nil {
			return err
		}
	}
	return nil
}

// prepare writes work.raw, an empty disk with its table, and work.tar with the disk's files.
func (r recipe) prepare(ctx context.Context, work, init string) error {
	t, err := r.tree(ctx, init)
	if err != nil {
		return err
	}
	if err := create(work+".tar", t.writeTar); err != nil {
		return err
	}
	if err := errors.Join(os.WriteFile(work+".raw", nil, 0o644), os.Truncate(work+".raw", r.size)); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "sfdisk", "--quiet", work+".raw")
	cmd.Stdin = strings.NewReader(r.table)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("sfdisk: %w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

func (r recipe) tree(ctx context.Context, init string) (tree, error) {
	if r.files != nil {
		return r.files(), nil
	}
	return rootTree(ctx, init, r.device, r.fs)
}

// compact converts a raw image to qcow2, without zeros.
func compact(ctx context.Context, src, dst string) error {
	if _, err := output(ctx, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", src, dst); err != nil {
		return err
	}
	return errors.Join(os.Remove(src), os.Chmod(dst, 0o444))
}

// guestfish runs a script, without KVM if KVM does not work.
func guestfish(ctx context.Context, script string) error {
	cmd := exec.CommandContext(ctx, "guestfish")
	cmd.Env = append(os.Environ(), "LIBGUESTFS_BACKEND=direct")
	if !kvm.Works() {
		cmd.Env = append(cmd.Env, "LIBGUESTFS_BACKEND_SETTINGS=force_tcg")
	}
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("guestfish: %w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

func create(path string, write func(io.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}
