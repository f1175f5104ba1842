package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/virt-grow/virt-grow/cmd/virt-grow/remote"
	"github.com/virt-grow/virt-grow/cmd/virt-grow/view"
)

// hereOnly are the commands that run on this host, whatever --connect says.
var hereOnly = []string{"completion", "manual-pages", thaw}

// sendCommands lets the commands run on the host of --connect, if it is another one. Their
// flags are still read here, so that a wrong one is refused before ssh is started.
func (p *program) sendCommands(commands []*cli.Command) {
	for _, c := range commands {
		p.sendCommands(c.Subcommands)
		action := c.Action
		if len(c.Subcommands) > 0 || slices.Contains(hereOnly, c.Name) {
			continue
		}
		c.Action = func(c *cli.Context) error {
			if p.host != nil {
				return p.runElsewhere(c)
			}
			return action(c)
		}
	}
}

// runLost is the loss of the connection during a command that changes something.
type runLost struct{ *remote.Lost }

func (r *runLost) Error() string { return r.Lost.Error() + "; its job goes on there" }

func (r *runLost) Unwrap() error { return r.Lost }

// runElsewhere runs this command line on the host of --connect.
func (p *program) runElsewhere(c *cli.Context) error {
	p.elsewhere.Store(true)
	out, messages := p.outFilter(c), view.NewTextFilter(p.err, p.errLive)
	call, err := p.host.Dial(c.Context, version, messages)
	if err != nil {
		return err
	}
	exit, err := call.Run(p.startThere(), remote.Console{
		In: p.in, Out: out, Err: messages, Key: p.keyForHost, Signals: p.signals,
		Opened: func(id string) { p.job = id }})
	closed := out.Close()
	_ = messages.Close()
	var lost *remote.Lost
	switch {
	case errors.As(err, &lost) && runs[p.name]:
		return &runLost{lost}
	case err != nil:
		return err
	case closed != nil:
		return closed
	}
	return shownThere(exit)
}

// shownThere returns the error of a command that has shown its error on the other host.
func shownThere(exit int) error {
	if exit == exitDone {
		return nil
	}
	known := slices.ContainsFunc(exitMeanings, func(m struct {
		code int
		text string
	}) bool {
		return m.code == exit
	})
	if !known {
		return fmt.Errorf("the program there has ended with the exit code %d, which has no meaning", exit)
	}
	return &shownError{exit}
}

// startThere returns this command line for the other host.
func (p *program) startThere() remote.Start {
	there := p.words
	_, there.globals = there.cutGlobal("connect", "c")
	if p.connectGiven {
		there.globals = append(there.globals, "--connect", p.host.Connect)
	}
	env := map[string]string{}
	for _, name := range remote.Variables {
		if value := p.env(name); value != "" {
			env[name] = value
		}
	}
	return remote.Start{Args: there.args()[1:], Asks: p.asks, OutLive: p.outLive, ErrLive: p.errLive, Width: p.width, Env: env}
}

// outFilter returns the filter of what the other host writes to standard output.
func (p *program) outFilter(c *cli.Context) io.WriteCloser {
	format := c.String("format")
	isReport := p.name == "report" && (format == "html" || format == "md")
	isPlan := isOneOf(p.name, "plan", "batch plan", "bus") && c.String("output") == "-"
	switch {
	case p.name == "cat" && !p.outLive:
		return unchanged{p.out} // the content of a file, for a program or another file
	case p.name != "cat" && (p.json && !isReport || isPlan):
		return view.NewJSONFilter(p.out)
	}
	return view.NewTextFilter(p.out, p.outLive)
}

type unchanged struct{ io.Writer }

func (unchanged) Close() error { return nil }

// keyForHost prompts for a key that the other host needs.
func (p *program) keyForHost(id string) (string, error) {
	if p.json || !p.asks {
		return "", usage("there is no terminal to prompt for a key")
	}
	s := p.style()
	return p.promptKey(id, fmt.Sprintf("%s asks for the key of %s", s.Clean(p.host.Name()), s.Clean(id)))
}

// lookThere returns the command line that shows how the job on the other host ends.
func (p *program) lookThere() string {
	if p.job == "" {
		return p.line("jobs")
	}
	return p.line("status", p.job)
}

// via returns the URI by which the user reaches the host of the jobs; "" if it is this one.
func (p *program) via() string {
	switch {
	case p.host != nil:
		return p.host.URI()
	case p.far != nil:
		return p.far.uri
	}
	return ""
}

// far is the user's end of a run for another host.
type far struct {
	*remote.Server
	uri string
}

// relay runs the command line that the user's host sends, and returns the exit code. The run
// is the same as with a terminal here, but the loss of the connection does not interrupt it:
// what is written is lost, and questions get no answer.
func relay() int {
	frames, err := takeStdout()
	if err != nil {
		fmt.Fprintln(os.Stderr, "virt-grow:", err)
		return exitFailed
	}
	server, start, err := remote.Accept(os.Stdin, frames, version, remote.UsualPace)
	if err != nil {
		fmt.Fprintln(os.Stderr, "virt-grow: no command line has come:", err)
		return exitFailed
	}
	os.Setenv("LIBVIRT_DEFAULT_URI", start.Connect)
	server.Exit(execute(append([]string{"virt-grow"}, start.Args...), relayed(server, start)))
	return exitDone
}

// takeStdout returns standard output for the frames alone: whatever else writes to it, such
// as a library, then writes to standard error.
func takeStdout() (*os.File, error) {
	fd, err := unix.FcntlInt(os.Stdout.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "frames"), unix.Dup3(int(os.Stderr.Fd()), int(os.Stdout.Fd()), 0)
}

// relayed returns the console of a run for another host.
func relayed(server *remote.Server, start *remote.Start) console {
	return console{
		in: server, out: server.Out(), err: server.Err(), far: &far{server, start.URI},
		asks: start.Asks, outLive: start.OutLive, errLive: start.ErrLive, width: start.Width,
		env: func(name string) string {
			if slices.Contains(remote.Variables, name) {
				return start.Env[name]
			}
			return os.Getenv(name)
		}}
}
