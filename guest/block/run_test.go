package block

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/virt-grow/virt-grow/guest/poll"
)

func TestRunShell(t *testing.T) {
	if err := RunShell(t.Context(), `test "$WORD" = a`, []string{"WORD=a"}); err != nil {
		t.Error(err)
	}
	err := RunShell(t.Context(), "echo out; echo err >&2; exit 3", nil)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 3 || !strings.HasSuffix(err.Error(), "out\nerr") {
		t.Errorf("%v", err)
	}
	err = RunShell(t.Context(), "yes | head -n 2000; echo end; exit 1", nil)
	if err == nil || len(err.Error()) > 2100 || !strings.HasSuffix(err.Error(), "end") {
		t.Errorf("of a long output, %d bytes are kept", len(err.Error()))
	}
}

// TestRunShellInterrupted checks that the processes that the shell has started end
// together with it.
func TestRunShellInterrupted(t *testing.T) {
	why := errors.New("enough")
	ctx, end := context.WithCancelCause(t.Context())
	file := filepath.Join(t.TempDir(), "pid")
	result := make(chan error, 1)
	go func() {
		result <- RunShell(ctx, "sleep 60 & echo $! >"+file+".new; mv "+file+".new "+file+"; wait", os.Environ())
	}()
	var child *Process
	err := poll.Until(t.Context(), poll.Wait{For: "the shell's child", Every: time.Millisecond}, func() (bool, error) {
		text, err := os.ReadFile(file)
		if err != nil {
			return false, nil
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err == nil {
			child, err = Open("sleep", pid)
		}
		return err == nil, err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer child.Close()
	end(why)
	if err := <-result; !errors.Is(err, why) {
		t.Errorf("%v", err)
	}
	if err := child.Wait(t.Context()); err != nil {
		t.Error(err)
	}
}
