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

// Plan has the steps that make one disk larger, with everything that a person needs to
// review them, and that a program needs to detect that the disk has changed since.
type Plan struct {
	Schema string `json:"schema"`
	Target Target `json:"target"`
	// Request is the user's request. The same request on an unchanged disk results in the
	// same steps.
	Request Request    `json:"request"`
	OldSize size.Bytes `json:"old_size"`
	NewSize size.Bytes `json:"new_size"`
	// Grows is the device that grows; it is left out if only the container grows.
	Grows string `json:"grows,omitempty"`
	// Also are further devices that grow.
	Also []string `json:"grows_also,omitempty"`
	// Before is the layout of the disk now.
	Before *Layout `json:"before"`
	// After is the layout of the disk after the plan was carried out.
	After *Layout `json:"after"`
	// Steps is null if there is nothing to do.
	Steps []Step `json:"steps" jsonschema:"nullable"`
	// Warnings are what the user should know before confirming the plan.
	Warnings []string `json:"warnings,omitempty"`
	// ManualSteps lists what the user has to do when the job is done.
	ManualSteps []string `json:"todo,omitempty"`
	// Writes is approximately how much the steps write on the host.
	Writes size.Bytes `json:"writes"`
	// Fingerprint is a SHA-256 of the layout that the plan was made for.
	Fingerprint string `json:"fingerprint"`
}

// Target is the image of a plan.
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
	// Guest is the domain of the disk; an image without a domain has none.
	Guest *Guest `json:"guest,omitempty"`
	// More are the guest's other disks that the plan changes.
	More []DiskTarget `json:"more_disks,omitempty"`
}

// DiskTarget is the image of another disk of the same guest.
type DiskTarget struct {
	// Disk is the disk by its target in the domain: "vdb".
	Disk string `json:"disk"`
	// Bus is the bus of the disk: "virtio", "scsi", "sata", "ide".
	Bus string `json:"bus,omitempty"`
	// Path is absolute, with symbolic links resolved.
	Path   string `json:"path"`
	Format string `json:"format" jsonschema:"enum=qcow2,enum=raw"`
	// Block reports that the image is a block device.
	Block bool `json:"block,omitempty"`
	// Backing is the chain below the image, nearest first.
	Backing []Link `json:"backing,omitempty"`
	// SectorSize is 512 or 4096.
	SectorSize size.Bytes `json:"sector_size"`
	// Pool is the storage pool in whose words the definition names the disk; "" where
	// it names a path.
	Pool string `json:"pool,omitempty"`
}

// Images returns all images, in the order of the layout's disks. A single image has no
// Disk.
func (t *Target) Images() []DiskTarget {
	first := DiskTarget{Path: t.Path, Format: t.Format, Block: t.Block, Backing: t.Backing, SectorSize: t.SectorSize}
	if t.Guest != nil {
		first.Bus, first.Pool = t.Guest.Bus, t.Guest.Pool
	}
	if t.Guest != nil && len(t.More) > 0 {
		first.Disk = t.Guest.Disk
	}
	return append([]DiskTarget{first}, t.More...)
}

// Disks returns the targets of the domain's disks, for example "vda"; nil for an image.
func (t *Target) Disks() []string {
	if t.Guest == nil {
		return nil
	}
	disks := []string{t.Guest.Disk}
	for _, d := range t.More {
		disks = append(disks, d.Disk)
	}
	return disks
}

// Target returns the image as a target without a domain.
func (d DiskTarget) Target() Target {
	return Target{Path: d.Path, Format: d.Format, Block: d.Block, Backing: d.Backing, SectorSize: d.SectorSize}
}

// Link is one image of a backing chain.
type Link struct {
	Path   string `json:"path"`
	Format string `json:"format"`
}

// Targets returns the devices that grow.
func (p *Plan) Targets() []string {
	if p.Grows == "" {
		return nil
	}
	return append([]string{p.Grows}, p.Also...)
}

// Resizes reports whether a disk grows.
func (p *Plan) Resizes() bool {
	for i, d := range p.Before.Disks() {
		if p.After.Disks()[i].Size != d.Size {
			return true
		}
	}
	return false
}

// Changes reports whether the plan does anything at all.
func (p *Plan) Changes() bool { return len(p.Steps) > 0 }

// StepKind is the kind of a step; plan/apply has do, verify and undo for each.
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

// StepSnapshotCheck checks a file system in full on a snapshot of a running guest's disk.
const StepSnapshotCheck StepKind = "snapshot-check"

// StepWrite changes files inside a guest, on overlays of their own.
const StepWrite StepKind = "write"

// Step is one step as data, so that it survives a crash.
type Step struct {
	Kind   StepKind `json:"kind"`
	Device string   `json:"device,omitempty"`
	// Content is the type of file system in a check, fs or verify step.
	Content string `json:"content,omitempty"`
	// Full reports that a check or verify step runs the file system's own checker on all of
	// it. Otherwise a check step only compares the superblock with the plan.
	Full bool `json:"full,omitempty"`
	// Mounted reports that the kernel grows the mounted file system in an fs step.
	Mounted bool `json:"mounted,omitempty"`
	// From is the device's size before the step; in a move, the device's old offset on the
	// disk.
	From size.Bytes `json:"from,omitempty"`
	// To is the device's size after the step; in a move, the device's new offset on the
	// disk.
	To size.Bytes `json:"to,omitempty"`
	// Bytes is how much a move copies. The commit copies it again.
	Bytes size.Bytes `json:"bytes,omitempty"`
	// Volumes are the volumes in a move whose boot sectors contain their own offset, which
	// the move updates.
	Volumes []Volume `json:"volumes,omitempty"`
	// Files is about how many files the step has to read the inodes of.
	Files int64 `json:"files,omitempty"`
	// Ends are the new places of the partitions that a table step changes.
	Ends []End `json:"ends,omitempty"`
	// Script is the PowerShell script of an extend step.
	Script string `json:"script,omitempty"`
	// Write are the files in the guest that a write step rewrites.
	Write []FileEdit `json:"write,omitempty"`
	// Summary is for people; the program never parses it.
	Summary string `json:"summary"`
	// Seconds is how many seconds the step usually takes.
	Seconds float64 `json:"seconds"`
}

// End is the new exclusive end of a partition on the disk, in bytes, and its new start if
// that changes; or it says that the partition is deleted.
type End struct {
	// Number is the partition's number in the table, from 1.
	Number int `json:"number"`
	// Start is the partition's new start; it is left out if the start does not change.
	Start size.Bytes `json:"start,omitempty"`
	// End is the first byte after the partition.
	End size.Bytes `json:"end,omitempty"`
	// Delete reports that the partition is deleted.
	Delete bool `json:"delete,omitempty"`
}

// Changes converts ends for package table.
func Changes(ends []End) []table.Change {
	changes := make([]table.Change, 0, len(ends))
	for _, e := range ends {
		changes = append(changes, table.Change{Number: e.Number, Start: e.Start, End: e.End, Delete: e.Delete})
	}
	return changes
}

// Volume is a volume that moves on the disk. Offsets are in bytes.
type Volume struct {
	Device string `json:"device"`
	// From is the volume's offset before the move.
	From size.Bytes `json:"from"`
	// To is the volume's offset after the move.
	To   size.Bytes `json:"to"`
	Size size.Bytes `json:"size"`
}

// ID identifies the step within its plan.
func (s Step) ID() string {
	if s.Device == "" {
		return string(s.Kind)
	}
	return string(s.Kind) + ":" + s.Device
}

// Edits reports whether the step changes the content of the overlay.
func (s Step) Edits() bool {
	switch s.Kind {
	case StepMove, StepTable, StepCrypt, StepPV, StepLV, StepFS, StepWrite:
		return true
	}
	return false
}

// Deletes returns the partitions that the plan deletes.
func (p *Plan) Deletes() []Device {
	var gone []Device
	for _, d := range p.Before.Devices {
		if _, kept := p.After.Find(d.Name); d.Kind == Partition && !kept {
			gone = append(gone, d)
		}
	}
	return gone
}

// Moves returns how many bytes of partitions the plan moves.
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

// Seconds converts seconds, as plans have them, into a duration.
func Seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// maxFile limits the size of a plan file. A plan for a disk with the largest usual number
// of partitions is far smaller.
const maxFile = 4 << 20

// Read reads a plan file. An unknown field is an error: a newer version of virt-grow wrote
// the plan, and this version cannot check it.
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
		return nil, errors.New("not a plan file: text follows the plan")
	}
	return &p, p.Check()
}

// Check refuses a plan that Build cannot have made.
func (p *Plan) Check() error {
	switch {
	case p.Schema != Schema:
		return fmt.Errorf("this version cannot read the plan file: its schema is %q, not %q", p.Schema, Schema)
	case p.Target.Path == "":
		return errors.New("the plan names no image")
	case p.Before == nil || p.After == nil || len(p.Before.Devices) == 0 || len(p.After.Devices) == 0:
		return errors.New("the plan has no layout")
	case p.OldSize <= 0 || p.NewSize < p.OldSize:
		return fmt.Errorf("the plan shrinks the disk from %d to %d bytes", p.OldSize, p.NewSize)
	case len(p.Before.More) != len(p.Target.More) || len(p.After.More) != len(p.Target.More):
		return errors.New("the plan has not the same disks everywhere")
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
