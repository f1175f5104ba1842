package growth

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/guest/domainjob"
	"github.com/virt-grow/virt-grow/guest/image"
	"github.com/virt-grow/virt-grow/guest/inside"
	"github.com/virt-grow/virt-grow/guest/overlay"
	"github.com/virt-grow/virt-grow/plan"
)

// hostGuest is the domain of a growth, as plan/apply sees it.
type hostGuest struct {
	*growth
	domain trialDomain
}

// trialDomain is what the guest's steps need of libvirt.
type trialDomain interface {
	State(context.Context) (domain.State, error)
	Start(context.Context) error
	// ShutDown asks the guest in several ways, Destroy does not ask it. WaitOff reports
	// whether the guest went off within the limit.
	ShutDown(ctx context.Context, methods []domain.ShutdownAttempt, said func(string)) error
	Destroy(context.Context) error
	WaitOff(ctx context.Context, limit time.Duration) (bool, error)
	// Read and XML are the persistent definition, read and as text.
	Read(context.Context) (domain.Definition, error)
	XML(context.Context) (domain.DefinitionXML, error)
	Define(context.Context, domain.DefinitionXML) error
	// Redirect puts disks on overlays, CommitLive takes one back to its image. Wake has
	// a guest go on that stood still for want of room.
	Redirect(context.Context, []domain.Overlay) error
	CommitLive(ctx context.Context, target, image string, said func(done, all uint64)) error
	Wake(context.Context) error
	// The agent's calls, and Exec, which returns what a program printed.
	inside.Agent
	Exec(ctx context.Context, command []string) (string, error)
}

// ShutDown asks the guest in the ways the plan names.
func (h *hostGuest) ShutDown(ctx context.Context) error {
	var attempts []domain.ShutdownAttempt
	for _, r := range h.Guest().Shutdown {
		attempts = append(attempts, domain.ShutdownAttempt{Method: domain.ShutdownMethod(r.Method), Limit: plan.Seconds(r.Seconds)})
	}
	err := h.domain.ShutDown(ctx, attempts, func(text string) { h.Note("%s", text) })
	if errors.Is(err, domain.ErrStillRuns) {
		h.refusedStop = true
		return plan.Refuse(plan.ShutdownTimeout, h.Guest().Name, "%s: %v", h.Guest().Name, err)
	}
	return err
}

// StartAgain takes a shutdown back: a guest that ran runs again.
func (h *hostGuest) StartAgain(ctx context.Context) error {
	if !h.Guest().Running {
		return nil
	}
	state, err := h.domain.State(ctx)
	if err != nil {
		return err
	}
	wasOff := h.Completed(string(plan.StepShutdown))
	if state == domain.Running {
		if h.refusedStop || wasOff {
			return nil // it never stopped, or somebody has started it
		}
		if off, err := h.lateStop(ctx); err != nil || !off {
			return err
		}
	} else if err := h.untouched(); err != nil && wasOff && h.Guest().Trial {
		h.Note("%v", err) // before it was off, it was the guest itself
	}
	h.Note("starting %s again", h.Guest().Name)
	h.restarted = true
	if err := h.domain.Start(ctx); err != nil {
		return err
	}
	return h.mustRun(ctx)
}

// lateStop waits for a guest that was asked to shut down when the job was cut
// off: the request cannot be taken back, so it is started again after it.
func (h *hostGuest) lateStop(ctx context.Context) (bool, error) {
	limit := 30 * time.Second
	if attempts := h.Guest().Shutdown; len(attempts) > 0 {
		limit = min(limit, plan.Seconds(attempts[0].Seconds))
	}
	h.Note("%s was asked to shut down: waiting up to %s to start it again", h.Guest().Name, limit)
	return h.domain.WaitOff(ctx, limit)
}

func (h *hostGuest) mustRun(ctx context.Context) error {
	state, err := h.domain.State(ctx)
	if err == nil && state != domain.Running {
		err = fmt.Errorf("%s was started, and is %s", h.Guest().Name, state)
	}
	return err
}

// Redirect points the domain's disks at overlays. Where somebody meddled with
// the domain since it was shut down, it stays as it is.
func (h *hostGuest) Redirect(ctx context.Context) error {
	def, err := h.domain.Read(ctx)
	if err != nil {
		return err
	}
	if def.SourceOf(h.Guest().Disk) == h.data.Overlay {
		return nil // a crash came right after it
	}
	if err := h.asLeft(ctx); err != nil {
		return err
	}
	// A host that goes down in the middle of the live commit takes the bitmaps along.
	var overlays []domain.Overlay
	for _, e := range h.edited {
		if err := e.Files.SaveBitmaps(ctx); err != nil {
			return image.RefuseInUse(e.image.Path, err)
		}
		overlays = append(overlays, domain.Overlay{Target: cmp.Or(e.Target, h.Guest().Disk), Path: e.Overlay})
	}
	for _, side := range h.disks()[len(h.edited):] {
		if err := side.CreateOverlay(ctx, side.Old); err != nil {
			return err
		}
		overlays = append(overlays, domain.Overlay{Target: side.Target, Path: side.Files.Path})
	}
	if err := h.domain.Redirect(ctx, overlays); err != nil {
		return err
	}
	x, err := h.domain.XML(ctx)
	if err != nil {
		return err
	}
	return h.SaveDefinition(domainjob.TrialXML, x)
}

// asLeft refuses when the domain is not as the shutdown left it.
func (h *hostGuest) asLeft(ctx context.Context) error {
	name := h.Guest().Name
	state, err := h.domain.State(ctx)
	if err != nil {
		return err
	}
	if state != domain.Off {
		return plan.Refuse(plan.DomainChanged, h.ID(), "somebody started %s while it was to stay off: what it wrote since is not in the overlay", name)
	}
	if err := h.untouched(); err != nil {
		return err
	}
	now, err := h.domain.XML(ctx)
	if err != nil {
		return err
	}
	if was, err := h.LoadDefinition(domainjob.OriginalXML); err != nil || was != now {
		return errors.Join(err, plan.Refuse(plan.DomainChanged, h.ID(), "somebody changed the definition of %s since job %s began", name, h.ID()))
	}
	return nil
}

// Restore gives the domain its original definition. If somebody has edited the
// definition since, only the disks are put back and the edits stay.
func (h *hostGuest) Restore(ctx context.Context) error {
	now, err := h.domain.XML(ctx)
	if err != nil {
		return err
	}
	original, err := h.LoadDefinition(domainjob.OriginalXML)
	if err != nil || now == original {
		return err
	}
	trial, _ := h.LoadDefinition(domainjob.TrialXML) // a crash before it was saved leaves none
	restored := now
	for _, d := range h.Guest().Disks {
		if restored, err = restored.RestoreDisk(original, trial, d.Target, d.Path); err != nil {
			return plan.Refuse(plan.DomainChanged, h.ID(), "%v", err)
		}
	}
	if restored != original {
		h.Note("somebody edited %s meanwhile: that is kept, only its disks are put back", h.Guest().Name)
	}
	if restored == now {
		return nil
	}
	return h.domain.Define(ctx, restored)
}

// Start starts the guest.
func (h *hostGuest) Start(ctx context.Context) error {
	if err := h.domain.Start(ctx); err != nil {
		return err
	}
	return h.mustRun(ctx)
}

// Stop ends a trial. Where every disk is an overlay, nothing of it is kept and
// the guest need not be asked.
func (h *hostGuest) Stop(ctx context.Context) error {
	if len(h.Guest().Unprotected) > 0 || !h.Guest().Trial {
		attempts := []domain.ShutdownAttempt{{Method: domain.ByAgent, Limit: 30 * time.Second}, {Method: domain.ByACPI, Limit: 30 * time.Second}}
		err := h.domain.ShutDown(ctx, attempts, func(text string) { h.Note("%s", text) })
		if err == nil || !errors.Is(err, domain.ErrStillRuns) {
			return err
		}
	}
	return h.domain.Destroy(ctx)
}

// Pivot commits a disk's overlay into its image: live, or offline when
// somebody has shut the guest down meanwhile.
func (h *hostGuest) Pivot(ctx context.Context, target string) error {
	disks := h.disks()
	d := disks[0]
	for _, side := range disks[1:] {
		if side.Target == target {
			d = side
		}
	}
	for {
		state, err := h.domain.State(ctx)
		if err != nil {
			return err
		}
		if state == domain.Off {
			return h.commitOff(ctx, target, d)
		}
		err = h.domain.CommitLive(ctx, target, d.Files.Image, h.committed(target))
		if err == nil {
			// The guest may have stood still for want of room, in its overlay
			// or in the image.
			return h.domain.Wake(ctx)
		}
		// A guest that went off in the middle is committed offline.
		if now, asked := h.domain.State(ctx); asked != nil || now != domain.Off {
			return err
		}
	}
}

// commitOff is the commit of a guest that is off; it is done when the domain
// has the image already.
func (h *hostGuest) commitOff(ctx context.Context, target string, d overlay.Disk) error {
	def, err := h.domain.Read(ctx)
	if err != nil {
		return err
	}
	if def.SourceOf(target) != d.Files.Path {
		return nil
	}
	h.Note("%s is off: committing %s offline", h.Guest().Name, target)
	return d.Commit(ctx)
}

// committed tells of a commit's progress, every few seconds.
func (h *hostGuest) committed(target string) func(done, all uint64) {
	last := time.Now()
	return func(done, all uint64) {
		if time.Since(last) > 5*time.Second && all > 0 {
			last = time.Now()
			h.Note("%s: %d %% committed", target, done*100/all)
		}
	}
}
