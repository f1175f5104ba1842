package batch

import (
	"context"
	"errors"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/journal"
)

// grow carries out the batch from its begin.
func (w *work) grow(ctx context.Context) error {
	r := w.newRound()
	if err := r.wait(ctx); err != nil {
		return err
	}
	r.run(ctx, canariesFirst(w.data.Guests))
	return r.broken
}

func canariesFirst(guests []member) []member {
	guests = slices.Clone(guests)
	slices.SortStableFunc(guests, func(a, b member) int {
		switch {
		case a.Canary == b.Canary:
			return 0
		case a.Canary:
			return -1
		}
		return 1
	})
	return guests
}

// resume finishes the jobs of guests that were interrupted. After that, it begins with the
// guests that are left, if that is allowed.
func (w *work) resume(ctx context.Context) error {
	if w.options.Begin {
		if err := w.renewWindow(); err != nil {
			return err
		}
	}
	r := w.newRound()
	r.resumeJobs(ctx, w.standings(w.Record()))
	if !w.options.Begin || ctx.Err() != nil || r.broken != nil {
		return r.broken
	}
	if err := r.wait(ctx); err != nil {
		return err
	}
	r.run(ctx, w.left(w.standings(w.Record())))
	return r.broken
}

// renewWindow sets the window in which the guests that are left begin.
func (w *work) renewWindow() error {
	if err := w.data.limit(w.batch, w.options); err != nil {
		return err
	}
	return w.Save(w.data)
}

// left returns the guests that are left, the canaries first. If no canary has passed, the
// first guest that is left is one.
func (w *work) left(all []Standing) []member {
	var left []member
	wanted, passed := false, false
	for i, s := range all {
		wanted = wanted || s.Canary
		passed = passed || s.Canary && s.Outcome.Passed()
		if s.Outcome.left() {
			left = append(left, w.data.Guests[i])
		}
	}
	left = canariesFirst(left)
	if wanted && !passed && len(left) > 0 {
		left[0].Canary = true
	}
	return left
}

// resumeJobs continues the jobs that have not ended, all at the same time: no more guests are
// away than there were places. A job whose outage had not begun is rolled back before: its
// guest is left.
func (r *round) resumeJobs(ctx context.Context, all []Standing) {
	var begun []*lane
	for i, s := range all {
		l := &lane{round: r, member: r.data.Guests[i], guest: r.guest(s.Name), part: s.Part}
		switch {
		case s.Outcome != Unfinished:
		case s.State == journal.Opening && s.may(job.Rollback):
			l.cleanUp(ctx)
		case s.may(job.Resume):
			begun = append(begun, l)
		default:
			r.options.Observer.Part(s.Name, s.Part)
		}
	}
	var running errgroup.Group
	defer running.Wait()
	for _, l := range begun {
		running.Go(func() error { l.resume(ctx); return nil })
	}
}

// resume continues the job of one guest.
func (l *lane) resume(ctx context.Context) {
	watch := l.watch()
	watch.Admit = nil // its outage had begun
	out, err := l.options.Jobs.Continue(ctx, l.guest, l.part.Job, job.Resume, watch)
	l.end(ctx, out, err)
}

// cleanUp rolls back a job that had not begun to change anything.
func (l *lane) cleanUp(ctx context.Context) {
	_, err := l.options.Jobs.Continue(ctx, l.guest, l.part.Job, job.Rollback, l.watch())
	if refused, ok := plan.IsRefusal(err); ok && refused.Reason == plan.NotFound {
		err = nil // the job ended before it did anything
	}
	if err != nil {
		l.end(ctx, nil, err)
		return
	}
	l.save(l.guest.Name, Part{Outcome: Left})
}

// accept commits all guests that wait for a decision, in their order.
func (w *work) accept(ctx context.Context) error {
	return w.each(ctx, w.standings(w.Record()), job.Accept)
}

// rollback rolls back all guests for which that is possible, the newest first.
func (w *work) rollback(ctx context.Context) error {
	all := w.standings(w.Record())
	slices.SortStableFunc(all, func(a, b Standing) int { return b.Begun.Compare(a.Begun) })
	for _, s := range all {
		if s.Job != "" && !s.may(job.Rollback) && s.Outcome != RolledBack && s.Outcome != Restored {
			w.Note("%s cannot be rolled back: %s", s.Name, whyNot(s))
		}
	}
	return w.each(ctx, all, job.Rollback)
}

// whyNot returns why a guest cannot be rolled back.
func whyNot(s Standing) string {
	switch s.Outcome {
	case Done:
		return "its changes are in its image"
	case Closed:
		return "its job was closed as it was"
	case Running:
		return "another process works on it"
	}
	if s.State == journal.Committing {
		return "its commit has begun, and can only be finished: resume does that"
	}
	return "its job " + s.Job + " is " + string(s.Outcome)
}

// each does an action on the job of each guest that offers it, one after the other. A failure
// does not keep it from the others.
func (w *work) each(ctx context.Context, all []Standing, a job.Action) error {
	r := w.newRound()
	for _, s := range all {
		if !s.may(a) || ctx.Err() != nil {
			continue
		}
		l := &lane{round: r, member: member{Name: s.Name}, guest: w.guest(s.Name), part: s.Part}
		out, err := w.options.Jobs.Continue(ctx, l.guest, s.Job, a, l.watch())
		if refused, ok := plan.IsRefusal(err); ok && a == job.Rollback && refused.Reason == plan.NotFound {
			l.save(s.Name, Part{Outcome: Left})
			continue
		}
		if err != nil {
			w.Note("%s: %v", s.Name, err)
			l.notDone(s, err)
			continue
		}
		l.end(ctx, out, nil)
	}
	return r.broken
}

// notDone records that an action on a job has failed; the job is in the state that its own
// journal says.
func (l *lane) notDone(s Standing, err error) {
	var f *job.Failure
	p := s.Part
	p.Error = err.Error()
	if refused, ok := plan.IsRefusal(err); ok {
		p.Reason = refused.Reason
	}
	if errors.As(err, &f) && f.Restored {
		p.Outcome = Restored
	}
	l.save(s.Name, p)
}
