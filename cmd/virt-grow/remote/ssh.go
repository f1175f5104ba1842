package remote

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Unusable is the error of a host on which the program cannot be run. Nothing has begun.
type Unusable struct {
	Host, Text, Hint string
}

func (u *Unusable) Error() string { return u.Text }

// withoutInterrupts runs its arguments so that Ctrl-C at the terminal, which reaches all
// programs there, does not end them: ssh(1) keeps signals ignored that it finds ignored.
const withoutInterrupts = `trap '' INT QUIT; exec "$@"`

// grace is how long ssh may take to end.
const grace = 2 * time.Second

// Dial starts ssh and waits for the greeting of the program on the host; ctx ends the
// waiting. What ssh and the host's shell write to standard error goes to messages, once the
// host has greeted.
func (h *Host) Dial(ctx context.Context, version string, messages io.Writer) (*Call, error) {
	cmd := exec.Command("/bin/sh", append([]string{"-c", withoutInterrupts, "sh", h.ssh}, h.arguments()...)...)
	words := &stderr{}
	cmd.Stderr, cmd.WaitDelay = words, grace // a master connection may keep standard error open
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("cannot start ssh: %w", err)
	}
	kill := func() { _ = cmd.Process.Kill() }
	stop := context.AfterFunc(ctx, kill)
	r := bufio.NewReader(out)
	protocol, theirs, err := readGreeting(r)
	stop()
	if err == nil && protocol == Protocol && ctx.Err() == nil {
		words.passTo(messages)
		return newCall(h, newLink(r, in, UsualPace), ending(cmd, in)), nil
	}
	_ = in.Close()
	if err == nil {
		kill()
	}
	_ = cmd.Wait()
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err == nil:
		return nil, h.unfit(protocol, theirs, version)
	}
	return nil, h.failed(cmd.ProcessState.ExitCode(), words.last(), version, err)
}

// ending returns the function that ends ssh: it closes its input, and kills it if it does not
// end by itself in that time.
func ending(cmd *exec.Cmd, in io.Closer) func(wait time.Duration) {
	var once sync.Once
	return func(wait time.Duration) {
		once.Do(func() {
			_ = in.Close()
			late := time.AfterFunc(wait, func() { _ = cmd.Process.Kill() })
			_ = cmd.Wait()
			late.Stop()
		})
	}
}

// maxNoise is how much the start files of the host's shell may print before the greeting.
const maxNoise = 64 << 10

// errNoGreeting is the error of a host that sends something else.
var errNoGreeting = errors.New("no greeting")

// readGreeting reads until the line with the greeting. Lines before it come from the start
// files of the user's shell.
func readGreeting(r *bufio.Reader) (protocol int, version string, err error) {
	for noise := 0; noise < maxNoise; {
		line, err := r.ReadSlice('\n')
		if text, ok := strings.CutPrefix(string(line), greeting); ok && err == nil {
			number, version, _ := strings.Cut(strings.TrimSpace(text), " ")
			if protocol, err = strconv.Atoi(number); err == nil {
				return protocol, version, nil
			}
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return 0, "", err
		}
		noise += len(line)
	}
	return 0, "", errNoGreeting
}

// unfit returns the refusal of a program with another protocol.
func (h *Host) unfit(protocol int, theirs, ours string) error {
	return &Unusable{h.Name(),
		fmt.Sprintf("virt-grow %s on %s does not fit virt-grow %s here: it speaks protocol %d, and this one protocol %d", theirs, h.Name(), ours, protocol, Protocol),
		"install the same version on both hosts"}
}

// The exit codes of ssh(1) and of the host's shell.
const (
	sshFailed     = 255
	notExecutable = 126
	notFound      = 127
	usageError    = 64 // of a virt-grow without the command
)

// failed returns why the program on the host has not greeted.
func (h *Host) failed(exit int, words, version string, err error) error {
	name := h.Name()
	said := ""
	if words != "" {
		said = ": " + words
	}
	switch exit {
	case sshFailed:
		return &Unusable{name, fmt.Sprintf("ssh cannot connect to %s%s", name, said),
			"ssh must work without virt-grow first: " + strings.Join(append([]string{h.ssh}, append(h.options, h.destination, "true")...), " ")}
	case notFound, notExecutable:
		return &Unusable{name, fmt.Sprintf("%s has no program %q%s", name, h.program, said),
			"install virt-grow there, where the shell of a login over ssh finds it (docs/install.md); or name it in the URI: ?program=/opt/virt-grow"}
	case usageError:
		return &Unusable{name, fmt.Sprintf("the virt-grow on %s is older than virt-grow %s here, and cannot be used through ssh%s", name, version, said),
			"install the same version on both hosts"}
	}
	return &Unusable{name, fmt.Sprintf("the program %q on %s does not answer as virt-grow does (exit code %d, %v)%s", h.program, name, exit, err, said),
		"check that this prints a line that begins with \"virt-grow relay\": " + strings.Join(append([]string{h.ssh}, h.arguments()...), " ") + " </dev/null"}
}

// stderr keeps the end of what ssh writes to standard error, and passes it on once the host
// has greeted.
type stderr struct {
	mu   sync.Mutex
	kept []byte
	to   io.Writer
}

const maxWords = 2 << 10

func (s *stderr) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.to != nil {
		_, _ = s.to.Write(p)
		return len(p), nil
	}
	s.kept = append(s.kept, p...)
	s.kept = s.kept[max(0, len(s.kept)-maxWords):]
	return len(p), nil
}

func (s *stderr) passTo(w io.Writer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, _ = w.Write(s.kept)
	s.to, s.kept = w, nil
}

// last returns the last lines as one.
func (s *stderr) last() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	lines := bytes.FieldsFunc(s.kept, func(r rune) bool { return r == '\n' || r == '\r' })
	return string(bytes.Join(lines[max(0, len(lines)-3):], []byte("; ")))
}
