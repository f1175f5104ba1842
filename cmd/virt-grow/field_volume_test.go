package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/virt-grow/virt-grow/testimages/lab"
	"github.com/virt-grow/virt-grow/testimages/level"
)

// volumeEnv returns an environment with an active storage pool named pool, whose files
// are in dir.
func volumeEnv(t *testing.T) (h *env, dir string) {
	t.Helper()
	h = newEnv(t)
	dir = filepath.Join(h.dir, "pool")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	h.virsh(t, "pool-create-as", "pool", "dir", "--target", dir)
	return h, dir
}

func (h *env) virsh(t *testing.T, args ...string) string {
	t.Helper()
	out, err := h.Virsh(context.Background(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// volume returns a disk as terraform and cockpit define it.
func volume(target, pool, name string) string {
	return fmt.Sprintf("<disk type='volume' device='disk'><driver name='qemu' type='qcow2'/><source pool='%s' volume='%s'/><target dev='%s' bus='virtio'/></disk>", pool, name, target)
}

// inVolumes redefines a guest that is off, so that its disks are named by pool and
// volume.
func (x *vm) inVolumes(t *testing.T, pool string) {
	t.Helper()
	text := strings.ReplaceAll(x.dump(t), "<disk type='file' device='disk'>", "<disk type='volume' device='disk'>")
	for _, path := range x.disks {
		was := fmt.Sprintf("<source file='%s'/>", path)
		if !strings.Contains(text, was) {
			t.Fatalf("no %s in\n%s", was, text)
		}
		text = strings.Replace(text, was, fmt.Sprintf("<source pool='%s' volume='%s'/>", pool, filepath.Base(path)), 1)
	}
	file := filepath.Join(x.dir, x.Name+".xml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	x.virsh(t, "pool-refresh", pool)
	x.virsh(t, "define", file)
	x.xml = x.dump(t)
	if strings.Count(x.xml, "type='volume'") != len(x.disks) {
		t.Fatalf("the disks are no volumes:\n%s", x.xml)
	}
}

// capacity returns the size of a volume as libvirt reports it.
func (h *env) capacity(t *testing.T, pool, name string) int64 {
	t.Helper()
	out := h.virsh(t, "vol-info", "--bytes", name, pool)
	for line := range strings.Lines(out) {
		var n int64
		if _, err := fmt.Sscanf(line, "Capacity: %d bytes", &n); err == nil {
			return n
		}
	}
	t.Fatalf("no capacity in %s", out)
	return 0
}

// TestFieldPoolVolumes checks that disks that a definition names by pool and volume can
// be changed like others, and that the definition still names them so afterwards.
func TestFieldPoolVolumes(t *testing.T) {
	level.Need(t, level.All)
	ctx := context.Background()
	h, pool := volumeEnv(t)
	root, data := filepath.Join(pool, "root.qcow2"), filepath.Join(pool, "data.qcow2")
	if err := lab.Image(ctx, "xfs", "qcow2", root); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("qemu-img", "create", "-q", "-f", "qcow2", data, "64M").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	x := h.start(t, "volumes", lab.Spec{Disks: []lab.Disk{{Path: root, Format: "qcow2", Target: "vda"}, {Path: data, Format: "qcow2", Target: "vdb"}}}, true)
	x.inVolumes(t, "pool")
	if err := x.Start(ctx); err != nil {
		t.Fatal(err)
	}
	x.answering(t)
	x.info, x.owner = x.infos(t), ownerOf(t, root)

	code, out := x.run(t, "", "disk", "list", x.Name, "--json")
	var list struct {
		Disks []struct{ Target, Kind, Source, Volume string }
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil || code != 0 || len(list.Disks) != 2 {
		t.Fatalf("exit %d, %v\n%s", code, err, out)
	}
	if d := list.Disks[0]; d.Kind != "file" || d.Source != root || d.Volume != "pool/root.qcow2" {
		t.Errorf("disk list: %+v", d)
	}

	// The path of another domain's disk is the same file.
	h.define(t, "by-path", "", fmt.Sprintf("<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='%s'/><target dev='vda' bus='virtio'/></disk>", root))
	x.refusedHere(t, 3, "disk-shared", "of domain by-path", "grow", x.Name, "--disk", "vda", "--size", "1G", "--yes")
	h.virsh(t, "undefine", "by-path")

	if code, out := x.run(t, "", "rehearse", x.Name, "--disk", "vda", "--size", "1G"); code != 0 {
		t.Errorf("rehearse: exit %d\n%s", code, out)
	}
	if code, out := x.grow(t, "", "--disk", "vda", "--health-cmd", "false"); code != 7 {
		t.Errorf("a failed health check: exit %d\n%s", code, out)
	}
	x.checkOld(t)
	if got := h.capacity(t, "pool", "root.qcow2"); got != x.old.Disk {
		t.Errorf("libvirt knows %d bytes after the rollback", got)
	}
	x.mustGrow(t, "--disk", "vda")
	x.checkGrown(t)
	if got := h.capacity(t, "pool", "root.qcow2"); got != x.want {
		t.Errorf("libvirt knows %d bytes", got)
	}

	code, out = x.run(t, "", "online", x.Name, "--disk", "vdb", "--size", "128M", "--in-guest", "none", "--yes")
	if got := h.capacity(t, "pool", "data.qcow2"); code != 0 || got != 128<<20 {
		t.Errorf("online: exit %d, libvirt knows %d bytes\n%s", code, got, out)
	}
	code, out = x.run(t, "", "disk", "detach", x.Name, "vdb", "--delete", "--even-mounted")
	if code != 0 || strings.Contains(h.virsh(t, "vol-list", "pool"), "data.qcow2") {
		t.Errorf("detach: exit %d\n%s\n%s", code, out, h.virsh(t, "vol-list", "pool"))
	}
	if _, err := os.Stat(data); !os.IsNotExist(err) {
		t.Errorf("the volume's file is still there: %v", err)
	}
}

// refusedHere checks a refusal for a guest with its own state directory. The guest runs
// on without a reboot.
func (x *vm) refusedHere(t *testing.T, exit int, reason, says string, args ...string) {
	t.Helper()
	x.note(t)
	x.env.refused(t, args, exit, reason, says)
	if log, err := x.Log(); err != nil || log.Boots[len(log.Boots)-1].ID != x.old.Boot {
		t.Errorf("the guest was started again (%v)", err)
	}
}

// TestFieldPoolVolumesRefused checks that a volume that is not a file is refused, and
// that the message names its type.
func TestFieldPoolVolumesRefused(t *testing.T) {
	level.Need(t, level.All)
	h, pool := volumeEnv(t)
	h.virsh(t, "vol-create-as", "pool", "v.qcow2", "64M", "--format", "qcow2")
	if err := os.Mkdir(filepath.Join(pool, "directory"), 0o755); err != nil {
		t.Fatal(err)
	}
	h.virsh(t, "pool-refresh", "pool")
	other := filepath.Join(h.dir, "other")
	if err := os.Mkdir(other, 0o755); err != nil {
		t.Fatal(err)
	}
	h.virsh(t, "pool-define-as", "asleep", "dir", "--target", other)
	for _, c := range []struct{ name, pool, volume, says, hint string }{
		{"no-pool", "nowhere", "v.qcow2", "there is no storage pool nowhere", ""},
		{"no-volume", "pool", "none.qcow2", "storage pool pool has no volume none.qcow2", ""},
		{"no-file", "pool", "directory", "is in a storage pool of type dir, and is not a file or block device", ""},
		{"asleep", "asleep", "v.qcow2", "storage pool asleep (type dir) is not active", "virsh pool-start asleep"},
	} {
		h.define(t, c.name, "", volume("vda", c.pool, c.volume))
		h.refused(t, []string{"grow", c.name, "--size", "+64M", "--yes"}, 3, "disk-unsupported", c.says)
		out, _ := exec.Command(h.program, "--state-dir", filepath.Join(h.dir, "state"), "--connect", h.URI(), "plan", c.name, "--size", "+64M").CombinedOutput()
		if !strings.Contains(string(out), c.hint) {
			t.Errorf("%s: no %q in\n%s", c.name, c.hint, out)
		}
		h.virsh(t, "undefine", c.name)
	}
	// Both notations name the same file.
	h.define(t, "by-volume", "", volume("vda", "pool", "v.qcow2"))
	h.define(t, "by-path", "", fmt.Sprintf("<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='%s'/><target dev='vda' bus='virtio'/></disk>", filepath.Join(pool, "v.qcow2")))
	h.refused(t, []string{"grow", "by-path", "--size", "+64M", "--yes"}, 3, "disk-shared", "of domain by-volume")
	h.refused(t, []string{"grow", "by-volume", "--size", "+64M", "--yes"}, 3, "disk-shared", "of domain by-path")
	// A volume of an inactive pool still belongs to another domain.
	if out, err := exec.Command("qemu-img", "create", "-q", "-f", "qcow2", filepath.Join(other, "o.qcow2"), "64M").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	h.define(t, "sleeper", "", volume("vda", "asleep", "o.qcow2"))
	h.define(t, "waker", "", fmt.Sprintf("<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='%s'/><target dev='vda' bus='virtio'/></disk>", filepath.Join(other, "o.qcow2")))
	h.refused(t, []string{"grow", "waker", "--size", "+64M", "--yes"}, 3, "disk-shared", "of domain sleeper")
}
