package main

import (
	"bytes"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/google/renameio/v2"
	"github.com/urfave/cli/v2"

	"github.com/virt-grow/virt-grow/cmd/virt-grow/manual"
)

// manualCommand is virt-grow manual-pages. It is hidden: packages are built with it.
//
// The pages are made from the same text as --help. cli.App.ToManWithSection is not used:
// it knows neither the examples nor the names of flags' values, and takes the characters
// of Markdown in help texts for markup.
type manualCommand struct{ *program }

func (p manualCommand) command() *cli.Command {
	return &cli.Command{Name: "manual-pages", Usage: "write the manual pages", ArgsUsage: "DIRECTORY", Hidden: true, Action: p.action}
}

func (p manualCommand) action(c *cli.Context) error {
	dir, err := operand(c, "DIRECTORY")
	if err != nil {
		return err
	}
	date, err := p.sourceDate()
	if err != nil {
		return err
	}
	for _, page := range manualPages(c.App) {
		page.Source, page.Date = "virt-grow "+version, date
		var text bytes.Buffer
		if err := page.Write(&text); err != nil {
			return err
		}
		if err := renameio.WriteFile(filepath.Join(dir, page.File()), text.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// sourceDate returns the date of the sources, so that a build can be repeated
// (https://reproducible-builds.org/specs/source-date-epoch/), or today's.
func (p *program) sourceDate() (time.Time, error) {
	text := p.env("SOURCE_DATE_EPOCH")
	if text == "" {
		return now(), nil
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, usage("SOURCE_DATE_EPOCH: %v", err)
	}
	return time.Unix(seconds, 0), nil
}

// manualPages returns the page of the program and those of its commands.
func manualPages(app *cli.App) []manual.Page {
	main := manual.Page{Name: app.Name, Summary: app.Usage, Command: app.Name, Arguments: "COMMAND [TARGET] [OPTIONS]", Sections: []manual.Part{
		{Title: "DESCRIPTION", Paragraphs: paragraphs(app.Description)},
		{Title: "COMMANDS", Items: commandItems(app.VisibleCommands())},
		{Title: "OPTIONS", Items: flagItems(app.VisibleFlags())},
		exitStatus(),
		{Title: "FILES", Items: manualFiles},
		{Title: "ENVIRONMENT", Items: manualEnvironment},
		examplesOf(app.UsageText),
		{Title: "SEE ALSO", Paragraphs: []string{"virsh(1), qemu-img(1), guestfs(3), guestfish(1), virt-resize(1)"}},
	}}
	pages := []manual.Page{main}
	for _, c := range app.VisibleCommands() {
		pages = append(pages, commandPages(c, app.Name)...)
	}
	return pages
}

// commandPages returns a command's page and those of its subcommands. parent is the name
// of the command above it.
func commandPages(c *cli.Command, parent string) []manual.Page {
	const main = "virt-grow(8)"
	name := parent + " " + c.Name
	page := manual.Page{Name: strings.ReplaceAll(name, " ", "-"), Summary: c.Usage, Command: name, Arguments: strings.TrimSpace(c.ArgsUsage + " [OPTIONS]")}
	if len(c.Subcommands) > 0 {
		page.Arguments = "COMMAND [OPTIONS]"
	}
	page.Sections = []manual.Part{
		{Title: "DESCRIPTION", Paragraphs: paragraphs(c.Description)},
		{Title: "COMMANDS", Items: commandItems(c.VisibleCommands())},
		{Title: "OPTIONS", Items: flagItems(c.VisibleFlags()), Paragraphs: []string{
			"The global options, the files and the environment are described in " + main + "."}},
		exitStatus(), examplesOf(c.UsageText),
		{Title: "SEE ALSO", Paragraphs: []string{main}},
	}
	pages := []manual.Page{page}
	for _, sub := range c.VisibleCommands() {
		pages = append(pages, commandPages(sub, name)...)
	}
	return pages
}

func commandItems(commands []*cli.Command) []manual.Item {
	var items []manual.Item
	for _, c := range commands {
		items = append(items, manual.Item{Term: c.Name, Text: c.Usage})
	}
	return items
}

func flagItems(flags []cli.Flag) []manual.Item {
	var items []manual.Item
	for _, f := range flags {
		names, text, _ := strings.Cut(flagText(f), "\t")
		items = append(items, manual.Item{Term: names, Text: text})
	}
	return items
}

func exitStatus() manual.Part {
	part := manual.Part{Title: "EXIT STATUS"}
	for _, e := range exitMeanings {
		part.Items = append(part.Items, manual.Item{Term: strconv.Itoa(e.code), Text: e.text})
	}
	return part
}

func examplesOf(text string) manual.Part {
	part := manual.Part{Title: "EXAMPLES"}
	for line := range strings.Lines(text) {
		part.Lines = append(part.Lines, strings.TrimSpace(line))
	}
	return part
}

// paragraphs splits a help text, whose lines are broken and indented for a terminal.
func paragraphs(text string) []string {
	var all []string
	for part := range strings.SplitSeq(text, "\n\n") {
		all = append(all, strings.Join(strings.Fields(part), " "))
	}
	return all
}

var manualFiles = []manual.Item{
	{Term: "/var/lib/virt-grow", Text: "the state directory of root: jobs, and what was learnt from earlier runs"},
	{Term: "~/.local/state/virt-grow", Text: "the state directory of other users"},
	{Term: "~/.cache/virt-grow", Text: "the unpacked kernel of the appliance, on hosts without KVM"},
	{Term: "/etc/virt-grow/plans", Text: "reviewed plans that virt-grow@.service applies"},
}

var manualEnvironment = []manual.Item{
	{Term: "VIRT_GROW_STATE_DIR", Text: "the state directory, if --state-dir is not given"},
	{Term: "LIBVIRT_DEFAULT_URI", Text: "the libvirt of the domains, if --connect is not given; qemu+ssh://… is one on another host"},
	{Term: "XDG_STATE_HOME", Text: "the parent of the state directory of users other than root"},
	{Term: "TMPDIR", Text: "where inspect and plan create their overlays"},
	{Term: "LIBGUESTFS_CACHEDIR", Text: "where libguestfs keeps the appliance that it builds"},
	{Term: "VISUAL, EDITOR", Text: "the editor that virt-grow edit starts"},
	{Term: "NO_COLOR", Text: "no colours on a terminal, if it is set"},
}
