package growth

import (
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
	return err
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
		if err := sizeSeen(s, h.data.Before, after); err != nil {
			return err
		}
	}
	return nil
}

// excused reports whether an agent that cannot list file systems passes the health check: if
// it could not list them before the outage either, or was not asked. If it could, the guest
// has a new problem.
func (d *growthData) excused(err error) bool {
	return d.Unlisted || len(d.Before) == 0 && domain.Unsupported(err)
}

// sizeSeen compares the file systems that the agent lists now with those before the outage.
// It does not expect a file system that was not mounted then.
func sizeSeen(grew plan.Step, before, after []domain.FS) error {
	was, ok := seen(grew, before)
	if !ok {
		return nil
	}
	i := slices.IndexFunc(after, func(f domain.FS) bool { return f.MountPoint == was.MountPoint })
	if i < 0 {
		return fmt.Errorf("%s was mounted before, and is not", was.MountPoint)
	}
	// The file system's metadata grows as well: up to an eighth, for an ext4 that was
	// created small.
	want := was.Total + (grew.To-grew.From)*3/4
	if now := after[i].Total; now < want {
		return fmt.Errorf("%s has %s, at least %s were expected", was.MountPoint, now, want)
	}
	return nil
}

// seen returns the file system that grows: it has the type, and is not larger than before nor
// much smaller.
func seen(grew plan.Step, all []domain.FS) (domain.FS, bool) {
	var best domain.FS
	for _, f := range all {
		if f.Total == 0 || f.Total > grew.From || !sameType(grew.Content, f.Type) {
			continue
		}
		if f.Total > best.Total && grew.From-f.Total <= grew.From/4+64*size.MiB {
			best = f
		}
	}
	return best, best.Total > 0
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
