package growth

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/guest/poll"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
)

// CheckHealth returns nil when the guest has passed its health check, else why it did not.
func (h *hostGuest) CheckHealth(ctx context.Context) error {
	check := h.settled
	if h.Guest().Health.Agent {
		check = h.answers
	}
	if err := check(ctx); err != nil {
		return err
	}
	return h.Hook(ctx, "health", h.Guest().Health.Command)
}

// unhealthy returns the error of a failed health check.
func (h *hostGuest) unhealthy(format string, args ...any) error {
	return &Unhealthy{fmt.Sprintf("health check of %s: %s", h.Guest().Name, fmt.Sprintf(format, args...))}
}

// Unhealthy says why a guest did not pass its health check.
type Unhealthy struct{ text string }

func (u *Unhealthy) Error() string { return u.text }

// stillRuns returns an error if the guest has stopped.
func (h *hostGuest) stillRuns(ctx context.Context) error {
	state, err := h.domain.State(ctx)
	if err == nil && state != domain.Running {
		err = h.unhealthy("it is %s", state)
	}
	return err
}

// settled checks a guest without an agent: it must keep running.
func (h *hostGuest) settled(ctx context.Context) error {
	settle := plan.Seconds(h.Guest().Health.Settle)
	h.Note("no guest agent: watching for %s whether the guest keeps running", settle)
	w := poll.Wait{For: "the guest to settle", Every: 500 * time.Millisecond, Limit: max(1, settle)}
	err := poll.Until(ctx, w, func() (bool, error) { return false, h.stillRuns(ctx) })
	if errors.Is(err, poll.ErrTimeout) {
		return nil // the guest kept running all the time
	}
	return err
}

// answers checks a guest with an agent: the agent must answer, and the file system must have
// the planned size. Both may take a while after the start.
func (h *hostGuest) answers(ctx context.Context) error {
	limit := plan.Seconds(h.Guest().Health.Limit)
	h.Note("waiting for the guest agent, up to %s", limit)
	var why error
	w := poll.Wait{For: "the guest agent", Every: 200 * time.Millisecond, Limit: max(1, limit)}
	err := poll.Until(ctx, w, func() (bool, error) {
		if err := h.stillRuns(ctx); err != nil {
			return false, err
		}
		why = h.grown(ctx)
		return why == nil, nil
	})
	if errors.Is(err, poll.ErrTimeout) {
		return h.unhealthy("not passed within %s: %v", limit, why)
	}
	if err != nil || len(h.data.After) == 0 {
		return err
	}
	return h.save()
}

// grown asks the agent for the sizes of the file systems.
func (h *hostGuest) grown(ctx context.Context) error {
	after, err := h.domain.FileSystems(ctx)
	if err != nil {
		if h.data.excused(err) && h.domain.Ping(ctx) == nil {
			h.Note("the guest agent answers, but does not list file systems: the new size was not checked in the guest")
			return nil
		}
		return err
	}
	for _, s := range h.plan.Steps {
		if s.Kind != plan.StepFS && s.Kind != plan.StepExtend || slices.Contains(h.data.ByHand, s.Device) {
			continue
		}
		if err := sizeSeen(s, h.mountedAt(s.Device), h.data.Before, after); err != nil {
			return err
		}
	}
	if err := h.seesMoves(ctx, after); err != nil {
		return err
	}
	h.data.After = after
	return nil
}

// excused reports whether an agent that cannot list file systems passes the health check: if
// it could not list them before the outage either, or was not asked. If it could, the guest
// has a new problem.
func (d *growthData) excused(err error) bool {
	return d.Unlisted || len(d.Before) == 0 && domain.Unsupported(err)
}

// mountedAt returns where the guest mounts a device, as far as the plan knows.
func (h *hostGuest) mountedAt(device string) []string {
	d, ok := h.plan.Before.Find(device)
	if !ok {
		return nil
	}
	return d.Content.Mounted
}

// sizeSeen compares the file systems that the agent lists now with those from before the
// outage. One that was not mounted then cannot be expected. If several could be the one
// that grew, one of them must have grown.
func sizeSeen(grew plan.Step, mounted []string, before, after []domain.FS) error {
	var failed error
	for _, was := range candidates(grew, mounted, before) {
		err := grewBy(was, grew.To-grew.From, after)
		if err == nil {
			return nil
		}
		if failed == nil {
			failed = err
		}
	}
	return failed
}

// grewBy returns an error if a file system is gone, or has not grown by so much. What it
// keeps for itself grows as well: an eighth, for an ext4 that was made small.
func grewBy(was domain.FS, added size.Bytes, after []domain.FS) error {
	i := slices.IndexFunc(after, func(f domain.FS) bool { return f.MountPoint == was.MountPoint })
	if i < 0 {
		return fmt.Errorf("%s was mounted before, and is not", was.MountPoint)
	}
	want := was.Total + added*3/4
	if now := after[i].Total; now < want {
		return fmt.Errorf("%s has %s, at least %s were expected", was.MountPoint, now, want)
	}
	return nil
}

// candidates returns the file systems that may be the one that grows, the largest first:
// the ones mounted where the plan says, or else those of its type that are no larger than
// it was, and not much smaller.
func candidates(grew plan.Step, mounted []string, all []domain.FS) []domain.FS {
	var known, similar []domain.FS
	for _, f := range all {
		if f.Total == 0 || f.Total > grew.From || !sameType(grew.Content, f.Type) {
			continue
		}
		if slices.Contains(mounted, f.MountPoint) || slices.Contains(mounted, strings.TrimRight(f.MountPoint, `\`)) {
			known = append(known, f)
		}
		if grew.From-f.Total <= grew.From/4+64*size.MiB {
			similar = append(similar, f)
		}
	}
	if len(known) > 0 {
		return known
	}
	slices.SortStableFunc(similar, func(a, b domain.FS) int { return cmp.Compare(b.Total, a.Total) })
	return similar
}

// sameType compares the planner's name of a file system with the guest's: Linux
// says ntfs3 or fuseblk, Windows NTFS.
func sameType(content, guest string) bool {
	guest = strings.ToLower(guest)
	if content == "ntfs" {
		return strings.HasPrefix(guest, "ntfs") || guest == "fuseblk"
	}
	return content == guest
}
