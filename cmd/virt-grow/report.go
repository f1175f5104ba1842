package main

import (
	"bytes"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/renameio/v2"
	"github.com/urfave/cli/v2"

	"github.com/virt-grow/virt-grow/cmd/virt-grow/view"
	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/guest/record"
)

// reportCommand is virt-grow report.
type reportCommand struct{ *program }

func (p reportCommand) command() *cli.Command {
	return help(&cli.Command{
		Name: "report", Usage: "write the record of a job or batch, for a change board",
		ArgsUsage: "JOB|BATCH", Action: p.action,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "format", Usage: "write `FORMAT`: html, md or json (default: by the name of the file, else md)"},
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "write to `FILE`; - is standard output (the default)"},
			&cli.BoolFlag{Name: "force", Usage: "let -o replace a file that is not a report"},
		},
	}, "The record says what was asked, by whom and when, the plan, the disks before and after,\n   the outage against its estimate, the health check, how it ended, and how it can be rolled\n   back. JOB is a job's name, or a beginning or end of it that is unique; the job may still\n   be running. The record of a batch has those of all its guests. The HTML\n   file needs no other file, no network and no script.",
		"virt-grow report 3f2a",
		"virt-grow report 3f2a -o change-4711.html",
		"virt-grow report 3f2a --format json")
}

// reportFormats write a report in each format.
var reportFormats = map[string]func(io.Writer, view.Report, time.Time) error{
	"html": view.ReportHTML, "md": view.ReportMarkdown, "json": view.ReportJSON,
}

// formatOfSuffix has the format for the names of files.
var formatOfSuffix = map[string]string{".md": "md", ".markdown": "md", ".json": "json", ".html": "html", ".htm": "html"}

func (p reportCommand) action(c *cli.Context) error {
	name, err := operand(c, "JOB")
	if err != nil {
		return err
	}
	output := c.String("output")
	format, err := p.format(c.String("format"), output)
	if err != nil {
		return err
	}
	r, err := p.read(name)
	if err != nil {
		return err
	}
	var text bytes.Buffer
	if err := reportFormats[format](&text, r, now()); err != nil {
		return err
	}
	if output == "" || output == "-" {
		_, err := p.out.Write(text.Bytes())
		return err
	}
	if err := reportOutput(output, c.Bool("force"), r).check(); err != nil {
		return err
	}
	return renameio.WriteFile(output, text.Bytes(), 0o644, renameio.WithExistingPermissions())
}

// format returns the format of the report.
func (p reportCommand) format(format, output string) (string, error) {
	switch {
	case format != "" && reportFormats[format] == nil:
		return "", usage("--format %s: must be html, md or json", format)
	case format != "":
		return format, nil
	case p.json:
		return "json", nil
	case output == "" || output == "-":
		return "md", nil
	}
	format = formatOfSuffix[strings.ToLower(filepath.Ext(output))]
	if format == "" {
		return "", usage("-o %s: its name does not end in .html, .md or .json: choose the format with --format", output)
	}
	return format, nil
}

// read reads the record, and adds what can be run next.
func (p reportCommand) read(name string) (view.Report, error) {
	e := p.engine()
	r, err := record.Read(e, name)
	if err != nil {
		return view.Report{}, err
	}
	report := view.Report{Record: *r, Commands: p.possible(r)}
	if r.Err != nil {
		s := statusCommand(p).unreadable(view.Status{Job: view.Job{ID: r.Job}}, r.Err)
		report.Text, report.Commands = s.Text, s.Commands
	}
	for _, g := range r.Guests {
		if commands := p.possible(g.Record); len(commands) > 0 {
			if report.GuestCommands == nil {
				report.GuestCommands = map[string][]view.Command{}
			}
			report.GuestCommands[g.Job] = commands
		}
	}
	return report, nil
}

// possible returns the commands that are possible for a job; none for no job.
func (p reportCommand) possible(r *record.Record) []view.Command {
	if r == nil || r.Err != nil {
		return nil
	}
	return p.commands(job.Status{ID: r.Job, Actions: r.Actions})
}

// imagesOf returns the images of the job, and of the jobs of a batch.
func imagesOf(r *record.Record) (paths []string) {
	if r.Target != nil {
		for _, img := range r.Target.Images() {
			paths = append(paths, img.Path)
		}
	}
	for _, g := range r.Guests {
		if g.Record != nil {
			paths = append(paths, imagesOf(g.Record)...)
		}
	}
	return paths
}
