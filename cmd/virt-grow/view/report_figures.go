package view

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/virt-grow/virt-grow/guest/record"
	"github.com/virt-grow/virt-grow/plan"
)

// outageFigure has the estimated and the measured outage as two bars, to the same scale.
type outageFigure struct {
	Estimated, Measured timeBar
	Ticks               []tick
}

// timeBar is a bar of an outage's phases.
type timeBar struct {
	Total string
	Boxes []timeBox
}

// timeBox is a phase. Positions are in percent of the figure.
type timeBox struct {
	// Number is the row of the phase in the table.
	Number int
	Name   string
	Phase  record.PhaseName
	X, W   float64
	// Labels are the texts in the box: the number with the name where there is room, else
	// the number alone.
	Labels []boxLabel
	Took   string
}

// boxLabel is a text in a box, and where it is shown.
type boxLabel struct {
	Text string
	Room room
}

// labelsFor returns the long label of a box where it fits, and the short one elsewhere.
func labelsFor(short, long string, w float64) (labels []boxLabel) {
	switch roomFor(long, w) {
	case always:
		return []boxLabel{{long, always}}
	case onWide:
		labels = []boxLabel{{long, onWide}}
		if roomFor(short, w) == always {
			labels = append(labels, boxLabel{short, onNarrow})
		}
		return labels
	}
	if r := roomFor(short, w); r != never {
		labels = append(labels, boxLabel{short, r})
	}
	return labels
}

// Plate is the width of the ground of the label.
func (l boxLabel) Plate() float64 { return float64(columns(l.Text))*charWidth + 6 }

// tick is a mark on the axis.
type tick struct {
	X    float64
	Text string
}

// newOutageFigure returns the figure of an outage; nil if the outage has not begun.
func newOutageFigure(o *record.Outage) *outageFigure {
	var estimated, measured float64
	for _, p := range o.Phases {
		estimated, measured = estimated+p.Estimate, measured+p.Seconds
	}
	whole := max(estimated, measured)
	if o.Began.IsZero() || whole == 0 {
		return nil
	}
	f := &outageFigure{Estimated: timeBar{Total: Took(plan.Seconds(estimated))}, Measured: timeBar{Total: Took(plan.Seconds(measured))}}
	if o.Ended.IsZero() {
		f.Measured.Total += " and longer"
	}
	for i, p := range o.Phases {
		f.Estimated.add(i+1, p.Name, p.Estimate, whole)
		f.Measured.add(i+1, p.Name, p.Seconds, whole)
	}
	f.Ticks = ticks(whole)
	return f
}

// ticks returns the marks on an axis of so many seconds.
func ticks(whole float64) (all []tick) {
	for at, step := 0.0, tickStep(whole); at <= whole; at += step {
		all = append(all, tick{100 * at / whole, axisText(at, step)})
	}
	return all
}

// axisText returns the text of a mark: minutes on an axis with whole minutes.
func axisText(at, step float64) string {
	if step >= 60 {
		return fmt.Sprintf("%g min", at/60)
	}
	return fmt.Sprintf("%g s", at)
}

func (b *timeBar) add(number int, name record.PhaseName, took, whole float64) {
	if took == 0 {
		return
	}
	box := timeBox{Number: number, Name: phaseNames[name], Phase: name, W: 100 * took / whole, Took: seconds(took)}
	if n := len(b.Boxes); n > 0 {
		box.X = b.Boxes[n-1].X + b.Boxes[n-1].W
	}
	box.Labels = labelsFor(strconv.Itoa(number), fmt.Sprintf("%d %s", number, box.Name), box.W)
	b.Boxes = append(b.Boxes, box)
}

// Text describes a bar in a sentence.
func (b timeBar) Text() string {
	var parts []string
	for _, box := range b.Boxes {
		parts = append(parts, fmt.Sprintf("%d: %s, %s", box.Number, box.Name, box.Took))
	}
	return b.Total + ". " + strings.Join(parts, "; ") + "."
}

// mostTicks is the largest number of intervals on an axis.
const mostTicks = 5

// tickStep returns the distance of the marks on an axis of so many seconds: 1, 2 or 5 times a
// power of ten, of seconds or of minutes.
func tickStep(whole float64) float64 {
	if whole/mostTicks > 30 {
		return 60 * roundStep(whole/60)
	}
	return roundStep(whole)
}

func roundStep(whole float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(whole/mostTicks)))
	for _, factor := range []float64{1, 2, 5} {
		if factor*power*mostTicks >= whole {
			return factor * power
		}
	}
	return 10 * power
}

// stepBar has the two bars of a step, in percent of the longest of all steps.
type stepBar struct{ Estimated, Measured float64 }

func stepBars(steps []record.TimedStep) []stepBar {
	var whole float64
	for _, s := range steps {
		whole = max(whole, s.Estimate, s.Seconds)
	}
	if whole == 0 {
		return nil
	}
	var bars []stepBar
	for _, s := range steps {
		bars = append(bars, stepBar{100 * s.Estimate / whole, 100 * s.Seconds / whole})
	}
	return bars
}
