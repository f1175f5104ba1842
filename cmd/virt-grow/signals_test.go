package main

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"github.com/virt-grow/virt-grow/guest/growth"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/apply"
)

// shared is a buffer that two goroutines may use.
type shared struct {
	mutex sync.Mutex
	bytes.Buffer
}

func (s *shared) Write(p []byte) (int, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.Buffer.Write(p)
}

func (s *shared) says(text string) bool {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return strings.Contains(s.String(), text)
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(what)
		}
	}
}

// TestSignals checks that the first signal ends the context, and that further signals
// only print a message.
func TestSignals(t *testing.T) {
	said := &shared{}
	p := &program{console: quiet(nil), name: "grow"}
	p.err = said
	ctx, stop := p.interruptible(context.Background())
	defer stop()
	send := func() {
		if err := syscall.Kill(syscall.Getpid(), syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
	}
	send()
	eventually(t, "no undoing", func() bool { return said.says("undoing") })
	<-ctx.Done()
	if cause := context.Cause(ctx); exitCode(cause) != exitInterrupted || !strings.Contains(cause.Error(), "interrupted") {
		t.Errorf("cause: %v", cause)
	}
	send()
	eventually(t, "no answer to the second", func() bool { return said.says("still undoing") })
	p.decides(apply.Event{Phase: apply.Started, Step: plan.Step{Kind: plan.StepPivot}})
	send()
	eventually(t, "no answer after the point of no return", func() bool { return said.says("too late") })
}

func TestConfirm(t *testing.T) {
	kept := &plan.Plan{Before: &plan.Layout{}, After: &plan.Layout{}}
	drops := &plan.Plan{After: &plan.Layout{}, Before: &plan.Layout{Devices: []plan.Device{{Name: "sda4", Kind: plan.Partition}}}}
	for _, c := range []struct {
		plan   *plan.Plan
		answer string
		want   error
	}{
		{kept, "y\n", nil}, {kept, "YES\n", nil}, {kept, " y \n", nil}, {kept, "n\n", growth.ErrDeclined},
		{kept, "\n", growth.ErrDeclined}, {kept, "", growth.ErrDeclined}, {kept, "yess\n", growth.ErrDeclined},
		{drops, "y\nsda4\n", nil}, {drops, "y\ny\n", growth.ErrDeclined}, {drops, "sda4\n", growth.ErrDeclined},
	} {
		p := &program{console: quiet(nil)}
		p.in = iotest.OneByteReader(strings.NewReader(c.answer)) // as on a terminal, no line is read before the question
		if err := p.confirm(context.Background(), c.plan); !errors.Is(err, c.want) {
			t.Errorf("%q: %v", c.answer, err)
		}
	}
}

// waiting is a terminal without input.
type waiting struct{}

func (waiting) Read([]byte) (int, error) { select {} }

func TestConfirmInterrupted(t *testing.T) {
	p := &program{console: quiet(nil)}
	p.in = waiting{}
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(&interrupt{syscall.SIGINT})
	if err := p.confirm(ctx, nil); exitCode(err) != exitInterrupted {
		t.Errorf("%v", err)
	}
}
