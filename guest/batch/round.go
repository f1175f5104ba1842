package batch

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/virt-grow/virt-grow/guest/growth"
	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/apply"
)

// round is one run over guests of the batch.
//
// A guest takes an appliance from its begin until its edit has ended, and a place from the
// begin of its outage until it has passed its health check. While it is away, the next guest
// is prepared: its appliance boots, which takes processors, and then waits, which takes only
// memory.
type round struct {
	*work
	// boots limits the guests that are prepared at the same time, appliances those that have
	// an appliance, and places those that are away.
	boots, appliances *semaphore.Weighted
	places            *places

	mu sync.Mutex
	// failed counts the guests that have failed; stopped is why no outage begins any more.
	failed  int
	stopped error
	// ahead has the guests whose outage has not begun, to end their work.
	ahead map[string]context.CancelCauseFunc
	// broken is the first error of the batch's own journal.
	broken error
}

// errStopped is the cause with which guests are ended whose outage has not begun.
var errStopped = errors.New("guests have failed: no outage begins any more")

func (w *work) newRound() *round {
	c := w.options.Capacity
	boots := int64(max(c.Boots, 1))
	appliances := int64(w.data.Parallel) + boots
	if c.Appliances > 0 {
		appliances = min(appliances, int64(c.Appliances))
	}
	return &round{work: w, boots: semaphore.NewWeighted(boots), appliances: semaphore.NewWeighted(appliances),
		places: &places{free: w.data.Parallel}, ahead: map[string]context.CancelCauseFunc{}}
}

// run begins with the guests in their order, the canaries first and alone, and returns when
// all have ended.
func (r *round) run(ctx context.Context, guests []member) {
	begin, cancel := r.untilStopped(ctx, "")
	defer cancel()
	var running errgroup.Group
	defer running.Wait()
	before := closed() // closed when the canary before has ended
	for _, m := range guests {
		l := &lane{round: r, member: m, guest: r.guest(m.Name), turn: before}
		if m.Canary {
			before = make(chan struct{})
			l.ended = before
		}
		if !l.takeAppliance(begin) {
			r.leave(m, context.Cause(begin))
			continue
		}
		if late := l.late(); late != nil {
			l.tooLate(late)
			continue
		}
		running.Go(func() error { l.run(ctx); return nil })
	}
}

func canaryFailed(m member) error {
	return fmt.Errorf("the canary %s is not grown: %w", m.Name, errStopped)
}

func closed() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// untilStopped returns a context that ends when no outage may begin any more. name is a guest
// whose outage has not begun.
func (r *round) untilStopped(ctx context.Context, name string) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ahead[name] = cancel
	if r.stopped != nil {
		cancel(r.stopped)
	}
	return ctx, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.ahead, name)
		cancel(nil)
	}
}

// stop lets no outage begin any more. Guests whose outage has begun end properly.
func (r *round) stop(cause error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped != nil {
		return
	}
	r.stopped = cause
	for _, cancel := range r.ahead {
		cancel(cause)
	}
}

// leave records that a guest has not begun, and why.
func (r *round) leave(m member, cause error) {
	r.save(m.Name, Part{Outcome: Left, Reason: reasonLeft(cause), Error: cause.Error()})
}

func reasonLeft(cause error) plan.Reason {
	refused, ok := plan.IsRefusal(cause)
	switch {
	case errors.Is(cause, errStopped):
		return ReasonStopped
	case ok && refused.Reason == plan.Window:
		return plan.Window
	}
	return ReasonInterrupted
}

// save records a guest's part. If the journal cannot be written, no outage begins any more.
func (r *round) save(name string, p Part) {
	err := r.Fault(context.Background(), "part:"+name+"/before")
	if err == nil {
		err = r.SavePart(name, p)
	}
	if err == nil {
		err = r.Fault(context.Background(), "part:"+name+"/after")
	}
	if err != nil {
		r.mu.Lock()
		r.broken = errors.Join(r.broken, err)
		r.mu.Unlock()
		r.stop(err)
	}
	r.options.Observer.Part(name, p)
}

// lane is the way of one guest through a round.
type lane struct {
	*round
	member member
	guest  Guest
	// turn is closed when the canary before the guest has ended; ended, which may be nil, is
	// closed when the guest has.
	turn, ended chan struct{}

	mu sync.Mutex
	// part is what is recorded.
	part Part
	// boots and booted report that the guest is prepared now, and that it has an appliance.
	boots, booted bool
	// place is the guest's place, or its wait for one; nil for none.
	place chan struct{}
}

// late refuses a guest that cannot be back before the window ends.
func (l *lane) late() error {
	return growth.Window{End: l.data.End}.Fits(l.guest.Plan, l.options.Now())
}

// tooLate leaves the guest.
func (l *lane) tooLate(late error) {
	l.leave(l.member, late)
	l.giveAppliance()
	l.passed(false)
}

// passed lets the other guests begin after a canary, or stops the batch.
func (l *lane) passed(passed bool) {
	if !l.member.Canary {
		return
	}
	if !passed {
		l.stop(canaryFailed(l.member))
	}
	l.places.begin(l.ended)
}

// run grows the guest, and records the outcome.
func (l *lane) run(ctx context.Context) {
	ahead, cancel := l.untilStopped(ctx, l.guest.Name)
	defer cancel()
	l.options.Observer.Phase(l.guest.Name, Preparing)
	out, err := l.options.Jobs.Grow(ahead, l.guest, l.watch())
	l.end(ahead, out, err)
	l.passed(l.part.Outcome.Passed())
	l.giveAll() // after a failure has stopped the batch: no guest begins in between
}

// watch follows the guest's job.
func (l *lane) watch() Watch {
	name, observer := l.guest.Name, l.options.Observer
	return Watch{
		Opened: l.opened, Admit: l.admit, Step: l.step, End: l.data.End,
		Planned: func(p *plan.Plan) { observer.Planned(name, p) },
		Note:    func(text string) { observer.Note(name, text) },
	}
}

// opened names the guest's job in the batch's journal, before anything is done.
func (l *lane) opened(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.part.Job == id {
		return
	}
	l.part = Part{Outcome: Running, Job: id, Begun: l.options.Now()}
	l.save(l.guest.Name, l.part)
	l.options.Observer.Begun(l.guest.Name, id)
}

// admit waits for the guest's turn, and for a place.
func (l *lane) admit(ctx context.Context, _ *plan.Plan) error {
	l.options.Observer.Phase(l.guest.Name, Ready)
	place := l.isReady()
	if err := await(ctx, place); err != nil {
		return err
	}
	l.round.mu.Lock()
	defer l.round.mu.Unlock()
	if l.stopped != nil {
		return l.stopped
	}
	delete(l.ahead, l.guest.Name)
	return nil
}

// step follows the guest's steps: they say when the guest is away, and what it still needs.
func (l *lane) step(e apply.Event) {
	l.options.Observer.Step(l.guest.Name, e)
	if p := phaseOf(e); p != "" {
		l.options.Observer.Phase(l.guest.Name, p)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case Leaves(e):
		l.part.Away = l.options.Now()
		l.save(l.guest.Name, l.part)
	case Returns(e, l.guest.Plan.Target.Guest.Trial) && !l.part.Away.IsZero():
		l.part.Back = l.options.Now()
	case e.Step.Kind == plan.StepSwitch && e.Phase == apply.Started, e.Step.Kind == plan.StepUndo && e.Phase == apply.Started:
		l.giveAppliance()
	}
	if e.Step.Kind == plan.StepHealth && e.Phase == apply.Finished && !l.member.Canary {
		l.givePlace()
	}
}

// takeAppliance waits until the guest may be prepared; false if the context ends before.
func (l *lane) takeAppliance(ctx context.Context) bool {
	if ctx.Err() != nil || l.appliances.Acquire(ctx, 1) != nil {
		return false
	}
	if l.round.boots.Acquire(ctx, 1) != nil {
		l.appliances.Release(1)
		return false
	}
	l.booted, l.boots = true, true
	if ctx.Err() != nil { // a semaphore may be acquired although the context has ended
		l.giveAppliance()
		return false
	}
	return true
}

// isReady queues for a place, and then lets the next guest be prepared.
func (l *lane) isReady() (place chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.place = l.places.join(l.turn)
	l.giveBoot()
	return l.place
}

func (l *lane) giveBoot() {
	if l.boots {
		l.boots = false
		l.round.boots.Release(1)
	}
}

func (l *lane) giveAppliance() {
	l.giveBoot()
	if l.booted {
		l.booted = false
		l.appliances.Release(1)
	}
}

func (l *lane) givePlace() {
	if l.place != nil {
		l.places.leave(l.place)
		l.place = nil
	}
}

// end records the outcome of the guest. ctx is that of the guest's job.
func (l *lane) end(ctx context.Context, out *job.Outcome, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.part = l.partOf(ctx, out, err)
	l.save(l.guest.Name, l.part)
	if l.part.Outcome.fails() {
		l.countFailure()
	}
}

func (l *lane) giveAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.giveAppliance()
	l.givePlace()
}

// partOf returns what is recorded of the guest when its job has ended.
func (l *lane) partOf(ctx context.Context, out *job.Outcome, err error) Part {
	p := l.part
	p.Outcome, p.Reason, p.Error = outcomeOf(out, err), "", ""
	if err == nil {
		return p
	}
	p.Error = err.Error()
	if refused, ok := plan.IsRefusal(err); ok {
		p.Reason = refused.Reason
	}
	if l.remains() {
		p.Outcome = Unfinished // its job refused to go on, and is as it was
	}
	untouched := p.Outcome == Broken || p.Outcome == Refused
	switch {
	case untouched && ctx.Err() != nil:
		return Part{Outcome: Left, Reason: reasonLeft(context.Cause(ctx)), Error: context.Cause(ctx).Error()}
	case untouched && p.Reason == plan.Window:
		return Part{Outcome: Left, Reason: plan.Window, Error: p.Error}
	case p.Outcome == Restored && ctx.Err() != nil:
		p.Outcome = Interrupted
	}
	return p
}

// remains reports whether the guest's job exists and has not ended.
func (l *lane) remains() bool {
	if l.part.Job == "" {
		return false
	}
	s, err := l.options.Jobs.Status(l.part.Job)
	return err == nil && !s.Record.State.Ended()
}

// countFailure stops the batch after too many failures.
func (l *lane) countFailure() {
	l.round.mu.Lock()
	l.failed++
	stop := l.failed >= l.data.StopAfter
	l.round.mu.Unlock()
	if stop {
		l.stop(errStopped)
	}
}

// outcomeOf returns the outcome of a guest's job.
func outcomeOf(out *job.Outcome, err error) Outcome {
	var f *job.Failure
	refusal, refused := plan.IsRefusal(err)
	switch {
	case err == nil:
		return outcomeOfState(out.State)
	case errors.As(err, &f) && !f.Restored:
		return Unfinished
	case f != nil && (f.Begun || f.Stopped):
		return Restored
	case refused && refusal.Reason != plan.ShutdownTimeout:
		return Refused
	}
	return Broken
}

// wait returns when the window has begun.
func (r *round) wait(ctx context.Context) error {
	early := r.data.Start.Sub(r.options.Now())
	if r.data.Start.IsZero() || early <= 0 {
		return nil
	}
	r.Show("the window begins at %s: waiting", r.data.Start.Format(time.DateTime))
	return r.options.Sleep(ctx, early)
}
