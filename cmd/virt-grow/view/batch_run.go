package view

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/virt-grow/virt-grow/guest/batch"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/apply"
	"github.com/virt-grow/virt-grow/plan/journal"
)

// BatchGuest is a guest of a batch, and how far it has come.
type BatchGuest struct {
	Name string `json:"name"`
	// Canary reports that the guest grows first, and alone.
	Canary  bool          `json:"canary,omitempty"`
	Outcome batch.Outcome `json:"outcome"`
	// Reason is the stable reason of a refusal, or why the guest is left.
	Reason string `json:"reason,omitempty"`
	Error  string `json:"error,omitempty"`
	// Outage is how many seconds the guest was away.
	Outage float64 `json:"outage_seconds,omitempty"`
	// Expected is how many seconds it was expected to be away.
	Expected float64 `json:"expected_seconds,omitempty"`
	// Away is when the guest was asked to shut down, if it is not back yet.
	Away time.Time `json:"away_since,omitzero"`
	// Job is the ID of the guest's own job, State the job's state.
	Job   string           `json:"job,omitempty"`
	State journal.JobState `json:"state,omitempty"`
}

// BatchGuestOf returns a guest as it is shown.
func BatchGuestOf(s batch.Standing) BatchGuest {
	g := BatchGuest{Name: s.Name, Canary: s.Canary, Outcome: s.Outcome, Reason: string(s.Reason), Error: s.Error,
		Outage: s.Outage().Seconds(), Expected: s.Expected, Job: s.Job, State: s.State}
	if s.Back.IsZero() {
		g.Away = s.Away
	}
	return g
}

// GuestsOfBatch prints a table of the guests of a batch, and the errors.
func GuestsOfBatch(w io.Writer, s Style, guests []BatchGuest) error {
	p := &page{Style: s}
	p.guestsOfBatch(guests)
	_, err := io.WriteString(w, p.b.String())
	return err
}

func (p *page) guestsOfBatch(guests []BatchGuest) {
	t := table{heads: []string{"GUEST", "OUTCOME", "OUTAGE", "EXPECTED", "JOB"}, right: map[int]bool{2: true, 3: true}}
	for _, g := range guests {
		name := "  " + g.Name
		if g.Canary {
			name = "* " + g.Name
		}
		t.add(name, g.outcome(), spanIfAny(g.Outage), spanIfAny(g.Expected), g.Job)
	}
	p.whole(t)
	for _, g := range guests {
		if g.Error != "" && g.Outcome != batch.Left {
			p.raw("")
			p.paragraph(p.paint(red, "! "), "%s: %s", g.Name, g.Error)
		}
	}
}

// outcome returns the outcome with its reason.
func (g BatchGuest) outcome() string {
	if g.Reason == "" {
		return string(g.Outcome)
	}
	return string(g.Outcome) + " (" + g.Reason + ")"
}

// text says what became of the guest.
func (g BatchGuest) text() string {
	if g.Outage == 0 {
		return g.Name + ": " + g.outcome()
	}
	return g.Name + ": " + g.outcome() + ", away for " + span(g.Outage)
}

// spanIfAny returns a number of seconds for people; "" for none.
func spanIfAny(n float64) string {
	if n == 0 {
		return ""
	}
	return span(n)
}

// BatchProgress shows the progress of a batch. On a terminal, each guest that is worked on
// has a line, with what is done now and how long it has been away, and below them is a line
// for the whole; a guest that has ended gets its final line above. Elsewhere each change is a
// line. It implements batch.Observer.
type BatchProgress struct {
	w     io.Writer
	style Style
	live  bool
	now   func() time.Time

	mutex sync.Mutex
	begun time.Time
	// all is the number of guests, ended has the outcomes of those that have ended.
	all   int
	ended map[string]batch.Outcome
	// lines are those of the guests that are worked on, in the order in which they began.
	lines []*guestLine
	// drawn is the number of lines that are on the terminal and will be rewritten.
	drawn int
	held  bool
}

// guestLine is what is shown of one guest.
type guestLine struct {
	name        string
	phase       batch.Phase
	note        string
	since, away time.Time
	outage      time.Duration
	// noTrial reports that the guest is back as soon as it is started.
	noTrial bool
}

// NewBatchProgress returns a view of a batch with a number of guests. live reports that w is
// a terminal.
func NewBatchProgress(w io.Writer, s Style, live bool, guests int, now func() time.Time) *BatchProgress {
	return &BatchProgress{w: w, style: s, live: live, now: now, begun: now(), all: guests, ended: map[string]batch.Outcome{}}
}

// line returns the line of a guest.
func (p *BatchProgress) line(guest string) *guestLine {
	for _, l := range p.lines {
		if l.name == guest {
			return l
		}
	}
	l := &guestLine{name: guest, since: p.now()}
	p.lines = append(p.lines, l)
	return l
}

// Begun does nothing: the table at the end has the IDs of the jobs.
func (p *BatchProgress) Begun(string, string) {}

// Planned keeps whether the guest has a trial; the plans were shown before.
func (p *BatchProgress) Planned(guest string, made *plan.Plan) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.line(guest).noTrial = made.Target.Guest != nil && !made.Target.Guest.Trial
}

// Step keeps when a guest goes away and is back.
func (p *BatchProgress) Step(guest string, e apply.Event) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	l := p.line(guest)
	switch {
	case batch.Leaves(e):
		l.away = p.now()
	case batch.Returns(e, !l.noTrial) && !l.away.IsZero():
		l.outage, l.away = p.now().Sub(l.away), time.Time{}
	}
}

// Note shows a message about a guest.
func (p *BatchProgress) Note(guest, text string) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	l := p.line(guest)
	l.note = text
	if !p.live {
		p.print("%s: %s", guest, text)
	}
	p.draw()
}

// Phase shows what is done with a guest now.
func (p *BatchProgress) Phase(guest string, phase batch.Phase) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	l := p.line(guest)
	if l.phase == phase {
		return
	}
	l.phase, l.note = phase, ""
	if !p.live {
		p.print("%s: %s", guest, phase)
	}
	p.draw()
}

// Part shows the outcome of a guest that has ended.
func (p *BatchProgress) Part(guest string, part batch.Part) {
	if part.Outcome == batch.Running {
		return
	}
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.ended[guest] = part.Outcome
	took := ""
	for i, l := range p.lines {
		if l.name == guest {
			took = " … " + Took(p.now().Sub(l.since))
			p.lines = append(p.lines[:i:i], p.lines[i+1:]...)
			break
		}
	}
	p.print("%s%s", BatchGuestOf(batch.Standing{Name: guest, Part: part}).text(), took)
	p.draw()
}

// Say shows a message about the whole batch.
func (p *BatchProgress) Say(text string) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.print("%s", text)
	p.draw()
}

// print writes a line that stays, above the live ones.
func (p *BatchProgress) print(format string, args ...any) {
	p.erase()
	fmt.Fprintln(p.w, p.style.clean(fmt.Sprintf(format, args...)))
}

// erase removes the live lines.
func (p *BatchProgress) erase() {
	if p.drawn > 0 {
		fmt.Fprintf(p.w, "\x1b[%dA\x1b[J", p.drawn)
		p.drawn = 0
	}
}

// draw writes the live lines.
func (p *BatchProgress) draw() {
	if !p.live || p.held {
		return
	}
	var text strings.Builder
	if p.drawn > 0 {
		fmt.Fprintf(&text, "\x1b[%dA", p.drawn)
	}
	lines := p.liveLines()
	for _, line := range lines {
		line = strings.TrimRight(p.style.fit(p.style.clean(line), p.style.width()-1), " ")
		text.WriteString("\r" + line + "\x1b[K\n")
	}
	text.WriteString("\x1b[J")
	p.drawn = len(lines)
	_, _ = io.WriteString(p.w, text.String())
}

func (p *BatchProgress) liveLines() []string {
	width := 0
	for _, l := range p.lines {
		width = max(width, columns(p.style.clean(l.name)))
	}
	var lines []string
	for _, l := range p.lines {
		lines = append(lines, fmt.Sprintf("  %s  %-13s  %s", p.style.fit(p.style.clean(l.name), width), l.phase, l.clock(p.now())))
	}
	return append(lines, p.whole())
}

// clock returns how long a guest is away or was away, and the latest message about it.
func (l *guestLine) clock(now time.Time) string {
	text := "runs"
	switch {
	case !l.away.IsZero():
		text = "away for " + Took(now.Sub(l.away))
	case l.outage > 0:
		text = "back, was away for " + Took(l.outage)
	}
	if l.note != "" {
		text += "; " + l.note
	}
	return text
}

// whole returns the line of the whole batch.
func (p *BatchProgress) whole() string {
	passed := 0
	for _, o := range p.ended {
		if o.Passed() {
			passed++
		}
	}
	text := fmt.Sprintf("%d of %d guests grown", passed, p.all)
	if n := len(p.ended) - passed; n > 0 {
		text += fmt.Sprintf(", %d not", n)
	}
	return text + " … " + Took(p.now().Sub(p.begun))
}

// Tick rewrites the live lines with the time that has passed.
func (p *BatchProgress) Tick() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.draw()
}

// Stop removes the live lines at the end of the run.
func (p *BatchProgress) Stop() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.erase()
	p.held = true
}

// GuestEvent reports the outcome of a guest of a batch.
type GuestEvent struct {
	EventHeader
	BatchGuest
}

// BatchEvents writes the events of a batch. Those about a guest have its name. It implements
// batch.Observer.
type BatchEvents struct {
	all    *Events
	mutex  sync.Mutex
	guests map[string]*Events
}

// NewBatchEvents returns a writer for the events of the guests of a batch.
func NewBatchEvents(all *Events) *BatchEvents {
	return &BatchEvents{all: all, guests: map[string]*Events{}}
}

// of returns the writer for a guest.
func (b *BatchEvents) of(guest string) *Events {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	if b.guests[guest] == nil {
		b.guests[guest] = b.all.of(guest)
	}
	return b.guests[guest]
}

// Begun writes a JobEvent.
func (b *BatchEvents) Begun(guest, job string) { b.of(guest).Opened(job) }

// Planned writes a PlanEvent.
func (b *BatchEvents) Planned(guest string, p *plan.Plan) { b.of(guest).Planned(p) }

// Step writes a StepEvent.
func (b *BatchEvents) Step(guest string, e apply.Event) { b.of(guest).Event(e) }

// Note writes a NoteEvent.
func (b *BatchEvents) Note(guest, text string) { b.of(guest).Note(text) }

// Phase does nothing: the steps say it.
func (b *BatchEvents) Phase(string, batch.Phase) {}

// Part writes a GuestEvent for a guest that has ended.
func (b *BatchEvents) Part(guest string, p batch.Part) {
	if p.Outcome != batch.Running {
		e := b.of(guest)
		e.write(GuestEvent{e.head("guest"), BatchGuestOf(batch.Standing{Name: guest, Part: p})})
	}
}
