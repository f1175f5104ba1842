package session

import (
	"testing"

	"github.com/virt-grow/virt-grow/plan"
)

// TestIgnoreUnclean checks that the unclean state of a running guest's disk, which ends
// with its shutdown, is no damage, and that other problems are kept.
func TestIgnoreUnclean(t *testing.T) {
	problem := func(reason plan.Reason, way plan.Way) *plan.Refusal {
		r := plan.Refuse(reason, "sda1", "")
		r.Way = way
		return r
	}
	for _, c := range []struct {
		problem *plan.Refusal
		stays   bool
	}{
		{problem(plan.NTFSDirty, ""), false},
		{problem(plan.FSDamaged, ""), false},
		{problem(plan.InUse, plan.WayUnmount), false},
		{problem(plan.InUse, plan.WayClearMMP), true},
		{problem(plan.NewerFeature, ""), true},
	} {
		l := &plan.Layout{Devices: []plan.Device{{Name: "sda1", Content: plan.Content{Problem: c.problem}}}}
		IgnoreUnclean(l)
		if stays := l.Devices[0].Content.Problem != nil; stays != c.stays {
			t.Errorf("%s %s: stays is %t", c.problem.Reason, c.problem.Way, stays)
		}
	}
}
