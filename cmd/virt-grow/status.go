package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/virt-grow/virt-grow/cmd/virt-grow/view"
	"github.com/virt-grow/virt-grow/guest/block"
	"github.com/virt-grow/virt-grow/guest/growth"
	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/plan/journal"
)

// statusCommand is virt-grow status.
type statusCommand struct{ *program }

func (p statusCommand) command() *cli.Command {
	return help(&cli.Command{
		Name: "status", Usage: "show what a job did, and what to run next",
		ArgsUsage: "JOB", Action: p.action,
	}, "JOB is a job's name, or a beginning or end of it that is unique.",
		"virt-grow status 20260131-101500-3f2a",
		"virt-grow status 3f2a --json")
}

func (p statusCommand) action(c *cli.Context) error {
	name, err := operand(c, "JOB")
	if err != nil {
		return err
	}
	j, err := p.engine().Status(name)
	if err != nil {
		return err
	}
	s := p.statusOf(j)
	if p.json {
		return view.StatusJSON(p.out, s)
	}
	return view.Statuses(p.out, p.style(), s)
}

// statusOf returns the status of a job in any state.
func (p statusCommand) statusOf(j job.Status) view.Status {
	s := view.Status{Job: p.listed(j), Changed: j.Record.Changed, Error: j.Record.Error, Commands: p.commands(j)}
	if j.Err != nil {
		return p.unreadable(s, j.Err)
	}
	if !j.Active && !j.Record.State.Ended() && !slices.Contains(j.Actions, job.Close) {
		s.Commands = append(s.Commands, p.closing(j.ID))
	}
	s.Text, s.LeftInside, s.Guests = j.Text, j.Details.Inside, shownGuests(p.engine(), j)
	s.OldSize, s.NewSize = j.Details.OldSize, j.Details.NewSize
	for _, d := range j.Details.More {
		s.More = append(s.More, view.DiskGrowth{Disk: d.Disk, OldSize: d.OldSize, NewSize: d.NewSize})
	}
	if j.Details.Overlay != "" {
		s.Overlay, s.Undo = file(j.Details.Overlay), file(j.Details.Undo)
	}
	for _, path := range j.Details.Others {
		s.Others = append(s.Others, *file(path))
	}
	s.Steps = stepsOf(j.Header.Steps, j.Record)
	if saved, err := p.planOf(j.ID); err == nil && j.Record.Planned {
		s.Grows, s.Steps = strings.Join(saved.Targets(), ", "), stepsOf(saved.Steps, j.Record)
	}
	if j.Record.State == journal.RolledBack {
		s.Steps = nil // none of them counts any more
	}
	for _, proc := range j.Processes {
		s.Processes = append(s.Processes, view.Process{Role: proc.Role, Pid: proc.Pid})
	}
	return s
}

// unreadable returns the status of a job whose journal cannot be read.
func (p statusCommand) unreadable(s view.Status, err error) view.Status {
	s.Error, s.Next = err.Error(), ""
	if errors.As(err, new(*journal.SchemaError)) {
		s.Text, s.Commands = p.foreignText(s.ID), nil
	} else {
		s.Text, s.Commands = p.damagedText(s.ID), []view.Command{p.closing(s.ID)}
	}
	return s
}

// file returns one of the job's files.
func file(path string) *view.File {
	n, err := block.Allocated(path)
	return &view.File{Path: path, Exists: err == nil, Bytes: n}
}

// foreignText says what the user can do about a job of another version.
func (p statusCommand) foreignText(id string) string {
	return fmt.Sprintf("Another version of virt-grow began the job, and its format is unknown to this version. Its directory is %s; nothing in it is changed. Use the version that began the job, or a later one.",
		p.store().DirOf(id))
}

// damagedText says what the user can do about a job whose journal is damaged. All that is
// known of the job comes from its plan.
func (p statusCommand) damagedText(id string) string {
	text := fmt.Sprintf("The job's journal is damaged and cannot be read. Its directory is %s.", p.store().DirOf(id))
	saved, err := p.planOf(id)
	if err != nil {
		return text + " The job has no plan, so the image was not changed. accept --as-is moves the directory away."
	}
	return text + growth.DescribeDamaged(id, saved)
}
