package view

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/virt-grow/virt-grow/guest/batch"
	"github.com/virt-grow/virt-grow/guest/record"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/inventory"
)

// guestResults are the words for the outcomes of a batch's guests.
var guestResults = map[batch.Outcome]result{
	batch.Left: {"Left", "open"}, batch.Running: {"Running", "open"}, batch.Unfinished: {"Unfinished", "bad"},
	batch.Interrupted: {"Interrupted", "open"}, batch.Waiting: {"Waits for a decision", "open"}, batch.Done: {"Done", "good"},
	batch.Unchanged: {"Nothing to do", "good"}, batch.Refused: {"Refused", "bad"}, batch.Broken: {"Failed", "bad"},
	batch.Restored: {"Failed, restored", "bad"}, batch.RolledBack: {"Rolled back", "bad"}, batch.Closed: {"Closed as it was", "bad"},
}

func resultOfGuest(g record.BatchGuest) result {
	if known, ok := guestResults[g.Outcome]; ok {
		return known
	}
	return result{string(g.Outcome), "open"}
}

// batchResult is how the guests of a batch stand together.
func batchResult(r *record.Record) result {
	any := func(is func(batch.Outcome) bool) bool {
		return slices.ContainsFunc(r.Guests, func(g record.BatchGuest) bool { return is(g.Outcome) })
	}
	switch {
	case r.Active:
		return result{"Running", "open"}
	case any(func(o batch.Outcome) bool { return !o.Passed() }):
		return result{"Not all guests are grown", "bad"}
	case any(func(o batch.Outcome) bool { return o == batch.Waiting }):
		return guestResults[batch.Waiting]
	}
	return guestResults[batch.Done]
}

// batchPlan says what was planned for the batch.
func batchPlan(r *record.Record) section {
	s := section{Title: "What was asked"}
	b := r.Batch
	if b == nil {
		return s
	}
	s.Facts = []fact{
		{"Inventory", b.Inventory.Name}, {"Its SHA-256", b.Inventory.SHA256}, {"Planned", moment(b.Made)}, {"libvirt", b.Connect},
		{"Window", windowAsked(b.Window)}, {"Canary", cmp.Or(strings.Join(b.Canary, ", "), "none")},
		{"Away at a time", fmt.Sprintf("at most %d", b.Parallel)}, {"Stops after", fmt.Sprintf("%d failed", b.StopAfter)},
		{"Estimated", Took(plan.Seconds(b.Expected.Seconds)) + " for all guests"},
	}
	return s
}

func windowAsked(w inventory.Window) string {
	switch {
	case w == inventory.Window{}:
		return "none"
	case w.End == "":
		return "from " + w.Start
	}
	return windowText(w)
}

// guestTable lists the guests of a batch.
func guestTable(r *record.Record) section {
	s := section{Title: "Guests"}
	t := reportTable{Caption: "The guests, in the order of the inventory", Right: map[int]bool{0: true, 6: true, 7: true},
		Heads: []string{"No.", "Guest", "Disks", "Outcome", "Reason", "Away from", "Estimated", "Outage"}}
	for i, g := range r.Guests {
		name := g.Name
		if g.Canary {
			name += " (canary)"
		}
		t.add(strconv.Itoa(i+1), name, growthOf(planOfGuest(g)), resultOfGuest(g).Text, g.Reason, awayFrom(g), tookOr(g.Expected), tookOr(g.Outage))
	}
	s.addTable(t)
	s.Away = newAwayFigure(r)
	return s
}

// awayFrom returns when the guest's outage began.
func awayFrom(g record.BatchGuest) string {
	if g.Away.IsZero() {
		return "–"
	}
	return g.Away.Format(time.TimeOnly)
}

func tookOr(seconds float64) string {
	if seconds == 0 {
		return "–"
	}
	return Took(plan.Seconds(seconds))
}

func planOfGuest(g record.BatchGuest) *plan.Plan {
	if g.Record != nil && g.Record.Plan != nil {
		return g.Record.Plan
	}
	return g.Plan
}

// growthOf lists the disks of a plan with their sizes.
func growthOf(p *plan.Plan) string {
	if p == nil {
		return "–"
	}
	var disks []string
	for i, name := range p.Target.Disks() {
		disks = append(disks, name+" "+change(p.Before.Disks()[i].Size, p.After.Disks()[i].Size))
	}
	return strings.Join(disks, ", ")
}

// guestPage is the record of one guest of a batch. A guest that did not begin has its plan, or
// why it was refused.
func guestPage(g record.BatchGuest, commands []Command) reportPage {
	if g.Record != nil {
		page := pageOf(g.Record, commands)
		page.Title, page.Result = g.Name, resultOfGuest(g)
		return page
	}
	page := reportPage{Title: g.Name, Result: resultOfGuest(g), Text: leftText(g)}
	for _, f := range []fact{{"UUID", g.UUID}, {"Reason", g.Reason}, {"Message", g.Error}, {"What to do", g.Hint}} {
		if f.Text != "" {
			page.Facts = append(page.Facts, f)
		}
	}
	page.add(disksChanged(g.Plan, false), warnings(g.Plan))
	return page
}

// leftText says why a guest has no record.
func leftText(g record.BatchGuest) string {
	switch {
	case !g.Planned:
		return "The planning refused the guest: nothing was done."
	case g.Outcome == batch.Left, g.Outcome == batch.Interrupted:
		return "The guest was left: nothing was changed. This is its plan."
	}
	return "Nothing was changed, and the guest's job is deleted."
}

// awayFigure has the outages of a batch on one clock.
type awayFigure struct {
	From, Until string
	Rows        []awayRow
	Ticks       []tick
}

// awayRow is the outage of a guest, in percent of the figure.
type awayRow struct {
	Number     int
	Name, Text string
	X, W       float64
}

// newAwayFigure returns the figure; nil if no guest was away.
func newAwayFigure(r *record.Record) *awayFigure {
	var from, until time.Time
	for _, g := range r.Guests {
		if g.Outage > 0 && (from.IsZero() || g.Away.Before(from)) {
			from = g.Away
		}
		if g.Outage > 0 && g.Back.After(until) {
			until = g.Back
		}
	}
	whole := until.Sub(from).Seconds()
	if from.IsZero() || whole <= 0 {
		return nil
	}
	f := &awayFigure{From: moment(from), Until: moment(until), Ticks: ticks(whole)}
	for i, g := range r.Guests {
		if g.Outage > 0 {
			after := g.Away.Sub(from).Seconds()
			f.Rows = append(f.Rows, awayRow{i + 1, g.Name, fmt.Sprintf("away after %s for %s", Took(plan.Seconds(after)), tookOr(g.Outage)),
				100 * after / whole, 100 * g.Outage / whole})
		}
	}
	return f
}
