package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/virt-grow/virt-grow/cmd/virt-grow/view"
	"github.com/virt-grow/virt-grow/guest"
	"github.com/virt-grow/virt-grow/guest/block"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/journal"
)

func (p *program) statusCommand() *cli.Command {
	return help(&cli.Command{
		Name: "status", Usage: "say in plain words what a job did, and what to run",
		ArgsUsage: "JOB", Action: p.status,
	}, "JOB is a job's name, or as much of its beginning or end as tells it apart.",
		"virt-grow status 20260131-101500-3f2a",
		"virt-grow status 3f2a --json")
}

func (p *program) status(c *cli.Context) error {
	name, err := operand(c, "JOB")
	if err != nil {
		return err
	}
	listed, err := p.store().Read(name)
	if listed.ID == "" {
		return err
	}
	s := p.statusOf(listed)
	if p.json {
		return view.StatusJSON(p.out, s)
	}
	return view.Statuses(p.out, p.style(), s)
}

// statusOf gathers what is known of a job, whatever state it is in.
func (p *program) statusOf(j journal.Listed) view.Status {
	s := view.Status{Job: p.listed(j), Changed: j.Record.Changed, Error: j.Record.Error, Commands: p.commands(j)}
	if errors.As(j.Err, new(*journal.SchemaError)) {
		s.Text, s.Error, s.Commands = p.foreignText(j.ID), j.Err.Error(), nil
		s.Next = ""
		return s
	}
	if j.Err != nil {
		s.Text, s.Error, s.Commands = p.damagedText(j.ID), j.Err.Error(), []view.Command{p.closing(j.ID)}
		s.Next = ""
		return s
	}
	if len(s.Commands) > 0 && !j.Running && !facts(j).Kind.Closable(j.Record) {
		s.Commands = append(s.Commands, p.closing(j.ID))
	}
	if facts, err := factsOf(j.Record); err == nil {
		s.OldSize, s.NewSize = facts.OldSize, facts.NewSize
		if facts.Overlay != "" {
			s.Overlay, s.Undo = file(facts.Overlay), file(facts.Undo)
		}
		s.Steps = stepsOf(facts.Steps, j.Record)
		for _, side := range facts.Overlays {
			s.Others = append(s.Others, *file(side.Path))
		}
		s.Text = explain(j, facts)
		if !j.Record.State.Ended() {
			s.LeftInside = facts.LeftInside()
		}
	} else {
		s.Text = "It ended before it did anything."
	}
	if saved, err := p.planOf(j.ID); err == nil && j.Record.Planned {
		s.Grows, s.Steps = strings.Join(saved.Targets(), ", "), stepsOf(saved.Steps, j.Record)
	}
	if j.Record.State == journal.RolledBack {
		s.Steps = nil // none of them counts any more
	}
	for _, proc := range j.Record.Processes {
		if block.Alive(proc) {
			s.Processes = append(s.Processes, view.Process{Role: proc.Role, Pid: proc.Pid})
		}
	}
	return s
}

// facts are a job's; none where its journal does not say.
func facts(j journal.Listed) guest.Facts {
	f, _ := factsOf(j.Record)
	return f
}

// file looks at one of the job's files.
func file(path string) *view.File {
	n, err := block.Allocated(path)
	return &view.File{Path: path, Exists: err == nil, Bytes: n}
}

// explain says in plain words what happened.
func explain(j journal.Listed, facts guest.Facts) string {
	r := j.Record
	commit := r.Done[string(plan.StepCommit)] || r.Running == string(plan.StepCommit)
	switch {
	case r.State == journal.Closed:
		return "It was closed as it was" + at(r) + ": nothing more is done or taken back."
	case facts.Kind == guest.Rehearsing && j.Running:
		return "It is a rehearsal, and runs: the image is only read."
	case facts.Kind == guest.Rehearsing:
		return "It was a rehearsal, and was cut off. The image was only read; rollback takes away what it has left."
	case facts.Steps != nil:
		return explainErrand(j, facts)
	case r.State == journal.Finished:
		return "The disk is grown; the changes are in the image."
	case r.State == journal.RolledBack:
		return "It was rolled back: the image is as it was before."
	case r.State == journal.Cancelled:
		return "It was given up before anything was done."
	case r.State == journal.Waiting && facts.Target.Guest != nil:
		return undecided(r, facts)
	case r.State == journal.Waiting:
		return "The overlay is complete and verified, and the image is untouched. Somebody has to decide."
	case j.Running:
		return running(r, commit)
	case r.State == journal.Committing && facts.Target.Guest != nil && facts.Target.Guest.Trial:
		return "It ended while the guest's overlay was committed. The guest can go on running; only resume goes on from here, and nothing is lost meanwhile."
	case r.State == journal.Trial:
		return "It ended in the trial" + at(r) + ". The guest is on an overlay, or about to be; its image is untouched."
	case r.State == journal.Committing && commit:
		return "It ended while the overlay was being written into the image. The image may be partly written: do not start the guest before this job is finished or rolled back. Both are safe: the overlay and the saved bytes are here."
	case r.State == journal.Committing:
		return "It ended just before the commit. The image is untouched."
	case r.State == journal.Editing && facts.Target.Guest != nil && facts.Target.Guest.Running:
		return "It ended in the outage of " + facts.Target.Guest.Name + at(r) + ", which may be off now. Its image is untouched: resume begins the edit again, rollback starts the guest from it."
	case r.State == journal.Editing:
		return "It ended while the overlay was edited" + at(r) + ". The image is untouched; the overlay is made again when the job is resumed."
	case facts.Agreed:
		return "It ended while it looked at the image. The image is untouched."
	}
	return "It ended while it looked at the image; nobody had agreed to a plan. The image is untouched."
}

// explainErrand says what happened to a job that grows nothing on an overlay.
func explainErrand(j journal.Listed, facts guest.Facts) string {
	r := j.Record
	switch {
	case r.State == journal.Finished:
		return "It is done."
	case r.State == journal.RolledBack:
		return "It was rolled back: everything is as it was before."
	case j.Running:
		return "It runs" + at(r) + "."
	case facts.Kind.InPlace(r):
		return "It ended before it was done" + at(r) + ". What is done stays: resume does what is left, accept closes it as it is."
	}
	return "It ended before it was done" + at(r) + ". Resume does what is left, rollback takes back what is done."
}

// undecided says what is at stake in a trial that a person has to decide.
func undecided(r journal.Record, facts guest.Facts) string {
	g := facts.Target.Guest
	text := fmt.Sprintf("%s passed its health check and runs on overlays since %s (%s); its images are untouched. Accept commits them while it runs. A rollback restarts it from its images: everything it wrote since then is lost.",
		g.Name, r.Changed.Format(time.DateTime), view.Took(now().Sub(r.Changed)))
	if len(g.Unprotected) > 0 {
		text += " What it wrote to " + strings.Join(g.Unprotected, ", ") + " stays."
	}
	return text
}

func at(r journal.Record) string {
	if r.Running == "" {
		return ""
	}
	return " (step " + r.Running + ")"
}

func running(r journal.Record, commit bool) string {
	switch {
	case commit:
		return "It runs: the overlay is being written into the image. Do not start the guest."
	case r.State == journal.Opening:
		return "It runs: it looks at the image, or waits for an answer. The image is untouched."
	}
	return "It runs: the overlay is being edited" + at(r) + ". The image is untouched."
}

// foreignText says what a person can do with a job of another version.
func (p *program) foreignText(id string) string {
	return fmt.Sprintf("Another version of virt-grow began the job, and keeps it in a form that this version does not read. Its directory is %s; nothing in it is changed. Use the version that began the job, or a later one.",
		filepath.Join(p.state, "jobs", id))
}

// damagedText says what a person can do with a job whose journal is damaged.
func (p *program) damagedText(id string) string {
	dir := filepath.Join(p.state, "jobs", id)
	text := fmt.Sprintf("The job's journal cannot be read, and is not half believed. Its folder is %s.", dir)
	saved, err := p.planOf(id)
	if err != nil {
		return text + " It has no plan: the image was not touched. accept --as-is moves the folder away."
	}
	base := filepath.Join(filepath.Dir(saved.Target.Path), filepath.Base(saved.Target.Path)+".virt-grow-"+id)
	return text + fmt.Sprintf(" If %s.undo.qcow2 is not there (or wherever --scratch-dir pointed), the commit had not begun and the image is untouched: delete the overlay %s.qcow2, if it is there, and move the folder away."+
		" If it is there, the image may be partly written: keep all three files, do not start the guest, and put the saved bytes back with qemu-img rebase -u -b %s -F %s and qemu-img commit on a copy of them.",
		base, base, saved.Target.Path, saved.Target.Format)
}
