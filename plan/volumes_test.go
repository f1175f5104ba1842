package plan_test

import (
	"strings"
	"testing"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
	"github.com/virt-grow/virt-grow/plan/table"
)

// group returns a disk with two PVs of one group, the second at the disk's end, and a
// volume of 200 MiB that ends on the first PV.
func group(extent size.Bytes, change func(l *plan.Layout, first, last, lv *plan.Device)) *plan.Layout {
	t := gpt(1002*MiB, []part{{1, 1 * MiB, 500 * MiB, table.GPTLinuxLVM}, {2, 501 * MiB, 500 * MiB, table.GPTLinuxLVM}})
	pv := func(used size.Bytes) plan.Content {
		n := (499 * MiB).Down(extent)
		return plan.Content{Type: plan.ContentPV, Offset: MiB, Group: "vg", Size: n, Used: used, Free: n - used}
	}
	l := layout(1002*MiB, t, map[int]plan.Content{1: pv(200 * MiB), 2: pv(0)})
	l.Devices = append(l.Devices, plan.Device{Name: "vg/d", Kind: plan.LV, Group: "vg", Size: 200 * MiB, Content: fs("xfs", 200*MiB),
		Allocation: &plan.Allocation{Policy: "normal", PV: "sda1", Behind: (499 * MiB).Down(extent) - 200*MiB, Last: true}})
	l.Groups = []plan.Group{{Name: "vg", Extent: extent, PVs: []string{"sda1", "sda2"}}}
	if change != nil {
		change(l, &l.Devices[1], &l.Devices[2], &l.Devices[3])
	}
	for _, name := range l.Groups[0].PVs {
		if d, _ := l.Find(name); !d.Content.Fixed {
			l.Groups[0].Free += d.Content.Free
		}
	}
	return l
}

// TestVolumeSizes checks that a PV and a volume get exactly the size that LVM gives
// them. The disk's additional 512 MiB go to the second PV: it has 1012 MiB, less a MiB
// at its start.
func TestVolumeSizes(t *testing.T) {
	for _, c := range []struct {
		name   string
		layout *plan.Layout
		grow   string
		pv, lv size.Bytes
	}{
		{"plain", group(4*MiB, nil), "vg/d", 1008 * MiB, 1504 * MiB},
		{"second metadata area", group(4*MiB, func(_ *plan.Layout, _, last, _ *plan.Device) { last.Content.Tail = MiB }), "vg/d", 1008 * MiB, 1504 * MiB},
		{"larger metadata area", group(4*MiB, func(_ *plan.Layout, _, last, _ *plan.Device) { last.Content.Tail = 4 * MiB }), "vg/d", 1004 * MiB, 1500 * MiB},
		{"aligned data", group(4*MiB, func(_ *plan.Layout, _, last, _ *plan.Device) { last.Content.Offset = 8 * MiB }), "vg/d", 1004 * MiB, 1500 * MiB},
		{"half a MiB, all of it", group(MiB/2, nil), "vg/d", 1011 * MiB, 1510 * MiB},
		{"half a MiB, odd", group(MiB/2, func(_ *plan.Layout, _, last, _ *plan.Device) { last.Content.Offset += MiB / 2 }), "vg/d", 1010*MiB + MiB/2, 1509*MiB + MiB/2},
		{"half a MiB, a size", group(MiB/2, nil), "vg/d=+300M", 1011 * MiB, 500 * MiB},
		{"896 KiB, a size", group(896*size.KiB, nil), "vg/d=+300M", (1011 * MiB).Down(896 * size.KiB), 504 * MiB},
		{"first PV takes none", group(4*MiB, func(_ *plan.Layout, first, _, _ *plan.Device) { first.Content.Fixed = true }), "vg/d", 1008 * MiB, 1208 * MiB},
		{"clings to the first", group(4*MiB, func(_ *plan.Layout, _, _, lv *plan.Device) { lv.Allocation.Policy = "cling" }), "vg/d=+100M", 0, 300 * MiB},
		{"contiguous, in the gap", group(4*MiB, func(_ *plan.Layout, _, _, lv *plan.Device) {
			lv.Allocation.Policy, lv.Allocation.Behind, lv.Allocation.Last = "contiguous", 40*MiB, false
		}), "vg/d=+40M", 0, 240 * MiB},
		{"contiguous, last on the last", group(4*MiB, func(_ *plan.Layout, first, last, lv *plan.Device) {
			first.Content, last.Content = last.Content, first.Content
			lv.Allocation.Policy, lv.Allocation.PV = "contiguous", "sda2"
		}), "vg/d", 1008 * MiB, 1008 * MiB},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := plan.Build(c.layout, target, request("+512M", c.grow))
			if err != nil {
				t.Fatal(err)
			}
			var pv, lv size.Bytes
			for _, s := range p.Steps {
				switch s.Kind {
				case plan.StepPV:
					if s.Device == "sda2" {
						pv = s.To
					}
				case plan.StepLV:
					lv = s.To
				}
			}
			if c.pv != 0 && pv != c.pv || lv != c.lv {
				t.Errorf("PV %d, volume %d; want %d, %d", int64(pv), int64(lv), int64(c.pv), int64(c.lv))
			}
		})
	}
}

func TestVolumeRefusals(t *testing.T) {
	for _, c := range []struct {
		name   string
		layout *plan.Layout
		grow   []string
		reason plan.Reason
		says   string
	}{
		{"no PV takes any", group(4*MiB, func(_ *plan.Layout, first, last, _ *plan.Device) {
			first.Content.Fixed, last.Content.Fixed = true, true
		}), []string{"vg/d"}, plan.UnsupportedLayout, "pvchange -xn"},
		{"no PV takes any, a size", group(4*MiB, func(_ *plan.Layout, first, last, _ *plan.Device) {
			first.Content.Fixed, last.Content.Fixed = true, true
		}), []string{"vg/d=+100M"}, plan.NoRoom, "0 B free for it"},
		{"contiguous, nothing behind", group(4*MiB, func(_ *plan.Layout, _, _, lv *plan.Device) {
			lv.Allocation.Policy, lv.Allocation.Behind, lv.Allocation.Last = "contiguous", 0, false
		}), []string{"vg/d"}, plan.UnsupportedLayout, "policy is contiguous"},
		{"two, one bound", group(4*MiB, func(l *plan.Layout, _, _, lv *plan.Device) {
			lv.Allocation.Policy = "cling"
			l.Devices = append(l.Devices, plan.Device{Name: "vg/e", Kind: plan.LV, Group: "vg", Size: 4 * MiB, Content: fs("ext4", 4*MiB)})
		}), []string{"vg/d=+100M", "vg/e"}, plan.UnsupportedLayout, "in one run"},
		{"missing", group(4*MiB, func(l *plan.Layout, _, _, _ *plan.Device) { l.Groups[0].Missing = 1 }), []string{"vg/d"}, plan.UnsupportedLayout, "1 PV(s)"},
		{"held", group(4*MiB, func(l *plan.Layout, _, _, _ *plan.Device) {
			l.Held = plan.Refuse(plan.UnsupportedLayout, "sda", "md127")
		}), []string{"vg/d"}, plan.UnsupportedLayout, "md127"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := plan.Build(c.layout, target, request("+512M", c.grow...))
			r, ok := plan.IsRefusal(err)
			if !ok || r.Reason != c.reason || !strings.Contains(r.Text, c.says) {
				t.Errorf("%v; want %s: …%s…", err, c.reason, c.says)
			}
		})
	}
}
