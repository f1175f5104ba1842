package main

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/virt-grow/virt-grow/testimages/level"
)

// bare is a domain that is only defined: no guest boots for these tests.
const bare = `<domain type='qemu'>
  <name>NAME</name><memory unit='MiB'>128</memory>
  <os><type arch='x86_64'>hvm</type></os>MORE
  <devices>DISKS</devices>
</domain>`

// TestDomainRefusals checks that an unsuitable domain is refused with the right reason
// before it is changed.
func TestDomainRefusals(t *testing.T) {
	level.Only(t, level.Real)
	h := newEnv(t)
	image := func(name string, args ...string) string {
		path := filepath.Join(h.dir, name)
		if out, err := exec.Command("qemu-img", append(append([]string{"create", "-q"}, args...), path, "8M")...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return path
	}
	plain := image("plain.qcow2", "-f", "qcow2")
	lone := image("lone.qcow2", "-f", "qcow2")
	raw := image("raw.raw", "-f", "raw")
	base := image("base.qcow2", "-f", "qcow2")
	top := image("top.qcow2", "-f", "qcow2", "-b", base, "-F", "qcow2")
	disk := func(target, format, path, more string) string {
		return "<disk type='file' device='disk'><driver name='qemu'" + format + "/><source file='" + path + "'/><target dev='" + target + "' bus='virtio'/>" + more + "</disk>"
	}
	const qcow2, asRaw = " type='qcow2'", " type='raw'"
	h.define(t, "user", "", disk("vda", qcow2, top, ""))
	h.define(t, "twin", "", disk("vda", qcow2, plain, ""))
	for _, c := range []struct {
		name, more, disks string
		args              []string
		exit              int
		reason, says      string
	}{
		{"many", "", disk("vda", qcow2, lone, "") + disk("vdb", asRaw, raw, ""), nil, 3, "ambiguous-disk", "2 disks: vda, vdb"},
		{"absent", "", disk("vda", qcow2, lone, ""), []string{"--disk", "vdx"}, 3, "not-found", "has no disk vdx; it has vda"},
		{"none", "", "", nil, 3, "not-found", "no writable disk"},
		{"readonly", "", disk("vda", qcow2, lone, "<readonly/>"), []string{"--disk", "vda"}, 3, "disk-readonly", "is read-only"},
		{"shared", "", disk("vda", asRaw, raw, "<shareable/>"), nil, 3, "disk-shared", "is shareable"},
		{"mistaken", "", disk("vda", asRaw, lone, ""), nil, 3, "format-mismatch", "a disk of 196"},
		{"network", "", "<disk type='network' device='disk'><driver name='qemu' type='raw'/><source protocol='nbd' name='x'><host name='localhost'/></source><target dev='vda' bus='virtio'/></disk>", nil, 3, "disk-unsupported", `of type "network"`},
		{"cdrom", "", disk("vda", qcow2, lone, "") + "<disk type='file' device='cdrom'><driver name='qemu' type='raw'/><source file='" + raw + "'/><target dev='sdb' bus='sata'/><readonly/></disk>", []string{"--disk", raw}, 3, "disk-readonly", "is read-only"},
		{"gone", "", disk("vda", qcow2, filepath.Join(h.dir, "no.qcow2"), ""), nil, 3, "not-found", "there is no image"},
		{"second", "", disk("vda", qcow2, plain, ""), nil, 3, "disk-shared", "is also disk vda of domain twin"},
		{"below", "", disk("vda", qcow2, base, ""), nil, 3, "chain-shared", "is a backing file of disk vda of domain user"},
		{"reboots", "<on_poweroff>restart</on_poweroff>", disk("vda", qcow2, lone, ""), nil, 3, "domain-state", "does not stay off"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h.define(t, c.name, c.more, c.disks)
			h.refused(t, append([]string{"grow", c.name, "--size", "+1G", "--yes"}, c.args...), c.exit, c.reason, c.says)
			if _, err := h.Virsh(context.Background(), "undefine", c.name); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("unknown", func(t *testing.T) {
		h.refused(t, []string{"grow", "nobody", "--size", "+1G", "--yes"}, 3, "not-found", "there is no domain nobody")
	})
	t.Run("transient", func(t *testing.T) {
		if _, err := h.Virsh(context.Background(), "create", "--paused", h.xml(t, "transient", "", disk("vda", qcow2, lone, ""))); err != nil {
			t.Fatal(err)
		}
		h.refused(t, []string{"grow", "transient", "--size", "+1G", "--yes"}, 3, "transient-domain", "would be gone")
		if _, err := h.Virsh(context.Background(), "destroy", "transient"); err != nil {
			t.Fatal(err)
		}
	})
	// The guest has nothing to boot, which makes no difference here.
	t.Run("paused and saved", func(t *testing.T) {
		h.define(t, "saved", "", disk("vda", qcow2, lone, ""))
		if _, err := h.Virsh(context.Background(), "start", "--paused", "saved"); err != nil {
			t.Fatal(err)
		}
		h.refused(t, []string{"grow", "saved", "--size", "+1G", "--yes"}, 3, "domain-state", "is paused")
		if _, err := h.Virsh(context.Background(), "managedsave", "saved"); err != nil {
			t.Fatal(err)
		}
		h.refused(t, []string{"grow", "saved", "--size", "+1G", "--yes"}, 3, "managed-save", "has a managed save")
	})
}

// xml writes a bare domain's definition to a file.
func (h *env) xml(t *testing.T, name, more, disks string) string {
	t.Helper()
	path := filepath.Join(h.dir, name+".xml")
	text := strings.NewReplacer("NAME", name, "MORE", more, "DISKS", disks).Replace(bare)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func (h *env) define(t *testing.T, name, more, disks string) {
	t.Helper()
	if _, err := h.Virsh(context.Background(), "define", h.xml(t, name, more, disks)); err != nil {
		t.Fatal(err)
	}
}

// refused runs a command line, and fails the test unless it is refused and leaves no
// job.
func (h *env) refused(t *testing.T, args []string, exit int, reason, says string) {
	t.Helper()
	state := filepath.Join(h.dir, "state")
	cmd := exec.Command(h.program, append([]string{"--json", "--state-dir", state, "--connect", h.URI()}, args...)...)
	out, _ := cmd.Output() // the exit code is checked below
	var result struct{ Reason, Error, Hint string }
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &result); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if cmd.ProcessState.ExitCode() != exit || result.Reason != reason || !strings.Contains(result.Error, says) || result.Hint == "" {
		t.Errorf("exit %d, %+v", cmd.ProcessState.ExitCode(), result)
	}
	if jobs, _ := filepath.Glob(filepath.Join(state, "jobs", "2*")); len(jobs) > 0 {
		t.Errorf("a job is left: %v", jobs)
	}
}
