package testimages

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"libguestfs.org/guestfs"

	"github.com/virt-grow/virt-grow/testimages/kvm"
)

// appliance is a launched libguestfs handle with many disks.
type appliance struct {
	*guestfs.Guestfs
	ctx  context.Context
	tmp  string // directory for files on their way in and out
	maps int    // LUKS containers opened so far
}

type drive struct {
	path, format string
	sector       int
	readonly     bool
}

// launch starts an appliance on the drives; the i-th is deviceName(i).
func launch(ctx context.Context, tmp string, drives []drive) (*appliance, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	g, err := guestfs.Create()
	if err != nil {
		return nil, fmt.Errorf("create libguestfs handle: %w", err)
	}
	a := &appliance{Guestfs: g, ctx: ctx, tmp: tmp}
	if err := a.start(drives); err != nil {
		g.Close()
		return nil, fmt.Errorf("launch appliance: %w", err)
	}
	return a, nil
}

func (a *appliance) start(drives []drive) error {
	if os.Getenv("LIBGUESTFS_BACKEND") == "" {
		if err := a.Set_backend("direct"); err != nil {
			return err
		}
	}
	if !kvm.Works() {
		if err := a.Set_backend_setting("force_tcg", "1"); err != nil {
			return err
		}
	}
	for _, d := range drives {
		opts := guestfs.OptargsAdd_drive{
			Format_is_set: true, Format: d.format,
			Readonly_is_set: d.readonly, Readonly: true,
			Blocksize_is_set: d.sector != 512, Blocksize: d.sector,
			Cachemode_is_set: !d.readonly, Cachemode: "unsafe",
		}
		if err := a.Add_drive(d.path, &opts); err != nil {
			return err
		}
	}
	return a.Launch()
}

// shutdown ends the appliance in good order, so that all is written.
func (a *appliance) shutdown() error {
	if err := a.Shutdown(); err != nil {
		return fmt.Errorf("shut appliance down: %w", err)
	}
	return nil
}

func (a *appliance) close() { a.Guestfs.Close() }

// deviceName returns the name of the i-th drive: /dev/sda, …, /dev/sdz, /dev/sdaa, …
func deviceName(i int) string {
	if i < 26 {
		return "/dev/sd" + string(rune('a'+i))
	}
	return "/dev/sd" + string(rune('a'+i/26-1)) + string(rune('a'+i%26))
}

// device returns the device node of a volume of the disk called disk.
func device(disk string, v volume) string {
	if strings.Contains(v.Name, "/") {
		return "/dev/" + v.Name
	}
	return disk + strings.TrimPrefix(v.Name, "sda")
}

// fill puts files into every file system of img, making on the way what the
// host could not: volume groups, and what is in them or in LUKS. Those stay open
// until the appliance is shut down.
func (a *appliance) fill(img Image, disk string, dirty func() error) (Manifest, error) {
	m := Manifest{}
	for _, v := range img.direct() {
		if err := a.fillVolume(img, v, device(disk, v), true, dirty, m); err != nil {
			return nil, fmt.Errorf("%s: %w", img.Name, err)
		}
	}
	return m, nil
}

func (a *appliance) fillVolume(img Image, v volume, dev string, formatted bool, dirty func() error, m Manifest) error {
	if err := a.ctx.Err(); err != nil {
		return err
	}
	var err error
	switch {
	case v.Inner != nil:
		if dev, err = a.openLUKS(dev, img.Key); err != nil {
			return err
		}
		return a.fillVolume(img, v.inner()[0], dev, false, dirty, m)
	case v.Kind == "pv":
		return a.fillGroup(img, v, dev, dirty, m)
	case !formatted:
		err = a.format(img, v, dev)
	}
	if err != nil || v.Tree == "" {
		return err
	}
	m[v.Name], err = a.fillFS(img, v, dev, dirty)
	return err
}

func (a *appliance) fillGroup(img Image, v volume, dev string, dirty func() error, m Manifest) error {
	if err := errors.Join(a.Pvcreate(dev), a.Vgcreate(v.VG, []string{dev})); err != nil {
		return err
	}
	for i, inner := range v.inner() {
		if err := a.Lvcreate(v.LVs[i].Name, v.VG, int(inner.size/mib)); err != nil {
			return err
		}
		if err := a.fillVolume(img, inner, "/dev/"+inner.Name, false, dirty, m); err != nil {
			return err
		}
	}
	return nil
}

func (a *appliance) openLUKS(dev, key string) (string, error) {
	a.maps++
	name := fmt.Sprintf("zoo%d", a.maps)
	return "/dev/mapper/" + name, a.Cryptsetup_open(dev, key, name, nil)
}

// format makes a file system inside the appliance.
func (a *appliance) format(img Image, v volume, dev string) error {
	id := img.uuid(v)
	switch v.Kind {
	case "ext4":
		return a.Mke2fs(dev, &guestfs.OptargsMke2fs{Fstype_is_set: true, Fstype: v.Kind, Blocksize_is_set: true, Blocksize: 4096,
			Uuid_is_set: true, Uuid: id, Label_is_set: true, Label: v.Label})
	case "xfs":
		// Its UUID stays random: xfs_admin -U would fill the log with 64 MiB.
		return a.Mkfs(v.Kind, dev, &guestfs.OptargsMkfs{Label_is_set: true, Label: v.Label})
	case "swap":
		return a.Mkswap(dev, &guestfs.OptargsMkswap{Label_is_set: true, Label: v.Label, Uuid_is_set: true, Uuid: id})
	}
	return fmt.Errorf("recipe: %s inside %s", v.Kind, v.stack)
}

// fillFS copies the files in and reads them back.
func (a *appliance) fillFS(img Image, v volume, dev string, dirty func() error) (Files, error) {
	if err := a.Mount(dev, "/"); err != nil {
		return nil, err
	}
	defer a.Umount_all()
	es := img.files(v)
	if err := a.copyIn(es); err != nil {
		return nil, fmt.Errorf("fill %s: %w", v.Name, err)
	}
	if img.dirty {
		if err := errors.Join(a.Sync(), dirty()); err != nil {
			return nil, err
		}
	}
	return a.readFiles()
}

func (a *appliance) copyIn(es []entry) (err error) {
	f, err := os.CreateTemp(a.tmp, "in")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if err := errors.Join(writeTar(f, es), f.Close()); err != nil {
		return err
	}
	xattrs := slices.ContainsFunc(es, func(e entry) bool { return e.xattrs != nil })
	if err := a.Tar_in(f.Name(), "/", &guestfs.OptargsTar_in{Xattrs_is_set: true, Xattrs: xattrs}); err != nil {
		return err
	}
	for _, e := range es {
		if e.hole != 0 {
			if err := a.makeSparse(e); err != nil {
				return err
			}
		}
	}
	return nil
}

func (a *appliance) makeSparse(e entry) error {
	path := "/" + e.path
	if err := errors.Join(a.Touch(path), a.Truncate_size(path, e.hole)); err != nil {
		return err
	}
	if _, err := a.Pwrite(path, e.data, e.hole-int64(len(e.data))); err != nil {
		return err
	}
	return a.Utimens(path, mtime.Unix(), 0, mtime.Unix(), 0)
}

// readFiles reads what is mounted on /.
func (a *appliance) readFiles() (Files, error) {
	f, err := os.CreateTemp(a.tmp, "out")
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if err := a.Tar_out("/", f.Name(), &guestfs.OptargsTar_out{
		Numericowner_is_set: true, Numericowner: true, Xattrs_is_set: true, Xattrs: true}); err != nil {
		return nil, err
	}
	return readTar(f)
}
