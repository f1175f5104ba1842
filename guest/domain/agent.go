package domain

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"libvirt.org/go/libvirt"

	"github.com/virt-grow/virt-grow/plan/size"
)

// agentChannel sends commands to the guest's agent.
type agentChannel interface {
	QemuAgentCommand(command string, timeout libvirt.DomainQemuAgentCommandTimeout, flags uint32) (string, error)
}

// FS is a mounted file system, as the guest's agent reports it.
type FS struct {
	Name       string     `json:"name"` // "vda2", "dm-0"; Windows: a volume's path
	MountPoint string     `json:"mountpoint"`
	Type       string     `json:"type"`
	Total      size.Bytes `json:"total-bytes"` // 0 from agents before QEMU 3.0
	Used       size.Bytes `json:"used-bytes"`
}

// maxAnswer limits the size of an agent's answer, which is not trusted.
const maxAnswer = 1 << 20

// agentLimit is how long an agent may take to answer. It may still be busy with an earlier
// command.
const agentLimit = 5 * time.Second

// command sends one command to the agent and decodes what it returns. The command is
// sent again if the connection to libvirt breaks.
func (d *Domain) command(ctx context.Context, name string, arguments, into any) error {
	return d.send(ctx, ask[string], name, arguments, into)
}

// send is command with ask, or with askOnce for a command that must not be sent again.
func (d *Domain) send(ctx context.Context, ask func(context.Context, *Domain, func(handle) (string, error)) (string, error), name string, arguments, into any) error {
	request, err := json.Marshal(struct {
		Execute   string `json:"execute"`
		Arguments any    `json:"arguments,omitempty"`
	}{name, arguments})
	if err != nil {
		return err
	}
	text, err := ask(ctx, d, func(l handle) (string, error) {
		return l.QemuAgentCommand(string(request), libvirt.DomainQemuAgentCommandTimeout(agentLimit/time.Second), 0)
	})
	if err != nil {
		return err
	}
	if len(text) > maxAnswer {
		return fmt.Errorf("the guest agent's answer to %s is too long: %d bytes", name, len(text))
	}
	var answer struct {
		Return json.RawMessage `json:"return"`
	}
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		return fmt.Errorf("the guest agent's answer to %s: %w", name, err)
	}
	return json.Unmarshal(answer.Return, into)
}

// Ping returns nil if the agent answers.
func (d *Domain) Ping(ctx context.Context) error {
	var nothing map[string]any
	return d.command(ctx, "guest-ping", nil, &nothing)
}

// Unsupported reports whether an agent's error means that the agent does not know a
// command or may not carry it out. The texts are qemu-ga's on Linux ("has not been found", "has
// been disabled"), its stubs for other systems ("not currently supported", "this
// feature or command is not currently supported"), and libvirt's for both.
func Unsupported(err error) bool {
	if err == nil {
		return false
	}
	text := strings.ToLower(err.Error())
	return slices.ContainsFunc([]string{"has not been found", "commandnotfound", "has been disabled", "is disabled",
		"not supported", "unsupported", "not currently supported", "not implemented", "not allowed"},
		func(words string) bool { return strings.Contains(text, words) })
}

// FileSystems returns what the guest has mounted (qemu-ga: guest-get-fsinfo).
func (d *Domain) FileSystems(ctx context.Context) ([]FS, error) {
	var all []FS
	err := d.command(ctx, "guest-get-fsinfo", nil, &all)
	return all, err
}

// mayExec reports whether the agent runs programs: some distributions forbid it
// (qemu-ga: block-rpcs, allow-rpcs).
func (d *Domain) mayExec(ctx context.Context) bool {
	var info struct {
		Commands []struct {
			Name    string
			Enabled bool
		} `json:"supported_commands"`
	}
	if err := d.command(ctx, "guest-info", nil, &info); err != nil {
		return false
	}
	enabled := 0
	for _, c := range info.Commands {
		if c.Enabled && (c.Name == "guest-exec" || c.Name == "guest-exec-status") {
			enabled++
		}
	}
	return enabled == 2
}

// ErrMayNotExec is the error of an agent that does not run programs.
var ErrMayNotExec = errors.New("the guest agent does not run programs")

// ExecError is the failure of a program in the guest.
type ExecError struct {
	Program string
	Status  int
	// Output is the first line that the program printed, on stderr if there is one.
	Output string
}

func (e *ExecError) Error() string {
	return fmt.Sprintf("%s ended with status %d: %s", e.Program, e.Status, e.Output)
}

// Exec runs a program in the guest, as Run does, and returns the first line that it
// printed. The error of a program that fails is an *ExecError.
func (d *Domain) Exec(ctx context.Context, command []string) (string, error) {
	ran, err := d.Run(ctx, command, "")
	if err == nil {
		err = ran.Failure(command[0])
	}
	if err != nil {
		return "", err
	}
	return firstOutput(ran.Out), nil
}

// ExecResult is the result of a program in the guest. Nothing in it can be trusted.
type ExecResult struct {
	// Status is the exit status, or 128 plus the signal that ended the program.
	Status   int
	Out, Err []byte
}

// Failure returns an *ExecError if the program failed. program is its name for the error.
func (r ExecResult) Failure(program string) error {
	if r.Status == 0 {
		return nil
	}
	return &ExecError{Program: program, Status: r.Status, Output: firstOutput(r.Err, r.Out)}
}

// Run runs a program in the guest through the agent, as the administrator, with input on
// its standard input. The program is found in the agent's PATH; no shell is involved.
// When ctx ends, the program keeps running. A program is never started twice: if the connection
// to libvirt breaks while the program is being started, Run fails.
func (d *Domain) Run(ctx context.Context, command []string, input string) (ExecResult, error) {
	arguments := map[string]any{"path": command[0], "arg": command[1:], "capture-output": true}
	if input != "" {
		arguments["input-data"] = []byte(input)
	}
	var started struct{ Pid int64 }
	err := d.send(ctx, askOnce[string], "guest-exec", arguments, &started)
	if err != nil {
		if Unsupported(err) {
			return ExecResult{}, fmt.Errorf("%w: %w", ErrMayNotExec, err)
		}
		return ExecResult{}, err
	}
	var status struct {
		Exited   bool
		ExitCode int
		Signal   int
		Out      []byte `json:"out-data"`
		Err      []byte `json:"err-data"`
	}
	for pause := d.conn.pace.program; ; pause = min(2*pause, d.conn.pace.programMost) {
		if err := d.command(ctx, "guest-exec-status", map[string]any{"pid": started.Pid}, &status); err != nil {
			return ExecResult{}, err
		}
		if status.Exited {
			break
		}
		if err := Sleep(ctx, pause); err != nil {
			return ExecResult{}, err
		}
	}
	ran := ExecResult{Status: status.ExitCode, Out: status.Out, Err: status.Err}
	if status.Signal != 0 {
		ran.Status = 128 + status.Signal
	}
	return ran, nil
}

// OS returns the name that the agent reports for the guest's system (guest-get-osinfo):
// "mswindows", "debian"; "" if it reports none.
func (d *Domain) OS(ctx context.Context) string {
	var info struct{ ID string }
	_ = d.command(ctx, "guest-get-osinfo", nil, &info)
	return info.ID
}

// firstOutput returns the first line that is not empty, or says that there is none.
func firstOutput(texts ...[]byte) string {
	if line := FirstLine(texts...); line != "" {
		return line
	}
	return "it printed nothing"
}

// FirstLine returns the first line of the texts that is not empty, "" if there is none.
func FirstLine(texts ...[]byte) string { return Lines(1, texts...) }

// Lines returns the first lines of the texts that are not empty, without control
// characters.
func Lines(most int, texts ...[]byte) string {
	var lines []string
	for _, text := range texts {
		for line := range strings.Lines(string(text)) {
			line = strings.TrimSpace(strings.Map(printable, line))
			if line != "" && len(lines) < most {
				lines = append(lines, strings.ToValidUTF8(line[:min(len(line), 300)], ""))
			}
		}
	}
	return strings.Join(lines, "\n")
}

func printable(r rune) rune {
	if r == '\t' {
		return ' '
	}
	if !unicode.IsPrint(r) {
		return -1
	}
	return r
}
