package plan

import (
	"fmt"
	"strings"
)

// BusMove is the move of one of a domain's disks to another bus.
type BusMove struct {
	// Disk is the disk's target before the move, Target the one after it: "hda", "vda".
	Disk   string `json:"disk"`
	Target string `json:"target"`
	// From is the bus before the move, To the bus after it: "virtio", "scsi", "sata", "ide".
	From string `json:"from"`
	To   string `json:"to"`
	// Notes say for people what changes besides in the domain's definition.
	Notes []string `json:"notes,omitempty"`
}

func (m BusMove) String() string {
	if m.Disk == m.Target {
		return fmt.Sprintf("%s from %s to %s", m.Disk, m.From, m.To)
	}
	return fmt.Sprintf("%s from %s to %s, as %s", m.Disk, m.From, m.To, m.Target)
}

// BusRequest is the requested move of disks to another bus.
type BusRequest struct {
	To string `json:"to" jsonschema:"enum=virtio,enum=scsi,enum=sata"`
	// EvenUnbootable moves the disks although the guest may not start from the new bus, or
	// it cannot be told: the trial decides.
	EvenUnbootable bool `json:"even_unbootable,omitempty"`
}

// BusFindings is what was found in a guest about the move of disks to another bus.
type BusFindings struct {
	// Problem is why the guest would not start; it is left out if it would.
	Problem  *Refusal `json:"problem,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
	// Files are the files in the guest that have to be rewritten.
	Files []FileEdit `json:"files,omitempty"`
}

// FileEdit is a file in the guest with its content before and after.
type FileEdit struct {
	Path   string `json:"path"`
	Before []byte `json:"before"`
	After  []byte `json:"after"`
}

// moves reports whether disks move to another bus.
func (g *Guest) moves() bool { return g != nil && len(g.Moves) > 0 }

// TargetAfter returns the target that a disk has after the job: another one if it moves to
// another bus.
func (g *Guest) TargetAfter(disk string) string {
	for _, m := range g.Moves {
		if m.Disk == disk {
			return m.Target
		}
	}
	return disk
}

// moveDisks judges the findings about disks that move to another bus, and adds the step that
// rewrites files in the guest.
func (p *Plan) moveDisks() error {
	if !p.Target.Guest.moves() {
		return nil
	}
	g, found := p.Target.Guest, p.Before.Bus
	switch {
	case found == nil:
		return Refuse(BusUnclear, g.Name, "it is not known whether %s starts from another bus, because its disks were not looked at for that", g.Name)
	case !g.Health.Agent && g.Health.Command == "" && !g.Manual:
		// A guest that does not find its disk keeps running, too.
		return Refuse(NoAgent, g.Name, "%s has no guest agent, so nothing shows whether it has started from its new bus", g.Name)
	}
	if found.Problem != nil {
		if p.Request.Bus == nil || !p.Request.Bus.EvenUnbootable {
			return found.Problem
		}
		p.Warnings = append(p.Warnings, "the guest may not start from the new bus, and then goes back to the old one: "+found.Problem.Text)
	}
	p.Warnings = append(p.Warnings, found.Warnings...)
	if len(found.Files) == 0 {
		return nil
	}
	var paths []string
	for _, f := range found.Files {
		paths = append(paths, f.Path)
	}
	p.Steps = append(p.Steps, Step{Kind: StepWrite, Write: found.Files,
		Summary: "replace the disks' names in " + strings.Join(paths, ", ")})
	return nil
}
