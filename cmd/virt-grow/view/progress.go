package view

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/apply"
)

// Progress shows the progress of a run. On a terminal, the line of a step is rewritten
// until the step ends; elsewhere it is written once, when the step has ended. Several
// goroutines may use it.
type Progress struct {
	w     io.Writer
	style Style
	live  bool
	now   func() time.Time

	mutex sync.Mutex
	// steps are all steps of the run, once they are known.
	steps []plan.Step
	// text is the live line, shown since then; "" if there is none.
	text  string
	since time.Time
	held  bool
	// within reports that text is a step: notes are shown below it.
	within bool
	// early are steps that ended before the plan was known.
	early []apply.Event
}

// NewProgress returns a view of a run. live reports that w is a terminal.
func NewProgress(w io.Writer, s Style, live bool, now func() time.Time) *Progress {
	return &Progress{w: w, style: s, live: live, now: now}
}

// Listed sets the steps of the run.
func (p *Progress) Listed(steps []plan.Step) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.steps = steps
	if len(steps) == 0 {
		return
	}
	for _, e := range p.early {
		p.ended(e)
	}
	p.early = nil
}

// Note shows a message, between steps or within one.
func (p *Progress) Note(text string) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.within {
		p.erase()
		fmt.Fprintln(p.w, p.style.clean("      "+text))
		p.redraw()
		return
	}
	p.finishNote()
	p.begin(text)
}

// Event shows a step's event.
func (p *Progress) Event(e apply.Event) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	switch e.Phase {
	case apply.Started:
		if p.steps == nil {
			return // the note stays the live line
		}
		p.finishNote()
		p.begin(p.step(e.Step))
		p.within = true
	case apply.Undoing:
		p.finishNote()
		p.begin("undo: " + undoing(e.Step))
		p.within = true
	case apply.Progress:
		if p.text != "" {
			p.text = fmt.Sprintf("%s … %.0f %%", p.step(e.Step), e.Percent)
			p.redraw()
		}
	case apply.Finished, apply.Failed, apply.Undone:
		if p.steps == nil && e.Phase == apply.Finished {
			p.early = append(p.early, e)
			return
		}
		if e.Phase == apply.Undone {
			// The run may begin again, with other disks.
			p.early = slices.DeleteFunc(p.early, func(done apply.Event) bool { return done.Step.ID() == e.Step.ID() })
		}
		p.ended(e)
	}
}

// undoing returns what the undo of a step does.
func undoing(s plan.Step) string {
	of := ""
	if s.Device != "" {
		of = " of " + s.Device // of several disks
	}
	switch s.Kind {
	case plan.StepOverlay:
		return "delete the overlay" + of
	case plan.StepUndo:
		return "delete the saved bytes" + of
	case plan.StepCommit:
		return "restore the saved bytes" + of + ", and verify"
	case plan.StepShutdown:
		return "start the guest again"
	case plan.StepSwitch:
		return "point the domain at its images again"
	case plan.StepStart:
		return "stop the guest"
	}
	return s.Summary
}

// step returns a step's number and summary.
func (p *Progress) step(s plan.Step) string {
	for i, other := range p.steps {
		if other.ID() == s.ID() {
			return fmt.Sprintf("[%d/%d] %s", i+1, len(p.steps), other.Summary)
		}
	}
	if s.Summary == "" {
		return "step " + s.ID()
	}
	return s.Summary
}

func (p *Progress) begin(text string) {
	p.text, p.since, p.within = text, p.now(), false
	p.redraw()
}

// ended writes the final line of a step.
func (p *Progress) ended(e apply.Event) {
	text := p.step(e.Step)
	switch e.Phase {
	case apply.Failed:
		text += ": failed"
	case apply.Undone:
		text = "undo: " + undoing(e.Step)
	}
	p.erase()
	p.text, p.within = "", false
	p.print(text, e.Took)
}

// finishNote writes the final line of a note, with its duration.
func (p *Progress) finishNote() {
	if p.text == "" {
		return
	}
	p.erase()
	p.print(p.text, p.now().Sub(p.since))
	p.text = ""
}

func (p *Progress) print(text string, took time.Duration) {
	fmt.Fprintln(p.w, p.style.clean(fmt.Sprintf("%s … %s", text, Took(took))))
}

// Tick rewrites the live line with the time that has passed.
func (p *Progress) Tick() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.redraw()
}

func (p *Progress) redraw() {
	if !p.live || p.held || p.text == "" {
		return
	}
	took := p.style.clean(" … " + Took(p.now().Sub(p.since)))
	// One column stays free: a full line would wrap.
	text := p.style.fit(p.style.clean(p.text), p.style.width()-1-columns(took))
	fmt.Fprint(p.w, "\r"+strings.TrimRight(text, " ")+took+"\x1b[K")
}

// erase removes the live line from the terminal.
func (p *Progress) erase() {
	if p.live {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}

// Hold ends the live line and shows nothing until Release: other code writes to the
// terminal.
func (p *Progress) Hold() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.finishNote()
	p.held = true
}

// Release ends Hold.
func (p *Progress) Release() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.held = false
}

// Stop ends the live line at the end of the run.
func (p *Progress) Stop() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.finishNote()
}

// Clear removes the live line for good.
func (p *Progress) Clear() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.erase()
	p.text = ""
}
