package testimages

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// build makes images in a temporary directory of dir and renames each into place,
// its manifest last. Images that others start from must come before those, as
// they do in All.
func build(ctx context.Context, dir string, imgs []Image) error {
	tmp := filepath.Join(dir, "build") // the caller holds the lock
	if err := errors.Join(os.RemoveAll(tmp), os.Mkdir(tmp, 0o755)); err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	var originals, derived []Image
	for _, img := range imgs {
		if img.from == "" {
			originals = append(originals, img)
		} else {
			derived = append(derived, img)
		}
	}
	manifests, err := buildOriginals(ctx, tmp, originals)
	if err != nil {
		return err
	}
	for _, img := range originals {
		if err := finish(dir, tmp, img, manifests[img.Name]); err != nil {
			return fmt.Errorf("%s: %w", img.Name, err)
		}
	}
	for _, img := range derived {
		if err := derive(dir, tmp, img); err != nil {
			return fmt.Errorf("%s: %w", img.Name, err)
		}
	}
	return nil
}

// buildOriginals makes tmp/<name>.raw for each image; one appliance fills them.
func buildOriginals(ctx context.Context, tmp string, imgs []Image) (map[string]Manifest, error) {
	var fill []Image
	var drives []drive
	for _, img := range imgs {
		path := rawPath(tmp, img.Name)
		if err := img.create(ctx, path); err != nil {
			return nil, err
		}
		if len(img.filesystems()) > 0 {
			fill = append(fill, img)
			drives = append(drives, drive{path, "raw", img.Sector, false})
		}
	}
	manifests := map[string]Manifest{}
	if len(fill) == 0 {
		return manifests, nil
	}
	a, err := launch(ctx, tmp, drives)
	if err != nil {
		return nil, err
	}
	defer a.close()
	for i, img := range fill {
		// What is on the disk now is what a power cut would leave.
		dirty := func() error { return sparseFile(rawPath(tmp, img.Name)+".dirty", drives[i].path) }
		if manifests[img.Name], err = a.fill(img, deviceName(i), dirty); err != nil {
			return nil, err
		}
	}
	if err := a.shutdown(); err != nil {
		return nil, err
	}
	for _, img := range fill {
		if img.dirty {
			path := rawPath(tmp, img.Name)
			if err := os.Rename(path+".dirty", path); err != nil {
				return nil, err
			}
		}
	}
	return manifests, nil
}

// derive makes an image out of the one it starts from, which is in dir.
func derive(dir, tmp string, img Image) error {
	path := rawPath(tmp, img.Name)
	if err := sparseFile(path, rawPath(dir, img.from)); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	err = errors.Join(writeTable(f, img), f.Truncate(img.Size), f.Close())
	if err != nil {
		return err
	}
	var m Manifest
	if img.sound() {
		if m, err = ReadManifest(dir, img.from); err != nil {
			return err
		}
	}
	return finish(dir, tmp, img, m)
}

// sound reports that a derived image's file systems are as they were.
func (img Image) sound() bool {
	return img.Expect == ""
}

// finish makes the last change to an image and moves it into the cache, with
// holes wherever it is zero.
func finish(dir, tmp string, img Image, m Manifest) error {
	path := rawPath(tmp, img.Name)
	if img.change != nil {
		if err := change(path, img); err != nil {
			return err
		}
	}
	small := filepath.Join(tmp, img.Name+".sparse")
	if err := sparseFile(small, path); err != nil {
		return err
	}
	b, err := json.MarshalIndent(m, "", " ")
	if err != nil {
		return err
	}
	manifest := manifestPath(tmp, img.Name)
	return errors.Join(
		os.Remove(path),
		os.Chmod(small, 0o444),
		os.Rename(small, rawPath(dir, img.Name)),
		os.WriteFile(manifest, append(b, '\n'), 0o444),
		os.Rename(manifest, manifestPath(dir, img.Name)))
}

func change(path string, img Image) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(img.change(f, img), f.Close())
}
