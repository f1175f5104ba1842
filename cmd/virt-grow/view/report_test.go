package view

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
)

// randomLayout draws partitions with gaps between them. The last one may grow by more.
func randomLayout(t *rapid.T, more size.Bytes) (before, after *plan.Layout) {
	at := mib
	var parts []plan.Device
	for n := range rapid.IntRange(1, 12).Draw(t, "partitions") {
		at += mib * size.Bytes(rapid.SampledFrom([]int{0, 0, 1, 2, 700}).Draw(t, "gap"))
		bytes := mib * size.Bytes(rapid.SampledFrom([]int{1, 16, 100, 2048, 51200}).Draw(t, "size"))
		parts = append(parts, part(n+1, at, bytes, "Linux file system", plan.Content{Type: "ext4", Size: bytes, Used: bytes / 3}))
		at += bytes
	}
	layout := func(more size.Bytes) *plan.Layout {
		whole := at + mib + more
		l := &plan.Layout{DiskLayout: plan.DiskLayout{Size: whole, Sector: 512}, Devices: append([]plan.Device{disk(whole)}, parts...)}
		l.Devices[len(parts)].Size += more
		return l
	}
	return layout(0), layout(more)
}

// TestMapNumbers checks that the maps of a disk and their table have the plan's numbers.
func TestMapNumbers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		before, after := randomLayout(t, mib*size.Bytes(rapid.IntRange(0, 200000).Draw(t, "more")))
		p := &plan.Plan{Before: before, After: after}
		d := newDiskMaps("vda", p, &before.DiskLayout, &after.DiskLayout)
		whole := float64(after.Size)
		table := d.table()
		for side, l := range []*plan.Layout{before, after} {
			m := []diskMap{d.Before(), d.After()}[side]
			if near(m.Width*whole/100, float64(l.Size)) != nil {
				t.Fatalf("%s is %g %% wide", m.When, m.Width)
			}
			boxes := map[string]mapBox{}
			end, key := 0.0, math.Inf(-1)
			for _, b := range m.Boxes {
				if b.X < end-1e-9 || b.X+b.W > m.Width+1e-9 || b.Key <= key || b.Key < 0 || b.Key > 100 {
					t.Fatalf("%s: box %+v after %g, number after %g", m.When, b, end, key)
				}
				end, key = b.X+b.W, b.Key
				boxes[b.Name] = b
			}
			for _, device := range l.Devices[1:] {
				b := boxes[device.Name]
				if err := near(b.X*whole/100, float64(device.Start)); err != nil {
					t.Fatalf("%s begins at %v", device.Name, err)
				}
				if err := near(b.W*whole/100, float64(device.Size)); err != nil {
					t.Fatalf("%s has %v", device.Name, err)
				}
				row := table.Rows[b.Number-1]
				want := []string{device.Name, fmt.Sprint(int64(device.Start)), fmt.Sprint(int64(device.Size))}
				if got := []string{row[1].Text, row[4+2*side].Value, row[5+2*side].Value}; strings.Join(got, " ") != strings.Join(want, " ") {
					t.Fatalf("row %d is %v, want %v", b.Number, got, want)
				}
			}
		}
	})
}

// near returns an error unless two numbers of bytes differ by less than one.
func near(got, want float64) error {
	if math.Abs(got-want) < 1 {
		return nil
	}
	return fmt.Errorf("%f bytes, not %f", got, want)
}

func TestTickStep(t *testing.T) {
	for whole, want := range map[float64]float64{0.8: 0.2, 1: 0.2, 28.9: 10, 50: 10, 51: 20, 3600: 1200, 200: 60, 0.004: 0.001} {
		if got := tickStep(whole); math.Abs(got-want) > want/1e6 {
			t.Errorf("%g: %g, want %g", whole, got, want)
		}
	}
}
