package appliance

import (
	"context"
	"fmt"
	"strings"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
	"github.com/virt-grow/virt-grow/plan/superblock"
)

// head is what a superblock says of its file system.
type head struct {
	sound bool // its checksum is right
	uuid  string
	size  size.Bytes
	// errors reports that the superblock has a mark of errors in the file system.
	errors bool
}

// headOf reads the superblock of a file system that is not mounted.
func (a *Appliance) headOf(ctx context.Context, device, content string) (head, error) {
	switch content {
	case "ext2", "ext3", "ext4":
		sector, err := a.block(ctx, device, superblock.ExtLen, superblock.ExtAt)
		if err != nil {
			return head{}, err
		}
		e, err := superblock.ReadExt(sector)
		if err != nil {
			return head{}, err
		}
		return head{e.Sound(sector), e.UUID, e.Size(), e.Errors}, nil
	case "xfs":
		x, sector, err := a.xfsHead(ctx, device)
		if err != nil {
			return head{}, err
		}
		return head{x.Sound(sector), x.UUID, x.Size(), x.NeedsRepair()}, nil
	case "btrfs":
		s, err := a.btrfsHead(ctx, device)
		if err != nil {
			return head{}, err
		}
		return head{s.Sound(), s.UUID, s.Size, false}, nil
	}
	return head{}, fmt.Errorf("no superblock of %s is known", content)
}

// Compare reads the superblock only: the growth that follows mounts the file system, which
// replays its journal.
func (a *Appliance) Compare(ctx context.Context, device string, planned plan.Content) error {
	h, err := a.headOf(ctx, device, planned.Type)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return plan.Refuse(plan.FSDamaged, device, "the superblock of the %s on %s cannot be read: %v", planned.Type, device, err)
	}
	return h.compare(device, planned)
}

// compare refuses a superblock that is damaged, or another one than was planned for.
func (h head) compare(device string, planned plan.Content) error {
	refuse := func(reason plan.Reason, format string, args ...any) error {
		return plan.Refuse(reason, device, "the superblock of the %s on %s %s", planned.Type, device, fmt.Sprintf(format, args...))
	}
	switch {
	case !h.sound:
		return refuse(plan.FSDamaged, "has a wrong checksum")
	case h.errors && (planned.Ext == nil || !planned.Ext.Errors):
		return refuse(plan.FSDamaged, "reports errors that were found in the file system since the plan was made")
	case planned.UUID != "" && h.uuid != planned.UUID:
		return refuse(plan.StalePlan, "has the UUID %s, and had %s when the plan was made", h.uuid, planned.UUID)
	case h.size != planned.Size:
		return refuse(plan.StalePlan, "has a size of %d bytes, and had %d when the plan was made", int64(h.size), int64(planned.Size))
	}
	return nil
}

// unfinished is why a check that failed found no damage: it did not come to its end. It is
// nil for a check that did.
func (a *Appliance) unfinished(ctx context.Context, device, content string, failure error) *plan.Refusal {
	var log string
	err := a.do(ctx, func() (e error) { log, e = a.g.Dmesg(); return })
	switch {
	case err != nil:
		return plan.Refuse(plan.CheckUnfinished, device, "the check of the %s on %s did not come to its end: the appliance, which has %d MiB of memory, does not answer any more: %v", content, device, a.memory, failure)
	case ranOut(failure.Error(), log):
		return plan.Refuse(plan.CheckUnfinished, device, "the check of the %s on %s did not come to its end: the appliance's memory of %d MiB is too small for it", content, device, a.memory)
	}
	return nil
}

// ranOut reports whether a checker that failed had too little memory: it says so, or the
// kernel ended it. log has the kernel's last messages.
func ranOut(failure, log string) bool {
	for _, s := range []string{"emory allocation failed", "annot allocate memory", "ot enough memory", "insufficient memory", "out of memory"} {
		if strings.Contains(failure, s) {
			return true
		}
	}
	for _, checker := range []string{"e2fsck", "fsck.ext", "xfs_repair", "btrfs"} {
		if strings.Contains(log, "Killed process") && strings.Contains(log, "("+checker) {
			return true
		}
	}
	return false
}
