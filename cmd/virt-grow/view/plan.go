package view

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
)

// PlanText is a plan, and how it is shown.
type PlanText struct {
	Plan *plan.Plan
	// Overlay names the directories of the overlays.
	Overlay string
	// Keep reports that the run stops before the commit.
	Keep bool
	// Rehearsed reports that the plan was made in a rehearsal.
	Rehearsed bool
	// Exact adds sizes in bytes.
	Exact bool
}

// Plan prints a plan: the disk before and after, the steps, and what it takes.
func Plan(w io.Writer, s Style, in PlanText) error {
	p := &page{Style: s}
	p.planHead(in)
	if in.Plan.Changes() {
		if in.Plan.Resizes() || in.Plan.Grows != "" {
			p.maps(in.Plan)
		}
		p.steps(in)
		p.scripts(in.Plan)
		p.toDo(in.Plan.ManualSteps)
		p.warnings(in.Plan)
		p.wayBack(in)
	}
	_, err := io.WriteString(w, p.b.String())
	return err
}

func (p *page) planHead(in PlanText) {
	pl := in.Plan
	if !pl.Changes() {
		p.head("%s: nothing to do", pl.Target.Path)
		p.line("The disk has %s, and %s.", sizesOf(pl), fullOf(pl))
		return
	}
	for i, img := range pl.Target.Images() {
		show, of := p.head, ""
		if img.Disk != "" {
			of = img.Disk + ", "
		}
		if i > 0 {
			show = p.line
		}
		show("%s%s (%s): %s", of, img.Path, containerOf(img.Target()), change(pl.Before.Disks()[i].Size, pl.After.Disks()[i].Size))
	}
	if len(pl.Targets()) == 0 && pl.Resizes() {
		p.line("Only the container grows.")
	}
	for _, name := range pl.Targets() {
		p.line("%s", grows(pl, name))
	}
	p.moves(pl)
	p.guestHead(in)
	if in.Exact {
		var bytes []string
		for i, d := range pl.Before.Disks() {
			bytes = append(bytes, fmt.Sprintf("%d → %d bytes", int64(d.Size), int64(pl.After.Disks()[i].Size)))
		}
		p.line("%s, fingerprint %s", strings.Join(bytes, ", "), pl.Fingerprint)
	}
}

// moves prints which disks move to another bus, and what changes with that.
func (p *page) moves(pl *plan.Plan) {
	g := pl.Target.Guest
	if g == nil || len(g.Moves) == 0 {
		return
	}
	for _, m := range g.Moves {
		p.line("%s.", "Moves "+m.String())
		for _, note := range m.Notes {
			p.line("  %s", note)
		}
	}
	for _, s := range pl.Steps {
		for _, f := range s.Write {
			for _, line := range changedLines(string(f.Before), string(f.After)) {
				p.line("  %s: %s", f.Path, line)
			}
		}
	}
}

// changedLines returns the lines that differ between two texts with the same number of
// lines: "old → new".
func changedLines(before, after string) []string {
	was, is := strings.Split(before, "\n"), strings.Split(after, "\n")
	if len(was) != len(is) {
		return []string{fmt.Sprintf("%d lines → %d lines", len(was), len(is))}
	}
	var lines []string
	for i := range was {
		if was[i] != is[i] {
			lines = append(lines, fmt.Sprintf("%s → %s", strings.TrimSpace(was[i]), strings.TrimSpace(is[i])))
		}
	}
	return lines
}

// guestHead prints what happens to the guest.
func (p *page) guestHead(in PlanText) {
	pl := in.Plan
	g := pl.Target.Guest
	switch {
	case g == nil:
	case !g.Running && !g.Trial:
		p.line("Domain %s, %s: the guest is off, and stays off.", g.Name, disksOf(pl.Target))
	case !g.Running:
		p.line("Domain %s, %s: the guest is off, is started for a trial, and shut down again.", g.Name, disksOf(pl.Target))
	default:
		p.line("Domain %s, %s: the guest is running. The outage will be about %s; a rollback would add %s.", g.Name, disksOf(pl.Target),
			Took(pl.Outage()), Took(pl.Reserve()))
		if in.Rehearsed {
			p.line("The plan is for the disk as it was at one moment. It is read again and compared")
			p.line("with the plan when the guest is off, before anything is written.")
			return
		}
		p.line("The disk was read while the guest writes to it: a first estimate. It is read again")
		p.line("and compared with the plan when the guest is off, before anything is written.")
	}
}

// disksOf names the domain's disks that a target is about.
func disksOf(t plan.Target) string {
	if len(t.More) == 0 {
		return "disk " + t.Guest.Disk
	}
	return "disks " + strings.Join(t.Disks(), ", ")
}

// sizesOf are the sizes of the disks before the plan.
func sizesOf(pl *plan.Plan) string {
	var sizes []string
	for _, d := range pl.Before.Disks() {
		sizes = append(sizes, d.Size.String())
	}
	return strings.Join(sizes, " and ")
}

func fullOf(pl *plan.Plan) string {
	if pl.Grows == "" {
		return "nothing else was requested to grow"
	}
	if len(pl.Also) > 0 {
		return strings.Join(pl.Targets(), ", ") + " already have the requested size"
	}
	return pl.Grows + " fills the space that is there"
}

func change(from, to size.Bytes) string {
	if from == to {
		return from.String() + ", stays"
	}
	return fmt.Sprintf("%s → %s", from, to)
}

// grows returns a sentence about a device that grows.
func grows(pl *plan.Plan, chosen string) string {
	before, ok := pl.Before.Find(chosen)
	after, ok2 := pl.After.Find(chosen)
	if !ok || !ok2 {
		return chosen
	}
	name := before.Name
	if held := strings.Join(append([]string{contentOf(before)}, before.Content.Mounted...), ", "); held != "-" {
		name += " (" + held + ")"
	}
	if before.Size == after.Size && before.Content.Size == after.Content.Size {
		return name + " gets free space behind it"
	}
	if before.Size == after.Size {
		return name + ": its content grows to fill its " + after.Size.String() + less(after)
	}
	return name + " grows " + change(before.Size, after.Size) + less(after)
}

// smallestBefore is the smallest share of the width for the map of the disk before the
// growth. The two maps have different scales if the disk was even smaller.
const smallestBefore = 0.5

// maps draws the disk before and after, to the same scale if the first map does not become
// too narrow.
func (p *page) maps(pl *plan.Plan) {
	grown := changed(pl)
	for i, before := range pl.Before.Disks() {
		after, of := pl.After.Disks()[i], ""
		if before.Disk != "" {
			of = " " + before.Disk
		}
		ratio := max(float64(before.Size)/float64(after.Size), smallestBefore)
		p.raw("")
		p.line("Before:%s %s", of, before.Size)
		p.diskMap(pl.Before, before, int(ratio*float64(p.width())+0.5), nil)
		p.line("After:%s %s", of, after.Size)
		p.diskMap(pl.After, after, p.width(), grown)
	}
	if tree(pl.After) {
		p.raw("")
		p.devices(pl.After)
	}
}

// changed returns the devices that the plan grows, and by how much.
func changed(pl *plan.Plan) map[string]size.Bytes {
	grown := map[string]size.Bytes{}
	for _, d := range pl.After.Devices {
		if before, ok := pl.Before.Find(d.Name); ok {
			grown[d.Name] = d.Size - before.Size
		}
	}
	return grown
}

// tree reports whether the layout has more than the map shows.
func tree(l *plan.Layout) bool {
	return slices.ContainsFunc(l.Devices, func(d plan.Device) bool { return d.Kind == plan.LV || d.Kind == plan.Crypt })
}

func (p *page) steps(in PlanText) {
	p.head("Steps, with the time each usually takes")
	steps := in.Plan.Steps
	room := p.width() - 15 // the number, and the seconds
	for i, s := range steps {
		for j, text := range wrap(p.clean(s.Summary), room) {
			if j > 0 {
				p.raw("      " + text)
				continue
			}
			p.raw(fmt.Sprintf("%4d. %s%9s", i+1, p.fit(text, room), seconds(s.Seconds)))
		}
	}
	p.line("      %s%9s", p.fit("in total, after the appliance has started", room), seconds(in.Plan.Duration().Seconds()))
}

// scripts prints the scripts that are run inside the guest.
func (p *page) scripts(pl *plan.Plan) {
	for i, s := range pl.Steps {
		if s.Script != "" {
			p.head("Step %d, by the guest agent in PowerShell", i+1)
			p.verbatim(s.Script)
		}
	}
}

func seconds(s float64) string { return fmt.Sprintf("%.1f s", s) }

// Took returns a duration for people.
func Took(d time.Duration) string {
	if whole := d.Round(time.Second); whole >= time.Minute {
		return fmt.Sprintf("%d min %d s", whole/time.Minute, whole%time.Minute/time.Second)
	}
	return seconds(d.Seconds())
}

func (p *page) warnings(pl *plan.Plan) {
	if len(pl.Warnings) == 0 {
		return
	}
	p.head("Warnings")
	for _, w := range pl.Warnings {
		p.paragraph(p.paint(yellow, "  !")+" ", "%s", w)
	}
}

// wayBack prints what is written where, and what a rollback does.
func (p *page) wayBack(in PlanText) {
	p.head("How it can be undone")
	if g := in.Plan.Target.Guest; g != nil && g.Trial {
		p.trial(in, g)
		return
	}
	p.paragraph("  ", "About %s are written into an overlay in %s. Until the commit the image is only read: Ctrl-C deletes the overlay and changes nothing.", in.Plan.Writes, in.Overlay)
	if in.Keep {
		p.paragraph("  ", "The run stops before the commit: virt-grow accept commits, virt-grow rollback deletes the overlay.")
		return
	}
	p.paragraph("  ", "The bytes that the commit overwrites are saved first. If it fails or is interrupted, they are restored and verified; after a crash, virt-grow resume continues the commit and virt-grow rollback undoes it.")
}

// trial prints what a rollback does to a guest.
func (p *page) trial(in PlanText, g *plan.Guest) {
	p.paragraph("  ", "About %s are written into an overlay in %s. The image is only read until the guest has passed its health check: if anything fails before, or Ctrl-C is pressed, the guest is started again from its untouched image%s.", in.Plan.Writes, in.Overlay, onOldBus(g))
	if g.Manual {
		p.paragraph("  ", "The guest then runs on the overlay until virt-grow accept or virt-grow rollback; a rollback loses what it wrote meanwhile.")
		return
	}
	p.paragraph("  ", "If the check passes, the overlay is committed while the guest runs, and that is final.")
}

func onOldBus(g *plan.Guest) string {
	if len(g.Moves) == 0 {
		return ""
	}
	return ", on its old bus"
}

// Scripts prints the scripts that steps without a plan run inside the guest.
func Scripts(w io.Writer, s Style, steps []plan.Step) error {
	p := &page{Style: s}
	p.scripts(&plan.Plan{Steps: steps})
	_, err := io.WriteString(w, p.b.String())
	return err
}
