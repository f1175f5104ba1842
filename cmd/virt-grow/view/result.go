package view

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
)

// Result is the result of a run without an error.
type Result struct {
	Job     string
	Outcome Outcome
	Plan    *plan.Plan
	Took    time.Duration
	// Steps are what a dry run without a plan would do.
	Steps []plan.Step
	// Overlay is the path of the overlay that waits for a decision.
	Overlay string
	// Accept and Rollback are the commands for the decision.
	Accept, Rollback string
	// ManualSteps lists what the user still has to do.
	ManualSteps []string
	// Messages say what a job without a plan did.
	Messages []string
}

// Outcome says how a run ended.
type Outcome string

// The outcomes of a run.
const (
	Done       Outcome = "done"        // grown
	Unchanged  Outcome = "unchanged"   // there was nothing to do
	Waiting    Outcome = "waiting"     // the overlay is complete, the commit is left to a person
	RolledBack Outcome = "rolled-back" // the job was undone
	Planned    Outcome = "planned"     // a dry run: nothing was done
	Rehearsed  Outcome = "rehearsed"   // the edit works; nothing was changed
	Cancelled  Outcome = "cancelled"   // a job without a confirmed plan was ended
	Closed     Outcome = "closed"      // the user closed the job as it is: nothing more is done or undone
	Refused    Outcome = "refused"
	Failed     Outcome = "failed"      // failed before anything was changed
	Restored   Outcome = "restored"    // failed after changes, and everything was undone
	Unrestored Outcome = "unrestored"  // failed after changes that could not all be undone
	Stopped    Outcome = "interrupted" // ended by a signal; everything is as before
)

// Results prints how a run ended.
func Results(w io.Writer, s Style, r Result) error {
	p := &page{Style: s}
	switch r.Outcome {
	case Done:
		p.done(r)
	case Waiting:
		if r.Plan == nil {
			p.done(r)
			break
		}
		p.head("Job %s is complete and verified; the image is untouched.", r.Job)
		if g := r.Plan.Target.Guest; g != nil {
			p.line("%s passed its health check and runs on the overlay. A rollback loses what it writes from now on.", g.Name)
		}
		p.line("overlay   %s", r.Overlay)
		p.line("commit    %s", r.Accept)
		p.line("delete    %s", r.Rollback)
	case RolledBack:
		p.head("Job %s is rolled back: everything is as it was before.", r.Job)
	case Cancelled:
		p.head("Job %s is closed: its plan was not confirmed, and nothing was changed.", r.Job)
	case Closed:
		p.head("Job %s is closed as it is: nothing more is done or undone.", r.Job)
		for _, line := range r.Messages {
			p.paragraph("  ", "%s", line)
		}
	case Planned:
		for _, line := range r.Messages {
			p.paragraph("", "%s", line)
		}
		for i, s := range r.Steps {
			p.paragraph("  ", "%d. %s", i+1, s.Summary)
		}
		p.head("This was a dry run: nothing was done.")
	case Unchanged:
		p.head("Nothing to do; nothing was changed.")
		for _, line := range r.Messages {
			p.paragraph("  ", "%s", line)
		}
	}
	p.toDo(r.ManualSteps)
	if r.Took > 0 {
		p.line("%s in total", Took(r.Took))
	}
	_, err := io.WriteString(w, p.b.String())
	return err
}

// toDo prints what the user still has to do. Commands are not wrapped, so that they can
// be copied.
func (p *page) toDo(list []string) {
	if len(list) == 0 {
		return
	}
	p.head("Left to do")
	for _, text := range list {
		what, commands, _ := strings.Cut(text, "\n")
		p.paragraph("  ", "%s", what)
		p.verbatim(commands)
	}
}

// verbatim prints lines unchanged.
func (p *page) verbatim(text string) {
	for line := range strings.Lines(text) {
		p.raw("    " + p.clean(strings.TrimRight(line, "\n")))
	}
}

// name returns the disk's name for people.
func name(pl *plan.Plan) string {
	if g := pl.Target.Guest; g != nil {
		return fmt.Sprintf("%s %s", g.Name, strings.Join(pl.Target.Disks(), ", "))
	}
	return pl.Target.Path
}

// achieved says what a plan that was carried out has done.
func achieved(pl *plan.Plan) string {
	g := pl.Target.Guest
	if g == nil || len(g.Moves) == 0 {
		return name(pl) + " is grown"
	}
	return fmt.Sprintf("%s: moved %s", g.Name, movesOf(g))
}

// done lists the devices that have grown.
func (p *page) done(r Result) {
	if len(r.Messages) > 0 {
		p.head("%s (job %s)", r.Messages[0], r.Job)
		for _, line := range r.Messages[1:] {
			p.line("  %s", line)
		}
		return
	}
	if r.Plan == nil || r.Took == 0 {
		p.head("Job %s is done; nothing was left to do.", r.Job)
		return
	}
	p.head("%s (job %s)", achieved(r.Plan), r.Job)
	for i, d := range r.Plan.Before.Disks() {
		if after := r.Plan.After.Disks()[i]; after.Size != d.Size {
			p.line("  %s  %s", cmp.Or(d.Disk, "disk"), change(d.Size, after.Size))
		}
	}
	for _, d := range r.Plan.After.Devices {
		before, ok := r.Plan.Before.Find(d.Name)
		if d.Kind == plan.Disk || !ok {
			continue
		}
		if before.Size == d.Size && before.Content.Size == d.Content.Size {
			continue
		}
		from, to := before.Size, d.Size
		if from == to {
			from, to = before.Content.Size, d.Content.Size
		}
		p.line("  %s  %s  %s", d.Name, strings.Join(append([]string{contentOf(&d)}, d.Content.Mounted...), " "), change(from, to)+less(&d))
	}
}

// less returns the size of a file system that is noticeably smaller than its device: ext4
// leaves out a last group with hardly any room besides its own tables.
func less(d *plan.Device) string {
	if !d.Content.Growable() || d.Content.Size == 0 || d.Size-d.Content.Size < size.MiB {
		return ""
	}
	return fmt.Sprintf(", of which the file system can use %s", d.Content.Size)
}

// Rehearsal prints the result of a rehearsal.
func Rehearsal(w io.Writer, s Style, r RehearsalEvent, pl *plan.Plan) error {
	p := &page{Style: s}
	if r.Outcome == Unchanged {
		p.head("Nothing to do.")
	} else {
		p.head("%s can be grown: the edit worked, and was discarded.", name(pl))
		p.line("  edit     %s", span(r.Edit))
		if r.Outage > 0 {
			p.line("  outage   about %s: shutdown and boot %s", span(r.Outage), span(r.Outage-r.Edit))
			p.line("  rollback about %s more, if the guest fails its check", span(r.Reserve))
		}
	}
	switch {
	case r.Frozen > 0:
		p.line("  guest    file systems frozen for %s; %s of overwritten data were kept", span(r.Frozen), r.Scratch)
	case r.FromSnapshot:
		p.line("  guest    not frozen: the disk was read as after a power cut; %s of overwritten data were kept", r.Scratch)
	}
	for _, device := range r.LeftOut {
		p.paragraph("", "%s is in use by Windows: growing it was not rehearsed, and is checked after the shutdown.", device)
	}
	p.line("Nothing was changed, and nothing was left behind. %s in total", span(r.Seconds))
	_, err := io.WriteString(w, p.b.String())
	return err
}

func span(seconds float64) string { return Took(plan.Seconds(seconds)) }
