package main

import (
	"errors"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/virt-grow/virt-grow/cmd/virt-grow/view"
	"github.com/virt-grow/virt-grow/guest"
	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/journal"
)

// jobsCommand is virt-grow jobs.
type jobsCommand struct{ *program }

func (p jobsCommand) command() *cli.Command {
	return help(&cli.Command{
		Name: "jobs", Usage: "list the jobs, oldest first, with what to run next", Action: p.action,
		Flags: []cli.Flag{&cli.BoolFlag{Name: "unfinished", Usage: "list only the jobs that have not ended; the exit code is 1 if there are any", DisableDefaultText: true}},
	}, "The last column shows the command to run next; it is empty if the job has ended.",
		"virt-grow jobs",
		"virt-grow jobs --unfinished",
		"virt-grow jobs --json")
}

func (p jobsCommand) action(c *cli.Context) error {
	if err := noOperand(c); err != nil {
		return err
	}
	all, err := p.engine().List()
	if err != nil {
		return err
	}
	unfinished := c.Bool("unfinished")
	jobs := []view.Job{}
	for _, j := range all {
		if !unfinished || !j.Record.State.Ended() {
			jobs = append(jobs, p.listed(j))
		}
	}
	if p.json {
		err = view.JobsJSON(p.out, jobs)
	} else {
		err = view.Jobs(p.out, p.style(), jobs)
	}
	if err == nil && unfinished && len(jobs) > 0 {
		err = errShown
	}
	return err
}

// unreadable returns the state shown for a job whose journal cannot be read.
func unreadable(err error) view.State {
	if errors.As(err, new(*journal.SchemaError)) {
		return view.StateNewer
	}
	return view.StateDamaged
}

// engine returns the engine for the jobs of the state directory.
func (p *program) engine() *job.Engine {
	return guest.Engine(guest.Options{Options: job.Options{Store: p.store()}})
}

// listed returns a job's line in the list.
func (p *program) listed(j job.Status) view.Job {
	shown := view.Job{ID: j.ID, State: view.State(j.Record.State), Active: j.Active, Started: j.Record.Started, Target: j.Header.Target.Path}
	if g := j.Header.Target.Guest; g != nil {
		shown.Target, shown.Disk = g.Name, g.Disk
		if t := j.Header.Target; len(t.More) > 0 {
			shown.Disks = t.Disks()
		}
	}
	if j.Err != nil {
		shown.State, shown.Target = unreadable(j.Err), p.targetOfPlan(j.ID)
	}
	if commands := p.commands(j); len(commands) > 0 && !j.Active {
		shown.Next = commands[0].Line
	}
	return shown
}

func (p *program) planOf(id string) (*plan.Plan, error) {
	return job.PlanOf(p.store(), id)
}

// targetOfPlan returns the image that the job's plan names, for a job whose journal
// cannot be read.
func (p *program) targetOfPlan(id string) string {
	saved, err := p.planOf(id)
	if err != nil {
		return ""
	}
	return saved.Target.Path
}

// commandOf has the command for each action, and what it does.
var commandOf = map[job.Action]struct{ name, what string }{
	job.Resume:   {"resume", "finish it"},
	job.Accept:   {"accept", "commit the overlay into the image; this is final"},
	job.Rollback: {"rollback", "undo it: the image is as before"},
	job.Close:    {"accept", "close it as it is, and leave the rest to you"},
}

// commands returns the commands that are possible for a job now, the best first.
func (p *program) commands(j job.Status) []view.Command {
	if j.Err != nil {
		return []view.Command{{Line: p.line("status", j.ID), What: "show what is known about it"}}
	}
	var commands []view.Command
	for _, a := range j.Actions {
		c := commandOf[a]
		commands = append(commands, view.Command{Line: p.line(c.name, j.ID), What: c.what})
	}
	return commands
}

// closing returns the command that closes a job that neither resume nor rollback can end.
func (p *program) closing(id string) view.Command {
	return view.Command{Line: p.line("accept", id, "--as-is"), What: "close it as it is, if nothing else can end it"}
}

// stepsOf lists a job's steps, and which of them are done.
func stepsOf(planned []plan.Step, r journal.Record) []view.StepStatus {
	var steps []view.StepStatus
	for _, s := range planned {
		state := view.StepOpen
		switch {
		case r.State == journal.Finished, r.Done[s.ID()]:
			state = view.StepDone
		case r.Running == s.ID():
			state = view.StepBegun
		}
		steps = append(steps, view.StepStatus{ID: s.ID(), Summary: s.Summary, State: state})
	}
	return slices.Clip(steps)
}
