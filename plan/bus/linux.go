package bus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/virt-grow/virt-grow/plan/initramfs"
)

// Files is the file tree of a guest, with all its file systems mounted.
type Files interface {
	// Names returns the names in a directory. The error is fs.ErrNotExist if there is none.
	Names(ctx context.Context, dir string) ([]string, error)
	// Read copies a file's content to w. The error is fs.ErrNotExist if there is none.
	Read(ctx context.Context, path string, w io.Writer) error
}

// maxText limits the size of the text files that are read.
const maxText = 8 << 20

// linux looks at the files of a Linux. The first error that is not a missing file ends it.
type linux struct {
	ctx   context.Context
	files Files
	err   error
	names names
	// listed has the names in the directories that were read.
	listed map[string][]string
	// bls are the entries of the Boot Loader Specification.
	bls []entry
}

// LookAtLinux finds which kernel is started next, which drivers of disks it has then, and
// which files call a disk by a name that changes with the bus.
func LookAtLinux(ctx context.Context, files Files, devices []Device) (*Linux, error) {
	l := &linux{ctx: ctx, files: files, names: names{devices: devices}, listed: map[string][]string{}}
	found := &Linux{}
	kernels := l.kernels(found)
	copied := map[string]bool{}
	for _, e := range kernels {
		k, copies := l.kernel(e)
		found.Kernels = append(found.Kernels, k)
		for _, file := range copies {
			copied[file] = true
		}
	}
	l.findNames(slices.ContainsFunc(found.Kernels, func(k Kernel) bool { return k.Initramfs == "" }))
	found.Names, found.Edits = l.names.found, l.names.edits
	for _, e := range found.Edits {
		if copied[e.Path] {
			found.Copied = append(found.Copied, e.Path)
		}
	}
	return found, l.err
}

// text returns the content of a file; ok is false if there is none.
func (l *linux) text(file string) (text []byte, ok bool) {
	if l.err != nil {
		return nil, false
	}
	var b bytes.Buffer
	err := l.files.Read(l.ctx, file, &limitedWriter{&b, maxText})
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, false
	case err != nil:
		l.err = fmt.Errorf("%s: %w", file, err)
		return nil, false
	}
	return b.Bytes(), true
}

type limitedWriter struct {
	io.Writer
	left int
}

func (w *limitedWriter) Write(p []byte) (int, error) {
	if w.left -= len(p); w.left < 0 {
		return 0, errors.New("the file is too large to be read as a text")
	}
	return w.Writer.Write(p)
}

// list returns the names in a directory, sorted.
func (l *linux) list(dir string) []string {
	if found, ok := l.listed[dir]; ok || l.err != nil {
		return found
	}
	found, err := l.files.Names(l.ctx, dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		l.err = fmt.Errorf("%s: %w", dir, err)
	}
	slices.Sort(found)
	l.listed[dir] = found
	return found
}

// below returns the paths in a directory whose names end in suffix.
func (l *linux) below(dir, suffix string) (paths []string) {
	for _, name := range l.list(dir) {
		if strings.HasSuffix(name, suffix) {
			paths = append(paths, path.Join(dir, name))
		}
	}
	return paths
}

// Directories with entries of the Boot Loader Specification.
var entryDirectories = []string{"/boot/loader/entries", "/boot/efi/loader/entries", "/efi/loader/entries"}

// grubFiles returns the paths of the GRUB configurations that there may be.
func (l *linux) grubFiles() []string {
	paths := []string{"/boot/grub/grub.cfg", "/boot/grub2/grub.cfg"}
	for _, vendor := range l.list("/boot/efi/EFI") {
		paths = append(paths, path.Join("/boot/efi/EFI", vendor, "grub.cfg"))
	}
	return paths
}

var extlinuxFiles = []string{"/boot/extlinux.conf", "/boot/extlinux/extlinux.conf", "/boot/syslinux/syslinux.cfg", "/boot/syslinux.cfg"}

// kernels returns the entries that may be started next: those that the boot loaders choose,
// or, if that cannot be told, all kernels.
func (l *linux) kernels(found *Linux) (chosen []entry) {
	for _, dir := range entryDirectories {
		for _, file := range l.below(dir, ".conf") {
			text, _ := l.text(file)
			l.bls = append(l.bls, parseBLS(file, string(text)))
		}
	}
	var loaders []string
	told := true
	for _, file := range l.grubFiles() {
		text, ok := l.text(file)
		g := parseGrub(string(text))
		if !ok || len(g.entries) == 0 && !g.blscfg {
			continue // there is none, or it only leads to another one
		}
		entries, ok := g.start(l.grubenv(path.Dir(file)), l.bls)
		loaders, chosen, told = append(loaders, file), append(chosen, entries...), told && ok
	}
	for _, file := range extlinuxFiles {
		if text, ok := l.text(file); ok {
			e, ok := parseExtlinux(string(text))
			loaders, chosen, told = append(loaders, file), append(chosen, e), told && ok
		}
	}
	if !told || len(chosen) == 0 {
		return l.allKernels()
	}
	found.Loader = strings.Join(loaders, ", ")
	slices.SortFunc(chosen, func(a, b entry) int { return strings.Compare(a.kernel, b.kernel) })
	return slices.CompactFunc(chosen, func(a, b entry) bool {
		return a.kernel == b.kernel && slices.Equal(a.initramfs, b.initramfs)
	})
}

// grubenv reads GRUB's variables, from next to its configuration or from where Fedora keeps
// them.
func (l *linux) grubenv(dir string) map[string]string {
	for _, d := range []string{dir, "/boot/grub2"} {
		if text, ok := l.text(path.Join(d, "grubenv")); ok {
			return parseGrubenv(string(text))
		}
	}
	return nil
}

// allKernels returns the kernels in /boot, except those for a rescue.
func (l *linux) allKernels() (all []entry) {
	found := l.list("/boot")
	for _, name := range found {
		kind, version, ok := strings.Cut(name, "-")
		if !ok || kind != "vmlinuz" && kind != "vmlinux" || strings.Contains(version, "rescue") {
			continue
		}
		e := entry{kernel: "/boot/" + name}
		for _, image := range []string{"initrd.img-" + version, "initramfs-" + version + ".img", "initramfs-" + version, "initrd-" + version} {
			if slices.Contains(found, image) {
				e.initramfs = []string{"/boot/" + image}
			}
		}
		all = append(all, e)
	}
	return all
}

// kernel finds the drivers that a kernel has when it starts, and which files the initramfs has
// copies of.
func (l *linux) kernel(e entry) (k Kernel, copies []string) {
	k = Kernel{Image: l.locate(e.kernel)}
	var content contents
	for _, file := range e.initramfs {
		if strings.Contains(file, "$") {
			continue // a variable for additional images, which GRUB leaves empty
		}
		located := l.locate(file)
		if err := l.unpack(located, &content); err != nil {
			k.Unclear = fmt.Sprintf("%s cannot be read: %v", located, err)
		}
		k.Initramfs = strings.TrimSpace(k.Initramfs + " " + located)
	}
	k.Version = l.version(k.Image, content.version)
	k.Included = content.drivers.list()
	if content.image != "" && k.Unclear == "" {
		k.Unclear = "a part of the initramfs is in a file system of its own, " + content.image
	}
	dir := "/lib/modules/" + k.Version
	for _, part := range []struct {
		file string
		to   *[]string
	}{{"modules.builtin", &k.Builtin}, {"modules.dep", &k.Installed}} {
		text, _ := l.text(path.Join(dir, part.file))
		var d drivers
		for line := range strings.Lines(string(text)) {
			module, _, _ := strings.Cut(strings.TrimSpace(line), ":")
			d.add(module)
		}
		*part.to = d.list()
	}
	return k, content.copies
}

// locate returns the path in the guest of a path of the boot loader, whose root may be the
// guest's, /boot, the EFI system partition, or a btrfs with subvolumes.
func (l *linux) locate(p string) string {
	p = path.Clean("/" + p)
	_, below, _ := strings.Cut(strings.TrimPrefix(p, "/"), "/")
	candidates := []string{p, "/boot" + p, "/boot/efi" + p, "/efi" + p, "/" + below}
	for _, c := range candidates {
		if slices.Contains(l.list(path.Dir(c)), path.Base(c)) {
			return c
		}
	}
	return p
}

// version returns a kernel's release: that in its file's name, or that of the modules in its
// initramfs. Alpine names only the flavour: vmlinuz-lts.
func (l *linux) version(image, included string) string {
	_, version, _ := strings.Cut(path.Base(image), "-")
	installed := l.list("/lib/modules")
	switch {
	case slices.Contains(installed, version):
		return version
	case included != "":
		return included
	}
	for _, v := range installed {
		if version != "" && strings.HasSuffix(v, "-"+version) || len(installed) == 1 {
			return v
		}
	}
	return version
}

// contents is what was found in an initramfs.
type contents struct {
	drivers drivers
	version string
	copies  []string
	// image is a file system in the initramfs, whose files are not listed.
	image string
}

// note notes one file of an initramfs.
func (c *contents) note(file string) {
	file = strings.TrimPrefix(file, "usr/")
	if rest, ok := strings.CutPrefix(file, "lib/modules/"); ok {
		if v, _, deeper := strings.Cut(rest, "/"); deeper {
			c.version = v
		}
		c.drivers.add(file)
	}
	switch path.Base(file) {
	case "crypttab":
		c.copies = append(c.copies, "/etc/crypttab")
	case "squashfs-root.img", "squash-root.img", "erofs-root.img":
		c.image = file
	}
}

// unpack lists the files in an initramfs of the guest.
func (l *linux) unpack(file string, c *contents) error {
	if l.err != nil {
		return l.err
	}
	out, in := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := l.files.Read(l.ctx, file, in)
		_ = in.CloseWithError(err)
		done <- err
	}()
	err := initramfs.Read(out, c.note)
	_ = out.CloseWithError(errEnough)
	if failed := <-done; failed != nil && !errors.Is(failed, errEnough) {
		err = failed
	}
	if l.ctx.Err() != nil {
		l.err = context.Cause(l.ctx)
	}
	return err
}

var errEnough = errors.New("no more is needed")

// known are the drivers of disks, and of the controllers between them and the kernel.
var known = []string{"virtio", "virtio_pci", "virtio_blk", "virtio_scsi", "sd_mod", "ahci", "libata", "ata_piix", "ata_generic", "pata_acpi"}

// drivers is a set of drivers.
type drivers map[string]bool

// add adds the driver of a module's file.
func (d *drivers) add(file string) {
	name, _, ok := strings.Cut(path.Base(file), ".ko")
	name = strings.ReplaceAll(name, "-", "_")
	if !ok || !slices.Contains(known, name) {
		return
	}
	if *d == nil {
		*d = drivers{}
	}
	(*d)[name] = true
}

// list returns the drivers in the order of known.
func (d drivers) list() (all []string) {
	for _, name := range known {
		if d[name] {
			all = append(all, name)
		}
	}
	return all
}

// findNames finds the names of disks in the guest's files. bare reports that a kernel starts
// without an initramfs: it only understands root=PARTUUID=….
func (l *linux) findNames(bare bool) {
	form := byUUID
	if bare {
		form = byPartUUID
	}
	lvm := l.has("LVM2_member")
	raid := l.has("linux_raid_member")
	l.scan(inFstab, "/etc/fstab")
	l.scan(l.names.inCrypttab, "/etc/crypttab")
	l.scan(inLoader(form, false), l.grubFiles()...)
	l.scan(inLoader(form, false), extlinuxFiles...)
	l.scan(inLoader(form, false), "/boot/grub/menu.lst", "/boot/grub/grub.conf", "/boot/grub/grubenv", "/boot/grub2/grubenv", "/etc/default/grub", "/etc/update-extlinux.conf")
	l.scan(inLoader(form, false), l.below("/etc/default/grub.d", ".cfg")...)
	for _, dir := range entryDirectories {
		l.scan(inLoader(form, false), l.below(dir, ".conf")...)
	}
	l.scan(inLoader(form, true), "/etc/kernel/cmdline")
	l.scan(setting("RESUME", byUUID), "/etc/initramfs-tools/conf.d/resume")
	l.scan(setting("What", byLink), l.below("/etc/systemd/system", ".mount")...)
	l.scan(mentioned("grub-install reads it: delete it, or put the new name there", true), "/boot/grub/device.map", "/boot/grub2/device.map")
	l.scan(mentioned("LVM would not find its physical volumes", !lvm), "/etc/lvm/lvm.conf", "/etc/lvm/lvmlocal.conf")
	l.scan(inDevicesFile, "/etc/lvm/devices/system.devices")
	l.scan(mentioned("md would not find its members", !raid), "/etc/mdadm/mdadm.conf", "/etc/mdadm.conf")
	const other = "it is not known what the name is for"
	l.scan(mentioned(other, true), "/etc/rc.local", "/etc/rc.d/rc.local", "/etc/crontab", "/etc/smartd.conf", "/etc/hdparm.conf", "/etc/multipath.conf")
	l.scan(mentioned(other, true), l.below("/etc/systemd/system", ".service")...)
	l.scan(mentioned(other, true), l.below("/etc/systemd/system", ".swap")...)
	l.scan(mentioned(other, true), l.below("/etc/udev/rules.d", ".rules")...)
	l.names.fitGrubenv()
}

// has reports whether a device has that content.
func (l *linux) has(content string) bool {
	return slices.ContainsFunc(l.names.devices, func(d Device) bool { return d.Type == content })
}

// scan finds the names in files that exist.
func (l *linux) scan(r rule, paths ...string) {
	for _, p := range paths {
		if text, ok := l.text(p); ok {
			l.names.file(p, text, r)
		}
	}
}

// inDevicesFile is the rule of lvmdevices(8). LVM finds a device that is known by its name
// alone by the PV's ID, but not one that is known by the serial number of an emulated disk.
func inDevicesFile(line string) []place {
	places := mentioned("LVM knows the disk by its name", true)(line)
	if strings.Contains(line, "IDTYPE=sys_") {
		for i := range places {
			places[i].harmless, places[i].why = false, "LVM knows the disk by an identifier of its old bus; in the guest: lvmdevices --deldev, then --adddev on the new bus, or remove the file"
		}
	}
	return places
}
