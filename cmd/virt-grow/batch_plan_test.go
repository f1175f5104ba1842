package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/virt-grow/virt-grow/guest/batch"
	"github.com/virt-grow/virt-grow/guest/image"
	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/inventory"
	"github.com/virt-grow/virt-grow/plan/journal"
	"github.com/virt-grow/virt-grow/plan/size"
	"github.com/virt-grow/virt-grow/testimages/lab"
	"github.com/virt-grow/virt-grow/testimages/level"
)

// inventoryFile writes an inventory.
func inventoryFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fleet.yaml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

const twoGuests = `connect: test:///default
guests:
  - name: test
    disks: [{disk: vda, size: +10G}]
  - name: nowhere
    disks: [{size: +10G}]
`

// TestBatchPlanRefuses runs the command on libvirt's test driver, whose only domain has no
// disk.
func TestBatchPlanRefuses(t *testing.T) {
	path := inventoryFile(t, twoGuests)
	output := filepath.Join(t.TempDir(), "batch.json")
	for _, more := range [][]string{nil, {"--only-possible"}} {
		got := try(t, t.TempDir(), append([]string{"batch", "plan", path, "-o", output}, more...)...)
		for _, want := range []string{"2 guests: 0 can be grown, 2 refused", "there is no domain nowhere at test:///default", "virsh list --all", "! test: "} {
			if got.exit != exitRefused || !strings.Contains(got.out, want) {
				t.Errorf("%v: exit %d, want %q in\n%s%s", more, got.exit, want, got.out, got.err)
			}
		}
		if _, err := os.Stat(output); err == nil {
			t.Errorf("%v: a batch without a plan was written", more)
		}
	}
	got := try(t, t.TempDir(), "batch", "plan", path, "--json")
	if got.exit != exitRefused {
		t.Errorf("exit %d", got.exit)
	}
	b, err := batch.Read(strings.NewReader(got.out))
	if err != nil {
		t.Fatal(err)
	}
	if len(b.Refused()) != 2 || b.Guests[1].Refusal.Reason != "not-found" || b.Inventory.Name != path || len(b.Inventory.SHA256) != 64 {
		t.Errorf("got %+v", b)
	}
}

// TestBatchPlanUsage has command lines and inventories that are refused at once.
func TestBatchPlanUsage(t *testing.T) {
	good := inventoryFile(t, twoGuests)
	for _, test := range []struct {
		name string
		args []string
		exit int
		want string
	}{
		{"no inventory", nil, exitUsage, "INVENTORY is missing"},
		{"no such file", []string{"/nowhere.yaml"}, exitUsage, "no such file"},
		{"quiesce alone", []string{good, "--quiesce", "yes"}, exitUsage, "--quiesce needs --rehearse"},
		{"over the inventory", []string{good, "-o", good, "--force"}, exitUsage, "is the inventory itself"},
		{"over another file", []string{good, "-o", inventoryFile(t, "x")}, exitUsage, "exists and is not a batch; --force replaces it"},
		{"an image", []string{inventoryFile(t, "guests: [{name: ./a.qcow2, disks: [{size: 30G}]}]")}, exitUsage,
			"1:17: ./a.qcow2 is the path of an image: an inventory lists domains"},
		{"a wrong key", []string{inventoryFile(t, "guests:\n- nam: dev7\n")}, exitUsage,
			"\n  - nam: dev7\n    ^\n"},
		{"no libvirt", []string{inventoryFile(t, "connect: qemu+unix:///system?socket=/nowhere\nguests: [{name: a, disks: [{size: 30G}]}]")}, exitRefused, "hint: "},
		{"another host", []string{inventoryFile(t, "connect: qemu+ssh://other/system\nguests: [{name: a, disks: [{size: 30G}]}]")}, exitRefused, "another host's libvirt"},
		{"connect on the command line", []string{good, "--connect", "qemu+tls://other/system"}, exitRefused, "another host's libvirt"},
		{"a window that has ended", []string{inventoryFile(t, "window: {end: 2020-01-31T04:00:00Z}\n"+twoGuests)}, exitWindow, "the window has ended"},
	} {
		got := try(t, t.TempDir(), append([]string{"batch", "plan"}, test.args...)...)
		if got.exit != test.exit || !strings.Contains(got.err, test.want) {
			t.Errorf("%s: exit %d, want %d and %q in\n%s%s", test.name, got.exit, test.exit, test.want, got.out, got.err)
		}
	}
}

func TestBatchPlanFromStandardInput(t *testing.T) {
	c := quiet(nil)
	c.in = strings.NewReader(twoGuests)
	if exit := execute([]string{"virt-grow", "--state-dir", t.TempDir(), "batch", "plan", "-", "--json"}, c); exit != exitRefused {
		t.Errorf("exit %d: %v", exit, c.err)
	}
	b, err := batch.Read(strings.NewReader(c.out.(*bytes.Buffer).String()))
	if err != nil {
		t.Fatal(err)
	}
	if b.Inventory.Name != "-" {
		t.Errorf("the inventory is %q", b.Inventory.Name)
	}
}

// TestBatchPlanWrites checks which batches are written, and where to.
func TestBatchPlanWrites(t *testing.T) {
	disk := func(n size.Bytes) *plan.Layout {
		return &plan.Layout{DiskLayout: plan.DiskLayout{Size: n, Sector: 512}, Devices: []plan.Device{{Name: "sda", Kind: plan.Disk, Size: n}}}
	}
	good := batch.Guest{Name: "dev7", UUID: "u7", Treatment: inventory.DefaultTreatment(), Disks: []inventory.Disk{{Disk: "vda", Size: "+1G"}}, Plan: &plan.Plan{
		Schema: plan.Schema, OldSize: size.GiB, NewSize: 2 * size.GiB, Before: disk(size.GiB), After: disk(2 * size.GiB),
		Target: plan.Target{Path: "/a.qcow2", Format: "qcow2", SectorSize: 512, Guest: &plan.Guest{Name: "dev7", UUID: "u7", Disk: "vda"}}}}
	bad := batch.Guest{Name: "web", Treatment: inventory.DefaultTreatment(), Disks: []inventory.Disk{{Size: "30G"}}, Refusal: &batch.Refusal{Reason: "not-found", Message: "there is none"}}
	for _, test := range []struct {
		name           string
		guests         []batch.Guest
		only, json     bool
		exit           int
		written, shown bool
	}{
		{"all", []batch.Guest{good}, false, false, 0, true, false},
		{"some", []batch.Guest{good, bad}, false, false, exitRefused, false, false},
		{"only the possible", []batch.Guest{good, bad}, true, false, 0, true, false},
		{"none", []batch.Guest{bad}, true, false, exitRefused, false, false},
		{"all, as JSON", []batch.Guest{good}, false, true, 0, true, true},
		{"some, as JSON", []batch.Guest{good, bad}, false, true, exitRefused, false, true},
	} {
		b := &batch.Batch{Schema: batch.Schema, Parallel: 1, StopAfter: 1, Guests: test.guests}
		p := &program{console: quiet(nil)}
		p.json = test.json
		path := filepath.Join(t.TempDir(), "batch.json")
		err := batchPlanCommand{p}.planned(b, path, test.only)
		if exit := p.finish(err); exit != test.exit {
			t.Errorf("%s: exit %d, want %d", test.name, exit, test.exit)
		}
		written, err := batch.ReadFile(path)
		if (err == nil) != test.written || err == nil && len(written.Guests) != len(test.guests) {
			t.Errorf("%s: written %v, %v", test.name, written, err)
		}
		out := p.out.(*bytes.Buffer).String()
		if strings.HasPrefix(out, "{") != test.shown || strings.Contains(out, "next: virt-grow batch apply ") != (test.written && !test.json) {
			t.Errorf("%s: shown:\n%s", test.name, out)
		}
	}
}

// TestBatchPlan rehearses for a running guest and for one that is refused, whose disk has no
// such mount point.
func TestBatchPlan(t *testing.T) {
	level.Need(t, level.Long)
	h := newEnv(t)
	x := h.start(t, "ready", lab.Spec{}, false, labDisk{"xfs", "qcow2"})
	h.start(t, "refused", lab.Spec{}, true, labDisk{"xfs", "qcow2"})
	x.note(t)
	path := inventoryFile(t, `window: {start: "02:00", end: "04:00"}
defaults: {boot-timeout: 90s}
guests:
  - {name: ready, disks: [{disk: vda, size: 1G}]}
  - {name: refused, disks: [{disk: vda, size: 1G, grow: [/nowhere]}]}
`)
	output := filepath.Join(h.dir, "batch.json")
	code, out := x.run(t, "", "batch", "plan", path, "-o", output, "--only-possible", "--rehearse")
	if code != 0 || !strings.Contains(out, "2 guests: 1 can be grown, 1 refused") || !strings.Contains(out, "! refused: ") {
		t.Fatalf("exit %d\n%s", code, out)
	}
	b, err := batch.ReadFile(output)
	if err != nil {
		t.Fatal(err)
	}
	ready, refused := b.Guests[0], b.Guests[1]
	if ready.Plan == nil || !strings.Contains(x.xml, ready.UUID) || int64(ready.Plan.NewSize) != x.want || ready.Rehearsed == 0 || ready.Outage == 0 {
		t.Errorf("got %+v", ready)
	}
	if refused.Refusal == nil || refused.Refusal.Reason != batch.Reason(plan.NotFound) || refused.Refusal.Hint == "" {
		t.Errorf("got %+v", refused.Refusal)
	}
	if b.Expected.Seconds <= ready.Outage || !b.Expected.Fits || b.Expected.Window == 0 {
		t.Errorf("got %+v", b.Expected)
	}
	if beat := x.beating(t, time.Now()); beat.Boot != x.old.Boot {
		t.Error("the guest was restarted for a plan")
	}
	x.checkKept(t)
}

// TestBatchPlanConflicts plans for domains of libvirt's test driver that conflict with one
// another or with a job: two share an image, one is listed twice, one has an unfinished
// job, and one is in an unfinished batch.
func TestBatchPlanConflicts(t *testing.T) {
	dir, state := t.TempDir(), t.TempDir()
	host, list := "<node>", "connect: test://"+dir+"/host.xml\nguests:\n"
	for i, d := range [][2]string{{"one", "shared"}, {"two", "shared"}, {"twice", "twice"}, {"busy", "busy"}, {"queued", "queued"}} {
		path := filepath.Join(dir, d[1]+".qcow2")
		if out, err := exec.Command("qemu-img", "create", "-q", "-f", "qcow2", path, "8M").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		host += fmt.Sprintf(`<domain type='test' xmlns:test='http://libvirt.org/schemas/domain/test/1.0'>
			<test:runstate>5</test:runstate><name>%s</name><uuid>00000000-0000-0000-0000-00000000000%d</uuid><memory>1</memory>
			<os><type arch='x86_64'>hvm</type></os><devices><disk type='file' device='disk'>
			<driver name='qemu' type='qcow2'/><source file='%s'/><target dev='vda' bus='virtio'/></disk></devices></domain>`, d[0], i, path)
		list += "  - {name: " + d[0] + ", disks: [{size: +1G}]}\n"
	}
	list += "  - {name: 00000000-0000-0000-0000-000000000002, disks: [{size: +2G}]}\n"
	if err := os.WriteFile(filepath.Join(dir, "host.xml"), []byte(host+"</node>"), 0o644); err != nil {
		t.Fatal(err)
	}
	stamp, err := image.StampOf(filepath.Join(dir, "busy.qcow2"))
	if err != nil {
		t.Fatal(err)
	}
	unfinished(t, state, stamp.Identity())
	unfinished(t, state, "batch-00000000-0000-0000-0000-000000000004")
	got := try(t, state, "batch", "plan", inventoryFile(t, list), "--json")
	if got.exit != exitRefused {
		t.Errorf("exit %d: %s", got.exit, got.err)
	}
	b, err := batch.Read(strings.NewReader(got.out))
	if err != nil {
		t.Fatalf("%v\n%s", err, got.out)
	}
	for i, want := range []struct{ reason, message, hint string }{
		{"disk-shared", "is also disk vda of domain two", "one guest"},
		{"disk-shared", "is also disk vda of domain one", "one guest"},
		{"listed-twice", "as twice and as 00000000-", "keep one"},
		{"job-active", "has not ended", "plan again when the job has ended"},
		{"job-active", "on queued has not ended", "plan again when the job has ended"},
		{"listed-twice", "and as twice", "keep one"},
	} {
		r := b.Guests[i].Refusal
		if r == nil || string(r.Reason) != want.reason || !strings.Contains(r.Message, want.message) || !strings.Contains(r.Hint, want.hint) {
			t.Errorf("%s: got %+v, want %+v", b.Guests[i].Name, r, want)
		}
	}
}

// unfinished creates a job that holds a lock.
func unfinished(t *testing.T, state, lock string) {
	t.Helper()
	header, err := json.Marshal(job.Header{Kind: "growth", Locks: []string{lock}})
	if err != nil {
		t.Fatal(err)
	}
	j, err := journal.Store{Dir: state}.Create(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(j.Log.Append(journal.Entry{Kind: journal.Opened, Data: header, Time: time.Now()}), j.Close()); err != nil {
		t.Fatal(err)
	}
}
