// Package jobtest plays scripts of what happens to a job: the engine's own tests use it
// with toys, and the kinds of job with fakes.
package jobtest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/journal"
)

// Player plays scripts of one line on an engine and one job:
//
//	COMMAND [POINT=FAULT…] > TRACE > RESULT ; COMMAND …
//
// The commands are resume, accept, rollback and close; any other begins the job. A point
// is as in VIRT_GROW_FAULT, or one of the test's own. The trace is what the test says
// that was done. The result is the outcome's state; or of a failure "restored",
// "unrestored" or "forward", with "stopped" if the guest was, and "untouched" if nothing
// from before the job was being changed; or the refusal's reason. What follows a comma is
// what the journal says then: the state, and after a colon what may be done.
//
// Before every action on the job, the player runs it dry: that must change no file, and must
// be refused if, and only if, the job's state does not allow the action.
type Player struct {
	Engine *job.Engine
	// Start begins the job.
	Start func(ctx context.Context, command string) (*job.Outcome, error)
	// BreakJournal has every write to the job's journal fail, for the fault "journal".
	BreakJournal func() error
	// ID is the job's name, once it has one.
	ID string

	faults map[string]string
	cancel context.CancelCauseFunc
	trace  []string
}

// New returns a player on an engine with an empty store. The engine's faults are the player's.
func New(t *testing.T, kinds job.Kinds) *Player {
	p := &Player{faults: map[string]string{}}
	p.Engine = &job.Engine{Options: job.Options{Store: journal.Store{Dir: t.TempDir()}, Fault: p.Fault}, Kinds: kinds}
	p.Engine.Opened = func(id string) { p.ID = id }
	return p
}

// Run plays each line of a text in a subtest of its own, in parallel with the others. play
// plays the line on a player of its own, and returns what it should read. Empty lines are
// skipped.
func Run(t *testing.T, lines string, play func(t *testing.T, line string) string) {
	t.Helper()
	for line := range strings.Lines(lines) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		t.Run(line, func(t *testing.T) {
			t.Parallel()
			if got := play(t, line); got != line {
				t.Errorf("got\n%s", got)
			}
		})
	}
}

// Did adds to the trace.
func (p *Player) Did(what string) { p.trace = append(p.trace, what) }

// Trace returns what was done since it was last asked for, or a command began.
func (p *Player) Trace() string {
	trace := strings.Join(p.trace, " ")
	p.trace = nil
	return trace
}

// Fault is what the script has for a point. A killed process does nothing more, and lets
// its locks go.
func (p *Player) Fault(ctx context.Context, point string) error {
	kind := p.faults[point]
	delete(p.faults, point)
	switch kind {
	case "":
		return nil
	case "error":
		return errors.New("injected")
	case "refuse":
		return plan.Refuse(plan.NoSpace, "", "injected")
	case "unchanged":
		return job.Unchanged(plan.Refuse(plan.DomainChanged, "", "injected"))
	case "forward":
		return job.ForwardOnly(errors.New("injected"))
	case "cancel":
		p.cancel(errors.New("interrupted"))
		if ctx.Done() == nil {
			return nil // nobody listens any more
		}
		<-ctx.Done()
		return ctx.Err()
	case "hang":
		<-ctx.Done()
		return context.Cause(ctx)
	case "kill":
		runtime.Goexit()
	case "journal":
		return p.BreakJournal()
	}
	return fmt.Errorf("unknown fault %q", kind)
}

// Play plays a line, and returns what it should read.
func (p *Player) Play(line string) string {
	var played []string
	for stage := range strings.SplitSeq(line, ";") {
		command, _, _ := strings.Cut(stage, ">")
		played = append(played, p.Command(command))
	}
	return strings.Join(played, " ; ")
}

// Command plays one command, and returns it with its trace and result.
func (p *Player) Command(command string) string {
	words := strings.Fields(command)
	for _, word := range words[1:] {
		point, fault, _ := strings.Cut(word, "=")
		p.faults[point] = fault
	}
	expected := p.dryRun(words[0])
	p.trace = nil
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	p.cancel = cancel
	result := "killed"
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		result = resultOf(p.run(ctx, words[0]))
	}()
	<-ended
	clear(p.faults)
	if isAction(words[0]) && !predicted(expected, result, len(words) > 1) {
		result += fmt.Sprintf(" (but the dry run said %q)", expected)
	}
	return strings.Join(strings.Fields(command+" > "+strings.Join(p.trace, " ")+" > "+result+p.after(result)), " ")
}

func isAction(command string) bool {
	return slices.Contains([]string{"resume", "accept", "rollback", "close"}, command)
}

// predicted reports whether a dry run has refused an action as the action itself was. It
// knows nothing of a fault, which may have been the reason.
func predicted(expected, result string, fault bool) bool {
	refused := result == string(plan.JobState) || result == string(plan.NotFound)
	return expected == result || expected == "" && (!refused || fault)
}

// dryRun runs an action on the job dry, and returns the reason if it is refused. A dry run
// that changes anything returns that instead.
func (p *Player) dryRun(command string) string {
	if !isAction(command) {
		return ""
	}
	real := *p.Engine
	p.Engine.DryRun = true
	before, trace := p.files(), len(p.trace)
	_, err := p.run(context.Background(), command)
	*p.Engine = real
	if before != p.files() || len(p.trace) != trace {
		return "it has changed something"
	}
	if r, refused := plan.IsRefusal(err); refused {
		return string(r.Reason)
	}
	return ""
}

// files returns the names and the content of all files of the store.
func (p *Player) files() string {
	var all strings.Builder
	_ = filepath.WalkDir(p.Engine.Store.Dir, func(path string, e fs.DirEntry, err error) error {
		text, _ := os.ReadFile(path)
		fmt.Fprintf(&all, "%s %s %v\n", path, text, err)
		return nil
	})
	return all.String()
}

func (p *Player) run(ctx context.Context, command string) (*job.Outcome, error) {
	switch command {
	case "resume":
		return p.Engine.Resume(ctx, p.ID)
	case "accept":
		return p.Engine.Accept(ctx, p.ID)
	case "rollback":
		return p.Engine.Rollback(ctx, p.ID)
	case "close":
		return p.Engine.Close(p.ID)
	}
	return p.Start(ctx, command)
}

func resultOf(out *job.Outcome, err error) string {
	var f *job.Failure
	switch r, refused := plan.IsRefusal(err); {
	case errors.As(err, &f):
		return failure(f)
	case refused:
		return string(r.Reason)
	case err != nil:
		return "error"
	case !out.Changed && out.State != journal.Closed:
		return string(out.State) + " unchanged"
	}
	return string(out.State)
}

func failure(f *job.Failure) string {
	text := "unrestored"
	switch {
	case f.Restored:
		text = "restored"
	case f.Forward:
		text = "forward"
	}
	if f.Stopped {
		text += " stopped"
	}
	if !f.Begun {
		text += " untouched"
	}
	return text
}

// after returns what is known of the job then; an end that the result names is not repeated.
func (p *Player) after(result string) string {
	s, err := p.Engine.Status(p.ID)
	if err != nil {
		if _, err := os.Stat(p.Engine.Store.DirOf(p.ID)); err == nil {
			return ", error"
		}
		if len(p.trace) > 0 {
			return ", forgotten"
		}
		return ", no job"
	}
	if s.Record.State.Ended() && strings.HasPrefix(result, string(s.Record.State)) {
		return ""
	}
	text := ", " + string(s.Record.State)
	if len(s.Actions) > 0 {
		text += ":"
	}
	for _, a := range s.Actions {
		text += " " + string(a)
	}
	return text
}
