package lab

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// File types of stat(2), which cpio uses too.
const (
	typeDir     = 0o040000
	typeChar    = 0o020000
	typeRegular = 0o100000
	typeLink    = 0o120000
)

// tree is a tree of files by absolute path; the data of a link is its target.
type tree map[string]node

type node struct {
	mode uint32
	data string
}

// lvmConf makes LVM do by itself what udev does elsewhere.
const lvmConf = `devices { obtain_device_list_from_udev = 0 external_device_info_source = "none" use_devicesfile = 0 }
activation { udev_sync = 0 udev_rules = 0 monitoring = 0 }
global { use_lvmpolld = 0 event_activation = 0 }
backup { backup = 0 archive = 0 }
`

// Programs of the root file system besides busybox: what grows it from the
// inside, and the agent.
var programs = []string{"lvm", "lsblk", "growpart", "xfs_growfs", "resize2fs", "btrfs", "sfdisk", "partx", "flock", "blockdev", "ntfs-3g", "ntfsresize", "ntfsfix",
	// Busybox knows no file system by its UUID.
	"mount", "umount", "blkid"}

// rootTree returns the root file system. The root is on device, which mount(8) and
// tools that inspect the image find in fstab.
func rootTree(ctx context.Context, init, device, fs string) (tree, error) {
	t := tree{}
	for _, dir := range []string{"/data", "/dev", "/proc", "/run", "/sys", "/tmp", "/var", "/root"} {
		t.addDir(dir)
	}
	if err := t.addBusybox(ctx); err != nil {
		return nil, err
	}
	if err := t.addPrograms(ctx, programs...); err != nil {
		return nil, err
	}
	if err := t.addProgram(ctx, "qemu-ga", "/usr/sbin/qemu-ga"); err != nil {
		return nil, err
	}
	if err := t.addHostFile("/sbin/init", init, 0o755); err != nil {
		return nil, err
	}
	t.addLink("/sbin/shutdown", "init")
	for _, name := range []string{"lvs", "vgs", "pvs", "vgchange", "pvresize", "lvextend", "lvresize"} {
		t.addLink("/sbin/"+name, "lvm")
	}
	t.addFile("/etc/fstab", device+" / "+fs+" defaults 0 0\n")
	t.addFile("/etc/os-release", "NAME=\"virt-grow test guest\"\nID=virt-grow-lab\nVERSION_ID=1\n")
	t.addFile("/etc/hostname", "lab\n")
	t.addFile("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\n")
	t.addFile("/etc/group", "root:x:0:\n")
	t.addFile("/etc/lvm/lvm.conf", lvmConf)
	return t, nil
}

func (t tree) addNode(name string, n node) {
	if name == "/" {
		return
	}
	t.addDir(path.Dir(name))
	t[name] = n
}

func (t tree) addDir(name string) {
	if _, ok := t[name]; !ok {
		t.addNode(name, node{typeDir | 0o755, ""})
	}
}

func (t tree) addFile(name, data string)   { t.addNode(name, node{typeRegular | 0o644, data}) }
func (t tree) addLink(name, target string) { t.addNode(name, node{typeLink | 0o777, target}) }

func (t tree) addHostFile(name, source string, mode uint32) error {
	b, err := os.ReadFile(source)
	if err != nil {
		return err
	}
	t.addNode(name, node{typeRegular | mode, string(b)})
	return nil
}

// addBusybox adds busybox and its applets.
func (t tree) addBusybox(ctx context.Context) error {
	if err := t.addProgram(ctx, "busybox", "/bin/busybox"); err != nil {
		return err
	}
	applets, err := output(ctx, "busybox", "--list")
	if err != nil {
		return err
	}
	for _, a := range strings.Fields(applets) {
		// These would go around init, and leave the file systems in use.
		if !slices.Contains([]string{"busybox", "init", "poweroff", "halt", "reboot"}, a) {
			t.addLink("/bin/"+a, "busybox")
		}
	}
	return nil
}

func (t tree) addPrograms(ctx context.Context, names ...string) error {
	for _, name := range names {
		if err := t.addProgram(ctx, name, "/sbin/"+name); err != nil {
			return err
		}
	}
	return nil
}

// addProgram adds a program of the host at a path, and its libraries where it
// looks for them.
func (t tree) addProgram(ctx context.Context, name, at string) error {
	source, err := exec.LookPath(name)
	if err != nil {
		return err
	}
	if err := t.addHostFile(at, source, 0o755); err != nil {
		return err
	}
	libraries, err := libraries(ctx, source)
	if err != nil {
		return err
	}
	for _, l := range libraries {
		if err := t.addHostFile(l, l, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// libraries returns what ldd(1) finds for a program: "NAME => PATH (ADDRESS)", and
// the loader, "PATH (ADDRESS)". A static program has none, at which ldd fails.
func libraries(ctx context.Context, program string) ([]string, error) {
	out, err := output(ctx, "ldd", program)
	if err != nil {
		if strings.Contains(out+err.Error(), "not a dynamic executable") {
			return nil, nil
		}
		return nil, err
	}
	var paths []string
	for line := range strings.Lines(out) {
		for _, word := range strings.Fields(line) {
			if filepath.IsAbs(word) {
				paths = append(paths, word)
			}
		}
	}
	return paths, nil
}

// sorted returns the paths, directories before what is in them.
func (t tree) sorted() []string { return slices.Sorted(maps.Keys(t)) }

func (t tree) writeTar(w io.Writer) error {
	tw := tar.NewWriter(w)
	for _, path := range t.sorted() {
		if err := t[path].writeTar(tw, strings.TrimPrefix(path, "/")); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return tw.Close()
}

func (n node) writeTar(w *tar.Writer, name string) error {
	h := &tar.Header{Name: name, Mode: int64(n.mode & 0o7777)}
	switch n.mode &^ 0o7777 {
	case typeDir:
		h.Typeflag = tar.TypeDir
		h.Name += "/"
	case typeLink:
		h.Typeflag, h.Linkname = tar.TypeSymlink, n.data
		return w.WriteHeader(h)
	default:
		h.Typeflag, h.Size = tar.TypeReg, int64(len(n.data))
	}
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	_, err := io.WriteString(w, n.data)
	return err
}
