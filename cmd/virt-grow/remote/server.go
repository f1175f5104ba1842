package remote

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"syscall"
)

// Start is a command line, and what the host must know of the terminal here.
type Start struct {
	// Args are the words after the program's name.
	Args []string `json:"args"`
	// Connect is the URI of the host's libvirt.
	Connect string `json:"connect"`
	// URI is how the user names the host's libvirt here.
	URI string `json:"uri"`
	// Asks reports that standard input is a terminal; OutLive and ErrLive report it of the
	// outputs.
	Asks    bool `json:"asks"`
	OutLive bool `json:"out_live"`
	ErrLive bool `json:"err_live"`
	// Width is the terminal's number of columns.
	Width int `json:"width"`
	// Env has the variables of Variables.
	Env map[string]string `json:"env"`
}

// Variables are the environment variables that describe the terminal.
var Variables = []string{"LC_ALL", "LC_CTYPE", "LANG", "TERM", "NO_COLOR"}

// ErrLost is the error of a question that nobody can answer any more.
var ErrLost = errors.New("the connection was lost")

// greeting is the beginning of the first line that the host sends: protocol and version follow.
const greeting = "virt-grow relay "

// Server is the end on the host.
type Server struct {
	link       *link
	inputs     chan []byte
	keys       chan []byte
	interrupts chan os.Signal
	unread     []byte // of the input
	outClosed  atomic.Bool
}

func newServer(l *link) *Server {
	return &Server{link: l, inputs: make(chan []byte, 1), keys: make(chan []byte, 1), interrupts: make(chan os.Signal, 4)}
}

// Accept greets the other end, and returns the command line that it sends.
func Accept(r io.Reader, w io.Writer, version string, pace Pace) (*Server, *Start, error) {
	if _, err := fmt.Fprintf(w, "%s%d %s\n", greeting, Protocol, version); err != nil {
		return nil, nil, err
	}
	s := newServer(newLink(r, w, pace))
	f, err := s.link.receive()
	if err != nil {
		return nil, nil, err
	}
	var begin Start
	if f.kind != start || json.Unmarshal(f.payload, &begin) != nil {
		return nil, nil, fmt.Errorf("the first frame (%q) has no command line", f.kind)
	}
	go s.listen()
	return s, &begin, nil
}

// listen takes the frames until the link is lost. A frame that nobody waits for is dropped.
func (s *Server) listen() {
	for {
		f, err := s.link.receive()
		if err != nil {
			return
		}
		switch f.kind {
		case input:
			offer(s.inputs, f.payload)
		case key:
			offer(s.keys, f.payload)
		case interrupt:
			offer(s.interrupts, os.Signal(syscall.SIGINT))
		case closed:
			s.outClosed.Store(true)
		}
	}
}

func offer[T any](to chan T, value T) {
	select {
	case to <- value:
	default:
	}
}

// Read reads standard input at the other end. The link's loss is an error and not the end
// of the input: half a plan must not be taken for a whole one.
func (s *Server) Read(p []byte) (int, error) {
	if len(s.unread) == 0 {
		answer, err := s.ask(wantInput, nil, s.inputs)
		if err != nil {
			return 0, err
		}
		if len(answer) == 0 {
			return 0, io.EOF
		}
		s.unread = answer
	}
	n := copy(p, s.unread)
	s.unread = s.unread[n:]
	return n, nil
}

// ask sends a question and waits for its answer.
func (s *Server) ask(question kind, payload []byte, answers <-chan []byte) ([]byte, error) {
	if err := s.link.send(question, payload); err != nil {
		return nil, ErrLost
	}
	select {
	case answer := <-answers:
		return answer, nil
	case <-s.link.lost:
		return nil, ErrLost
	}
}

// keyAnswer is the payload of key.
type keyAnswer struct {
	Key   string `json:"key"`
	Error string `json:"error"`
}

// Key asks at the other end's terminal for the key of a LUKS container.
func (s *Server) Key(id string) (string, error) {
	text, err := s.ask(wantKey, []byte(id[:min(len(id), maxPayload)]), s.keys)
	if err != nil {
		return "", err
	}
	var answer keyAnswer
	if err := json.Unmarshal(text, &answer); err != nil {
		return "", errors.New("the answer has no key")
	}
	if answer.Error != "" {
		return "", errors.New(answer.Error)
	}
	return answer.Key, nil
}

// Interrupts returns the interrupts of the other end.
func (s *Server) Interrupts() <-chan os.Signal { return s.interrupts }

// Opened says that the command has a job now.
func (s *Server) Opened(id string) { _ = s.link.send(job, []byte(id)) }

// Out is standard output at the other end. Once nobody reads it, writing to it fails as
// writing to a closed pipe does.
func (s *Server) Out() io.Writer { return stream{s, output} }

// Err is standard error at the other end.
func (s *Server) Err() io.Writer { return stream{s, messages} }

type stream struct {
	*Server
	kind kind
}

func (o stream) Write(p []byte) (int, error) {
	for done := 0; done < len(p); {
		part := p[done:min(done+maxPayload, len(p))]
		if o.kind == output && o.outClosed.Load() || o.link.send(o.kind, part) != nil {
			return done, syscall.EPIPE
		}
		done += len(part)
	}
	return len(p), nil
}

// Exit sends the exit code, which ends the connection.
func (s *Server) Exit(code int) { _ = s.link.send(exitStatus, []byte{byte(code)}) }
