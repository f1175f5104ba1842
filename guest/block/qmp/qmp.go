// Package qmp talks to QEMU and its storage daemon over a monitor socket, in the
// QEMU Machine Protocol (QEMU: docs/interop/qmp-spec.rst).
//
// Each line from the server is one JSON object: the greeting, an event, or the
// reply to a command, with the command's ID. The server is not trusted: any other line
// ends the connection.
package qmp

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// Error is the error with which the server refused a command. Its text is the server's.
type Error struct {
	// Class is "GenericError" for nearly all errors.
	Class string `json:"class"`
	Desc  string `json:"desc"`
}

func (e *Error) Error() string { return e.Desc }

// ErrClosed is wrapped by the error of a command that got no reply because the connection
// has ended. The error also wraps the cause: io.EOF if the server closed the connection.
var ErrClosed = errors.New("the connection to the monitor is closed")

// Event is an event from the server.
type Event struct {
	Name string
	Data json.RawMessage
}

// maxLine limits the length of a line from the server.
const maxLine = 16 << 20

// Client is a connection to a monitor. Several goroutines may use it.
type Client struct {
	conn  net.Conn
	event func(Event)

	// greeted is closed when the greeting has arrived, ended when the connection has
	// ended; err is set before that, and says why.
	greeted, ended chan struct{}
	err            error

	// writing holds a value while a command is written. It is a channel, not a mutex,
	// because waiting for it ends with a context.
	writing chan struct{}

	mu      sync.Mutex // guards the fields below
	last    uint64
	pending map[uint64]chan reply
}

type reply struct {
	result json.RawMessage
	err    *Error
}

// New takes ownership of conn, waits for the server's greeting, and enters command mode. If
// it fails, it closes conn.
//
// event, which may be nil, is called for each event, in their order. No reply is
// read while it runs, so it must not call the client.
func New(ctx context.Context, conn net.Conn, event func(Event)) (*Client, error) {
	c := &Client{
		conn: conn, event: event,
		greeted: make(chan struct{}), ended: make(chan struct{}),
		writing: make(chan struct{}, 1), pending: map[uint64]chan reply{},
	}
	go c.read()
	if err := c.handshake(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func (c *Client) handshake(ctx context.Context) error {
	select {
	case <-c.greeted:
		return c.Execute(ctx, "qmp_capabilities", nil, nil)
	case <-c.ended:
		return c.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Close ends the connection and waits for the client's goroutine. Running commands fail
// with ErrClosed.
func (c *Client) Close() {
	_ = c.conn.Close() // also called by read, where it fails the second time
	<-c.ended
}

// Execute runs a command and returns when the server has replied. args becomes the
// command's arguments and may be nil; the result is decoded into the pointer into,
// unless that is nil.
//
// A refusal is an *Error. When ctx ends first, Execute returns its cause, and the server
// may still run the command: it cannot be cancelled.
func (c *Client) Execute(ctx context.Context, command string, args, into any) error {
	id, answer := c.register()
	defer c.forget(id)
	if err := c.send(ctx, command, args, id); err != nil {
		return err
	}
	select {
	case r := <-answer:
		return r.decode(command, into)
	case <-c.ended:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case r := <-answer: // the last thing that came
		return r.decode(command, into)
	default:
		return c.err
	}
}

func (r reply) decode(command string, into any) error {
	if r.err != nil {
		return r.err
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(r.result, into); err != nil {
		return fmt.Errorf("the monitor's reply to %s: %w", command, err)
	}
	return nil
}

// register makes an ID, and the channel that its reply will be sent to. The channel
// has room for the reply, so that read does not wait for a caller that has gone.
func (c *Client) register() (uint64, <-chan reply) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last++
	answer := make(chan reply, 1)
	c.pending[c.last] = answer
	return c.last, answer
}

func (c *Client) forget(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.pending, id)
}

// send writes the command. The write may block for ever if the server does not read. If
// ctx ends when a part of the command is written, the connection is closed, because the
// server would take the next command for the rest of this one.
func (c *Client) send(ctx context.Context, command string, args any, id uint64) error {
	line, err := json.Marshal(struct {
		Execute   string `json:"execute"`
		Arguments any    `json:"arguments,omitempty"`
		ID        uint64 `json:"id"`
	}{command, args, id})
	if err != nil {
		return err
	}
	select {
	case c.writing <- struct{}{}:
		defer func() { <-c.writing }()
	case <-c.ended:
		return c.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	n, err := c.write(ctx, append(line, '\n'))
	switch {
	case err == nil:
		return nil
	case n > 0:
		_ = c.conn.Close()
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return fmt.Errorf("%w: %w", ErrClosed, err)
}

// write is Write with a context.
func (c *Client) write(ctx context.Context, line []byte) (int, error) {
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(interrupted)
		_ = c.conn.SetWriteDeadline(time.Unix(1, 0)) // long past
	})
	n, err := c.conn.Write(line)
	if !stop() {
		<-interrupted
		_ = c.conn.SetWriteDeadline(time.Time{})
	}
	return n, err
}

// read handles what the server sends, until the connection ends.
func (c *Client) read() {
	lines := bufio.NewScanner(c.conn)
	lines.Buffer(nil, maxLine)
	var err error
	for err == nil && lines.Scan() {
		err = c.handle(lines.Bytes())
	}
	if err == nil {
		err = lines.Err()
	}
	if err == nil {
		err = io.EOF
	}
	_ = c.conn.Close()
	c.err = fmt.Errorf("%w: %w", ErrClosed, err)
	close(c.ended)
}

// message is any line that a server sends.
type message struct {
	Greeting json.RawMessage `json:"QMP"`
	Event    string          `json:"event"`
	Data     json.RawMessage `json:"data"`
	Return   json.RawMessage `json:"return"`
	Error    *Error          `json:"error"`
	ID       *uint64         `json:"id"`
}

// handle handles one line.
func (c *Client) handle(line []byte) error {
	var m message
	if err := json.Unmarshal(line, &m); err != nil {
		return fmt.Errorf("the monitor sent %s: %w", quoted(line), err)
	}
	select {
	case <-c.greeted:
	default:
		if m.Greeting == nil {
			return fmt.Errorf("the monitor sent %s instead of a greeting", quoted(line))
		}
		close(c.greeted)
		return nil
	}
	switch {
	case m.Event != "":
		if c.event != nil {
			c.event(Event{m.Event, m.Data})
		}
	case m.ID != nil && (m.Return != nil || m.Error != nil):
		c.answer(*m.ID, reply{m.Return, m.Error})
	case m.Error != nil:
		// The server could not read the command's ID.
		return fmt.Errorf("the monitor did not understand a command: %w", m.Error)
	default:
		return fmt.Errorf("the monitor sent %s, which is neither an event nor a reply", quoted(line))
	}
	return nil
}

// answer passes a reply to the Execute that waits for it. A reply without one belongs
// to a command whose context has ended.
func (c *Client) answer(id uint64, r reply) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if answer, ok := c.pending[id]; ok {
		answer <- r
		delete(c.pending, id)
	}
}

// quoted returns the beginning of a line, for an error.
func quoted(line []byte) string {
	const most = 100
	if len(line) > most {
		return fmt.Sprintf("%q…", line[:most])
	}
	return fmt.Sprintf("%q", line)
}
