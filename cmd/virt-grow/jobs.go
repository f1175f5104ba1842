package main

import (
	"encoding/json"
	"errors"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/virt-grow/virt-grow/cmd/virt-grow/view"
	"github.com/virt-grow/virt-grow/guest"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/journal"
)

func (p *program) jobsCommand() *cli.Command {
	return help(&cli.Command{
		Name: "jobs", Usage: "list the jobs, oldest first, with what to run next", Action: p.jobs,
	}, "The last column is empty for jobs that have ended.",
		"virt-grow jobs",
		"virt-grow jobs --json")
}

func (p *program) jobs(c *cli.Context) error {
	if err := noOperand(c); err != nil {
		return err
	}
	all, err := p.store().List()
	if err != nil {
		return err
	}
	jobs := []view.Job{}
	for _, j := range all {
		jobs = append(jobs, p.listed(j))
	}
	if p.json {
		return view.JobsJSON(p.out, jobs)
	}
	return view.Jobs(p.out, p.style(), jobs)
}

// unreadable is the state shown for a job whose journal cannot be read.
func unreadable(err error) string {
	if errors.As(err, new(*journal.SchemaError)) {
		return string(plan.NewerJob)
	}
	return "damaged"
}

// listed is a job as the list shows it.
func (p *program) listed(j journal.Listed) view.Job {
	job := view.Job{ID: j.ID, State: string(j.Record.State), Active: j.Running, Started: j.Record.Started}
	if facts, err := factsOf(j.Record); err == nil {
		job.Target = facts.Target.Path
		if g := facts.Target.Guest; g != nil {
			job.Target, job.Disk = g.Name, g.Disk
		}
	}
	if j.Err != nil {
		job.State, job.Target = unreadable(j.Err), p.targetOfPlan(j.ID)
	}
	if commands := p.commands(j); len(commands) > 0 && !j.Running {
		job.Next = commands[0].Line
	}
	return job
}

func factsOf(r journal.Record) (guest.Facts, error) {
	var f guest.Facts
	if len(r.Facts) == 0 {
		return f, errNoFacts
	}
	err := json.Unmarshal(r.Facts, &f)
	return f, err
}

func (p *program) planOf(id string) (*plan.Plan, error) {
	f, err := p.store().PlanOf(id)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return plan.Read(f)
}

// targetOfPlan is the image a job's plan names: what is left to know it by
// when the journal cannot be read.
func (p *program) targetOfPlan(id string) string {
	saved, err := p.planOf(id)
	if err != nil {
		return ""
	}
	return saved.Target.Path
}

// commands are what can be run on a job now, the best first.
func (p *program) commands(j journal.Listed) []view.Command {
	all := map[string]string{
		"resume":   "finish it",
		"accept":   "commit the overlay into the image: it is final",
		"rollback": "take it back: the image is as before",
		"status":   "see what is known of it",
	}
	var commands []view.Command
	if facts, err := factsOf(j.Record); err == nil && facts.Kind.Closable(j.Record) {
		all["accept"] = "close it as it is: the rest is left to you"
	}
	for _, name := range commandsFor(j) {
		commands = append(commands, view.Command{Line: p.line(name, j.ID), What: all[name]})
	}
	return commands
}

// closing is the command that ends a job which nothing else ends.
func (p *program) closing(id string) view.Command {
	return view.Command{Line: p.line("accept", id, "--as-is"), What: "close it as it is, if nothing else ends it"}
}

func commandsFor(j journal.Listed) []string {
	facts, err := factsOf(j.Record)
	switch {
	case j.Err != nil:
		return []string{"status"}
	case j.Running, j.Record.State.Ended():
		return nil
	case err == nil && facts.Kind == guest.Rehearsing:
		return []string{"rollback"}
	case err == nil && facts.Kind.InPlace(j.Record):
		return []string{"resume", "accept"}
	case j.Record.State == journal.Waiting:
		return []string{"accept", "rollback"}
	case j.Record.State == journal.Committing && err == nil && facts.Target.Guest != nil && facts.Target.Guest.Trial:
		return []string{"resume"}
	case j.Record.State == journal.Opening && (err != nil || !facts.Agreed):
		return []string{"rollback"}
	}
	return []string{"resume", "rollback"}
}

// stepsOf says how far a job is.
func stepsOf(planned []plan.Step, r journal.Record) []view.StepStatus {
	var steps []view.StepStatus
	for _, s := range planned {
		state := "open"
		switch {
		case r.State == journal.Finished, r.Done[s.ID()]:
			state = "done"
		case r.Running == s.ID():
			state = "begun"
		}
		steps = append(steps, view.StepStatus{ID: s.ID(), Summary: s.Summary, State: state})
	}
	return slices.Clip(steps)
}
