package testimages

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// sources are the files that determine the images.
//
//go:embed recipes.go volumes.go table.go format.go trees.go hive.go windows.go broken.go appliance.go build.go
var sources embed.FS

// Cache returns the directory that holds <name>.raw and <name>.json (see
// ReadManifest) for the images called names, or for all of them when none is
// named, after building those that are missing, in one appliance. It is
// $VIRT_GROW_TEST_CACHE or a directory of the user's cache named after the
// recipes. Test processes may call it at the same time: one builds, the others
// wait.
func Cache(ctx context.Context, names ...string) (dir string, err error) {
	imgs, err := named(names)
	if err != nil {
		return "", err
	}
	if dir, err = cacheDir(); err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	if len(missing(dir, imgs)) == 0 {
		return dir, nil
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return "", err
	}
	defer lock.Close() // releases the lock
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	if imgs := missing(dir, imgs); len(imgs) > 0 {
		if err := build(ctx, dir, imgs); err != nil {
			return "", fmt.Errorf("build test images: %w", err)
		}
	}
	return dir, nil
}

// named returns the recipes of some images and of those they start from, in the
// order of All; without names, all.
func named(names []string) ([]Image, error) {
	all := All()
	if len(names) == 0 {
		return all, nil
	}
	wanted := map[string]bool{}
	for _, name := range names {
		i := index(all, name)
		if i < 0 {
			return nil, fmt.Errorf("no test image %q", name)
		}
		wanted[name] = true
		if from := all[i].from; from != "" {
			wanted[from] = true
		}
	}
	return slices.DeleteFunc(all, func(img Image) bool { return !wanted[img.Name] }), nil
}

func cacheDir() (string, error) {
	if dir := os.Getenv("VIRT_GROW_TEST_CACHE"); dir != "" {
		return filepath.Join(dir, version()), nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "virt-grow", "testimages", version()), nil
}

// version returns a hash of the recipes' source.
func version() string {
	sum := sha256.New()
	files, _ := sources.ReadDir(".")
	for _, f := range files {
		b, _ := sources.ReadFile(f.Name())
		sum.Write(b)
	}
	return fmt.Sprintf("%x", sum.Sum(nil)[:6])
}

// missing returns the images that are not in dir. The manifest of an image is written
// last.
func missing(dir string, imgs []Image) []Image {
	return slices.DeleteFunc(slices.Clone(imgs), func(img Image) bool {
		_, err := os.Stat(manifestPath(dir, img.Name))
		return err == nil
	})
}

func rawPath(dir, name string) string      { return filepath.Join(dir, name+".raw") }
func manifestPath(dir, name string) string { return filepath.Join(dir, name+".json") }

// ReadManifest returns the manifest of a cached image. It is nil for images that are
// refused before their files are read.
func ReadManifest(dir, name string) (Manifest, error) {
	b, err := os.ReadFile(manifestPath(dir, name))
	if err != nil {
		return nil, err
	}
	var m Manifest
	return m, json.Unmarshal(b, &m)
}

// Copy makes a writable copy of an image at dst. The formats are "raw" (sparse),
// "qcow2", "qcow2v2" (compat=0.10), and "overlay", a qcow2 whose backing file is a qcow2
// copy beside it, dst+".base". The image "raw-is-qcow2" is copied unchanged.
func Copy(name, dst, format string) error {
	dir, err := Cache(context.Background(), name)
	if err != nil {
		return err
	}
	src := rawPath(dir, name)
	switch format {
	case "raw":
		return sparseFile(dst, src)
	case "qcow2":
		return convert(src, dst, "compat=1.1")
	case "qcow2v2":
		return convert(src, dst, "compat=0.10")
	case "overlay":
		base, err := filepath.Abs(dst + ".base")
		if err != nil {
			return err
		}
		return errors.Join(convert(src, base, "compat=1.1"),
			run("qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", dst))
	}
	return fmt.Errorf("copy %s: no format %q", name, format)
}

func convert(src, dst, options string) error {
	return run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-o", options, src, dst)
}
