package view

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/virt-grow/virt-grow/guest/batch"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/inventory"
)

// BatchText is a planned batch, and how it is shown.
type BatchText struct {
	Batch *batch.Batch
	// OnlyPossible reports that refused guests do not keep the others from being planned.
	OnlyPossible bool
	// Apply is the command that carries the batch out; "" if it was not written to a file.
	Apply string
}

// Batch prints the plans of many guests: a line for each disk, the refusals, and how long
// the whole takes.
func Batch(w io.Writer, s Style, in BatchText) error {
	p := &page{Style: s}
	b := in.Batch
	if refused := len(b.Refused()); refused == 0 {
		p.head("%s: all can be grown", guests(len(b.Guests)))
	} else {
		p.head("%s: %d can be grown, %d refused", guests(len(b.Guests)), len(b.Planned()), refused)
	}
	p.batchTable(b)
	p.refusals(b.Refused())
	p.batchWarnings(b.Planned())
	p.raw("")
	p.batchTime(in)
	p.batchNext(in)
	_, err := io.WriteString(w, p.b.String())
	return err
}

func guests(n int) string {
	if n == 1 {
		return "1 guest"
	}
	return fmt.Sprintf("%d guests", n)
}

func (p *page) batchTable(b *batch.Batch) {
	t := table{heads: []string{"GUEST", "DISK", "FROM", "TO", "OUTAGE", "STEPS"}, right: map[int]bool{2: true, 3: true, 4: true}}
	for _, g := range b.Guests {
		name := "  " + g.Name
		if slices.Contains(b.Canary, g.Name) {
			name = "* " + g.Name
		}
		rows := disksOfGuest(g)
		for i, row := range rows {
			outage, steps := "", ""
			if i == 0 {
				outage, steps = outageOf(g), stepsOf(g)
			} else {
				name = ""
			}
			t.add(name, row[0], row[1], row[2], outage, steps)
		}
	}
	p.table(t)
	if len(b.Canary) > 0 {
		p.line("* canary: grows first, alone")
	}
}

// disksOfGuest returns the name, the old and the new size of each disk; for a refused guest
// the size that was asked for.
func disksOfGuest(g batch.Guest) [][3]string {
	var rows [][3]string
	if g.Plan == nil {
		for _, d := range g.Disks {
			rows = append(rows, [3]string{d.Disk, "", d.Size})
		}
		return rows
	}
	names := g.Plan.Target.Disks()
	for i, before := range g.Plan.Before.Disks() {
		rows = append(rows, [3]string{names[i], before.Size.String(), g.Plan.After.Disks()[i].Size.String()})
	}
	return rows
}

func outageOf(g batch.Guest) string {
	switch {
	case g.Plan == nil:
		return ""
	case !g.Plan.Target.Guest.Running:
		return "off"
	case g.Outage == 0:
		return "none"
	}
	return Took(plan.Seconds(g.Outage))
}

// stepsOf names what the plan changes, in short.
func stepsOf(g batch.Guest) string {
	switch {
	case g.Plan == nil:
		return "refused: " + string(g.Refusal.Reason)
	case !g.Plan.Changes():
		return "nothing to do"
	}
	var words []string
	for _, s := range g.Plan.Steps {
		word, shown := stepWords[s.Kind]
		if s.Kind == plan.StepFS {
			word, shown = s.Content, true
		}
		if shown && !slices.Contains(words, word) {
			words = append(words, word)
		}
	}
	return strings.Join(words, ", ")
}

// stepWords are the words for the steps that are worth a word.
var stepWords = map[plan.StepKind]string{
	plan.StepMove: "move", plan.StepTable: "table", plan.StepCrypt: "LUKS", plan.StepPV: "PV", plan.StepLV: "LV",
	plan.StepExtend: "Windows", plan.StepSwitch: "trial", plan.StepCommit: "commit",
}

func (p *page) refusals(refused []batch.Guest) {
	for _, g := range refused {
		p.raw("")
		p.paragraph(p.paint(red, "! "), "%s: %s", g.Name, g.Refusal.Message)
		p.hint("  ", g.Refusal.Hint)
	}
}

// batchWarnings prints each warning once, with the guests that have it.
func (p *page) batchWarnings(planned []batch.Guest) {
	var texts []string
	who := map[string][]string{}
	for _, g := range planned {
		for _, w := range g.Plan.Warnings {
			if who[w] == nil {
				texts = append(texts, w)
			}
			who[w] = append(who[w], g.Name)
		}
	}
	if len(texts) > 0 {
		p.head("Warnings")
	}
	for _, w := range texts {
		p.paragraph(p.paint(yellow, "  !")+" ", "%s: %s", strings.Join(who[w], ", "), w)
	}
}

// batchTime prints how long the whole takes, and whether the window is long enough.
func (p *page) batchTime(in BatchText) {
	b := in.Batch
	switch {
	case len(b.Planned()) == 0:
		return
	case b.Expected.Seconds == 0:
		p.line("Nothing has to be done.")
		return
	}
	atATime := "one guest at a time"
	if b.Parallel > 1 {
		atATime = fmt.Sprintf("up to %d guests at a time", b.Parallel)
	}
	how := "from estimates"
	if slices.ContainsFunc(b.Planned(), func(g batch.Guest) bool { return g.Rehearsed > 0 }) {
		how = "from the times of the rehearsals"
	}
	p.paragraph("", "The whole takes about %s with %s, %s.", Took(plan.Seconds(b.Expected.Seconds)), atATime, how)
	if b.Expected.Window == 0 {
		return
	}
	window := fmt.Sprintf("The window (%s) has %s: ", windowText(b.Window), hours(plan.Seconds(b.Expected.Window)))
	if b.Expected.Fits {
		p.paragraph("", "%sthat is enough, also for a rollback of the last guest.", window)
		return
	}
	p.paragraph(p.paint(yellow, "! "), "%sthat is not enough. A guest that cannot be back before the window ends does not begin.", window)
}

func windowText(w inventory.Window) string {
	if w.Start == "" {
		return "until " + w.End
	}
	return w.Start + " to " + w.End
}

// hours returns a duration of hours and minutes.
func hours(d time.Duration) string {
	minutes := int(d.Minutes())
	switch {
	case minutes < 1:
		return Took(d)
	case minutes < 60:
		return fmt.Sprintf("%d min", minutes)
	case minutes%60 == 0:
		return fmt.Sprintf("%d h", minutes/60)
	}
	return fmt.Sprintf("%d h %d min", minutes/60, minutes%60)
}

// batchNext prints what can be done with the plan.
func (p *page) batchNext(in BatchText) {
	refused, planned := len(in.Batch.Refused()), len(in.Batch.Planned())
	switch {
	case planned == 0:
		p.paragraph("", "No guest can be grown.")
	case refused > 0 && !in.OnlyPossible:
		p.paragraph("", "Some guests are refused, so nothing is written: --only-possible plans the others.")
	case in.Apply != "":
		p.line("next: %s", in.Apply) // not wrapped, so that it can be copied
	}
}
