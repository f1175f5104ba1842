package plan_test

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
	"github.com/virt-grow/virt-grow/plan/table"
	"github.com/virt-grow/virt-grow/testimages/level"
)

// anyLayout draws a disk: up to five partitions with numbers in any order, gaps between
// them, a content in each, and volume groups on some.
func anyLayout(t *rapid.T) *plan.Layout {
	isGPT := rapid.Bool().Draw(t, "gpt")
	numbers := rapid.Permutation([]int{1, 2, 3, 4}).Draw(t, "numbers")
	n := rapid.IntRange(1, 4).Draw(t, "partitions")
	at := MiB
	var parts []part
	for _, number := range numbers[:n] {
		at += size.Bytes(rapid.IntRange(0, 64).Draw(t, "gap")) * MiB
		length := size.Bytes(rapid.IntRange(64, 4096).Draw(t, "length")) * MiB
		kind := rapid.SampledFrom([]string{"", "", "", table.GPTLinuxSwap, table.GPTBIOSBoot}).Draw(t, "type")
		parts = append(parts, part{number: number, start: at, len: length, typ: kind})
		at += length
	}
	disk := at + size.Bytes(rapid.IntRange(1, 512).Draw(t, "tail"))*MiB
	tab := mbr(disk, parts)
	if isGPT {
		tab = gpt(disk, parts)
	}
	l := layout(disk, tab, nil)
	for i := 1; i <= n; i++ {
		fill(t, l, l.Devices[i].Name, 0)
	}
	return l
}

// fill draws the content of a device.
func fill(t *rapid.T, l *plan.Layout, name string, depth int) {
	kinds := []string{"xfs", "ext4", "btrfs", "ntfs", "vfat", "swap", "unknown", ""}
	if depth < 2 {
		kinds = append(kinds, plan.ContentLUKS, plan.ContentPV, plan.ContentPV, plan.ContentLUKS)
	}
	kind := rapid.SampledFrom(kinds).Draw(t, "content of "+name)
	d, _ := l.Find(name)
	d.Content = plan.Content{Type: kind, Size: d.Size}
	switch kind {
	case plan.ContentLUKS:
		fillLUKS(t, l, d, depth)
	case plan.ContentPV:
		fillPV(t, l, d, depth)
	case "unknown":
		d.Content.Problem = plan.Refuse(plan.UnknownContent, name, "unknown")
	case "vfat", "swap", "":
	default:
		d.Content.Size -= size.Bytes(rapid.IntRange(0, 3).Draw(t, "unused")) * 8 * MiB
	}
}

func fillLUKS(t *rapid.T, l *plan.Layout, d *plan.Device, depth int) {
	if rapid.Bool().Draw(t, "locked") {
		d.Content.Problem = plan.Refuse(plan.LUKSLocked, d.Name, "locked")
		return
	}
	d.Content.Offset = 16 * MiB
	d.Content.Size = d.Size - 16*MiB
	inner := plan.Device{Name: fmt.Sprintf("luks-%d", len(l.Devices)), Kind: plan.Crypt, Parent: d.Name, Size: d.Content.Size}
	l.Devices = append(l.Devices, inner)
	fill(t, l, inner.Name, depth+1)
}

func fillPV(t *rapid.T, l *plan.Layout, d *plan.Device, depth int) {
	g := plan.Group{Name: fmt.Sprintf("vg%d", len(l.Groups)), Extent: 4 * MiB, PVs: []string{d.Name}}
	d.Content.Group, d.Content.Offset = g.Name, MiB
	d.Content.Size = (d.Size - MiB).Down(4 * MiB)
	g.Free = d.Content.Size
	var volumes []plan.Device
	for i := range rapid.IntRange(0, 2).Draw(t, "volumes") {
		n := (g.Free / 2).Down(4 * MiB)
		if n < 8*MiB {
			break
		}
		g.Free -= n
		volumes = append(volumes, plan.Device{Name: fmt.Sprintf("%s/lv%d", g.Name, i), Kind: plan.LV, Group: g.Name, Size: n})
	}
	l.Groups = append(l.Groups, g)
	for _, v := range volumes {
		l.Devices = append(l.Devices, v)
		fill(t, l, v.Name, depth+1)
	}
}

func anyRequest(t *rapid.T, l *plan.Layout) plan.Request {
	more := rapid.IntRange(1, 8192).Draw(t, "more")
	sizes := []string{"fill", fmt.Sprintf("+%dM", more), fmt.Sprintf("%dB", int64(l.Size)+int64(more)*12345)}
	r := request(rapid.SampledFrom(sizes).Draw(t, "size"))
	if rapid.Bool().Draw(t, "named") {
		w := rapid.SampledFrom(l.Devices).Draw(t, "target").Name
		if rapid.Bool().Draw(t, "sized") {
			w += fmt.Sprintf("=+%dM", rapid.IntRange(1, 9000).Draw(t, "by"))
		} else if rapid.IntRange(0, 3).Draw(t, "a share") == 0 {
			w += fmt.Sprintf("=%d%%", rapid.IntRange(1, 100).Draw(t, "percent"))
		}
		r.Grow = request("fill", w).Grow
		if rapid.IntRange(0, 2).Draw(t, "two targets") == 0 {
			second := rapid.SampledFrom(l.Devices).Draw(t, "second target").Name
			r.Grow = append(r.Grow, request("fill", second).Grow...)
		}
	}
	r.NoMove = rapid.IntRange(0, 3).Draw(t, "no move") == 0
	ntfs := slices.ContainsFunc(l.Devices, func(d plan.Device) bool { return d.Content.Type == "ntfs" })
	if ntfs && rapid.Bool().Draw(t, "by Windows") {
		r.NTFS = plan.NTFSGuest
		return r
	}
	r.PartitionOnly = len(r.Grow) > 0 && rapid.IntRange(0, 9).Draw(t, "partition only") == 0
	return r
}

// TestPlanProperties checks that any layout and request results in a refusal, or in a
// plan that keeps the invariants of doc.go.
func TestPlanProperties(t *testing.T) {
	planned := 0
	rapid.Check(t, func(t *rapid.T) {
		l := anyLayout(t)
		r := anyRequest(t, l)
		target := target
		if r.NTFS == plan.NTFSGuest {
			target.Guest = &plan.Guest{Running: true, Trial: true, Exec: true, Health: plan.Health{Agent: true}, Disks: []plan.TrialDisk{{}}}
		}
		p, err := plan.Build(l, target, r)
		if err != nil {
			if _, ok := plan.IsRefusal(err); !ok {
				t.Fatalf("neither a plan nor a refusal: %v", err)
			}
			return
		}
		planned++
		checkKept(t, p)
		checkRoom(t, p)
		checkMoves(t, p)
		if target.Guest == nil { // the plan does not contain the changes that Windows makes
			checkOrder(t, p)
			checkSettled(t, p, r)
		}
	})
	if planned < 100 && level.At(level.Real) { // rapid tries a fifth of the cases in short runs
		t.Errorf("only %d plans among all the layouts: the generator proves nothing", planned)
	}
}

// checkKept fails the test unless identifiers stay the same, only moves change a start,
// and nothing shrinks.
func checkKept(t *rapid.T, p *plan.Plan) {
	moves := map[string]size.Bytes{}
	for _, s := range p.Steps {
		if s.Kind == plan.StepMove {
			moves[s.Device] = s.To - s.From
		}
	}
	if p.After.Size != p.NewSize || p.NewSize < p.OldSize || len(p.After.Devices) != len(p.Before.Devices) {
		t.Fatalf("the disk goes from %d to %d, %d", p.OldSize, p.NewSize, p.After.Size)
	}
	for i, was := range p.Before.Devices {
		now := p.After.Devices[i]
		if now.Name != was.Name || now.Start != was.Start+moves[was.Name] || now.Number != was.Number || now.Content.Type != was.Content.Type {
			t.Fatalf("%+v became %+v", was, now)
		}
		if now.Size < was.Size || now.Content.Size < was.Content.Size {
			t.Fatalf("%s shrinks: %+v became %+v", was.Name, was, now)
		}
	}
}

// checkRoom fails the test unless each device fits on the one below it.
func checkRoom(t *rapid.T, p *plan.Plan) {
	l := p.After
	var parts []plan.Device
	used := map[string]size.Bytes{}
	for _, d := range l.Devices {
		switch d.Kind {
		case plan.Partition:
			parts = append(parts, d)
		case plan.Crypt:
			parent, _ := l.Find(d.Parent)
			if d.Size > parent.Size-parent.Content.Offset {
				t.Fatalf("%s is larger than its container", d.Name)
			}
		case plan.LV:
			used[d.Group] += d.Size
		}
		if d.Content.Size > d.Size {
			t.Fatalf("%s holds more than it has: %+v", d.Name, d)
		}
	}
	slices.SortFunc(parts, func(a, b plan.Device) int { return int((a.Start - b.Start) / MiB) })
	end := size.Bytes(0)
	for _, d := range parts {
		if d.Start < end || d.End() > l.Size {
			t.Fatalf("%s [%d, %d) overlaps or leaves the disk of %d", d.Name, d.Start, d.End(), l.Size)
		}
		end = d.End()
	}
	for _, g := range l.Groups {
		var have size.Bytes
		for _, pv := range g.PVs {
			d, _ := l.Find(pv)
			have += d.Content.Size
		}
		if used[g.Name]+g.Free != have {
			t.Fatalf("%s: %d used and %d free of %d", g.Name, used[g.Name], g.Free, have)
		}
	}
}

var rank = map[plan.StepKind]int{plan.StepOverlay: 0, plan.StepCheck: 1, plan.StepTable: 3, plan.StepVerify: 8, plan.StepUndo: 9, plan.StepCommit: 10, plan.StepClean: 11}

// checkOrder fails the test unless each device grows after the one below it.
func checkOrder(t *rapid.T, p *plan.Plan) {
	last := -1
	grew := map[string]bool{}
	moved := map[string]bool{} // together with all devices on it
	for _, d := range p.Before.Devices {
		now, _ := p.After.Find(d.Name)
		moved[d.Name] = now.Start != d.Start || moved[d.Parent]
		for _, g := range p.Before.Groups {
			moved[d.Name] = moved[d.Name] || g.Name == d.Group && slices.ContainsFunc(g.PVs, func(pv string) bool { return moved[pv] })
		}
	}
	for _, s := range p.Steps {
		if s.Kind == plan.StepCheck && last == rank[plan.StepTable] && moved[s.Device] {
			continue // at its new place
		}
		if r, fixed := rank[s.Kind]; fixed {
			several := s.Kind == plan.StepCheck || s.Kind == plan.StepVerify
			if r < last || r == last && !several {
				t.Fatalf("step %s is out of order in %v", s.ID(), ids(p))
			}
			last = r
			continue
		}
		d, ok := p.Before.Find(s.Device)
		if !ok {
			t.Fatalf("step %s is about nothing", s.ID())
		}
		if s.Kind == plan.StepMove && last > 2 {
			t.Fatalf("step %s comes after the table", s.ID())
		}
		if grew[d.Name+string(s.Kind)] || s.To <= s.From && s.Kind != plan.StepFS {
			t.Fatalf("step %s: %d → %d", s.ID(), s.From, s.To)
		}
		if d.Kind == plan.Crypt && grew[d.Name+"content"] {
			t.Fatalf("%s grows after what it holds", d.Name)
		}
		grew[d.Name+string(s.Kind)] = true
		if d.Parent != "" {
			grew[d.Parent+"content"] = true
		}
	}
}

// checkSettled fails the test unless the same request on the result has nothing to do.
func checkSettled(t *rapid.T, p *plan.Plan, r plan.Request) {
	if len(r.Grow) > 0 && (r.Grow[0].Amount.Mode == plan.Relative || r.Grow[0].Amount.Mode == plan.Share) {
		return // "+1G" twice is two, and half of the free space leaves some
	}
	r.Size = plan.Amount{Mode: plan.Fill}
	again, err := plan.Build(p.After, target, r)
	if refusal, ok := plan.IsRefusal(err); ok && refusal.Reason == plan.ImmovableNeighbor {
		return // the gap before a partition that may not move is used up, and space is left behind it
	}
	if err != nil {
		t.Fatalf("the result is refused: %v", err)
	}
	if again.Moves() > 0 && p.Moves() == 0 {
		return // likewise, and here the neighbour moves
	}
	if again.Changes() {
		t.Fatalf("the result is not settled: %v", ids(again))
	}
}

// checkMoves runs the moves on a model of the disk, whose blocks of 1 MiB contain their
// original place. In the end each partition has its original content. Copies are read
// from the image, so an interrupted copy can be repeated.
func checkMoves(t *rapid.T, p *plan.Plan) {
	disk := map[size.Bytes]size.Bytes{}
	for at := size.Bytes(0); at < p.OldSize; at += MiB {
		disk[at] = at
	}
	for _, s := range p.Steps {
		if s.Kind != plan.StepMove {
			continue
		}
		if s.To%MiB != 0 || s.To <= s.From {
			t.Fatalf("%s goes from %d to %d", s.ID(), s.From, s.To)
		}
		torn := size.Bytes(rapid.IntRange(0, int(s.Bytes/MiB)).Draw(t, "torn at")) * MiB
		for _, end := range []size.Bytes{torn, s.Bytes} {
			for at := size.Bytes(0); at < end; at += MiB {
				disk[s.To+at] = s.From + at
			}
		}
	}
	for _, was := range p.Before.Devices {
		now, _ := p.After.Find(was.Name)
		if was.Kind != plan.Partition {
			continue
		}
		for at := size.Bytes(0); at < was.Size; at += MiB {
			if disk[now.Start+at] != was.Start+at {
				t.Fatalf("%s holds at %d what was at %d of the disk", was.Name, at, disk[now.Start+at])
			}
		}
	}
}
