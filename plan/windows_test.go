package plan_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/table"
)

func stepOf(p *plan.Plan, id string) *plan.Step {
	i := slices.IndexFunc(p.Steps, func(s plan.Step) bool { return s.ID() == id })
	if i < 0 {
		return nil
	}
	return &p.Steps[i]
}

// TestNTFSGuest checks that C: keeps its size offline, that partitions behind it are
// moved, and that Windows extends it after its start, before the health check.
func TestNTFSGuest(t *testing.T) {
	r := request("+10G")
	r.NTFS = plan.NTFSGuest
	agent := plan.Guest{Name: "win", Disk: "vda", Running: true, Trial: true, Exec: true, Health: plan.Health{Agent: true, Limit: 60},
		Disks: []plan.TrialDisk{{Target: "vda"}}, Shutdown: []plan.ShutdownAttempt{{Method: "agent", Seconds: 60}}}
	target := func(change func(*plan.Guest)) plan.Target {
		g := agent
		change(&g)
		return plan.Target{Path: "/a", Format: "qcow2", Guest: &g}
	}
	const to = 50*GiB - 718*MiB
	for name, c := range map[string]struct {
		layout *plan.Layout
		target plan.Target
		steps  []string
		says   string // in the script
		byHand bool
	}{
		"trial": {windows(), target(func(*plan.Guest) {}),
			[]string{"shutdown", "overlay", "move:sda4", "table:sda", "verify:sda3", "switch", "start", "extend:sda3", "health", "pivot:vda", "restore", "clean-up"},
			"Get-Partition | Where-Object Guid -eq '{00000000-0000-4000-8000-000000000003}'", false},
		"no trial": {windows(), target(func(g *plan.Guest) { g.Trial = false }),
			[]string{"shutdown", "overlay", "move:sda4", "table:sda", "verify:sda3", "save-undo", "commit", "start", "extend:sda3", "clean-up"}, "[uint64]52934213632", false},
		"the agent may not": {windows(), target(func(g *plan.Guest) { g.Exec = false }),
			[]string{"shutdown", "overlay", "move:sda4", "table:sda", "verify:sda3", "switch", "start", "health", "pivot:vda", "restore", "clean-up"}, "Resize-Partition", true},
		"off": {windows(), target(func(g *plan.Guest) { g.Running, g.Trial = false, false }),
			[]string{"overlay", "move:sda4", "table:sda", "verify:sda3", "save-undo", "commit", "clean-up"}, "Resize-Partition", true},
		"an image": {windows(), plan.Target{Path: "/a", Format: "raw"},
			[]string{"overlay", "move:sda4", "table:sda", "verify:sda3", "save-undo", "commit", "clean-up"}, "Resize-Partition", true},
		"MBR, nothing behind it": {oldWindows(), target(func(*plan.Guest) {}),
			[]string{"shutdown", "overlay", "switch", "start", "extend:sda2", "health", "pivot:vda", "restore", "clean-up"},
			"Where-Object Signature -eq 0 | Get-Partition | Where-Object Offset -eq 525336576", false},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := plan.Build(c.layout, c.target, r)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.steps, ids(p)); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
			before, _ := p.Before.Find(p.Grows)
			after, _ := p.After.Find(p.Grows)
			s := stepOf(p, "extend:"+p.Grows)
			if (s == nil) != c.byHand || (len(p.ManualSteps) > 0) != c.byHand {
				t.Fatalf("step %+v, left to do %q", s, p.ManualSteps)
			}
			if c.byHand {
				if !strings.Contains(p.ManualSteps[0], c.says) || after.Size != before.Size {
					t.Errorf("%s is to have %s, left to do: %s", after.Name, after.Size, p.ManualSteps)
				}
				return
			}
			if !strings.Contains(s.Script, c.says) || s.From != before.Size || s.To != after.Size || s.To <= s.From {
				t.Errorf("%+v\n%s will have %s", s, after.Name, after.Size)
			}
			if strings.ContainsAny(plan.PowerShell(s.Script)[len(plan.PowerShell(s.Script))-1], "\n\"") {
				t.Errorf("the script does not fit on a command line:\n%s", s.Script)
			}
		})
	}
	t.Run("recovery", func(t *testing.T) {
		const enable = "reagentc.exe /enable"
		p, err := plan.Build(windows(), target(func(*plan.Guest) {}), r)
		if err != nil {
			t.Fatal(err)
		}
		script := stepOf(p, "extend:sda3").Script
		if !strings.Contains(script, "$r = Get-Partition | Where-Object Guid -eq '{00000000-0000-4000-8000-000000000004}'") || !strings.Contains(script, enable) {
			t.Errorf("it does not say where the recovery environment is:\n%s", script)
		}
		if warned := strings.Join(p.Warnings, "\n"); strings.Contains(warned, "reagentc") {
			t.Errorf("left to a person: %s", warned)
		}
		if p, err = plan.Build(oldWindows(), target(func(*plan.Guest) {}), r); err != nil {
			t.Fatal(err)
		}
		if script := stepOf(p, "extend:sda2").Script; strings.Contains(script, "reagentc") {
			t.Errorf("nothing moved:\n%s", script)
		}
		offline := r
		offline.NTFS = plan.NTFSOffline
		if p, err = plan.Build(windows(), target(func(*plan.Guest) {}), offline); err != nil {
			t.Fatal(err)
		}
		if warned := strings.Join(p.Warnings, "\n"); !strings.Contains(warned, "reagentc /disable") {
			t.Errorf("nobody is told of the recovery environment: %q", warned)
		}
	})
	t.Run("sizes", func(t *testing.T) {
		p, err := plan.Build(windows(), target(func(*plan.Guest) {}), r)
		if err != nil {
			t.Fatal(err)
		}
		c, _ := p.After.Find("sda3")
		recovery, _ := p.After.Find("sda4")
		if c.Size != to || recovery.Start != 117*MiB+to || c.Start+c.Size > recovery.Start {
			t.Errorf("C: will have %s, recovery begins at %s", c.Size, recovery.Start)
		}
		if part, _ := p.After.Table.Partition(3); part.Size != 40*GiB-718*MiB {
			t.Errorf("the table gives C: %s: Windows extends the partition itself", part.Size)
		}
	})
}

// oldWindows returns System Reserved and C: on an MBR disk.
func oldWindows() *plan.Layout {
	t := mbr(40*GiB, []part{{1, MiB, 500 * MiB, table.MBRNTFS}, {2, 501 * MiB, 40*GiB - 501*MiB, table.MBRNTFS}})
	l := layout(40*GiB, t, map[int]plan.Content{1: fs("ntfs", 500*MiB), 2: fs("ntfs", 40*GiB-501*MiB)})
	l.OS = &plan.OS{Type: "windows", Root: "sda2"}
	return l
}

// TestNTFSGuestProblems checks that Windows may extend volumes that ntfsresize refuses,
// but that a disk of a hibernated Windows is not changed.
func TestNTFSGuestProblems(t *testing.T) {
	for reason, goes := range map[plan.Reason]bool{plan.NTFSDirty: true, plan.NTFSBadClusters: true, plan.NTFSHibernated: false, plan.FSDamaged: false} {
		l := windows()
		d, _ := l.Find("sda3")
		d.Content.Problem = plan.Refuse(reason, "sda3", "problem")
		r := request("+10G")
		for _, way := range []plan.NTFSWay{"", plan.NTFSGuest} {
			r.NTFS = way
			_, err := plan.Build(l, plan.Target{Path: "/a", Format: "raw"}, r)
			refusal, refused := plan.IsRefusal(err)
			if want := goes && way == plan.NTFSGuest; refused == want || refused && refusal.Reason != reason {
				t.Errorf("%s with %q: %v", reason, way, err)
			}
		}
	}
	r := request("+10G")
	r.NTFS = plan.NTFSGuest
	if _, err := plan.Build(cloud(), plan.Target{Path: "/a", Format: "raw"}, r); err == nil || !strings.Contains(err.Error(), "is not NTFS") {
		t.Errorf("for a file system that is none: %v", err)
	}
}
