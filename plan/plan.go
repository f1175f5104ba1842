package plan

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/virt-grow/virt-grow/plan/size"
	"github.com/virt-grow/virt-grow/plan/table"
)

// Schema names the plan file's format.
const Schema = "virt-grow/plan/v1"

// Plan is the steps that turn one disk into a bigger one, with everything a
// person needs to review them and a program needs to refuse them when the
// world has moved.
type Plan struct {
	Schema string `json:"schema"`
	Target Target `json:"target"`
	// Request is what was asked for. The same request on an unchanged disk gives the
	// same steps again.
	Request Request    `json:"request"`
	OldSize size.Bytes `json:"old_size"`
	NewSize size.Bytes `json:"new_size"`
	// Grows is the device that was chosen; it is left out if only the container grows.
	Grows string `json:"grows,omitempty"`
	// Also are the devices that were chosen besides.
	Also []string `json:"grows_also,omitempty"`
	// Before is what is on the disk now.
	Before *Layout `json:"before"`
	// After is what is on the disk when the plan is carried out.
	After *Layout `json:"after"`
	// Steps is null if there is nothing to do.
	Steps []Step `json:"steps" jsonschema:"nullable"`
	// Warnings are what a person should know before saying yes.
	Warnings []string `json:"warnings,omitempty"`
	// ManualSteps is what is left to a person when the job is done.
	ManualSteps []string `json:"todo,omitempty"`
	// Writes is about how much the steps write, on the host.
	Writes size.Bytes `json:"writes"`
	// Fingerprint is a SHA-256 of the layout that the plan was made for.
	Fingerprint string `json:"fingerprint"`
}

// Target is the image a plan is for.
type Target struct {
	// Path is absolute, with symbolic links resolved.
	Path   string `json:"path"`
	Format string `json:"format" jsonschema:"enum=qcow2,enum=raw"`
	// Block reports that the image is a block device.
	Block bool `json:"block,omitempty"`
	// Backing is the chain below the image, nearest first.
	Backing []Link `json:"backing,omitempty"`
	// SectorSize is 512 or 4096.
	SectorSize size.Bytes `json:"sector_size"`
	// Guest is the domain whose disk it is. An image by itself has none.
	Guest *Guest `json:"guest,omitempty"`
}

// Link is one image of a backing chain.
type Link struct {
	Path   string `json:"path"`
	Format string `json:"format"`
}

// Targets returns the devices that were chosen.
func (p *Plan) Targets() []string {
	if p.Grows == "" {
		return nil
	}
	return append([]string{p.Grows}, p.Also...)
}

// Changes reports whether the plan does anything at all.
func (p *Plan) Changes() bool { return len(p.Steps) > 0 }

// StepKind names what a step does; plan/apply has a do, verify and undo for
// each.
type StepKind string

// The kinds of step, in the order they appear.
const (
	StepOverlay StepKind = "overlay"
	StepCheck   StepKind = "check"
	StepMove    StepKind = "move"
	StepTable   StepKind = "table"
	StepCrypt   StepKind = "crypt"
	StepPV      StepKind = "pv"
	StepLV      StepKind = "lv"
	StepFS      StepKind = "fs"
	StepExtend  StepKind = "extend"
	StepVerify  StepKind = "verify"
	StepUndo    StepKind = "save-undo"
	StepCommit  StepKind = "commit"
	StepClean   StepKind = "clean-up"
)

// StepWrite changes files inside a guest, on overlays of their own.
const StepWrite StepKind = "write"

// Step is one step as data, so that it survives a crash.
type Step struct {
	Kind   StepKind `json:"kind"`
	Device string   `json:"device,omitempty"`
	// Content is the file system a check, fs or verify step deals with.
	Content string `json:"content,omitempty"`
	// Full reports that a check or verify step runs the file system's own checker over
	// all of it. A check step without it compares the superblock with the plan.
	Full bool `json:"full,omitempty"`
	// Mounted reports that an fs step is carried out by the kernel, while the file system
	// is mounted.
	Mounted bool `json:"mounted,omitempty"`
	// From is the device's size before the step; of a move, where on the disk the
	// device begins before it.
	From size.Bytes `json:"from,omitempty"`
	// To is the device's size after the step; of a move, where on the disk the device
	// begins after it.
	To size.Bytes `json:"to,omitempty"`
	// Bytes is how much a move copies, and the commit after it once more.
	Bytes size.Bytes `json:"bytes,omitempty"`
	// Volumes are those whose boot sector names its own place, and follows a
	// move.
	Volumes []Volume `json:"volumes,omitempty"`
	// Ends are the new places of the partitions that a table step changes.
	Ends []End `json:"ends,omitempty"`
	// Script is what an extend step has Windows run.
	Script string `json:"script,omitempty"`
	// Summary is for people and never read back.
	Summary string `json:"summary"`
	// Seconds is how many seconds the step usually takes.
	Seconds float64 `json:"seconds"`
}

// End is where a partition will end on the disk, in bytes, exclusive; and where
// it will begin, unless its start stays. Or it is deleted.
type End struct {
	// Number is the partition's number in the table, from 1.
	Number int `json:"number"`
	// Start is where the partition will begin; it is left out if the start stays.
	Start size.Bytes `json:"start,omitempty"`
	// End is the first byte behind the partition.
	End size.Bytes `json:"end,omitempty"`
	// Delete reports that the partition is deleted.
	Delete bool `json:"delete,omitempty"`
}

// Changes puts ends into the table's words.
func Changes(ends []End) []table.Change {
	changes := make([]table.Change, 0, len(ends))
	for _, e := range ends {
		changes = append(changes, table.Change{Number: e.Number, Start: e.Start, End: e.End, Delete: e.Delete})
	}
	return changes
}

// Volume is a volume that moves, on the disk, in bytes.
type Volume struct {
	Device string `json:"device"`
	// From is where the volume begins before the move.
	From size.Bytes `json:"from"`
	// To is where the volume begins after the move.
	To   size.Bytes `json:"to"`
	Size size.Bytes `json:"size"`
}

// ID names the step within its plan; no two steps of a plan share one.
func (s Step) ID() string {
	if s.Device == "" {
		return string(s.Kind)
	}
	return string(s.Kind) + ":" + s.Device
}

// Edits reports whether the step changes the inside of the overlay.
func (s Step) Edits() bool {
	switch s.Kind {
	case StepMove, StepTable, StepCrypt, StepPV, StepLV, StepFS:
		return true
	}
	return false
}

// Deletes returns the partitions that the plan drops.
func (p *Plan) Deletes() []Device {
	var gone []Device
	for _, d := range p.Before.Devices {
		if _, kept := p.After.Find(d.Name); d.Kind == Partition && !kept {
			gone = append(gone, d)
		}
	}
	return gone
}

// Moves returns how many bytes of other partitions the plan moves out of the way.
func (p *Plan) Moves() size.Bytes {
	var total size.Bytes
	for _, s := range p.Steps {
		if s.Kind == StepMove {
			total += s.Bytes
		}
	}
	return total
}

// Duration returns how long the whole plan usually takes.
func (p *Plan) Duration() time.Duration {
	return p.total(func(Step) bool { return true })
}

// EditTime returns how long the steps on the overlay take.
func (p *Plan) EditTime() time.Duration {
	return p.total(func(s Step) bool {
		return s.Edits() || s.Kind == StepOverlay || s.Kind == StepCheck || s.Kind == StepVerify
	})
}

// total returns how long some of the steps take together.
func (p *Plan) total(counts func(Step) bool) time.Duration {
	var seconds float64
	for _, s := range p.Steps {
		if counts(s) {
			seconds += s.Seconds
		}
	}
	return Seconds(seconds)
}

// Seconds returns a span as plans write it.
func Seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// maxFile bounds what Read takes: a plan of a disk with the most partitions
// GPT tools make is far below it.
const maxFile = 4 << 20

// Read reads a plan file. Unknown fields are an error: they come from a newer
// virt-grow, whose plan this one cannot judge.
func Read(r io.Reader) (*Plan, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("the plan file is larger than %d bytes", maxFile)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	var p Plan
	if err := dec.Decode(&p); err != nil {
		return nil, fmt.Errorf("not a plan file: %w", err)
	}
	if dec.More() {
		return nil, errors.New("not a plan file: there is more text after the plan")
	}
	return &p, p.check()
}

// check refuses what no Build ever wrote.
func (p *Plan) check() error {
	switch {
	case p.Schema != Schema:
		return fmt.Errorf("this version cannot read the plan file: its schema is %q, not %q", p.Schema, Schema)
	case p.Target.Path == "":
		return errors.New("the plan names no image")
	case p.Before == nil || p.After == nil || len(p.Before.Devices) == 0 || len(p.After.Devices) == 0:
		return errors.New("the plan has no layout")
	case p.OldSize <= 0 || p.NewSize < p.OldSize:
		return fmt.Errorf("the plan shrinks the disk from %d to %d bytes", p.OldSize, p.NewSize)
	}
	seen := map[string]bool{}
	for _, s := range p.Steps {
		if seen[s.ID()] {
			return fmt.Errorf("the plan has step %s twice", s.ID())
		}
		seen[s.ID()] = true
	}
	return nil
}

// Write writes the plan file, indented for review.
func (p *Plan) Write(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(p)
}
