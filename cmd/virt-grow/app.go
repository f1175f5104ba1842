package main

import (
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/virt-grow/virt-grow/cmd/virt-grow/view"
	"github.com/virt-grow/virt-grow/guest/appliance"
)

// newApp returns the application with all its commands.
func newApp(p *program) *cli.App {
	app := &cli.App{
		Name:    "virt-grow",
		Usage:   "give a virtual machine a bigger disk, and grow what is inside it",
		Version: version,
		Description: "Changes are made on an overlay and verified before the image is written to.\n" +
			"   Every run is a job: after a crash, resume finishes it and rollback undoes it.\n\n   " + targetHelp,
		UsageText: exampleLines(appExamples...),
		Flags:     globalFlags(),
		Commands: commands(
			inspectCommand{p}, planCommand{p}, rehearseCommand{p}, growCommand{p}, applyCommand{p}, onlineCommand{p}, busCommand{p},
			jobsCommand{p}, statusCommand{p}, reportCommand{p}, resumeCommand{p}, acceptCommand{p}, rollbackCommand{p},
			batchCommands(p), diskCommands(p), mediaCommands(p),
			dfCommand{p}, lsCommand{p}, catCommand{p}, copyOutCommand{p}, copyInCommand{p}, editCommand{p},
			doctorCommand{p}, completionCommand{p}, manualCommand{p}, thawCommand{p},
		),
		Before: p.apply,
		Action: p.unknownCommand,
		Writer: p.out, ErrWriter: p.err,
		CustomAppHelpTemplate: appHelp,
		HideHelpCommand:       true,
		// A key or a label may hold a comma.
		DisableSliceFlagSeparator: true,
		OnUsageError:              onUsageError,
		ExitErrHandler:            func(*cli.Context, error) {}, // finish decides
	}
	cli.VersionFlag = &cli.BoolFlag{Name: "version", Usage: "print the version", DisableDefaultText: true}
	cli.HelpFlag = &cli.BoolFlag{Name: "help", Aliases: []string{"h"}, Usage: "show help", DisableDefaultText: true}
	cli.FlagStringer = flagText
	app.Setup()
	p.sendCommands(app.Commands)
	return app
}

// command is one command of the program.
type command interface{ command() *cli.Command }

// commands returns the commands with what all of them have in common.
func commands(list ...command) []*cli.Command {
	var all []*cli.Command
	for _, one := range list {
		c := one.command()
		c.HideHelpCommand = true
		c.OnUsageError = onUsageError
		all = append(all, c)
	}
	return all
}

func globalFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "connect", Aliases: []string{"c"}, EnvVars: []string{"LIBVIRT_DEFAULT_URI"}, Usage: "find domains in the libvirt at `URI` (default: qemu:///system); qemu+ssh://[USER@]HOST/system runs virt-grow on that host"},
		&cli.StringFlag{Name: "state-dir", Usage: "keep jobs in `DIRECTORY` (default: $VIRT_GROW_STATE_DIR, or /var/lib/virt-grow for root, else $XDG_STATE_HOME/virt-grow)"},
		&cli.StringFlag{Name: "accel", Value: "auto", Usage: "run the appliance with `KIND`: auto, kvm or tcg"},
		&cli.DurationFlag{Name: "launch-timeout", Value: appliance.LaunchTimeout, Usage: "give the appliance `TIME` to start"},
		&cli.BoolFlag{Name: "json", Usage: "print JSON on standard output, and messages for people on standard error", DisableDefaultText: true},
		&cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Usage: "show more: sizes in bytes, and programs that failed", DisableDefaultText: true},
	}
}

// onUsageError replaces the page of help that urfave/cli prints for a usage error.
func onUsageError(c *cli.Context, err error, _ bool) error {
	if name, ok := strings.CutPrefix(err.Error(), "flag provided but not defined: -"); ok {
		return usage("unknown flag --%s", name)
	}
	return usage("%v", err)
}

// flagText returns a flag's line of help: names and placeholder, a tab, and the usage.
func flagText(f cli.Flag) string {
	doc, ok := f.(cli.DocGenerationFlag)
	if !ok {
		return ""
	}
	var names []string
	for _, n := range f.Names() {
		names = append(names, strings.Repeat("-", min(len(n), 2))+n)
	}
	// A word in backquotes names the flag's value, as in package flag.
	text := doc.GetUsage()
	before, rest, _ := strings.Cut(text, "`")
	value, after, found := strings.Cut(rest, "`")
	if !found {
		return strings.Join(names, ", ") + "\t" + text
	}
	return strings.Join(names, ", ") + " " + value + "\t" + before + value + after
}

// unknownCommand runs when the command does not exist.
func (p *program) unknownCommand(c *cli.Context) error {
	if !c.Args().Present() {
		return cli.ShowAppHelp(c)
	}
	name := c.Args().First()
	p.name = "" // the hint must not name its help
	if like := cli.SuggestCommand(c.App.Commands, name); like != "" {
		return usage("unknown command %s. %s", name, like) // "Did you mean …?"
	}
	return usage("unknown command %s", name)
}

// help sets a command's description and examples. The examples are in UsageText, which
// has no other use: USAGE is made from the name and ArgsUsage.
func help(c *cli.Command, text string, examples ...string) *cli.Command {
	c.Description, c.UsageText = text, exampleLines(examples...)
	c.CustomHelpTemplate = commandHelp + examplesHelp
	return c
}

// exampleLines returns examples as they are indented in a page of help.
func exampleLines(examples ...string) string { return strings.Join(examples, "\n   ") }

// group is a command that has only subcommands.
type group struct {
	name, usage, text string
	subcommands       []command
}

func (g group) command() *cli.Command {
	return &cli.Command{
		Name: g.name, Usage: g.usage, Description: g.text, Subcommands: commands(g.subcommands...),
		UsageText: exampleLines("virt-grow " + g.name + " COMMAND --help    show the details"), Action: g.action, CustomHelpTemplate: groupHelp,
	}
}

// action runs when a group does not have the subcommand.
func (g group) action(c *cli.Context) error {
	if !c.Args().Present() {
		return cli.ShowSubcommandHelp(c)
	}
	name := c.Args().First()
	if like := cli.SuggestCommand(c.Command.Subcommands, name); like != "" {
		return usage("unknown command %s %s. %s", nameOf(c), name, like)
	}
	return usage("unknown command %s %s", nameOf(c), name)
}

// targetHelp explains the words of a command line.
const targetHelp = `TARGET is a libvirt domain (name or UUID), or the path of an image file or block
   device (it contains a / or exists as a file). SIZE is 30G, +10G (10G more than
   now) or fill (use the space that is already there). TARGET:PATH is a file inside:
   dev7:/etc/fstab, win7:C:\Users, ./web.qcow2:/var/log.

   With --connect qemu+ssh://[USER@]HOST/system, the command runs on that host through
   ssh, and a job there goes on if the connection is lost. Paths are then paths on that
   host; - is standard input or output here.`

var appExamples = []string{
	"virt-grow plan dev7 --disk vda --size +10G  see what would be done",
	"virt-grow grow dev7 --disk vda --size +10G  shut down, grow, start, check",
	"virt-grow grow web.qcow2 --size +10G        grow an image that is not in use",
	"virt-grow df                                see which guests are filling up",
	"virt-grow df dev7                           see how full its file systems are",
	"virt-grow edit dev7:/etc/fstab              change a file of a guest that is off",
	"virt-grow jobs                              list jobs, and what to run next",
}

// examplesHelp is the end of a page of help.
const examplesHelp = `
EXAMPLES:
   {{.UsageText}}
`

const appHelp = `{{.Name}} - {{.Usage}}

USAGE:
   {{.Name}} COMMAND [TARGET] [OPTIONS]

   {{.Description}}

COMMANDS:{{range .VisibleCommands}}
   {{printf "%-12s" .Name}}{{.Usage}}{{end}}

GLOBAL OPTIONS:{{template "visibleFlagTemplate" .}}
` + examplesHelp + `
   Run virt-grow COMMAND --help for details.
`

const commandHelp = `{{.HelpName}} - {{.Usage}}

USAGE:
   {{.HelpName}}{{if .ArgsUsage}} {{.ArgsUsage}}{{end}}{{if .VisibleFlags}} [OPTIONS]{{end}}

   {{.Description}}
{{if .VisibleFlags}}
OPTIONS:{{template "visibleFlagTemplate" .}}

   Global options (see virt-grow --help) may be given here as well.
{{end}}`

const groupHelp = `{{.HelpName}} - {{.Usage}}

USAGE:
   {{.HelpName}} COMMAND [OPTIONS]

   {{.Description}}

COMMANDS:{{range .VisibleCommands}}
   {{printf "%-10s" .Name}}{{.Usage}}{{end}}
` + examplesHelp

// newEvents returns the writer of this run's events.
func (p *program) newEvents() *view.Events { return view.NewEvents(p.out, p.schema(), now) }

// schema returns the command's name in the names of its JSON schemas: "disk-create".
func (p *program) schema() string { return strings.ReplaceAll(p.name, " ", "-") }
