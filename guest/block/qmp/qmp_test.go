package qmp_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/virt-grow/virt-grow/guest/block/qmp"
)

const (
	greeting = `{"QMP": {"version": {"qemu": {"micro": 0, "minor": 2, "major": 7}}, "capabilities": ["oob"]}}`
	accepted = `{"return": {}, "id": 1}` // qmp_capabilities
)

// pair returns a socket and its other end.
func pair(t testing.TB) (ours, theirs net.Conn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]net.Conn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socket")
		ends[i], err = net.FileConn(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
	}
	return ends[0], ends[1]
}

// serve returns a server: it sends the first text at once, and the next one after each
// line that it reads. Then it closes the connection, or with hold keeps it open
// until the client does.
func serve(t testing.TB, hold bool, texts ...string) net.Conn {
	t.Helper()
	ours, theirs := pair(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer theirs.Close()
		commands := bufio.NewScanner(theirs)
		for i, text := range texts {
			if i > 0 && !commands.Scan() {
				return
			}
			if _, err := io.WriteString(theirs, text); err != nil {
				return
			}
		}
		for hold && commands.Scan() {
		}
	}()
	t.Cleanup(func() { ours.Close(); <-done })
	return ours
}

func lines(texts ...string) string { return strings.Join(texts, "\r\n") + "\r\n" }

func TestExecute(t *testing.T) {
	const closed = "the connection to the monitor is closed"
	for name, c := range map[string]struct {
		reply string
		want  string // the returned value
		err   string
		class string // of an *Error
		ended bool   // the connection cannot be used afterwards
	}{
		"a result":              {reply: lines(`{"return": {"value": "x"}, "id": 2}`), want: "x"},
		"an empty result":       {reply: lines(`{"return": {}, "id": 2}`)},
		"the last line":         {reply: `{"return": {"value": "x"}, "id": 2}`, want: "x"},
		"after an event":        {reply: lines(`{"event": "STOP", "timestamp": {}}`, `{"return": {"value": "x"}, "id": 2}`), want: "x"},
		"after a reply to none": {reply: lines(`{"return": {"value": "y"}, "id": 77}`, `{"return": {"value": "x"}, "id": 2}`), want: "x"},
		"refused": {
			reply: lines(`{"id": 2, "error": {"class": "CommandNotFound", "desc": "The command x has not been found"}}`),
			err:   "The command x has not been found", class: "CommandNotFound",
		},
		"a result of another form": {reply: lines(`{"return": {"value": 7}, "id": 2}`), err: "the monitor's reply to test"},
		"not understood": {
			reply: lines(`{"error": {"class": "GenericError", "desc": "JSON parse error"}}`),
			err:   closed + ": the monitor did not understand a command: JSON parse error", class: "GenericError", ended: true,
		},
		"a reply without an ID": {reply: lines(`{"return": {}}`), err: "neither an event nor a reply", ended: true},
		"an ID of another kind": {reply: lines(`{"return": {}, "id": "2"}`), err: closed, ended: true},
		"no JSON":               {reply: lines(`hello`), err: `the monitor sent "hello": invalid character`, ended: true},
		"no object":             {reply: lines(`[1]`), err: closed, ended: true},
		"nothing known":         {reply: lines(`{"id": 2}`), err: "neither an event nor a reply", ended: true},
		"a second greeting":     {reply: lines(greeting), err: "neither an event nor a reply", ended: true},
		"a torn line":           {reply: `{"return": {"va`, err: "unexpected end of JSON input", ended: true},
		"a long line":           {reply: lines(strings.Repeat("x", 1000)), err: strings.Repeat("x", 100) + `"…`, ended: true},
		"the end":               {reply: "", err: closed + ": EOF", ended: true},
	} {
		t.Run(name, func(t *testing.T) {
			client, err := qmp.New(t.Context(), serve(t, false, lines(greeting), lines(accepted), c.reply), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			var got struct{ Value string }
			err = client.Execute(t.Context(), "test", map[string]int{"a": 1}, &got)
			if got.Value != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Fatalf("%q, %v", got.Value, err)
			}
			var refused *qmp.Error
			if errors.As(err, &refused) != (c.class != "") || refused != nil && refused.Class != c.class {
				t.Errorf("%#v", err)
			}
			if errors.Is(err, qmp.ErrClosed) != c.ended {
				t.Errorf("closed: %v", err)
			}
			if err := client.Execute(t.Context(), "again", nil, nil); !errors.Is(err, qmp.ErrClosed) {
				t.Errorf("after the end: %v", err)
			}
		})
	}
}

func TestHandshake(t *testing.T) {
	for name, c := range map[string]struct {
		texts []string
		err   string
	}{
		"nothing":             {[]string{""}, "EOF"},
		"no greeting":         {[]string{lines(`{"event": "STOP"}`)}, "instead of a greeting"},
		"a torn greeting":     {[]string{greeting[:30]}, "unexpected end of JSON input"},
		"the end afterwards":  {[]string{lines(greeting), ""}, "EOF"},
		"capabilities denied": {[]string{lines(greeting), lines(`{"id": 1, "error": {"class": "GenericError", "desc": "no"}}`)}, "no"},
	} {
		t.Run(name, func(t *testing.T) {
			conn := serve(t, false, c.texts...)
			if _, err := qmp.New(t.Context(), conn, nil); err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%v, want %q", err, c.err)
			}
			if _, err := conn.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
				t.Errorf("the connection is left open: %v", err)
			}
		})
	}
}

func TestCommandsAsSent(t *testing.T) {
	ours, theirs := pair(t)
	sent := make(chan string)
	go func() {
		defer theirs.Close()
		fmt.Fprint(theirs, lines(greeting))
		commands := bufio.NewScanner(theirs)
		for n := 1; commands.Scan(); n++ {
			sent <- commands.Text()
			fmt.Fprintf(theirs, "{\"return\": {}, \"id\": %d}\n", n)
		}
		close(sent)
	}()
	client := make(chan *qmp.Client)
	go func() {
		c, err := qmp.New(context.Background(), ours, nil)
		if err == nil {
			err = c.Execute(context.Background(), "blockdev-del", map[string]string{"node-name": "image"}, nil)
		}
		if err != nil {
			t.Error(err)
		}
		client <- c
	}()
	for _, want := range []string{
		`{"execute":"qmp_capabilities","id":1}`,
		`{"execute":"blockdev-del","arguments":{"node-name":"image"},"id":2}`,
	} {
		if got := <-sent; got != want {
			t.Errorf("sent %s, want %s", got, want)
		}
	}
	(<-client).Close()
	for range sent {
	}
}

// TestContext checks that a command without a reply ends with its context, and so does
// one that the server does not read. Only after the former can the connection still be
// used.
func TestContext(t *testing.T) {
	why := errors.New("enough")
	t.Run("before the greeting", func(t *testing.T) {
		ctx, end := context.WithCancelCause(t.Context())
		end(why)
		if _, err := qmp.New(ctx, serve(t, true, ""), nil); !errors.Is(err, why) {
			t.Error(err)
		}
	})
	t.Run("without a reply", func(t *testing.T) {
		ctx, end := context.WithCancelCause(t.Context())
		// The server's event comes after it has read the command.
		conn := serve(t, true, lines(greeting), lines(accepted), lines(`{"event": "STOP"}`), lines(`{"return": {}, "id": 2}`, `{"return": {}, "id": 3}`))
		client, err := qmp.New(t.Context(), conn, func(qmp.Event) { end(why) })
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		if err := client.Execute(ctx, "slow", nil, nil); !errors.Is(err, why) || errors.Is(err, qmp.ErrClosed) {
			t.Errorf("%v", err)
		}
		if err := client.Execute(t.Context(), "next", nil, nil); err != nil {
			t.Errorf("the next command: %v", err)
		}
		if err := client.Execute(ctx, "none", nil, nil); !errors.Is(err, why) {
			t.Errorf("a context that has ended: %v", err)
		}
	})
	t.Run("unread", func(t *testing.T) {
		ctx, end := context.WithCancelCause(t.Context())
		ours, theirs := pair(t)
		defer theirs.Close()
		go func() {
			fmt.Fprint(theirs, lines(greeting))
			commands := bufio.NewReader(theirs)
			_, _ = commands.ReadString('\n')
			fmt.Fprint(theirs, lines(accepted))
			_, _ = commands.ReadByte() // the next command has begun
			end(why)
		}()
		client, err := qmp.New(t.Context(), ours, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		// The command is larger than the socket's buffer.
		if err := client.Execute(ctx, "large", strings.Repeat("x", 8<<20), nil); !errors.Is(err, why) {
			t.Errorf("%v", err)
		}
		if err := client.Execute(t.Context(), "next", nil, nil); !errors.Is(err, qmp.ErrClosed) {
			t.Errorf("after half a command: %v", err)
		}
	})
}

func TestEvents(t *testing.T) {
	var got []qmp.Event
	conn := serve(t, true, lines(greeting), lines(accepted),
		lines(`{"event": "A", "data": {"x": 1}}`, `{"event": "B"}`, `{"return": {}, "id": 2}`))
	client, err := qmp.New(t.Context(), conn, func(e qmp.Event) { got = append(got, e) })
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Execute(t.Context(), "test", nil, nil); err != nil {
		t.Fatal(err)
	}
	client.Close()
	if len(got) != 2 || got[0].Name != "A" || string(got[0].Data) != `{"x": 1}` || got[1].Name != "B" || got[1].Data != nil {
		t.Errorf("%q", got)
	}
}

// TestManyAtOnce checks that replies may come in any order, and that each is returned to
// its own command.
func TestManyAtOnce(t *testing.T) {
	const commands = 20
	ours, theirs := pair(t)
	go func() {
		defer theirs.Close()
		fmt.Fprint(theirs, lines(greeting))
		var replies []string
		for sent := bufio.NewScanner(theirs); sent.Scan(); {
			var c struct {
				ID        int
				Arguments json.RawMessage
			}
			if json.Unmarshal(sent.Bytes(), &c) != nil {
				return
			}
			if c.ID == 1 {
				fmt.Fprint(theirs, lines(accepted))
				continue
			}
			replies = append([]string{fmt.Sprintf(`{"return": %s, "id": %d}`, c.Arguments, c.ID)}, replies...)
			if len(replies) == commands {
				fmt.Fprint(theirs, lines(replies...))
			}
		}
	}()
	client, err := qmp.New(t.Context(), ours, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	var all sync.WaitGroup
	for i := range commands {
		all.Add(1)
		go func() {
			defer all.Done()
			var got struct{ N int }
			if err := client.Execute(t.Context(), "echo", map[string]int{"n": i}, &got); err != nil || got.N != i {
				t.Errorf("%d: got %d, %v", i, got.N, err)
			}
		}()
	}
	all.Wait()
}

// FuzzServer checks that the client ends whatever a server sends as its greeting or
// reply, and never returns an invalid result.
func FuzzServer(f *testing.F) {
	f.Add(uint8(0), []byte(lines(greeting)))
	f.Add(uint8(0), []byte(`{"QMP": null}`+"\n"))
	f.Add(uint8(1), []byte(lines(`{"error": {"class": "x"}, "id": 1}`)))
	f.Add(uint8(1), []byte(accepted[:10]))
	f.Add(uint8(2), []byte(lines(`{"return": {"a": 1}, "id": 2}`)))
	f.Add(uint8(2), []byte(lines(`{"event": "STOP", "data": 1}`, `{"return": null, "id": 2}`)))
	f.Fuzz(func(t *testing.T, after uint8, data []byte) {
		texts := []string{lines(greeting), lines(accepted)}
		texts = append(texts[:after%3], string(data))
		client, err := qmp.New(t.Context(), serve(t, false, texts...), func(e qmp.Event) {
			if e.Name == "" {
				t.Error("an event without a name")
			}
		})
		if err != nil {
			return
		}
		defer client.Close()
		var result json.RawMessage
		if err := client.Execute(t.Context(), "test", nil, &result); err == nil && !bytes.Contains(data, result) {
			t.Errorf("the result %s out of %q", result, data)
		}
	})
}
