package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/virt-grow/virt-grow/cmd/virt-grow/view"
	"github.com/virt-grow/virt-grow/guest/appliance"
	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/plan/journal"
)

// console has the streams of a run, and what is known of the terminal.
type console struct {
	in       io.Reader
	out, err io.Writer
	// asks reports that standard input is a terminal; outLive and errLive report it of
	// the outputs.
	asks, outLive, errLive bool
	width                  int
	env                    func(string) string
}

func standard() console {
	c := console{in: os.Stdin, out: os.Stdout, err: os.Stderr, env: os.Getenv,
		asks: isTerminal(os.Stdin), outLive: isTerminal(os.Stdout), errLive: isTerminal(os.Stderr)}
	for _, f := range []*os.File{os.Stdout, os.Stderr, os.Stdin} {
		if n, _, err := term.GetSize(int(f.Fd())); err == nil {
			c.width = n
			break
		}
	}
	return c
}

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

// program is one run of a command.
type program struct {
	console
	command string // "grow", "disk create"
	json    bool
	verbose bool
	state   string
	connect string // libvirt's URI
	accel   appliance.Accel
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
	// job is the ID of this run's job, once there is one. The run is shown with events
	// if --json is given, else with progress.
	job      string
	events   *view.Events
	progress *view.Progress
	// agreed reports that --yes was given: the user is asked nothing.
	agreed bool
	// final reports that a run cannot be undone any more, and ignores signals.
	final atomic.Bool
}

// execute runs one command line and returns the exit code.
func execute(args []string, c console) int {
	// libguestfs returns its messages as errors; its debug output would mix with the
	// output of the command.
	os.Unsetenv("LIBGUESTFS_DEBUG")
	os.Unsetenv("LIBGUESTFS_TRACE")
	p := &program{console: c}
	app := newApp(p)
	if words, ok := completing(args); ok {
		p.complete(app, words)
		return exitDone
	}
	line := arrange(app, args)
	p.command = line.name()
	p.json = slices.Contains(line.globals, "--json")
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
	if p.state, err = filepath.Abs(p.state); err != nil {
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

// human returns the stream for people: standard output, or standard error with --json.
func (p *program) human() io.Writer {
	if p.json {
		return p.err
	}
	return p.out
}

// live reports whether the stream for people is a terminal.
func (p *program) live() bool {
	if p.json {
		return p.errLive
	}
	return p.outLive
}

func (p *program) style() view.Style { return p.styleFor(p.live()) }

func (p *program) styleFor(terminal bool) view.Style {
	s := view.Style{Width: p.width, Unicode: p.utf8()}
	s.Color = terminal && p.env("NO_COLOR") == "" && p.env("TERM") != "dumb"
	if !terminal {
		s.Width = 0
	}
	return s
}

// utf8 reports whether the locale has UTF-8, by the variables of locale(7) in their order.
func (p *program) utf8() bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := p.env(name); v != "" {
			v = strings.ToUpper(v)
			return strings.Contains(v, "UTF-8") || strings.Contains(v, "UTF8")
		}
	}
	return false
}

// line returns a command line for the user, with the global flags of this run.
func (p *program) line(words ...string) string {
	line := []string{"virt-grow"}
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

// ticking updates the time in the live line until the returned function is called.
func ticking(line *view.Progress) (stop func()) {
	ticker := time.NewTicker(200 * time.Millisecond)
	done := make(chan struct{})
	go func() {
		for {
			select {
			case <-ticker.C:
				line.Tick()
			case <-done:
				return
			}
		}
	}()
	return func() { ticker.Stop(); close(done) }
}

// looking shows on a terminal that a read-only command is working, until the returned
// function is called.
func (p *program) looking(text string) (stop func()) {
	if !p.errLive {
		return func() {}
	}
	p.progress = view.NewProgress(p.err, p.styleFor(true), true, time.Now)
	p.progress.Note(text)
	end := ticking(p.progress)
	return func() { end(); p.progress.Clear() }
}
