package block

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// ExecError describes how a program failed.
type ExecError struct {
	Argv   []string
	Err    error
	Stderr string
}

func (e *ExecError) Error() string {
	text := strings.TrimSpace(e.Stderr)
	if text == "" {
		text = e.Err.Error()
	}
	name := filepath.Base(e.Argv[0])
	return name + ": " + strings.TrimPrefix(text, name+": ")
}

func (e *ExecError) Unwrap() error { return e.Err }

// Code returns the program's exit code, or -1 if it did not exit by itself.
func (e *ExecError) Code() int {
	var exit *exec.ExitError
	if errors.As(e.Err, &exit) {
		return exit.ExitCode()
	}
	return -1
}

// Run runs a program to its end and returns its standard output. If ctx ends first,
// the program is sent SIGTERM, and later killed.
func Run(ctx context.Context, name string, args ...string) ([]byte, error) {
	return RunInput(ctx, nil, name, args...)
}

// RunInput is Run with data for the program's standard input.
func RunInput(ctx context.Context, input io.Reader, name string, args ...string) ([]byte, error) {
	cmd := command(ctx, name, args...)
	cmd.Stdin = input
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := failed(ctx, cmd, cmd.Run(), stderr.String()); err != nil {
		return nil, err
	}
	return stdout.Bytes(), nil
}

func command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	// Ctrl-C at the terminal must not reach the program.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 3 * time.Second
	// The error of the lock is found by its text, so messages must be in English.
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	return cmd
}

// failed returns the error of a command that failed, nil if it succeeded.
func failed(ctx context.Context, cmd *exec.Cmd, err error, stderr string) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, exec.ErrNotFound):
		return fmt.Errorf("%s is not installed (virt-grow doctor shows what is missing)", cmd.Args[0])
	}
	return &ExecError{Argv: cmd.Args, Err: err, Stderr: stderr}
}

// RunShell runs a command line of the user. If it fails, the error includes its output.
func RunShell(ctx context.Context, command string, env []string) error {
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", command)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Env = &said, &said, env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	// The process group is killed, so that the shell's children end, too. After the
	// shell has been waited for, another group may have the number.
	cmd.Cancel = func() error {
		if err := cmd.Process.Signal(syscall.Signal(0)); err != nil {
			return err
		}
		return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
	}
	cmd.WaitDelay = 3 * time.Second
	err := cmd.Run()
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	text := said.String()
	if len(text) > 2000 {
		text = text[len(text)-2000:]
	}
	return fmt.Errorf("%q: %w: %s", command, err, strings.TrimSpace(text))
}

// ErrInUse reports that another process has the image open.
var ErrInUse = errors.New("the image is in use")

// asInUse turns QEMU's lock errors into ErrInUse. QEMU 2.10 and later print
// `Failed to get "write" lock` or `Failed to get shared "write" lock`, and
// `Is another process using the image [PATH]?`.
func asInUse(err error) error {
	if err != nil && strings.Contains(err.Error(), "Failed to get") && strings.Contains(err.Error(), "lock") {
		return fmt.Errorf("%w: %w", ErrInUse, err)
	}
	return err
}
