package lab

import (
	"context"
	"crypto/sha256"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// Variants are the images there are.
//
//	xfs        GPT, a small ESP, the root file system on XFS
//	lvm        GPT, a PV, the root file system on ext4 in vg/root
//	ntfs-data  GPT, one NTFS partition with some files
//	ntfs-winre the same, and a recovery partition behind it
var Variants = []string{"xfs", "lvm", "ntfs-data", "ntfs-winre"}

// sources are the files that determine images, kernel and initramfs.
//
//go:embed init/*.go supervisor/*.go build.go initramfs.go kernel.go ntfs3.go root.go
var sources embed.FS

// Prepare makes several images in one appliance, for later calls of Image.
func Prepare(ctx context.Context, variants ...string) error {
	names := []string{}
	for _, v := range variants {
		names = append(names, v+".qcow2")
	}
	_, err := cache(ctx, names...)
	return err
}

// Image makes a writable copy of an image at path, as "qcow2" or "raw".
func Image(ctx context.Context, variant, format, path string) error {
	if !slices.Contains(Variants, variant) {
		return fmt.Errorf("no test guest %q, only %s", variant, strings.Join(Variants, ", "))
	}
	dir, err := cache(ctx, variant+".qcow2")
	if err != nil {
		return err
	}
	if _, err := output(ctx, "qemu-img", "convert", "-f", "qcow2", "-O", format, imagePath(dir, variant), path); err != nil {
		return err
	}
	return os.Chmod(path, 0o644)
}

// Export writes a guest called name as files for another host. dir gets the kernel, the
// initramfs, the disk, and domain.xml, which expects a copy of dir at at. The guest is
// emulated there.
func Export(ctx context.Context, dir, at, name, variant string) error {
	l := &Libvirt{dir: dir}
	for _, sub := range []string{"boot", "serial", "clock"} {
		if err := os.MkdirAll(l.path(sub), 0o755); err != nil {
			return err
		}
	}
	disk := Disk{Path: l.path("disk.qcow2"), Format: "qcow2", Target: "vda"}
	spec := Spec{Name: name, Disks: []Disk{disk}}
	if err := errors.Join(Image(ctx, variant, disk.Format, disk.Path), l.installBoot(ctx, spec.initramfs()),
		os.Chmod(l.path("clock"), 0o777|os.ModeSticky)); err != nil {
		return err
	}
	xml, err := l.Guest(name).xml(spec)
	if err != nil {
		return err
	}
	xml = strings.NewReplacer(dir, at, `<domain type="kvm"`, `<domain type="qemu"`, `<cpu mode="host-passthrough"/>`, "").Replace(xml)
	return os.WriteFile(l.path("domain.xml"), []byte(xml), 0o644)
}

// installBoot copies kernel and initramfs to a place where QEMU can read them, because it
// cannot read a user's cache. Guests that load ntfs3 have another initramfs.
func (l *Libvirt) installBoot(ctx context.Context, initramfs string) error {
	if _, err := os.Stat(l.path("boot/" + initramfs)); err == nil {
		return nil
	}
	dir, err := cache(ctx, "kernel", initramfs)
	if err != nil {
		return err
	}
	return errors.Join(
		copyFile(l.path("boot/kernel"), filepath.Join(dir, "kernel")),
		copyFile(l.path("boot/"+initramfs), filepath.Join(dir, initramfs)))
}

func copyFile(dst, src string) error {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(dst, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

func imagePath(dir, variant string) string { return filepath.Join(dir, variant+".qcow2") }

// cache returns the directory with the files called names, after making those
// that are missing: "kernel", "initramfs", "initramfs-ntfs3", "supervisor", and an image
// VARIANT.qcow2 for each of Variants. The directory is next to those of package testimages,
// and is named after the recipe and the kernel. Several processes may call it at the same
// time: one builds, the others wait.
func cache(ctx context.Context, names ...string) (dir string, err error) {
	k, err := findKernel()
	if err != nil {
		return "", err
	}
	if dir, err = cacheDir(k); err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	if len(missing(dir, names)) == 0 {
		return dir, nil
	}
	lock, err := os.OpenFile(dir+".lock", os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return "", err
	}
	defer lock.Close() // releases the lock
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	if err := build(ctx, dir, k, missing(dir, names)); err != nil {
		return "", fmt.Errorf("build test guest: %w", err)
	}
	return dir, nil
}

// missing returns those of names that are not in dir: a file gets its name when it
// is complete.
func missing(dir string, names []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		_, err := os.Stat(filepath.Join(dir, name))
		return err == nil
	})
}

func cacheDir(k kernel) (string, error) {
	base := os.Getenv("VIRT_GROW_TEST_CACHE")
	if base == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return "", err
		}
		base = filepath.Join(user, "virt-grow", "testimages")
	}
	return filepath.Join(base, "lab-"+version()+"-"+k.version), nil
}

// version returns a hash of the recipe's source.
func version() string {
	sum := sha256.New()
	_ = fs.WalkDir(sources, ".", func(path string, _ fs.DirEntry, _ error) error {
		b, _ := sources.ReadFile(path) // nothing, of a directory
		sum.Write(b)
		return nil
	})
	return fmt.Sprintf("%x", sum.Sum(nil)[:6])
}
