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

// hostGuest is the domain of a growth; it implements apply.Guest.
type hostGuest struct {
	*growth
	domain trialDomain
}

// trialDomain is what the guest's steps need of libvirt.
type trialDomain interface {
	State(context.Context) (domain.State, error)
	Start(context.Context) error
	// ShutDown asks the guest to shut down, with several methods; Destroy powers it off.
	// WaitOff reports whether the guest was off within the limit.
	ShutDown(ctx context.Context, methods []domain.ShutdownAttempt, said func(string)) error
	Destroy(context.Context) error
	WaitOff(ctx context.Context, limit time.Duration) (bool, error)
	// Read and XML return the persistent definition, parsed and as text.
	Read(context.Context) (domain.Definition, error)
	// Live returns the definition that the running guest has.
	Live(context.Context) (domain.Definition, error)
	XML(context.Context) (domain.DefinitionXML, error)
	Define(context.Context, domain.DefinitionXML) error
	// Redirect points disks to overlays, CommitLive commits one into its image. Wake
	// resumes a guest that was paused because of a full disk.
	Redirect(context.Context, []domain.Overlay) error
	CommitLive(ctx context.Context, target, image string, said func(done, all uint64)) error
	Wake(context.Context) error
	// The agent's calls, and Exec, which returns what a program printed.
	inside.Agent
	Exec(ctx context.Context, command []string) (string, error)
	GuestDisks(context.Context) ([]domain.GuestDisk, error)
}

// ShutDown shuts the guest down with the methods of the plan.
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

// StartAgain undoes a shutdown: it starts a guest that was running.
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
			return nil // it never stopped, or another user has started it
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

// lateStop waits for a guest that was asked to shut down before the job was interrupted: the
// request cannot be withdrawn, so the guest is started again after the shutdown.
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

// Redirect points the domain's disks to overlays, and moves disks to their new bus before. It
// refuses if another user has changed the domain since the shutdown.
func (h *hostGuest) Redirect(ctx context.Context) error {
	def, err := h.domain.Read(ctx)
	if err != nil {
		return err
	}
	guest := h.Guest()
	if def.SourceOf(guest.TargetAfter(guest.Disk)) == h.data.Overlay {
		return nil // a crash came right after it
	}
	if err := h.asLeft(ctx); err != nil {
		return err
	}
	if err := h.moveDisks(ctx); err != nil {
		return err
	}
	// A crash of the host during the live commit would lose the bitmaps.
	var overlays []domain.Overlay
	for _, e := range h.edited {
		if err := e.Files.SaveBitmaps(ctx); err != nil {
			return image.RefuseInUse(e.image.Path, err)
		}
		overlays = append(overlays, domain.Overlay{Target: guest.TargetAfter(cmp.Or(e.Target, guest.Disk)), Path: e.Overlay})
	}
	for _, side := range h.disks()[len(h.edited):] {
		if err := side.CreateOverlay(ctx, side.Old); err != nil {
			return err
		}
		overlays = append(overlays, domain.Overlay{Target: guest.TargetAfter(side.Target), Path: side.Files.Path})
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

// asLeft refuses if the domain has changed since the shutdown.
func (h *hostGuest) asLeft(ctx context.Context) error {
	name := h.Guest().Name
	state, err := h.domain.State(ctx)
	if err != nil {
		return err
	}
	if state != domain.Off {
		return plan.Refuse(plan.DomainChanged, h.ID(), "%s was started while it had to stay off: what it wrote since is not in the overlay", name)
	}
	if err := h.untouched(); err != nil {
		return err
	}
	now, err := h.domain.XML(ctx)
	if err != nil {
		return err
	}
	if was, err := h.LoadDefinition(domainjob.OriginalXML); err != nil || was != now && !h.isMoved(now, was) {
		return errors.Join(err, plan.Refuse(plan.DomainChanged, h.ID(), "another user has changed the definition of %s since job %s began", name, h.ID()))
	}
	return nil
}

// Restore restores the domain's original definition; after the commit, the one with the
// moved disks. If another user has edited the definition since, only its disks are restored,
// and the edits are kept.
func (h *hostGuest) Restore(ctx context.Context) error {
	now, err := h.domain.XML(ctx)
	if err != nil {
		return err
	}
	original, err := h.LoadDefinition(domainjob.OriginalXML)
	if err != nil || now == original {
		return err
	}
	moved, err := h.hasMoved(ctx)
	if err != nil {
		return err
	}
	want, err := h.imagesXML(original, moved)
	if err != nil {
		return err
	}
	trial, _ := h.LoadDefinition(domainjob.TrialXML) // a crash before it was saved leaves none
	restored := now
	for _, d := range h.Guest().Disks {
		target := d.Target
		if moved {
			target = h.Guest().TargetAfter(target)
		}
		if restored, err = restored.RestoreDisk(want, trial, target, d.Path); err != nil {
			return plan.Refuse(plan.DomainChanged, h.ID(), "%v", err)
		}
	}
	if moved && !isPivoting(h.Record()) {
		if restored, err = h.movedBack(restored, want, original); err != nil {
			return plan.Refuse(plan.DomainChanged, h.ID(), "%v", err)
		}
		want = original
	}
	if restored != want {
		h.Note("another user has edited %s meanwhile: the edits are kept, only the disks are restored", h.Guest().Name)
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

// Stop ends a trial. If every disk is on an overlay, nothing that the guest has written is
// kept, so the guest is powered off.
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

// Pivot commits a disk's overlay into its image: live, or offline if the guest has been shut
// down meanwhile.
func (h *hostGuest) Pivot(ctx context.Context, target string) error {
	disks := h.disks()
	d := disks[0]
	for _, side := range disks[1:] {
		if side.Target == target {
			d = side
		}
	}
	target = h.Guest().TargetAfter(target)
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
			// The guest may have been paused because the disk of its overlay or
			// image was full.
			return h.domain.Wake(ctx)
		}
		// If the guest has stopped during the commit, it is committed offline.
		if now, asked := h.domain.State(ctx); asked != nil || now != domain.Off {
			return err
		}
	}
}

// commitOff commits the overlay of a guest that is off. It does nothing if the domain uses
// the image already.
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

// committed reports the progress of a commit, every few seconds.
func (h *hostGuest) committed(target string) func(done, all uint64) {
	last := time.Now()
	return func(done, all uint64) {
		if time.Since(last) > 5*time.Second && all > 0 {
			last = time.Now()
			h.Show("%s: %d %% committed", target, done*100/all)
		}
	}
}
