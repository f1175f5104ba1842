package view

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/apply"
	"github.com/virt-grow/virt-grow/plan/size"
)

var update = flag.Bool("update", false, "write the golden files anew")

const gib, mib = size.GiB, size.MiB

func part(n int, start, bytes size.Bytes, kind string, c plan.Content) plan.Device {
	return plan.Device{Name: fmt.Sprintf("sda%d", n), Kind: plan.Partition, Parent: "sda", Number: n, Start: start, Size: bytes, Type: kind, Content: c}
}

func disk(n size.Bytes) plan.Device { return plan.Device{Name: "sda", Kind: plan.Disk, Size: n} }

// windows returns a usual Windows disk; recovery stands behind C: where asked for.
func windows() *plan.Layout {
	return &plan.Layout{DiskLayout: plan.DiskLayout{Size: 60 * gib, Sector: 512}, OS: &plan.OS{Type: "windows", Product: "Windows Server 2022 Standard", Root: "sda3", Virtio: []string{"viostor"}},
		Devices: []plan.Device{
			disk(60 * gib),
			part(1, mib, 100*mib, "EFI system", plan.Content{Type: "vfat", Label: "EFI"}),
			part(2, 101*mib, 16*mib, "Microsoft reserved", plan.Content{}),
			part(3, 117*mib, 49*gib, "Microsoft basic data", plan.Content{Type: "ntfs", Size: 49 * gib, Used: 31 * gib, Mounted: []string{"C:"}, Role: plan.RoleWindowsBoot}),
			part(4, 117*mib+49*gib, 600*mib, "Windows recovery", plan.Content{Type: "ntfs", Label: "WinRE", Size: 600 * mib, Used: 500 * mib}),
		}}
}

// lvm returns a disk with LUKS below LVM.
func lvm() *plan.Layout {
	locked := plan.Refuse(plan.BitLocker, "sda3", "sda3 is encrypted with BitLocker")
	return &plan.Layout{DiskLayout: plan.DiskLayout{Size: 20 * gib, Sector: 512},
		Groups: []plan.Group{{Name: "vg0", Extent: 4 * mib, Free: 3 * gib, PVs: []string{"luks-sda2"}, Missing: 1}},
		Devices: []plan.Device{
			disk(20 * gib),
			part(1, mib, gib, "Linux file system", plan.Content{Type: "ext4", Size: gib, Used: 200 * mib, Mounted: []string{"/boot"}}),
			part(2, mib+gib, 15*gib, "Linux LUKS", plan.Content{Type: plan.ContentLUKS}),
			part(3, mib+16*gib, 2*gib, "Microsoft basic data", plan.Content{Type: "BitLocker", Problem: locked}),
			{Name: "luks-sda2", Kind: plan.Crypt, Parent: "sda2", Size: 15*gib - 16*mib, Content: plan.Content{Type: plan.ContentPV, Group: "vg0", Used: 12 * gib}},
			{Name: "vg0/root", Kind: plan.LV, Group: "vg0", Size: 10 * gib, Content: plan.Content{Type: "xfs", Size: 8 * gib, Used: 4 * gib, Mounted: []string{"/"}, Notes: []string{"has a note"}}},
			{Name: "vg0/swap", Kind: plan.LV, Group: "vg0", Size: 2 * gib, Content: plan.Content{Type: "swap"}},
		}}
}

// hostile holds what a guest could write into its labels.
func hostile() *plan.Layout {
	return &plan.Layout{DiskLayout: plan.DiskLayout{Size: gib, Sector: 4096}, Devices: []plan.Device{{Name: "sda", Kind: plan.Disk, Size: gib,
		Content: plan.Content{Type: "ext4", Size: gib, Used: mib, Label: "\x1b[2J\u202egnp\r\nö"}}}}
}

func grownPlan() *plan.Plan {
	before, after := windows(), windows()
	before.Devices, after.Devices = before.Devices[:4], after.Devices[:4]
	after.Size, after.Devices[0].Size = 80*gib, 80*gib
	after.Devices[3].Size, after.Devices[3].Content.Size = 80*gib-118*mib, 80*gib-118*mib
	return &plan.Plan{Schema: plan.Schema, Target: plan.Target{Path: "/img/win.qcow2", Format: "qcow2", SectorSize: 512},
		Request: plan.Request{Size: plan.Amount{Mode: plan.Absolute, Bytes: 80 * gib}},
		OldSize: 60 * gib, NewSize: 80 * gib, Grows: "sda3", Before: before, After: after, Writes: 9 * mib,
		Fingerprint: "abc", Warnings: []string{"sda3: ntfsresize marks NTFS for a check: Windows runs chkdsk at its next boot, which takes as long as it takes"},
		Steps: []plan.Step{
			{Kind: plan.StepOverlay, Summary: "create an overlay of 80 GiB; the image is only read from here on", Seconds: 0.1},
			{Kind: plan.StepTable, Device: "sda", Summary: "write the GPT: sda3 49 GiB → 79.88 GiB, backup header to the disk's end", Seconds: 0.8},
			{Kind: plan.StepFS, Device: "sda3", Summary: "grow ntfs on sda3 49 GiB → 79.88 GiB", Seconds: 0.3},
			{Kind: plan.StepCommit, Summary: "commit the overlay into the image", Seconds: 0.1},
		}}
}

// extendedPlan has Windows extend C:, or a person.
func extendedPlan(byHand bool) *plan.Plan {
	p := grownPlan()
	p.Warnings = nil
	extend := plan.Step{Kind: plan.StepExtend, Device: "sda3", Summary: "Windows extends C: 49 GiB → 79.88 GiB", To: 80*gib - 118*mib, Seconds: 20,
		Script: "$ErrorActionPreference = 'Stop'\nif ($p.Size -lt $to) { $p | Resize-Partition -Size $to }"}
	p.Steps[2] = extend
	if byHand {
		p.Steps = slices.Delete(p.Steps, 2, 3)
		p.ManualSteps = []string{extend.ByHand()}
		p.After.Devices[3].Size, p.After.Devices[3].Content.Size = 49*gib, 49*gib
	}
	return p
}

// movedPlan moves a disk to another bus; nothing grows.
func movedPlan() *plan.Plan {
	target := plan.Target{Path: "/img/old.qcow2", Format: "qcow2", SectorSize: 512, Guest: &plan.Guest{Name: "old7", Disk: "hda", Bus: "ide", Running: true, Trial: true,
		Disks: []plan.TrialDisk{{Target: "hda"}}, Health: plan.Health{Agent: true, Limit: 300},
		Shutdown: []plan.ShutdownAttempt{{Method: "acpi", Seconds: 180}},
		Moves:    []plan.BusMove{{Disk: "hda", Target: "vda", From: "ide", To: "virtio", Notes: []string{"the boot order is written to the devices"}}}}}
	l := lvm()
	l.Bus = &plan.BusFindings{Warnings: []string{"the rescue system has no driver"},
		Files: []plan.FileEdit{{Path: "/etc/fstab", Before: []byte("UUID=1 / xfs defaults 0 1\n/dev/sda2 none swap sw 0 0\n"), After: []byte("UUID=1 / xfs defaults 0 1\nUUID=2 none swap sw 0 0\n")}}}
	p, err := plan.Build(l, target, plan.Request{Size: plan.Amount{Mode: plan.Keep}, Grow: []plan.GrowTarget{{Name: plan.GrowNone, Amount: plan.Amount{Mode: plan.Fill}}}, Bus: &plan.BusRequest{To: "virtio"}})
	if err != nil {
		panic(err) // the layout allows it
	}
	return p
}

func nothingPlan() *plan.Plan {
	p := grownPlan()
	p.Steps, p.NewSize, p.After = nil, p.OldSize, p.Before
	return p
}

func inspection(l *plan.Layout) Inspection {
	return Inspection{Target: plan.Target{Path: "/img/x.qcow2", Format: "qcow2", SectorSize: 512, Backing: []plan.Link{{Path: "/img/base.raw", Format: "raw"}}},
		Layout: l, Notes: []string{"the image has 2 internal snapshot(s)"},
		Hint: func(*plan.Refusal) string { return "do this about it" }}
}

// diskList returns a domain with all that can be said of a disk.
func diskList(when time.Time) *plan.DiskList {
	in := plan.InsideOf(lvm(), when)
	in.OS, in.Table = "Debian GNU/Linux 12 (bookworm)", "gpt"
	stale := *in
	stale.Current = false
	hostile := plan.InsideOf(hostile(), when)
	l := &plan.DiskList{Domain: "dev7", UUID: "6e1e0f2c-0000-0000-0000-000000000000", State: "running", Disks: []plan.ListedDisk{
		{Target: "vda", Bus: "virtio", Device: "disk", Kind: "file", Source: "/var/lib/libvirt/images/dev7.qcow2", Format: "qcow2",
			Size: 20 * gib, Allocated: 3*gib + 100*mib, Depth: 2, Backing: []plan.Link{{Path: "/var/lib/libvirt/images/debian.qcow2", Format: "qcow2"}}, Inside: in},
		{Target: "vdb", Bus: "virtio", Device: "disk", Kind: "file", Source: "/img/data.qcow2", Format: "raw", Serial: "DATA-1", Cache: "unsafe",
			Size: 197120, Allocated: 196 * size.KiB, Depth: 1, Inside: &stale, Shareable: true},
		{Target: "vdc", Bus: "virtio", Device: "lun", Kind: "block", Source: "/dev/vg0/x", Format: "raw", ReadOnly: true, Size: gib, Allocated: 0, Depth: 1, Inside: hostile},
		{Target: "vdd", Bus: "virtio", Device: "disk", Kind: "network", Source: "rbd://mon1,mon2/pool/image", Format: "raw"},
		{Target: "sda", Bus: "sata", Device: "cdrom", ReadOnly: true},
	}}
	for i := range l.Disks {
		l.Disks[i].Warnings = []*plan.Refusal{} // never null in a list that is printed
	}
	l.Disks[1].Warn(plan.FormatMismatch, "/img/data.qcow2", "vdb: /img/data.qcow2 begins like qcow2, but is to be used as raw: a guest that has it as raw sees a disk of 197120 bytes, the file's own size")
	return l
}

// grownOnline returns a running guest's disk, with what a guest can make up in its names.
func grownOnline() Online {
	return Online{Guest: "dev7", Disk: "vdb", Path: "/img/data.qcow2", Format: "qcow2", From: 20 << 30, To: 30 << 30,
		Via: "libvirt", Sent: `virDomainBlockResize("vdb", 32212254720, VIR_DOMAIN_BLOCK_RESIZE_BYTES)`, InGuest: "agent",
		Commands:    []string{"growpart /dev/vdb 1", "xfs_growfs '/srv/\x1b[2Jmy data'"},
		ManualSteps: []string{"in the guest, as root:\nresize2fs /dev/vdb1"}, Notes: []string{"the guest has 2 disks of this size"}}
}

func TestGolden(t *testing.T) {
	wide := Style{Width: 100, Unicode: true}
	plain := Style{}
	color := Style{Width: 72, Unicode: true, Color: true}
	blocked := inspection(windows())
	blocked.Growth = []Growth{
		{Device: "sda3", Content: "ntfs", Mounted: []string{"C:"}, Blocked: plan.Refuse(plan.ImmovableNeighbor, "sda4", "cannot grow sda3: 1 GiB needed, 0 B free; sda4 (Windows recovery, 600 MiB) stands behind sda3")},
		{Device: "sda4", Content: "ntfs"},
	}
	blocked.Default = "sda4"
	when := time.Date(2026, 1, 31, 10, 15, 0, 0, time.UTC)
	job := Job{ID: "20260131-101500-3f2a", Target: "/img/win.qcow2", State: "committing", Started: when, Next: "virt-grow resume 20260131-101500-3f2a"}
	for name, draw := range map[string]func(io.Writer) error{
		"inspect-windows":       func(w io.Writer) error { return Inspect(w, wide, blocked) },
		"inspect-windows-ascii": func(w io.Writer) error { return Inspect(w, plain, blocked) },
		"inspect-lvm":           func(w io.Writer) error { return Inspect(w, wide, inspection(lvm())) },
		"inspect-lvm-narrow":    func(w io.Writer) error { return Inspect(w, Style{Width: 40, Unicode: true}, inspection(lvm())) },
		"inspect-hostile":       func(w io.Writer) error { return Inspect(w, wide, inspection(hostile())) },
		"inspect-hostile-ascii": func(w io.Writer) error { return Inspect(w, plain, inspection(hostile())) },
		"online":                func(w io.Writer) error { return OnlinePlan(w, plain, grownOnline()) },
		"plan":                  func(w io.Writer) error { return Plan(w, wide, PlanText{Plan: grownPlan(), Overlay: "/img"}) },
		"plan-color": func(w io.Writer) error {
			return Plan(w, color, PlanText{Plan: grownPlan(), Overlay: "/img", Keep: true, Exact: true})
		},
		"plan-windows-extends": func(w io.Writer) error { return Plan(w, wide, PlanText{Plan: extendedPlan(false), Overlay: "/img"}) },
		"result-by-hand": func(w io.Writer) error {
			p := extendedPlan(true)
			return Results(w, plain, Result{Job: "J", Outcome: Done, Plan: p, Took: time.Minute, ManualSteps: p.ManualSteps})
		},
		"plan-bus": func(w io.Writer) error { return Plan(w, wide, PlanText{Plan: movedPlan(), Overlay: "/img"}) },
		"result-bus": func(w io.Writer) error {
			return Results(w, plain, Result{Job: "J", Outcome: Done, Plan: movedPlan(), Took: time.Minute})
		},
		"plan-nothing": func(w io.Writer) error { return Plan(w, wide, PlanText{Plan: nothingPlan()}) },
		"result-done": func(w io.Writer) error {
			return Results(w, plain, Result{Job: "J", Outcome: Done, Plan: grownPlan(), Took: 27300 * time.Millisecond})
		},
		"result-waiting": func(w io.Writer) error {
			return Results(w, plain, Result{Job: "J", Outcome: Waiting, Plan: grownPlan(), Took: time.Minute, Overlay: "/img/o.qcow2", Accept: "virt-grow accept J", Rollback: "virt-grow rollback J"})
		},
		"jobs": func(w io.Writer) error {
			return Jobs(w, plain, []Job{{ID: "20260131-091500-0001", Target: "/img/a.raw", State: "done", Started: when}, job})
		},
		"status": func(w io.Writer) error {
			return Statuses(w, plain, Status{Job: job, Changed: when, OldSize: gib, NewSize: 2 * gib, Grows: "sda3",
				Text: "The job was interrupted while the overlay was committed into the image.", Error: "no space left on device",
				Steps:    []StepStatus{{"overlay", "create an overlay", "done"}, {"commit", "commit the overlay", "begun"}, {"clean-up", "delete", "open"}},
				Overlay:  &File{Path: "/img/o.qcow2", Exists: true, Bytes: 9 * mib},
				Undo:     &File{Path: "/img/u.qcow2"},
				Commands: []Command{{"virt-grow resume 20260131-101500-3f2a", "finish it"}, {"virt-grow rollback 20260131-101500-3f2a", "take it back"}}})
		},
		"disks": func(w io.Writer) error {
			return Disks(w, plain, diskList(when), func(*plan.Refusal) string { return "do this about it" })
		},
		"disks-narrow": func(w io.Writer) error {
			return Disks(w, Style{Width: 40, Unicode: true}, diskList(when), func(*plan.Refusal) string { return "" })
		},
		"disks-none": func(w io.Writer) error {
			return Disks(w, plain, &plan.DiskList{Domain: "bare", State: "off"}, nil)
		},
		"disks-json": func(w io.Writer) error { return DisksJSON(w, diskList(when)) },
		"doctor": func(w io.Writer) error {
			return Doctor(w, plain, []Finding{{"KVM", "warn", "there is no /dev/kvm: the appliance runs under software emulation, which takes about fifteen seconds to start", ""},
				{"qemu-img", "fail", "not installed", "apt install qemu-utils"}})
		},
		"jobs-json":    func(w io.Writer) error { return JobsJSON(w, []Job{job}) },
		"inspect-json": func(w io.Writer) error { return InspectJSON(w, blocked) },
		"trouble-json": func(w io.Writer) error {
			return TroubleJSON(w, Trouble{Reason: "shrink", Error: "no", Hint: "do", Exit: 3})
		},
		"progress":      func(w io.Writer) error { return steps(w, false) },
		"progress-live": func(w io.Writer) error { return steps(w, true) },
		"events":        events,
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			if err := draw(&b); err != nil {
				t.Fatal(err)
			}
			golden(t, name, b.String())
		})
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("not as in %s (go test ./cmd/virt-grow/view -update writes it):\n%s", path, diff)
	}
}

// script is what a run tells that fails in its last step and is undone.
func script(p *plan.Plan, note func(string), planned func(*plan.Plan), event func(apply.Event)) {
	note("starting the appliance")
	event(apply.Event{Phase: apply.Started, Step: plan.Step{Kind: plan.StepOverlay}})
	event(apply.Event{Phase: apply.Finished, Step: plan.Step{Kind: plan.StepOverlay}, Took: 40 * time.Millisecond})
	note("looking at the disk")
	planned(p)
	for _, s := range p.Steps[1:3] {
		event(apply.Event{Phase: apply.Started, Step: s})
		event(apply.Event{Phase: apply.Finished, Step: s, Took: 1400 * time.Millisecond})
	}
	last := p.Steps[3]
	event(apply.Event{Phase: apply.Started, Step: last})
	event(apply.Event{Phase: apply.Failed, Step: last, Took: time.Second, Err: errors.New("disk full")})
	event(apply.Event{Phase: apply.Undoing, Step: last})
	event(apply.Event{Phase: apply.Undone, Step: last, Took: 2 * time.Second})
}

// clockwork goes on by a second whenever it is asked.
func clockwork() func() time.Time {
	at := time.Date(2026, 1, 31, 10, 15, 0, 0, time.UTC)
	return func() time.Time { at = at.Add(time.Second); return at }
}

func steps(w io.Writer, live bool) error {
	p := NewProgress(w, Style{Width: 60, Unicode: true}, live, clockwork())
	planned := func(pl *plan.Plan) {
		p.Hold()
		fmt.Fprintln(w, "(the plan)")
		p.Release()
		p.Listed(pl.Steps)
		p.Tick()
	}
	script(grownPlan(), p.Note, planned, p.Event)
	p.Stop()
	return nil
}

func events(w io.Writer) error {
	e := NewEvents(w, "grow", clockwork())
	e.Opened("20260131-101500-3f2a")
	small := grownPlan()
	small.Before, small.After = hostile(), hostile()
	script(small, e.Note, e.Planned, e.Event)
	e.Result(ResultEvent{Job: "20260131-101500-3f2a", Outcome: Restored, Trouble: &Trouble{Reason: "failed", Error: "disk full", Exit: 7}})
	return nil
}

// Maps of whatever is on a disk are as wide as they were asked to be, in every
// line.
func TestMapWidth(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := &plan.Layout{DiskLayout: plan.DiskLayout{Size: size.Bytes(rapid.Int64Range(1, 1<<50).Draw(t, "size"))}, Devices: []plan.Device{disk(0)}}
		for i := range rapid.IntRange(0, 12).Draw(t, "partitions") {
			start := rapid.Int64Range(0, 1<<50).Draw(t, "start")
			bytes := rapid.Int64Range(1, 1<<50).Draw(t, "bytes")
			used := rapid.Int64Range(0, 1<<51).Draw(t, "used")
			l.Devices = append(l.Devices, part(i+1, size.Bytes(start), size.Bytes(bytes), "x", plan.Content{Type: "xfs", Size: 1, Used: size.Bytes(used)}))
		}
		width := rapid.IntRange(minWidth, maxWidth).Draw(t, "width")
		p := &page{Style: Style{Unicode: rapid.Bool().Draw(t, "unicode")}}
		p.diskMap(l, &l.DiskLayout, width, nil)
		for _, line := range strings.Split(strings.TrimSuffix(p.b.String(), "\n"), "\n") {
			if strings.HasPrefix(line, "  (") {
				continue
			}
			if columns(line) != width {
				t.Fatalf("%d columns, not %d: %q", columns(line), width, line)
			}
		}
	})
}

// What a terminal could take for a command does not get through, in any style.
func TestClean(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := Style{Unicode: rapid.Bool().Draw(t, "unicode")}
		for _, r := range s.clean(rapid.String().Draw(t, "text")) {
			if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r >= 0x200b && r <= 0x200f || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
				t.Fatalf("%q got through", r)
			}
		}
	})
}

// A step that knows how far it is says so on the live line, and nowhere else.
func TestProgressPercent(t *testing.T) {
	step := plan.Step{Kind: plan.StepCopy, Summary: "copy it"}
	for _, live := range []bool{true, false} {
		var b bytes.Buffer
		p := NewProgress(&b, Style{Width: 60, Unicode: true}, live, clockwork())
		p.Listed([]plan.Step{step})
		p.Event(apply.Event{Phase: apply.Started, Step: step})
		p.Event(apply.Event{Phase: apply.Progress, Step: step, Percent: 42.7})
		p.Event(apply.Event{Phase: apply.Finished, Step: step, Took: time.Second})
		if strings.Contains(b.String(), "copy it … 43 %") != live || !strings.HasSuffix(b.String(), "[1/1] copy it … 1.0 s\n") {
			t.Errorf("live %v: %q", live, b.String())
		}
	}
}

// TestPlanFits: a plan is no wider than the terminal, but for what is to be copied.
func TestPlanFits(t *testing.T) {
	for width := minWidth; width <= maxWidth; width++ {
		var b bytes.Buffer
		if err := Plan(&b, Style{Width: width, Unicode: true}, PlanText{Plan: grownPlan(), Overlay: "/img"}); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(b.String()) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > width {
				t.Errorf("%d columns on a terminal of %d: %q", n, width, line)
			}
		}
	}
}
