package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/testimages/lab"
	"github.com/virt-grow/virt-grow/testimages/level"
)

// lists runs disk list on the environment's libvirt.
func (h *env) lists(t *testing.T, name string, more ...string) (plan.DiskList, string) {
	t.Helper()
	args := append([]string{"--state-dir", filepath.Join(h.dir, "state"), "--connect", h.URI(), "disk", "list", name}, more...)
	text, err := exec.Command(h.program, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	data, err := exec.Command(h.program, append(args, "--json")...).Output()
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Schema string
		plan.DiskList
	}
	if err := json.Unmarshal(data, &doc); err != nil || doc.Schema != "virt-grow/disk-list/v1" || doc.Domain != name {
		t.Fatalf("%v: %s", err, data)
	}
	return doc.DiskList, string(text)
}

// wants compares the warnings of one disk with reasons and parts of the texts.
func wants(t *testing.T, l plan.DiskList, target string, want ...string) {
	t.Helper()
	i := slices.IndexFunc(l.Disks, func(d plan.ListedDisk) bool { return d.Target == target })
	if i < 0 {
		t.Errorf("%s: no disk %s", l.Domain, target)
		return
	}
	var got []string
	for _, w := range l.Disks[i].Warnings {
		got = append(got, string(w.Reason)+": "+w.Text)
	}
	if len(got) != len(want) {
		t.Errorf("%s %s: %q, want %q", l.Domain, target, got, want)
		return
	}
	for i, w := range want {
		reason, part, _ := strings.Cut(w, ": ")
		if !strings.HasPrefix(got[i], reason+": ") || !strings.Contains(got[i], part) {
			t.Errorf("%s %s: %q, want %q", l.Domain, target, got[i], w)
		}
	}
}

func imageIn(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if out, err := exec.Command("qemu-img", append(append([]string{"create", "-q"}, args...), path, "8M")...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return path
}

// forgetBackingFormat gives the header extension with the backing file's format an
// unknown type. Images made by tools before QEMU 6.1 can lack that extension.
func forgetBackingFormat(t *testing.T, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	i := bytes.Index(data, []byte{0xe2, 0x79, 0x2a, 0xca})
	if i < 0 {
		t.Fatal("no such extension")
	}
	data[i]++
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestDiskList checks every warning, on domains of a real libvirt. No guest boots: a
// domain that is started paused has its disks open as well.
func TestDiskList(t *testing.T) {
	level.Only(t, level.Real)
	h := newEnv(t)
	ctx := context.Background()
	image := func(name string, args ...string) string { return imageIn(t, h.dir, name, args...) }
	disk := func(target, driver, path, more string) string {
		return "<disk type='file' device='disk'><driver name='qemu' " + driver + "/><source file='" + path + "'/><target dev='" + target + "' bus='virtio'/>" + more + "</disk>"
	}
	base := image("base.qcow2", "-f", "qcow2")
	top := image("top.qcow2", "-f", "qcow2", "-b", base, "-F", "qcow2")
	lone := image("lone.qcow2", "-f", "qcow2")
	raw := image("raw.raw", "-f", "raw")
	shared := image("shared.raw", "-f", "raw")
	gone := image("gone.qcow2", "-f", "qcow2")
	orphan := image("orphan.qcow2", "-f", "qcow2", "-b", gone, "-F", "qcow2")
	if err := os.Remove(gone); err != nil {
		t.Fatal(err)
	}
	vague := image("vague.qcow2", "-f", "qcow2", "-b", base, "-F", "qcow2")
	forgetBackingFormat(t, vague)
	iso := image("drivers.iso", "-f", "raw")
	t.Run("plain", func(t *testing.T) {
		h.define(t, "plain", "", disk("vda", "type='qcow2'", lone, "<serial>DISK-1</serial>")+disk("vdb", "type='raw' cache='none'", raw, "")+
			"<disk type='file' device='cdrom'><driver name='qemu' type='raw'/><source file='"+iso+"'/><target dev='sda' bus='sata'/><readonly/></disk>"+
			"<disk type='file' device='cdrom'><target dev='sdb' bus='sata'/><readonly/></disk>"+
			"<disk type='file' device='floppy'><driver name='qemu' type='raw'/><target dev='fda' bus='fdc'/></disk>"+
			"<disk type='network' device='disk'><driver name='qemu' type='raw'/><source protocol='nbd' name='export'><host name='store' port='10809'/></source><target dev='vdc' bus='virtio'/></disk>")
		l, text := h.lists(t, "plain")
		for _, target := range []string{"vda", "vdb", "sda", "sdb", "fda", "vdc"} {
			wants(t, l, target)
		}
		by := map[string]plan.ListedDisk{}
		for _, d := range l.Disks {
			by[d.Target] = d
		}
		if d := by["vda"]; l.State != "off" || d.Format != "qcow2" || d.Size != 8<<20 || d.Depth != 1 || d.Serial != "DISK-1" || d.Bus != "virtio" || d.Source != lone {
			t.Errorf("%+v", d)
		}
		if d := by["vdb"]; d.Cache != "none" || d.Format != "raw" || d.Allocated > 1<<20 {
			t.Errorf("%+v", d)
		}
		if d := by["vdc"]; d.Kind != "network" || d.Source != "nbd://store:10809/export" || d.Size != 0 {
			t.Errorf("%+v", d)
		}
		if by["sda"].Device != "cdrom" || by["sdb"].Source != "" || by["fda"].Device != "floppy" || !by["sda"].ReadOnly {
			t.Errorf("%+v", by)
		}
		for _, line := range strings.Split(text, "\n") {
			if len([]rune(line)) > 80 {
				t.Errorf("wider than 80 columns: %q", line)
			}
		}
		t.Logf("\n%s", text)
	})
	t.Run("format", func(t *testing.T) {
		h.define(t, "format", "", disk("vda", "type='raw'", top, "")+disk("vdb", "type='qcow2'", shared, "")+disk("vdc", "", lone, ""))
		l, text := h.lists(t, "format")
		wants(t, l, "vda", "format-mismatch: sees a disk of 19")
		wants(t, l, "vdb", "format-mismatch: does not have the header of a qcow2 image")
		// libvirt writes raw where the definition has no type.
		wants(t, l, "vdc", "format-mismatch: sees a disk of 19", "disk-shared: domain plain")
		t.Logf("\n%s", text)
		h.undefine(t, "format")
	})
	t.Run("chain", func(t *testing.T) {
		h.define(t, "user", "", disk("vda", "type='qcow2'", top, ""))
		h.define(t, "chain", "", disk("vda", "type='qcow2'", orphan, "")+disk("vdb", "type='qcow2'", base, "")+
			disk("vdc", "type='qcow2'", filepath.Join(h.dir, "nowhere.qcow2"), "")+disk("vdd", "type='qcow2'", vague, ""))
		l, text := h.lists(t, "chain")
		wants(t, l, "vda", "backing-missing: "+gone)
		wants(t, l, "vdb", "chain-shared: is a backing file of disk vda of domain user")
		wants(t, l, "vdd", "format-missing: does not say which format its backing file")
		wants(t, l, "vdc", "not-found: there is no")
		if d, _ := h.lists(t, "user"); d.Disks[0].Depth != 2 || d.Disks[0].Backing[0].Path != base {
			t.Errorf("%+v", d)
		} else {
			wants(t, d, "vda", "chain-shared: which is the writable disk vdb of domain chain")
		}
		t.Logf("\n%s", text)
		h.undefine(t, "chain", "user")
	})
	t.Run("shared", func(t *testing.T) {
		h.define(t, "twin", "", disk("vda", "type='raw'", raw, "")+disk("vdb", "type='raw'", shared, "<shareable/>"))
		h.define(t, "one", "", disk("vda", "type='raw'", raw, "")+disk("vdb", "type='raw'", shared, "<shareable/>")+disk("vdc", "type='raw'", raw, ""))
		l, _ := h.lists(t, "one")
		wants(t, l, "vda", "disk-shared: is also disk vdb of domain plain", "disk-shared: is also disk vda of domain twin")
		wants(t, l, "vdb")
		wants(t, l, "vdc", "disk-shared: of domain plain", "disk-shared: of domain twin", "disk-shared: is also disk vda")
		h.undefine(t, "one", "twin")
	})
	t.Run("running", func(t *testing.T) {
		h.undefine(t, "plain")
		h.define(t, "runs", "<features><acpi/></features>", disk("vda", "type='qcow2' cache='unsafe'", lone, "")+disk("vdb", "type='raw'", raw, ""))
		for _, line := range []string{
			"start --paused runs", "detach-disk runs vdb --config",
			"attach-disk runs " + shared + " vdc --subdriver raw --live", "attach-disk runs " + base + " vdd --subdriver qcow2 --config",
		} {
			if _, err := h.Virsh(ctx, strings.Fields(line)...); err != nil {
				t.Fatal(err)
			}
		}
		h.redefine(t, "runs", "cache='unsafe'", "cache='none'")
		l, text := h.lists(t, "runs")
		wants(t, l, "vda", "cache-unsafe: if the host crashes", "definitions-differ: cache unsafe, then none")
		wants(t, l, "vdb", "definitions-differ: only in the running guest")
		wants(t, l, "vdc", "definitions-differ: only in the running guest")
		wants(t, l, "vdd", "definitions-differ: only in the persistent definition")
		t.Logf("\n%s", text)
		t.Run("convert", func(t *testing.T) { h.cannotConvert(t, raw, lone) })
		if _, err := h.Virsh(ctx, "destroy", "runs"); err != nil {
			t.Error(err)
		}
	})
}

// TestDiskListTransient lists the disks of a domain without a persistent definition, and
// of a domain that does not exist.
func TestDiskListTransient(t *testing.T) {
	level.Need(t, level.All)
	h := newEnv(t)
	path := imageIn(t, h.dir, "a.qcow2", "-f", "qcow2")
	xml := h.xml(t, "passing", "", "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='"+path+"'/><target dev='vda' bus='virtio'/></disk>")
	if _, err := h.Virsh(context.Background(), "create", "--paused", xml); err != nil {
		t.Fatal(err)
	}
	l, _ := h.lists(t, "passing")
	if l.State != "paused" || l.Disks[0].Size != 8<<20 {
		t.Errorf("%+v", l)
	}
	wants(t, l, "vda")
	if _, err := h.Virsh(context.Background(), "destroy", "passing"); err != nil {
		t.Error(err)
	}
	cmd := exec.Command(h.program, "--json", "--state-dir", h.dir, "--connect", h.URI(), "disk", "list", "nobody")
	out, _ := cmd.Output()
	if cmd.ProcessState.ExitCode() != 3 || !strings.Contains(string(out), `"reason": "not-found"`) {
		t.Errorf("%s", out)
	}
}

// cannotConvert checks that the disk of a running domain is refused: libvirt reports the
// use of raw images, and QEMU's lock that of the others.
func (h *env) cannotConvert(t *testing.T, images ...string) {
	t.Helper()
	for _, image := range images {
		h.refused(t, []string{"disk", "convert", image, filepath.Join(h.dir, "copy.vmdk"), "--to", "vmdk"}, 5, "in-use", "of domain runs, which is running")
	}
}

func (h *env) undefine(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := h.Virsh(context.Background(), "undefine", name); err != nil {
			t.Error(err)
		}
	}
}

// redefine replaces a word in a domain's persistent definition.
func (h *env) redefine(t *testing.T, name, word, into string) {
	t.Helper()
	ctx := context.Background()
	text, err := h.Virsh(ctx, "dumpxml", "--inactive", name)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(h.dir, name+".new.xml")
	if !strings.Contains(text, word) {
		t.Fatalf("no %s in %s", word, text)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(text, word, into, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Virsh(ctx, "define", path); err != nil {
		t.Fatal(err)
	}
}

// TestDiskListInspect checks that the contents of a running guest's disks are read in
// one appliance, and how long the cached result is used.
func TestDiskListInspect(t *testing.T) {
	level.Need(t, level.All)
	h := newEnv(t)
	ctx := context.Background()
	x := h.start(t, "looked", lab.Spec{}, false, labDisk{"xfs", "qcow2"}, labDisk{"ntfs-data", "raw"}, labDisk{"lvm", "qcow2"})
	x.state = filepath.Join(h.dir, "state")
	launches := countLaunches(t, h.dir)
	// With KVM, a failed attempt would be counted as well.
	l, text := h.lists(t, "looked", "--inspect", "--accel", "tcg")
	if n := launches(); n != 2 {
		t.Errorf("%d appliances for two lists", n)
	}
	for i, want := range []string{"xfs", "ntfs", "ext4"} {
		d := l.Disks[i]
		if d.Inside == nil || !d.Inside.Current || !slices.ContainsFunc(d.Inside.Contents, func(c plan.InsideThing) bool { return c.Type == want }) {
			t.Errorf("%s: %+v", d.Target, d.Inside)
		}
		if len(d.Warnings) > 0 {
			t.Errorf("%s: %v", d.Target, d.Warnings)
		}
	}
	t.Logf("\n%s", text)
	// The guest writes to its root disk continuously, and never to the last one.
	x.beating(t, time.Now().Add(time.Second))
	l, text = h.lists(t, "looked")
	if in := l.Disks[0].Inside; in == nil || in.Current {
		t.Errorf("what the guest has written to counts as seen: %+v", in)
	}
	if in := l.Disks[2].Inside; in == nil || !in.Current {
		t.Errorf("what nobody has written to does not: %+v", in)
	}
	t.Logf("\n%s", text)
	x.checkKept(t)
	x.leave(t)
	// inspect and disk create fill the cache as well.
	if code, out := x.run(t, "", "inspect", x.Name, "--disk", "vda"); code != 0 {
		t.Fatalf("exit %d\n%s", code, out)
	}
	l, _ = h.lists(t, "looked")
	if in := l.Disks[0].Inside; in == nil || !in.Current {
		t.Errorf("%+v", in)
	}
	made := filepath.Join(h.dir, "made.qcow2")
	if code, out := x.run(t, "", "disk", "create", made, "--size", "400M", "--fs", "btrfs", "--label", "new"); code != 0 {
		t.Fatalf("exit %d\n%s", code, out)
	}
	if _, err := h.Virsh(ctx, "attach-disk", x.Name, made, "vdd", "--subdriver", "qcow2", "--config"); err != nil {
		t.Fatal(err)
	}
	if _, text := h.lists(t, "looked"); !strings.Contains(text, `btrfs "new"`) {
		t.Errorf("%s", text)
	}
}

// countLaunches counts appliances from now on: libguestfs starts QEMU through a script
// that logs each start.
func countLaunches(t *testing.T, dir string) func() int {
	t.Helper()
	script, log := filepath.Join(dir, "hv"), filepath.Join(dir, "launches")
	text := "#!/bin/sh\ncase \"$*\" in */appliance.d/root*) echo >> " + log + ";; esac\nexec qemu-system-x86_64 \"$@\"\n"
	if err := os.WriteFile(script, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("LIBGUESTFS_HV", script)
	return func() int {
		data, err := os.ReadFile(log)
		if err != nil {
			t.Error(err)
		}
		return len(data)
	}
}

// TestDetachDelete checks that only a file can be deleted; otherwise the disk stays
// attached.
func TestDetachDelete(t *testing.T) {
	level.Only(t, level.Real)
	h := newEnv(t)
	shell(t, h.dir, "mknod node b 7 250")
	h.define(t, "block", "", "<disk type='block' device='disk'><driver name='qemu' type='raw'/><source dev='"+h.dir+"/node'/><target dev='vda' bus='virtio'/></disk>")
	out, err := exec.Command(h.program, "--state-dir", filepath.Join(h.dir, "state"), "--connect", h.URI(), "--json", "disk", "detach", "block", "vda", "--delete").CombinedOutput()
	if exit := new(exec.ExitError); !errors.As(err, &exit) || exit.ExitCode() != exitRefused || !strings.Contains(string(out), "only files can be deleted") {
		t.Errorf("%v\n%s", err, out)
	}
	if l, _ := h.lists(t, "block"); len(l.Disks) != 1 {
		t.Errorf("%+v", l.Disks)
	}
	if _, err := os.Stat(filepath.Join(h.dir, "node")); err != nil {
		t.Error(err)
	}
}
