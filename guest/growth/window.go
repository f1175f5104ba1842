package growth

import (
	"context"
	"time"

	"github.com/virt-grow/virt-grow/plan"
)

// Window limits how long a guest may be away; the zero value is no limit.
type Window struct {
	// End is when the guest must be back.
	End time.Time
	// Max is how long the guest may be away.
	Max time.Duration
}

// until returns when a guest that is shut down now must be back; zero if there is no limit.
func (w Window) until(now time.Time) time.Time {
	end := w.End
	if w.Max > 0 {
		if latest := now.Add(w.Max); end.IsZero() || latest.Before(end) {
			end = latest
		}
	}
	return end
}

// Fits refuses if the outage and a rollback would not end in time.
func (w Window) Fits(p *plan.Plan, now time.Time) error {
	end := w.until(now)
	need := p.Outage() + p.Reserve()
	if end.IsZero() || !p.Target.Guest.Running || !now.Add(need).After(end) {
		return nil
	}
	return plan.Refuse(plan.Window, p.Target.Guest.Name, "the window is too short: the outage takes about %s and a rollback %s more, and %s are left",
		p.Outage().Round(time.Second), p.Reserve().Round(time.Second), end.Sub(now).Round(time.Second))
}

// limit cancels the context when a rollback has to begin to end in time.
func (w Window) limit(ctx context.Context, p *plan.Plan, now time.Time) (context.Context, context.CancelFunc) {
	end := w.until(now)
	if end.IsZero() || !p.Target.Guest.Running {
		return context.WithCancel(ctx)
	}
	late := plan.Refuse(plan.Window, p.Target.Guest.Name, "the window ends at %s, and a rollback takes about %s: it must begin now",
		end.Format(time.TimeOnly), p.Reserve().Round(time.Second))
	return context.WithDeadlineCause(ctx, end.Add(-p.Reserve()), late)
}
