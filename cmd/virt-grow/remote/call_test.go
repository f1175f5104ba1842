package remote

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// calm is a pace at which nothing happens during a test.
var calm = Pace{Beat: time.Hour, Silence: time.Hour}

// ends are the ends of a connection: here is the client's, there the host's.
type ends struct {
	here, there struct {
		io.Reader
		io.WriteCloser
	}
}

func connection() *ends {
	var e ends
	toHost, fromHere := io.Pipe()
	toHere, fromHost := io.Pipe()
	e.here.Reader, e.here.WriteCloser = toHere, fromHere
	e.there.Reader, e.there.WriteCloser = toHost, fromHost
	return &e
}

// cut ends the connection at both ends.
func (e *ends) cut() {
	_ = e.here.Close()
	_ = e.there.Close()
}

// callTo connects to a host on which the program is what command does. The channel gets the
// exit code of the command when it has ended.
func callTo(t *testing.T, e *ends, pace Pace, command func(*Server, *Start) int) (*Call, <-chan int) {
	t.Helper()
	t.Cleanup(e.cut)
	ended := make(chan int, 1)
	go func() {
		s, begin, err := Accept(e.there, e.there, "1.2", pace)
		if err != nil {
			ended <- -1
			return
		}
		code := command(s, begin)
		s.Exit(code)
		ended <- code
	}()
	return greeted(t, e, pace), ended
}

func greeted(t *testing.T, e *ends, pace Pace) *Call {
	t.Helper()
	r := bufio.NewReader(e.here)
	if protocol, version, err := readGreeting(r); protocol != Protocol || version != "1.2" || err != nil {
		t.Fatal(protocol, version, err)
	}
	return newCall(&Host{destination: "web", uri: "qemu+ssh://web/system", Connect: "qemu:///system"}, newLink(r, e.here, pace), func(time.Duration) { e.cut() })
}

// user is a console in a test.
type user struct {
	out, err bytes.Buffer
	job      string
	Console
}

func newUser(in string) *user {
	u := &user{}
	u.Console = Console{In: strings.NewReader(in), Out: &u.out, Err: &u.err, Opened: func(id string) { u.job = id },
		Key: func(id string) (string, error) { return "", errors.New("no terminal") }}
	return u
}

func TestRun(t *testing.T) {
	long := strings.Repeat("0123456789", maxPayload/4)
	for name, c := range map[string]struct {
		command func(s *Server, begin *Start) int
		in      string
		exit    int
		out     string
		err     string
		job     string
	}{
		"nothing": {func(*Server, *Start) int { return 0 }, "", 0, "", "", ""},
		"both streams": {func(s *Server, _ *Start) int {
			fmt.Fprint(s.Out(), "a\xff\n")
			fmt.Fprint(s.Err(), "b\n")
			return 3
		}, "", 3, "a\xff\n", "b\n", ""},
		"long output": {func(s *Server, _ *Start) int { fmt.Fprint(s.Out(), long); return 0 }, "", 0, long, "", ""},
		"the start": {func(s *Server, b *Start) int {
			fmt.Fprint(s.Out(), b.Args, b.Connect, b.URI, b.Width, b.Asks, b.Env)
			return 0
		}, "", 0, "[jobs]qemu:///systemqemu+ssh://web/system80 true map[LANG:C]", "", ""},
		"a question": {func(s *Server, _ *Start) int {
			fmt.Fprint(s.Out(), "Continue? ")
			line, _ := bufio.NewReader(s).ReadString('\n')
			fmt.Fprint(s.Out(), line)
			return 0
		}, "y\n", 0, "Continue? y\n", "", ""},
		"whole input": {func(s *Server, _ *Start) int {
			text, err := io.ReadAll(s)
			fmt.Fprint(s.Out(), len(text), err)
			return 0
		}, long, 0, fmt.Sprint(len(long), nil), "", ""},
		"a key without a terminal": {func(s *Server, _ *Start) int {
			_, err := s.Key("sda3")
			fmt.Fprint(s.Err(), err)
			return 64
		}, "", 64, "", "no terminal", ""},
		"a job": {func(s *Server, _ *Start) int { s.Opened("j1"); return 8 }, "", 8, "", "", "j1"},
	} {
		t.Run(name, func(t *testing.T) {
			call, _ := callTo(t, connection(), calm, c.command)
			u := newUser(c.in)
			exit, err := call.Run(Start{Args: []string{"jobs"}, Asks: true, Width: 80, Env: map[string]string{"LANG": "C"}}, u.Console)
			if exit != c.exit || err != nil || u.out.String() != c.out || u.err.String() != c.err || u.job != c.job {
				t.Errorf("exit %d, %v; out %.80q, err %q, job %q", exit, err, u.out.String(), u.err.String(), u.job)
			}
		})
	}
}

// TestInputIsLeft checks that nothing is read from standard input that the command does not
// read.
func TestInputIsLeft(t *testing.T) {
	call, _ := callTo(t, connection(), calm, func(*Server, *Start) int { return 0 })
	in := strings.NewReader("for the next program")
	u := newUser("")
	u.In = in
	if _, err := call.Run(Start{}, u.Console); err != nil || in.Len() != 20 {
		t.Error(err, in.Len())
	}
}

func TestKey(t *testing.T) {
	call, _ := callTo(t, connection(), calm, func(s *Server, _ *Start) int {
		k, err := s.Key("sda3")
		if k != "pass phrase\n" || err != nil {
			return 1
		}
		return 0
	})
	u := newUser("")
	u.Key = func(id string) (string, error) { return "pass phrase\n", nil }
	if exit, err := call.Run(Start{}, u.Console); exit != 0 || err != nil {
		t.Error(exit, err)
	}
}

// TestInterrupt checks that each signal here is one interrupt there.
func TestInterrupt(t *testing.T) {
	signals := make(chan os.Signal, 4)
	call, _ := callTo(t, connection(), calm, func(s *Server, _ *Start) int {
		signals <- syscall.SIGINT
		<-s.Interrupts()
		signals <- syscall.SIGTERM
		if <-s.Interrupts() != syscall.SIGINT {
			return 1
		}
		select {
		case <-s.Interrupts():
			return 2
		default:
			return 130
		}
	})
	u := newUser("")
	u.Signals = signals
	if exit, err := call.Run(Start{}, u.Console); exit != 130 || err != nil {
		t.Error(exit, err)
	}
}

// TestLost checks that a command whose connection is lost goes on: it is not interrupted, and
// its output and its questions fail.
func TestLost(t *testing.T) {
	for name, lose := range map[string]func(e *ends, signals chan<- os.Signal){
		"cut":             func(e *ends, _ chan<- os.Signal) { e.cut() },
		"terminal closed": func(_ *ends, signals chan<- os.Signal) { signals <- syscall.SIGHUP },
	} {
		t.Run(name, func(t *testing.T) {
			e, signals := connection(), make(chan os.Signal, 1)
			call, ended := callTo(t, e, calm, func(s *Server, _ *Start) int {
				s.Opened("j1")
				go lose(e, signals)
				_, read := s.Read(make([]byte, 1)) // waits, because the user never answers
				_, wrote := s.Out().Write([]byte("x"))
				_, asked := s.Key("sda3")
				if !errors.Is(read, ErrLost) || !errors.Is(wrote, syscall.EPIPE) || !errors.Is(asked, ErrLost) || len(s.Interrupts()) > 0 {
					return 1
				}
				return 7
			})
			u := newUser("")
			u.Signals, u.In = signals, silent{}
			_, err := call.Run(Start{}, u.Console)
			if lost := new(Lost); !errors.As(err, &lost) || lost.Host != "web" || u.job != "j1" {
				t.Errorf("%v, job %q", err, u.job)
			}
			if code := <-ended; code != 7 {
				t.Errorf("the command has ended with %d", code)
			}
		})
	}
}

// silent is a terminal at which nobody types.
type silent struct{}

func (silent) Read([]byte) (int, error) { select {} }

// TestSilence checks that an end whose other end sends nothing gives it up.
func TestSilence(t *testing.T) {
	soon := Pace{Beat: time.Hour, Silence: time.Millisecond}
	t.Run("here", func(t *testing.T) {
		e := connection()
		t.Cleanup(e.cut)
		go func() {
			fmt.Fprintf(e.there, "%s%d 1.2\n", greeting, Protocol)
			_, _ = io.Copy(io.Discard, e.there)
		}()
		_, err := greeted(t, e, soon).Run(Start{}, newUser("").Console)
		if !errors.Is(err, errSilent) {
			t.Error(err)
		}
	})
	t.Run("there", func(t *testing.T) {
		e := connection()
		t.Cleanup(e.cut)
		go func() { _, _ = io.Copy(io.Discard, e.here) }()
		s := newServer(newLink(e.there, e.there, soon))
		go s.listen()
		if _, err := s.Read(make([]byte, 1)); !errors.Is(err, ErrLost) {
			t.Error(err)
		}
	})
}

// TestBeat checks that an end sends signs of life.
func TestBeat(t *testing.T) {
	r, w := io.Pipe()
	l := newLink(strings.NewReader(""), w, Pace{Beat: time.Millisecond, Silence: time.Hour})
	defer l.lose(io.EOF)
	for range 2 {
		if f, err := readFrame(r); f.kind != alive || err != nil {
			t.Fatal(f, err)
		}
	}
}

// TestBlockedOutput checks that a command does not wait for a host that has stopped reading,
// once the connection is lost.
func TestBlockedOutput(t *testing.T) {
	e := connection()
	call, ended := callTo(t, e, calm, func(s *Server, _ *Start) int {
		go s.link.lose(errSilent)
		if _, err := s.Out().Write([]byte("nobody reads this")); !errors.Is(err, syscall.EPIPE) {
			return 1
		}
		return 0
	})
	_ = call.link.send(start, []byte("{}"))
	if code := <-ended; code != 0 {
		t.Error(code)
	}
}

// failing is an output that fails.
type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// TestClosedOutput checks that a command whose reader has gone learns it as from a pipe.
func TestClosedOutput(t *testing.T) {
	call, _ := callTo(t, connection(), calm, func(s *Server, _ *Start) int {
		for {
			if _, err := fmt.Fprintln(s.Out(), "y"); errors.Is(err, syscall.EPIPE) {
				return 5
			}
		}
	})
	u := newUser("")
	u.Out = failing{&os.PathError{Op: "write", Path: "|1", Err: syscall.EPIPE}}
	if exit, err := call.Run(Start{}, u.Console); exit != 5 || err != nil {
		t.Error(exit, err)
	}
}

func TestFullDisk(t *testing.T) {
	call, _ := callTo(t, connection(), calm, func(s *Server, _ *Start) int { fmt.Fprint(s.Out(), "x"); return 0 })
	u := newUser("")
	u.Out = failing{syscall.ENOSPC}
	if _, err := call.Run(Start{}, u.Console); !errors.As(err, new(*Lost)) || !errors.Is(err, syscall.ENOSPC) {
		t.Error(err)
	}
}

// TestHostileHost sends what a host must not send.
func TestHostileHost(t *testing.T) {
	for name, c := range map[string]struct{ sends, says string }{
		"a frame that is too large": {"o\xff\xff\xff\xff", "a frame of 4294967295 bytes"},
		"an unknown frame":          {"!\x00\x00\x00\x00", `unknown frame ('!', 0 bytes)`},
		"a frame of this end":       {"s\x00\x00\x00\x02{}", "unknown frame ('s', 2 bytes)"},
		"half a frame":              {"o\x00\x00\x00\x09a", "has ended"},
		"no exit code":              {"x\x00\x00\x00\x00", "unknown frame"},
		"two exit codes":            {"x\x00\x00\x00\x02ab", "unknown frame"},
		"nothing":                   {"", "has ended"},
		"text":                      {"Segmentation fault\n", "bytes"},
		"many questions":            {strings.Repeat("r\x00\x00\x00\x00q\x00\x00\x00\x01a", 1000), "has ended"},
	} {
		t.Run(name, func(t *testing.T) {
			e := connection()
			t.Cleanup(e.cut)
			go func() {
				fmt.Fprintf(e.there, "%s%d 1.2\n", greeting, Protocol)
				go func() { _, _ = io.Copy(io.Discard, e.there) }()
				_, _ = io.WriteString(e.there, c.sends)
				_ = e.there.Close()
			}()
			_, err := greeted(t, e, calm).Run(Start{}, newUser("").Console)
			if !errors.As(err, new(*Lost)) || !strings.Contains(err.Error(), c.says) {
				t.Error(err)
			}
		})
	}
}

// TestAcceptRefuses sends to the host what is no command line.
func TestAcceptRefuses(t *testing.T) {
	for name, text := range map[string]string{"nothing": "", "an interrupt": "c\x00\x00\x00\x00", "no JSON": "s\x00\x00\x00\x01{"} {
		if _, _, err := Accept(strings.NewReader(text), io.Discard, "1.2", calm); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestLongCommandLine checks that a command line that fits into no frame is refused.
func TestLongCommandLine(t *testing.T) {
	call, _ := callTo(t, connection(), calm, func(*Server, *Start) int { return 0 })
	_, err := call.Run(Start{Args: []string{strings.Repeat("x", maxPayload)}}, newUser("").Console)
	if err == nil || errors.As(err, new(*Lost)) || !strings.Contains(err.Error(), "may have 65536") {
		t.Error(err)
	}
}

func TestGreeting(t *testing.T) {
	for name, c := range map[string]struct {
		text     string
		protocol int
		version  string
		fails    bool
	}{
		"greeting":              {"virt-grow relay 1 1.2\n", 1, "1.2", false},
		"another protocol":      {"virt-grow relay 12 2.0-rc1\n", 12, "2.0-rc1", false},
		"after start files":     {"Welcome!\n\nvirt-grow relay 1 1.2\nrest", 1, "1.2", false},
		"after a long line":     {strings.Repeat("x", 9000) + "\nvirt-grow relay 1 1.2\n", 1, "1.2", false},
		"no number":             {"virt-grow relay one 1.2\n", 0, "", true},
		"no end of line":        {"virt-grow relay 1 1.2", 0, "", true},
		"nothing":               {"", 0, "", true},
		"noise without an end":  {strings.Repeat("x", 2*maxNoise), 0, "", true},
		"lines without an end":  {strings.Repeat("yes\n", maxNoise) + "virt-grow relay 1 1.2\n", 0, "", true},
		"a line that continues": {"I am virt-grow relay 1 1.2\n", 0, "", true},
	} {
		protocol, version, err := readGreeting(bufio.NewReader(strings.NewReader(c.text)))
		if protocol != c.protocol || version != c.version || err != nil != c.fails {
			t.Errorf("%s: %d, %q, %v", name, protocol, version, err)
		}
	}
}
