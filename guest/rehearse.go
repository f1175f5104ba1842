package guest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/virt-grow/virt-grow/guest/block"
	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/apply"
	"github.com/virt-grow/virt-grow/plan/journal"
	"github.com/virt-grow/virt-grow/plan/size"
)

// RehearseOptions are how a rehearsal treats a running guest.
type RehearseOptions struct {
	// Quiesce freezes its file systems for the moment the view is taken: "yes",
	// "no", or "auto", if its agent can.
	Quiesce string
	// MaxScratch is how much of what the guest overwrites is kept before the
	// rehearsal is given up; 0 is half of what is free.
	MaxScratch size.Bytes
	// Guard starts a process that thaws the guest should this one die. end is told
	// whether there is nothing left for it to do.
	Guard func(uri, uuid string) (end func(thawed bool), err error)
}

// Rehearsal is what came of one.
type Rehearsal struct {
	// Plan has the time that each step of the edit took.
	Plan *plan.Plan
	// Viewed says that it was on a view of a running guest's disk, Frozen for how
	// long its file systems stood still for that.
	Viewed bool
	Frozen time.Duration
	// Scratch is what the guest overwrote meanwhile, on the host's disk.
	Scratch size.Bytes
	// LeftOut are the devices whose content could not be grown in it.
	LeftOut []string
	Took    time.Duration
}

// view is a view of the guest's disk, and its traces on this host.
type view struct {
	domain.View
	// Dir is the directory that was made for its socket; "" if the socket is in the
	// domain's own.
	Dir string `json:"dir,omitempty"`
	// Freezing says that the guest's file systems may be frozen.
	Freezing bool `json:"freezing,omitempty"`
}

// Rehearse carries the whole edit out on a throw-away overlay, for a running guest
// on one of a view of its disk, and leaves nothing behind.
func Rehearse(ctx context.Context, img *Image, r plan.Request, o Options, q RehearseOptions) (*Rehearsal, error) {
	begun := time.Now()
	newSize, err := r.NewSize(img.Size)
	if err != nil {
		return nil, err
	}
	if err := img.checkSize(ctx, newSize); err != nil {
		return nil, err
	}
	if g := img.Target.Guest; g != nil && g.Running && q.Quiesce == "yes" && !g.Health.Agent {
		return nil, plan.Refuse(plan.NoRehearsal, g.Name, "--quiesce yes: no guest agent answers in %s", g.Name)
	}
	o.kind, o.Confirm = Rehearsing, nil
	took := map[string]float64{}
	shown := o.Emit
	o.Emit = func(e apply.Event) {
		if e.Phase == apply.Finished {
			took[e.Step.ID()] = e.Took.Seconds()
		}
		if shown != nil {
			shown(e)
		}
	}
	j, err := openJob(img, r, newSize, o)
	if err != nil {
		return nil, err
	}
	out := &Rehearsal{}
	err = j.rehearse(ctx, q, out)
	ended := j.endRehearsal(context.WithoutCancel(ctx))
	if ended != nil {
		return nil, errors.Join(err, j.leftBehind(ended), j.close())
	}
	_ = j.options.Session.Rates.save()
	if err != nil {
		return nil, errors.Join(err, j.close())
	}
	for i, s := range out.Plan.Steps {
		if seconds, ok := took[s.ID()]; ok {
			out.Plan.Steps[i].Seconds = seconds
		}
	}
	out.Took = time.Since(begun)
	return out, j.close()
}

// leftBehind is a rehearsal that could not take everything away.
func (j *job) leftBehind(cause error) *Failure {
	return &Failure{Err: errors.New("the rehearsal has left something behind"), Job: j.held.ID, Undo: cause}
}

// rehearse boots the appliance, and edits.
func (j *job) rehearse(ctx context.Context, q RehearseOptions, out *Rehearsal) error {
	var s *Session
	var err error
	if j.guest() != nil && j.guest().Running {
		out.Viewed = true
		if s, err = j.prewarm(ctx); err == nil {
			err = j.takeView(ctx, q, out)
		}
		if err == nil {
			j.overlay.Image, j.overlay.Format = j.facts.View.URI(), "raw"
			err = j.overlay.CreateShared(ctx, j.facts.NewSize)
		}
	} else {
		s, err = j.prepare(ctx)
	}
	if s == nil {
		return err
	}
	defer s.Abandon()
	if err != nil {
		return err
	}
	ctx, stop := watchSpace(ctx, filepath.Dir(j.overlay.Path))
	defer stop()
	if out.Viewed {
		var watched context.CancelFunc
		if ctx, watched, err = j.watchScratch(ctx, q.MaxScratch, out); err != nil {
			return err
		}
		defer watched()
	}
	return j.editOnce(ctx, s, out)
}

// editOnce plans, and does everything between the overlay's making and its commit.
func (j *job) editOnce(ctx context.Context, s *Session, out *Rehearsal) error {
	if err := s.Attach(ctx, j.overlay.Path); err != nil {
		return err
	}
	j.note("looking at the disk")
	layout, err := s.read(ctx, j.facts.OldSize, needs(j.facts.Request))
	if err != nil {
		return err
	}
	inUse := map[string]bool{}
	if out.Viewed {
		inUse = usedByWindows(layout)
	}
	if err := j.agree(ctx, layout); err != nil {
		return err
	}
	out.Plan = j.plan
	if !j.plan.Changes() {
		return nil
	}
	j.run.Plan, j.run.Editor = j.plan, s.editor(j.overlay)
	if err := j.run.Forward(ctx, out.possible(inUse), nil); err != nil {
		return err
	}
	return s.Detach(ctx)
}

// possible are the steps of the edit, without those on an NTFS that is in use.
func (r *Rehearsal) possible(inUse map[string]bool) []plan.Step {
	var steps []plan.Step
	for _, s := range inside(r.Plan) {
		switch {
		case !inUse[s.Device] || s.Content != "ntfs":
		case s.Kind == plan.StepVerify:
			s.Content = "" // the table is verified
		default:
			if !slices.Contains(r.LeftOut, s.Device) {
				r.LeftOut = append(r.LeftOut, s.Device)
			}
			continue
		}
		steps = append(steps, s)
	}
	return steps
}

// usedByWindows takes the volumes that a running Windows has mounted, which look
// unclean at any moment, for sound: they cannot be grown in a rehearsal, and are
// checked after the shutdown.
func usedByWindows(l *plan.Layout) map[string]bool {
	used := map[string]bool{}
	for i := range l.Devices {
		content := &l.Devices[i].Content
		if p := content.Problem; p != nil && p.Way == plan.WayUnmount {
			content.Problem = nil // nobody updates the snapshot, so e2fsck takes it for unmounted
		} else if p != nil && p.Reason == plan.NTFSDirty {
			content.Problem = nil
			used[l.Devices[i].Name] = true
		}
	}
	return used
}

// takeView freezes the guest's file systems if that is wanted, takes the view, and
// thaws them.
func (j *job) takeView(ctx context.Context, q RehearseOptions, out *Rehearsal) error {
	if err := j.placeView(); err != nil {
		return err
	}
	if err := j.writeFacts(); err != nil {
		return err
	}
	// Neither call is left alone: what it does after it was given up would stay.
	whole := context.WithoutCancel(ctx)
	begun := time.Now()
	frozen, thaw, err := j.freeze(whole, q)
	if err != nil {
		return err
	}
	if j.options.Fault != nil {
		err = j.options.Fault(ctx, "view/before")
	}
	if err == nil {
		err = j.domain.BeginView(whole, j.facts.View.View)
	}
	if frozen {
		thawed := thaw()
		out.Frozen = time.Since(begun)
		if thawed != nil {
			return errors.Join(err, fmt.Errorf("the guest's file systems do not go on: %w", thawed))
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return plan.Refuse(plan.NoRehearsal, j.guest().Name, "there is no view of %s of %s to rehearse on: %v", j.guest().Disk, j.guest().Name, err)
	}
	return nil
}

// placeView names the snapshot's files: the scratch file beside the overlay, the socket
// in the directory that libvirt lets the domain's QEMU write to. The fallback for both
// is the directory for temporary files, where a confined QEMU may not write.
func (j *job) placeView() error {
	v := &view{}
	v.Target, v.Scratch = j.guest().Disk, j.facts.Overlay+".scratch"
	var err error
	if v.Socket, err = j.domain.PlaceSocket("virt-grow-" + j.held.ID + ".sock"); err != nil {
		if v.Dir, err = j.temporaryForQEMU(); err != nil {
			return err
		}
		v.Socket = filepath.Join(v.Dir, "view.sock")
	}
	if filepath.Dir(j.facts.Overlay) == j.held.Dir { // QEMU cannot get into the job's directory
		v.Scratch = strings.TrimSuffix(v.Socket, ".sock") + ".scratch"
	}
	j.facts.View = v
	return nil
}

// temporaryForQEMU makes a directory that belongs to the user QEMU runs as: libvirt has
// given the image to that user.
func (j *job) temporaryForQEMU() (string, error) {
	info, err := os.Stat(j.facts.Target.Path)
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "virt-grow-")
	if err != nil {
		return "", err
	}
	stat := info.Sys().(*syscall.Stat_t)
	if err := os.Chown(dir, int(stat.Uid), int(stat.Gid)); err != nil && os.Geteuid() == 0 {
		return "", errors.Join(err, os.Remove(dir))
	}
	return dir, nil
}

// freeze freezes the guest's file systems, if that is wanted and can be done; thaw
// is to be called then, whatever happens.
func (j *job) freeze(ctx context.Context, q RehearseOptions) (frozen bool, thaw func() error, err error) {
	g := j.guest()
	if q.Quiesce == "no" || !g.Health.Agent {
		return false, nil, nil
	}
	end, err := q.Guard(g.Connect, g.UUID)
	if err != nil {
		return false, nil, err
	}
	thaw = func() error {
		err := j.domain.Thaw(ctx)
		end(err == nil)
		if err != nil {
			return err
		}
		return j.freezing(false)
	}
	if err := j.freezing(true); err != nil {
		end(true)
		return false, nil, err
	}
	if err = j.domain.Freeze(ctx); err == nil {
		return true, thaw, nil
	}
	// It may be frozen all the same, or in part.
	if thawed := thaw(); thawed != nil {
		return false, nil, errors.Join(err, thawed)
	}
	if q.Quiesce == "yes" {
		return false, nil, plan.Refuse(plan.NoRehearsal, g.Name, "--quiesce yes: the agent does not freeze the file systems of %s: %v", g.Name, err)
	}
	j.note("the file systems are not frozen: %v", err)
	return false, nil, nil
}

// freezing writes down whether the guest's file systems may be frozen.
func (j *job) freezing(may bool) error {
	j.facts.View.Freezing = may
	return j.writeFacts()
}

// watchScratch gives the rehearsal up when the guest overwrites too much: a guest
// whose old bytes find no room would be disturbed.
func (j *job) watchScratch(ctx context.Context, limit size.Bytes, out *Rehearsal) (context.Context, context.CancelFunc, error) {
	path := j.facts.View.Scratch
	if limit == 0 {
		free, err := block.Free(filepath.Dir(path))
		if err != nil {
			return ctx, nil, err
		}
		limit = free / 2
	}
	ctx, cancel := context.WithCancelCause(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			used, _ := block.Allocated(path) // 0 before libvirt has made it
			out.Scratch = max(out.Scratch, used)
			if used > limit {
				cancel(plan.Refuse(plan.NoRehearsal, j.guest().Name, "%s overwrote %s of its disk during the rehearsal, more than the %s that may be kept of it (--max-scratch)", j.guest().Name, used, limit))
			}
			_ = domain.Sleep(ctx, 100*time.Millisecond)
		}
	}()
	return ctx, func() { cancel(nil); <-ended }, nil
}

// endRehearsal takes everything away that a rehearsal has left. It can be called
// again.
func (j *job) endRehearsal(ctx context.Context) error {
	if err := errors.Join(j.endView(ctx), j.overlay.Drop()); err != nil {
		return err
	}
	return j.forget()
}

func (j *job) endView(ctx context.Context) error {
	v := j.facts.View
	if v == nil {
		return nil
	}
	state, err := j.domain.State(ctx)
	if err != nil {
		return err
	}
	var frozen error
	if state != domain.Off {
		if v.Freezing {
			if err := j.domain.Thaw(ctx); err != nil {
				frozen = fmt.Errorf("the guest's file systems may be frozen (virsh domfsthaw %s): %w", j.guest().Name, err)
			}
		}
		if err := j.domain.EndView(ctx, v.View); err != nil {
			return errors.Join(frozen, err)
		}
	}
	for _, file := range []string{v.Scratch, v.Socket} {
		if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
			return errors.Join(frozen, err)
		}
	}
	if v.Dir == "" {
		return frozen
	}
	return errors.Join(frozen, os.RemoveAll(v.Dir))
}

// dropRehearsal ends a rehearsal that was cut off.
func (j *job) dropRehearsal(ctx context.Context) (*Outcome, error) {
	if err := j.endRehearsal(context.WithoutCancel(ctx)); err != nil {
		return nil, j.leftBehind(err)
	}
	return &Outcome{Job: j.held.ID, State: journal.Cancelled}, nil
}
