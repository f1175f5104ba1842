package main

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/virt-grow/virt-grow/cmd/virt-grow/remote"
	"github.com/virt-grow/virt-grow/cmd/virt-grow/view"
	"github.com/virt-grow/virt-grow/guest/appliance"
	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/plan/journal"
)

// program is what all commands share in a run: the console, the global flags, and what
// the hints need. Each command is a type around it, in a file of its own.
type program struct {
	console
	name    string // the command's: "grow", "disk create"
	verbose bool
	state   string
	connect string // libvirt's URI
	// connectGiven reports that --connect is on the command line: the environment's URI is
	// only a default.
	connectGiven bool
	accel        appliance.Accel
	// launchTimeout is how long an appliance may take to start.
	launchTimeout time.Duration

	// subject is the TARGET as the user gave it.
	subject string
	// offline is the command that does the work of this online run while the guest is off.
	offline string
	// atRunTime is the command line that grows the same while the guest runs; "" if
	// there is no guest.
	atRunTime string
	// path is the PATH of TARGET:PATH, if there is one.
	path string
	// job is the ID of this run's job, once there is one.
	job string
	// events shows the run if --json is given; without it, the console's progress does.
	events *view.Events
	// agreed reports that --yes was given: the user is asked nothing.
	agreed bool
	// final reports that a run cannot be undone any more, and ignores signals.
	final atomic.Bool
	// words are the words of the command line, with the global flags first.
	words line
	// host is the host of --connect, if it is another one; elsewhere reports that there is
	// one, and signals has the signals for the command there.
	host      *remote.Host
	elsewhere atomic.Bool
	signals   chan os.Signal
	// batchProgress shows the run of a batch on a terminal; nil for other runs.
	batchProgress atomic.Pointer[view.BatchProgress]
}

// execute runs one command line and returns the exit code.
func execute(args []string, c console) int {
	// libguestfs returns its messages as errors; its debug output would mix with the
	// output of the command.
	os.Unsetenv("LIBGUESTFS_DEBUG")
	os.Unsetenv("LIBGUESTFS_TRACE")
	p := &program{console: c, signals: make(chan os.Signal, 4)}
	app := newApp(p)
	if words, ok := completing(args); ok {
		p.complete(app, words)
		return exitDone
	}
	line := arrange(app, args)
	p.name, p.words = line.name(), line
	p.json = slices.Contains(line.globals, "--json")
	p.connectGiven = line.hasGlobal("connect", "c")
	ctx, stop := p.interruptible(context.Background())
	defer stop()
	return p.finish(app.RunContext(ctx, line.args()))
}

// apply reads the global flags.
func (p *program) apply(c *cli.Context) error {
	p.json, p.verbose, p.state = c.Bool("json"), c.Bool("verbose"), c.String("state-dir")
	if p.state == "" {
		p.state = p.defaultState()
	}
	if p.connect = c.String("connect"); p.connect == "" {
		p.connect = domain.DefaultURI
	}
	var err error
	if remote.IsURI(p.connect) {
		if p.host, err = remote.Parse(p.connect); err != nil {
			return usage("--connect: %v", err)
		}
	} else if p.state, err = filepath.Abs(p.state); err != nil {
		return err
	}
	p.accel = appliance.Accel(c.String("accel"))
	if !slices.Contains([]appliance.Accel{appliance.Auto, appliance.KVM, appliance.TCG}, p.accel) {
		return usage("--accel %s: must be one of auto, kvm, tcg", p.accel)
	}
	if p.launchTimeout = c.Duration("launch-timeout"); p.launchTimeout <= 0 {
		return usage("--launch-timeout %s: must be longer than zero, for example 10m", p.launchTimeout)
	}
	return nil
}

// defaultState returns the state directory that is used without --state-dir.
func (p *program) defaultState() string {
	if dir := p.env("VIRT_GROW_STATE_DIR"); dir != "" {
		return dir
	}
	if os.Geteuid() == 0 {
		return "/var/lib/virt-grow"
	}
	base := p.env("XDG_STATE_HOME")
	if !filepath.IsAbs(base) { // the XDG specification: relative paths are invalid
		home, _ := os.UserHomeDir()
		base = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(base, "virt-grow")
}

func (p *program) store() journal.Store { return journal.Store{Dir: p.state} }

func (p *program) timings() *job.Timings { return job.LoadTimings(p.state) }

// line returns a command line for the user, with the global flags of this run.
func (p *program) line(words ...string) string {
	line := []string{"virt-grow"}
	if uri := p.via(); uri != "" {
		line = append(line, "--connect", uri)
	}
	if p.state != "" && p.state != p.defaultState() {
		line = append(line, "--state-dir", p.state)
	}
	line = append(line, words...)
	for i, w := range line {
		line[i] = quoted(w)
	}
	return strings.Join(line, " ")
}

// quoted makes a word safe to paste into a shell.
func quoted(word string) string {
	if word != "" && strings.Trim(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@%+=:,./_-") == "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
