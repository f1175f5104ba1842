package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/virt-grow/virt-grow/testimages/level"
	"github.com/virt-grow/virt-grow/testimages/private"
)

// shared is the private libvirt of all tests here.
var shared struct {
	once sync.Once
	l    *Libvirt
	err  error
}

func TestMain(m *testing.M) {
	if dir := os.Getenv("LAB_ABANDON"); dir != "" {
		abandon(dir)
	}
	code := private.Run(m)
	if shared.l != nil {
		err := shared.l.Stop()
		if err == nil {
			err = leftovers(shared.l)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "stop the private libvirt:", err)
			code = 1
		}
		os.RemoveAll(shared.l.dir)
	}
	os.Exit(code)
}

// privateLibvirt returns the shared libvirt, or skips the test under -short.
func privateLibvirt(t *testing.T) *Libvirt {
	t.Helper()
	level.Need(t, level.Real)
	shared.once.Do(func() {
		var dir string
		if dir, shared.err = os.MkdirTemp("", "lab"); shared.err != nil {
			return
		}
		if shared.err = Prepare(context.Background(), Variants...); shared.err == nil {
			shared.l, shared.err = Start(context.Background(), dir)
		}
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.l
}

// limited returns a context for one wait: a guest boots in a fraction of it.
func limited(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// define makes a guest with a first disk of its own.
func define(t *testing.T, variant string, s Spec) *Guest {
	t.Helper()
	l := privateLibvirt(t)
	s.Disks = append([]Disk{{Path: disk(t, l, nameOf(t), variant), Format: "qcow2", Target: "vda"}}, s.Disks...)
	return defineOn(t, l, s)
}

// nameOf returns a test's name as a guest's.
func nameOf(t *testing.T) string { return strings.NewReplacer("/", "-", "=", "-").Replace(t.Name()) }

// defineOn defines a guest with the test's name, and removes it at the end of the test.
func defineOn(t *testing.T, l *Libvirt, s Spec) *Guest {
	t.Helper()
	s.Name = nameOf(t)
	g, err := l.Define(t.Context(), s)
	check(t, err)
	t.Cleanup(func() {
		_, _ = l.Virsh(context.Background(), "destroy", g.Name)
		_, err := l.Virsh(context.Background(), "undefine", g.Name)
		if err != nil {
			t.Error(err)
		}
		if t.Failed() {
			console, _ := os.ReadFile(g.console())
			t.Logf("console:\n%s\nlibvirt:\n%s", console[max(0, len(console)-2000):], l.complaints())
		}
	})
	return g
}

func disk(t *testing.T, l *Libvirt, name, variant string) string {
	t.Helper()
	path := l.path(name + "." + variant + ".qcow2")
	check(t, Image(t.Context(), variant, "qcow2", path))
	t.Cleanup(func() { os.Remove(path) })
	return path
}

func diskOf(g *Guest, variant string) string {
	return g.libvirt.path(g.Name + "." + variant + ".qcow2")
}

// boot starts a guest and waits for its first heartbeat.
func boot(t *testing.T, g *Guest) (started time.Time, first Heartbeat) {
	t.Helper()
	started = time.Now()
	check(t, g.Start(t.Context()))
	first, err := g.WaitHeartbeat(limited(t), started)
	check(t, err)
	t.Logf("first beat %.1f s after the start", first.At.Sub(started).Seconds())
	if late := time.Since(first.At); late < -50*time.Millisecond || late > time.Second {
		t.Errorf("the guest's clock is off by %v", late)
	}
	return started, first
}

// stop asks a guest to stop and waits until it has.
func stop(t *testing.T, g *Guest, mode string) {
	t.Helper()
	asked := time.Now()
	_, err := g.libvirt.Virsh(t.Context(), "shutdown", "--mode", mode, g.Name)
	// The guest can be off before libvirt has seen its shutdown: the request has then failed.
	if err != nil && !strings.Contains(err.Error(), "End of file from agent socket") {
		t.Fatal(err)
	}
	check(t, g.WaitState(limited(t), "shut off"))
	t.Logf("shut off %.1f s after a request by %s", time.Since(asked).Seconds(), mode)
}

type filesystem struct {
	Mountpoint, Type string
	Total            int64 `json:"total-bytes"`
}

func filesystems(t *testing.T, g *Guest) map[string]filesystem {
	t.Helper()
	out, err := g.Agent(t.Context(), `{"execute":"guest-get-fsinfo"}`)
	check(t, err)
	var answer struct{ Return []filesystem }
	check(t, json.Unmarshal([]byte(out), &answer))
	all := map[string]filesystem{}
	for _, fs := range answer.Return {
		all[fs.Mountpoint] = fs
	}
	return all
}

// grow enlarges a running guest's disk, and grows the contents with the guest's own
// programs. sfdisk gets the new size of a partition as its input.
func grow(t *testing.T, g *Guest, before Heartbeat, commands ...string) {
	t.Helper()
	size := before.Disk + 64<<20
	_, err := g.libvirt.Virsh(t.Context(), "blockresize", g.Name, "vda", fmt.Sprint(size, "B"))
	check(t, err)
	for _, c := range append([]string{"sfdisk --relocate gpt-bak-std /dev/vda"}, commands...) {
		_, err := g.Exec(limited(t), "/bin/sh", "-c", "echo ', +' | "+c)
		check(t, err)
	}
	after, err := g.WaitHeartbeat(limited(t), time.Now())
	if err != nil || after.Disk != size || after.Filesystem < before.Filesystem+60<<20 {
		t.Errorf("grown to %+v, %v", after, err)
	}
}

// part copies a part of a disk into a file of its own.
func part(t *testing.T, disk string, offset int64) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "part")
	_, err := output(t.Context(), "qemu-img", "convert", "-O", "raw", "--image-opts",
		fmt.Sprintf("driver=raw,offset=%d,file.driver=qcow2,file.file.filename=%s", offset, disk), file)
	check(t, err)
	return file
}

func TestXFSAgent(t *testing.T) {
	g := define(t, "xfs", Spec{})
	started, first := boot(t, g)
	check(t, g.WaitAgent(limited(t)))
	t.Logf("agent %.1f s after the start", time.Since(started).Seconds())
	root := filesystems(t, g)["/"]
	if root.Type != "xfs" || root.Total != first.Filesystem || root.Total < 400<<20 || first.Disk != 512<<20 {
		t.Errorf("agent says %+v, the first beat was %+v", root, first)
	}
	for _, command := range []string{"freeze", "thaw"} {
		out, err := g.Agent(t.Context(), `{"execute":"guest-fsfreeze-`+command+`"}`)
		if err != nil || !strings.Contains(out, `{"return":1}`) {
			t.Errorf("%s: %s, %v", command, out, err)
		}
	}
	grow(t, g, first, "sfdisk --force -N 2 /dev/vda", "partx -u /dev/vda", "xfs_growfs /")
	_, err := g.WaitHeartbeat(limited(t), time.Now().Add(1500*time.Millisecond))
	check(t, err)
	stop(t, g, "agent")
	if out, err := output(t.Context(), "xfs_repair", "-n", part(t, diskOf(g, "xfs"), 67584*512)); err != nil || strings.Contains(out, "ALERT") {
		t.Errorf("not clean: %v\n%s", err, out)
	}
}

func TestXFSPowerButton(t *testing.T) {
	l := privateLibvirt(t)
	data := disk(t, l, t.Name(), "ntfs-data")
	g := define(t, "xfs", Spec{Disks: []Disk{{Path: data, Format: "qcow2", Target: "vdb"}}})
	started, _ := boot(t, g)
	_, err := g.WaitNote(limited(t), started, "mounted /dev/vdb1 at /data")
	check(t, err)
	check(t, g.WaitAgent(limited(t)))
	if fs := filesystems(t, g)["/data"]; fs.Total < 100<<20 {
		t.Errorf("agent says %+v", fs)
	}
	stop(t, g, "acpi")
	if out, err := output(t.Context(), "xfs_repair", "-n", part(t, diskOf(g, "xfs"), 67584*512)); err != nil || strings.Contains(out, "ALERT") {
		t.Errorf("not clean: %v\n%s", err, out)
	}
	// ntfsresize refuses a dirty volume.
	if out, err := output(t.Context(), "ntfsresize", "--info", part(t, data, 2048*512)); err != nil {
		t.Errorf("not clean: %v\n%s", err, out)
	}
}

func TestLVM(t *testing.T) {
	g := define(t, "lvm", Spec{})
	_, first := boot(t, g)
	if first.Disk != 512<<20 || first.Filesystem < 400<<20 || first.Filesystem > first.Disk {
		t.Errorf("first beat %+v", first)
	}
	pid, err := g.libvirt.QEMUPid(g.Name)
	check(t, err)

	check(t, g.libvirt.Kill())
	if _, err := g.State(t.Context()); err == nil {
		t.Error("libvirtd answers after it was killed")
	}
	_, err = g.WaitHeartbeat(limited(t), time.Now().Add(time.Second))
	check(t, err)
	check(t, g.libvirt.Restart(t.Context()))
	if again, err := g.libvirt.QEMUPid(g.Name); err != nil || again != pid {
		t.Errorf("QEMU was process %d, is %d, %v", pid, again, err)
	}
	if gap, err := g.Outage(first.At); err != nil || gap.Length() > 4*time.Second {
		t.Errorf("no beat for %v, %v", gap.Length(), err)
	}
	check(t, g.WaitAgent(limited(t)))
	if fs := filesystems(t, g)["/"]; fs.Type != "ext4" || fs.Total > first.Disk || fs.Total < 400<<20 {
		t.Errorf("agent says %+v, the first beat was %+v", fs, first)
	}
	grow(t, g, first, "sfdisk --force -N 1 /dev/vda", "partx -u /dev/vda",
		"pvresize /dev/vda1", "lvextend -l +100%FREE vg/root", "resize2fs /dev/vg/root")
	stop(t, g, "agent")
	lv := part(t, diskOf(g, "lvm"), 2048*512+1<<20)
	if out, err := output(t.Context(), "dumpe2fs", "-h", lv); err != nil || strings.Contains(out, "needs_recovery") {
		t.Errorf("not clean: %v\n%s", err, out)
	}
}

// TestWritten destroys a guest that ignores shutdown requests, and checks that its last
// synced line is on the disk.
func TestWritten(t *testing.T) {
	g := define(t, "xfs", Spec{Cmdline: []string{"ignore-shutdown"}})
	started, _ := boot(t, g)
	check(t, g.WaitAgent(limited(t)))
	for _, mode := range []string{"agent", "acpi"} {
		asked := time.Now()
		// libvirt waits 60 s for the shutdown that the agent has confirmed.
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		_, _ = g.libvirt.Virsh(ctx, "shutdown", "--mode", mode, g.Name)
		cancel()
		_, err := g.WaitNote(limited(t), asked, "asked to stop")
		check(t, err)
	}
	last, err := g.WaitHeartbeat(limited(t), time.Now().Add(2*time.Second))
	check(t, err)
	_, err = g.libvirt.Virsh(t.Context(), "destroy", g.Name)
	check(t, err)
	down := time.Now()
	boot(t, g)
	log, err := g.Log()
	check(t, err)
	if len(log.Boots) != 2 || log.Boots[1].Found < last.Written || last.Written < 3 {
		t.Errorf("boots %+v; written before: %d", log.Boots, last.Written)
	}
	gap, err := g.Outage(started)
	check(t, err)
	if gap.From.Boot == gap.To.Boot || gap.From.At.After(down) || gap.To.At.Before(down) {
		t.Errorf("outage %v to %v, destroyed at %v", gap.From.At, gap.To.At, down)
	}
	t.Logf("outage of a destroyed guest: %v", gap.Length())
}

func TestSlowWithoutAgentOnSCSI(t *testing.T) {
	l := privateLibvirt(t)
	root := Disk{Path: disk(t, l, t.Name(), "xfs"), Format: "qcow2", Target: "sda"}
	g := defineOn(t, l, Spec{Disks: []Disk{root}, Cmdline: []string{"slow-shutdown=3", "no-agent"}})
	boot(t, g)
	_, err := g.WaitHeartbeat(limited(t), time.Now().Add(2*time.Second))
	check(t, err)
	if _, err := g.Agent(t.Context(), `{"execute":"guest-ping"}`); err == nil {
		t.Error("an agent answers")
	}
	asked := time.Now()
	stop(t, g, "acpi")
	if took := time.Since(asked); took < 3*time.Second {
		t.Errorf("shut off after %v", took)
	}
}

func TestMisbehaviourAtBoot(t *testing.T) {
	for _, test := range []struct {
		cmdline string
		bigger  bool
		note    string
		state   string
		console string
	}{
		{"hang", false, "told to hang", "running", ""},
		{"was=536870912 bigger=hang", true, "told to hang", "running", ""},
		{"was=536870912 bigger=panic", true, "told to panic", "running", "Kernel panic"},
		{"was=536870912 bigger=off", true, "told to off", "shut off", ""},
		{"was=536870912 bigger=off", false, "", "running", ""},
	} {
		t.Run(strings.ReplaceAll(test.cmdline, " ", "-"), func(t *testing.T) {
			g := define(t, "xfs", Spec{Cmdline: strings.Fields(test.cmdline), NoAgentChannel: true})
			if test.bigger {
				_, err := output(t.Context(), "qemu-img", "resize", "-q", "-f", "qcow2", diskOf(g, "xfs"), "+1M")
				check(t, err)
			}
			if test.note == "" {
				boot(t, g)
				return
			}
			started := time.Now()
			check(t, g.Start(t.Context()))
			_, err := g.WaitNote(limited(t), started, test.note)
			check(t, err)
			check(t, g.WaitState(limited(t), test.state))
			check(t, until(limited(t), "console", func() (bool, error) {
				b, err := os.ReadFile(g.console())
				return bytes.Contains(b, []byte(test.console)), err
			}))
			if heartbeats, err := g.Heartbeats(); err != nil || len(heartbeats) > 0 {
				t.Errorf("%d heartbeats, %v", len(heartbeats), err)
			}
		})
	}
}

// TestAgents checks that the replies of the Windows guest's agent have the same keys as
// those of qemu-ga in the Linux guest.
func TestAgents(t *testing.T) {
	shapes := map[string]map[string][]string{}
	for _, c := range []struct {
		name  string
		spec  Spec
		hello []string
	}{
		{"qemu-ga", Spec{}, []string{"/bin/echo", "hello"}},
		{"windows", Spec{Cmdline: []string{"windows=able"}}, []string{"cmd.exe", "/c", "echo", "hello"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := privateLibvirt(t)
			c.spec.Disks = []Disk{{Path: disk(t, l, nameOf(t), "ntfs-data"), Format: "qcow2", Target: "vdb"}}
			g := define(t, "xfs", c.spec)
			started, _ := boot(t, g)
			check(t, g.WaitAgent(limited(t)))
			_, err := g.WaitNote(limited(t), started, "mounted /dev/vdb1 at /data")
			check(t, err)
			if out, err := g.Exec(limited(t), c.hello[0], c.hello[1:]...); err != nil || strings.TrimSpace(out) != "hello" {
				t.Errorf("hello: %q, %v", out, err)
			}
			if _, err := g.Exec(limited(t), "nonsense", "x"); err == nil || !strings.Contains(err.Error(), "Failed to execute") {
				t.Errorf("no such program: %v", err)
			}
			if _, err := g.Agent(t.Context(), `{"execute":"guest-nonsense"}`); err == nil || !strings.Contains(err.Error(), "has not been found") {
				t.Errorf("no such command: %v", err)
			}
			shapes[c.name] = map[string][]string{}
			for _, question := range []string{"guest-ping", "guest-info", "guest-get-osinfo", "guest-get-fsinfo"} {
				shapes[c.name][question] = shape(t, g, question)
			}
			stop(t, g, "agent")
		})
	}
	for question, keys := range shapes["qemu-ga"] {
		for _, key := range keys {
			if unixOnly[key] {
				continue
			}
			if !slices.Contains(shapes["windows"][question], key) {
				t.Errorf("%s: the Windows guest does not say %s, only %s", question, key, shapes["windows"][question])
			}
		}
	}
}

// unixOnly are the keys that qemu-ga has on Linux and not on Windows:
// total-bytes-privileged came with QEMU 9.1 (qga/qapi-schema.json).
var unixOnly = map[string]bool{"total-bytes-privileged": true}

// shape returns the keys of a reply; if the reply is a list, those of the NTFS volume.
func shape(t *testing.T, g *Guest, question string) []string {
	t.Helper()
	out, err := g.Agent(t.Context(), `{"execute":"`+question+`"}`)
	check(t, err)
	var answer struct{ Return any }
	check(t, json.Unmarshal([]byte(out), &answer))
	object, ok := answer.Return.(map[string]any)
	if list, many := answer.Return.([]any); many {
		i := slices.IndexFunc(list, func(v any) bool {
			at := v.(map[string]any)["mountpoint"]
			return at == "/data" || at == `D:\`
		})
		if ok = i >= 0; ok {
			object = list[i].(map[string]any)
		}
	}
	if !ok {
		t.Fatalf("%s: %s", question, out)
	}
	return slices.Sorted(maps.Keys(object))
}
