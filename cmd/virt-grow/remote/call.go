package remote

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"
)

// Console is what a command on the host uses here.
type Console struct {
	In       io.Reader
	Out, Err io.Writer
	// Key prompts for the key of a LUKS container.
	Key func(id string) (string, error)
	// Opened is called with the ID of the command's job.
	Opened func(id string)
	// Signals are the signals that this process gets. SIGHUP leaves the host, and all others
	// interrupt the command.
	Signals <-chan os.Signal
}

// Lost is the loss of a connection while a command runs. How the command ends is only known
// on the host.
type Lost struct {
	Host string
	Err  error
}

func (l *Lost) Error() string {
	return fmt.Sprintf("the connection to %s was lost (%v)", l.Host, l.Err)
}

func (l *Lost) Unwrap() error { return l.Err }

// errEnded is the loss of a connection whose other end has ended.
var errEnded = errors.New("ssh or the program there has ended")

// errLeft is the end of a connection by SIGHUP.
var errLeft = errors.New("the terminal here was closed")

// Call is a connection to a host that has greeted.
type Call struct {
	host       *Host
	link       *link
	end        func(wait time.Duration) // ends ssh, at once or after it had time to end itself
	wantsInput chan struct{}
	wantsKey   chan string
}

func newCall(h *Host, l *link, end func(wait time.Duration)) *Call {
	return &Call{host: h, link: l, end: end, wantsInput: make(chan struct{}, 1), wantsKey: make(chan string, 1)}
}

// Run runs a command line on the host and returns its exit code. An error is a *Lost.
func (c *Call) Run(begin Start, console Console) (int, error) {
	begin.Connect, begin.URI = c.host.Connect, c.host.uri
	text, err := json.Marshal(begin)
	if err != nil {
		return 0, err
	}
	if len(text) > maxPayload {
		return 0, fmt.Errorf("the command line has %d bytes; a command on another host may have %d", len(text), maxPayload)
	}
	if err := c.link.send(start, text); err != nil {
		return 0, c.lost(err)
	}
	ended := make(chan struct{})
	defer close(ended)
	go c.endWhenLost(ended)
	go c.passSignals(console.Signals)
	go c.answer(console)
	for {
		f, err := c.link.receive()
		if err != nil {
			return 0, c.lost(err)
		}
		if f.kind == exitStatus && len(f.payload) == 1 {
			c.end(grace)
			c.link.lose(io.EOF)
			return int(f.payload[0]), nil
		}
		if err := c.take(f, console); err != nil {
			return 0, c.lost(err)
		}
	}
}

// endWhenLost ends ssh when the link is lost, which also ends a read from the host.
func (c *Call) endWhenLost(ended <-chan struct{}) {
	select {
	case <-c.link.lost:
		c.end(0)
	case <-ended:
	}
}

// lost ends the connection. A command that still runs goes on.
func (c *Call) lost(err error) error {
	c.link.lose(err)
	c.end(0)
	if errors.Is(err, io.EOF) || errors.Is(err, os.ErrClosed) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.EPIPE) {
		err = errEnded
	}
	return &Lost{c.host.Name(), err}
}

// passSignals passes the signals on until the connection ends.
func (c *Call) passSignals(signals <-chan os.Signal) {
	for {
		select {
		case s := <-signals:
			if s == syscall.SIGHUP {
				c.link.lose(errLeft)
				return
			}
			_ = c.link.send(interrupt, nil)
		case <-c.link.lost:
			return
		}
	}
}

// take handles one frame of the host.
func (c *Call) take(f frame, console Console) error {
	switch f.kind {
	case output:
		_, err := console.Out.Write(f.payload)
		if errors.Is(err, syscall.EPIPE) {
			return c.link.send(closed, nil)
		}
		return err
	case messages:
		_, _ = console.Err.Write(f.payload)
	case wantInput:
		offer(c.wantsInput, struct{}{})
	case wantKey:
		offer(c.wantsKey, string(f.payload))
	case job:
		console.Opened(string(f.payload))
	default:
		return fmt.Errorf("the host has sent an unknown frame (%q, %d bytes)", f.kind, len(f.payload))
	}
	return nil
}

// answer answers the command's questions. A terminal is only read when the command reads:
// what the command does not read stays for the programs that read after this one, and no
// passphrase is taken for a line of input.
func (c *Call) answer(console Console) {
	for {
		select {
		case <-c.wantsInput:
			_ = c.link.send(input, readOnce(console.In))
		case id := <-c.wantsKey:
			c.sendKey(id, console.Key)
		case <-c.link.lost:
			return
		}
	}
}

// readOnce returns what one read gets; nothing at the end of the input.
func readOnce(in io.Reader) []byte {
	text := make([]byte, maxPayload)
	for {
		if n, err := in.Read(text); n > 0 || err != nil {
			return text[:n]
		}
	}
}

func (c *Call) sendKey(id string, prompt func(string) (string, error)) {
	var answer keyAnswer
	var err error
	if answer.Key, err = prompt(id); err != nil {
		answer = keyAnswer{Error: err.Error()}
	}
	text, _ := json.Marshal(answer)
	_ = c.link.send(key, text)
}
