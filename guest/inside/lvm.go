package inside

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/live"
)

// validGroup matches the names that lvm(8) allows for a volume group.
var validGroup = regexp.MustCompile(`^[A-Za-z0-9+_.][A-Za-z0-9+_.-]*$`)

// activateGroups activates the volume groups of the physical volumes on which nothing
// lies yet, in guests whose udev has not done it.
func (g *Guest) activateGroups(ctx context.Context, devices []live.Device) {
	for _, d := range devices {
		if d.FS != plan.ContentPV || !isLeaf(d, devices) {
			continue
		}
		out, err := g.output(ctx, "lvm", "pvs", "--noheadings", "--options", "vg_name", d.Path)
		if group := strings.TrimSpace(string(out)); err == nil && validGroup.MatchString(group) {
			_, _ = g.output(ctx, "lvm", "vgchange", "--activate", "y", group)
		}
	}
}

// activateVolumes activates the logical volumes among the devices, as far as their
// disks are there.
func (g *Guest) activateVolumes(ctx context.Context, devices []live.Device) {
	for _, d := range devices {
		if d.Kind == "lvm" {
			_, _ = g.output(ctx, "lvm", "lvchange", "--activate", "y", d.Path)
		}
	}
}

// deactivateVolumes deactivates the logical volumes among the devices.
func (g *Guest) deactivateVolumes(ctx context.Context, devices []live.Device) error {
	for _, d := range devices {
		if d.Kind != "lvm" {
			continue
		}
		if _, err := g.output(ctx, "lvm", "lvchange", "--activate", "n", d.Path); err != nil {
			return fmt.Errorf("cannot deactivate %s: %w", d.Path, err)
		}
	}
	return nil
}
