package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"github.com/virt-grow/virt-grow/cmd/virt-grow/view"
	"github.com/virt-grow/virt-grow/guest/doctor"
)

// doctorCommand is virt-grow doctor.
type doctorCommand struct{ *program }

func (p doctorCommand) command() *cli.Command {
	return help(&cli.Command{
		Name: "doctor", Usage: "check this host, and show what to install if something is missing",
		Action: p.action,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "quick", Usage: "skip the slow checks: the appliance is not started", DisableDefaultText: true},
			&cli.StringFlag{Name: "scratch-dir", Usage: "also check the free space in `DIRECTORY`"},
		},
	}, "The exit code is 1 if something required is missing.",
		"virt-grow doctor",
		"virt-grow doctor --quick --json")
}

func (p doctorCommand) action(c *cli.Context) error {
	if err := noOperand(c); err != nil {
		return err
	}
	stop := p.looking("checking this host")
	found := doctor.Examine(c.Context, doctor.Options{
		StateDir: p.state, ScratchDir: c.String("scratch-dir"), Accel: p.accel, LaunchTimeout: p.launchTimeout, Quick: c.Bool("quick"), Connect: p.connect})
	stop()
	if err := context.Cause(c.Context); err != nil {
		return err
	}
	ok := true
	var findings []view.Finding
	for _, f := range found {
		ok = ok && f.Level != doctor.Fail
		findings = append(findings, view.Finding{Name: f.Name, Level: f.Level, Text: f.Text, Mend: f.Mend})
	}
	var err error
	if p.json {
		err = view.DoctorJSON(p.out, findings, ok)
	} else {
		err = view.Doctor(p.out, p.style(), findings)
	}
	if err == nil && !ok {
		err = errShown
	}
	return err
}
