package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/virt-grow/virt-grow/cmd/virt-grow/view"
	"github.com/virt-grow/virt-grow/guest/growth"
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
	// json reports that standard output is for programs; people read standard error.
	json bool
	// far is the user's end of a run for another host; nil if the user is on this host.
	far *far
	// progress shows the steps of a job, or that a command is at work.
	progress *view.Progress
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

// human returns the stream for people: standard output, or standard error with --json.
func (c *console) human() io.Writer {
	if c.json {
		return c.err
	}
	return c.out
}

// live reports whether the stream for people is a terminal.
func (c *console) live() bool {
	if c.json {
		return c.errLive
	}
	return c.outLive
}

func (c *console) style() view.Style { return c.styleFor(c.live()) }

func (c *console) styleFor(terminal bool) view.Style {
	s := view.Style{Width: c.width, Unicode: c.utf8()}
	s.Color = terminal && c.env("NO_COLOR") == "" && c.env("TERM") != "dumb"
	if !terminal {
		s.Width = 0
	}
	return s
}

// utf8 reports whether the locale has UTF-8, by the variables of locale(7) in their order.
func (c *console) utf8() bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := c.env(name); v != "" {
			v = strings.ToUpper(v)
			return strings.Contains(v, "UTF-8") || strings.Contains(v, "UTF8")
		}
	}
	return false
}

// looking shows on a terminal that a read-only command is working, until the returned
// function is called.
func (c *console) looking(text string) (stop func()) {
	if !c.errLive {
		return func() {}
	}
	c.progress = view.NewProgress(c.err, c.styleFor(true), true, time.Now)
	c.progress.Note(text)
	end := ticking(c.progress)
	return func() { end(); c.progress.Clear() }
}

func (c *console) hold() {
	if c.progress != nil {
		c.progress.Hold()
	}
}

func (c *console) release() {
	if c.progress != nil {
		c.progress.Release()
	}
}

// answer reads a line from standard input; it returns false when done is closed.
func (c *console) answer(done <-chan struct{}) (string, bool) {
	line := make(chan string, 1)
	go func() {
		text, _ := bufio.NewReader(c.in).ReadString('\n')
		line <- text
	}()
	select {
	case text := <-line:
		return strings.ToLower(strings.TrimSpace(text)), true
	case <-done:
		return "", false
	}
}

// ask asks a question. Any answer but the agreed ones is a refusal.
func (c *console) ask(ctx context.Context, question string, agreed ...string) error {
	fmt.Fprint(c.human(), question)
	answer, ok := c.answer(ctx.Done())
	if !ok {
		return context.Cause(ctx)
	}
	if !slices.Contains(agreed, answer) {
		return growth.ErrDeclined
	}
	return nil
}

// askKey prompts for a key at the terminal, without echo.
func (c *console) askKey(id string) (string, error) {
	if c.json || !c.asks {
		return "", usage("there is no terminal to prompt for a key: use --key %s:file:PATH", id)
	}
	if c.far != nil {
		return c.far.Key(id)
	}
	return c.promptKey(id, "Key for "+c.style().Clean(id))
}

// promptKey prompts for a key at this host's terminal.
func (c *console) promptKey(id, prompt string) (string, error) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return "", usage("there is no terminal to prompt for a key: use --key %s:file:PATH", id)
	}
	defer tty.Close()
	fmt.Fprint(tty, prompt+": ")
	value, err := term.ReadPassword(int(tty.Fd()))
	fmt.Fprintln(tty)
	if err != nil {
		return "", err
	}
	if len(value) == 0 {
		return "", errors.New("the key is empty")
	}
	return string(value), nil
}

// ticking updates the times in the live lines until the returned function is called.
func ticking(live interface{ Tick() }) (stop func()) {
	ticker := time.NewTicker(200 * time.Millisecond)
	done := make(chan struct{})
	go func() {
		for {
			select {
			case <-ticker.C:
				live.Tick()
			case <-done:
				return
			}
		}
	}()
	return func() { ticker.Stop(); close(done) }
}
