package job

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/virt-grow/virt-grow/plan"
)

// sequences are runs of the engine, one a line. A line is a kind and its commands, with
// what each one did and how it ended:
//
//	KIND: COMMAND [POINT=FAULT…] > TRACE > RESULT ; COMMAND …
//
// A point is as in VIRT_GROW_FAULT, or "-STEP" in a step's undo. The trace has the
// steps that were done, and those undone with a "-". The result is the outcome's state;
// or of a failure "restored", "unrestored" or "forward", with "untouched" where nothing
// from before the job was being changed; or the refusal's reason. What comes after a
// comma is what the journal says then: the state, and after a colon what may be done.
var sequences = `
files: run > create name > done
files: run create/before=error > -create > error, forgotten
files: run create/after=error > create -create > error, forgotten
files: run name/before=error > create -name -create > restored untouched, rolled-back
files: run name/before=refuse > create -name -create > restored untouched, rolled-back
files: run name/after=cancel > create name -name -create > restored untouched, rolled-back
files: run open=error > > error, no job
files: run open=kill > > killed, opening: rollback ; resume > > not-found, no job
files: run open=kill > > killed, opening: rollback ; rollback > > not-found, no job
files: run open=kill > > killed, opening: rollback ; close > > closed, no job
files: run create/before=kill > > killed, working: resume rollback ; resume > create name > done
files: run create/before=kill > > killed, working: resume rollback ; rollback > -create > rolled-back
files: run create/after=kill > create > killed, working: resume rollback ; resume > create name > done
files: run name/before=kill > create > killed, working: resume rollback ; resume > name > done
files: run name/before=kill > create > killed, working: resume rollback ; rollback > -name -create > rolled-back
files: run name/before=kill > create > killed, working: resume rollback ; accept > > job-state, working: resume rollback
files: run name/before=kill > create > killed, working: resume rollback ; close > > closed
files: run name/before=kill > create > killed, working: resume rollback ; resume name/before=error > -name -create > restored untouched, rolled-back
files: run name/before=kill > create > killed, working: resume rollback ; resume name/before=kill > > killed, working: resume rollback ; resume > name > done
files: run name/before=error -create=error > create -name > unrestored untouched, working: resume rollback ; rollback > -create > rolled-back
files: run name/before=error -name=error > create > unrestored untouched, working: resume rollback ; resume > name > done
files: run name/before=error -name=kill > create > killed, working: resume rollback ; rollback > -name -create > rolled-back
files: run name/before=error -create=kill > create -name > killed, working: resume rollback ; resume > create name > done
files: run name/before=error -create=kill > create -name > killed, working: resume rollback ; rollback -create=error > > unrestored untouched, working: resume rollback
files: run name/before=keep > create > domain-changed, working: resume rollback ; resume > name > done
files: run create/before=journal > create -create > error, forgotten
files: run name/before=journal > create name -name -create > restored untouched, working: resume rollback ; rollback > -name -create > rolled-back
files: run > create name > done ; resume > > done unchanged ; rollback > > job-state, done ; accept > > done unchanged ; close > > job-state, done
files: run name/before=error > create -name -create > restored untouched, rolled-back ; resume > > rolled-back unchanged ; rollback > > rolled-back unchanged ; accept > > job-state, rolled-back

forward: run > prepare send inside > done
forward: run prepare/before=refuse > -prepare > no-space, forgotten
forward: run send/before=error > prepare > forward, working: resume close ; resume > send inside > done
forward: run send/before=cancel > prepare > forward, working: resume close
forward: run inside/before=error > prepare send > forward, working: resume close ; rollback > > job-state, working: resume close ; resume > inside > done
forward: run inside/before=error > prepare send > forward, working: resume close ; accept > > closed ; resume > > closed
forward: run prepare/after=kill > prepare > killed, working: resume rollback ; rollback > -prepare > rolled-back
forward: run prepare/after=kill > prepare > killed, working: resume rollback ; accept > > job-state, working: resume rollback
forward: run send/after=kill > prepare send > killed, working: resume close ; rollback > > job-state, working: resume close ; accept > > closed
forward: run send/after=kill > prepare send > killed, working: resume close ; resume inside/before=journal > send inside > forward, working: resume close

overlay: run > overlay edit save commit clean > done
overlay: nothing > > cancelled unchanged, no job
overlay: keep > overlay edit > waiting, waiting: accept rollback ; resume > > job-state, waiting: accept rollback ; accept > save commit clean > done
overlay: keep > overlay edit > waiting, waiting: accept rollback ; rollback > -overlay > rolled-back ; accept > > job-state, rolled-back
overlay: keep > overlay edit > waiting, waiting: accept rollback ; accept save/before=error > -save -overlay > restored untouched, rolled-back
overlay: keep > overlay edit > waiting, waiting: accept rollback ; accept commit/after=error > save commit -commit -save -overlay > restored, rolled-back
overlay: keep > overlay edit > waiting, waiting: accept rollback ; close > > closed
overlay: run overlay/before=refuse > -overlay > no-space, forgotten
overlay: run edit/before=cancel > overlay -overlay > restored untouched, rolled-back
overlay: run edit/before=kill > overlay > killed, editing: resume rollback ; resume > overlay edit save commit clean > done
overlay: run edit/before=kill > overlay > killed, editing: resume rollback ; rollback > -overlay > rolled-back
overlay: run commit/before=kill > overlay edit save > killed, committing: resume rollback ; resume > commit clean > done
overlay: run commit/before=kill > overlay edit save > killed, committing: resume rollback ; rollback > -commit -save -overlay > rolled-back
overlay: run commit/before=error -commit=kill > overlay edit save > killed, committing: resume rollback ; resume > commit clean > done
overlay: run commit/after=error -commit=error > overlay edit save commit > unrestored, committing: resume rollback ; rollback > -commit -save -overlay > rolled-back
overlay: run commit/after=error -save=kill > overlay edit save commit -commit > killed, committing: resume rollback ; resume > save commit clean > done
overlay: run save/before=forward > overlay edit > forward untouched, committing: resume rollback ; resume > save commit clean > done
overlay: run save/before=forward > overlay edit > forward untouched, committing: resume rollback ; rollback > -save -overlay > rolled-back
overlay: run clean/before=error > overlay edit save commit > forward, committing: resume ; rollback > > job-state, committing: resume ; resume > clean > done
overlay: run clean/before=error > overlay edit save commit > forward, committing: resume ; accept > clean > done
overlay: run clean/before=kill > overlay edit save commit > killed, committing: resume ; resume > clean > done
`

func TestSequences(t *testing.T) {
	for line := range strings.Lines(strings.TrimSpace(sequences)) {
		if line = strings.TrimSpace(line); line != "" {
			t.Run(line, func(t *testing.T) {
				t.Parallel()
				play(t, line)
			})
		}
	}
}

// play runs one line, and compares what it says.
func play(t *testing.T, line string) {
	e, w := newWorld(t)
	kind, script, _ := strings.Cut(line, ": ")
	p := &player{engine: e, world: w, kind: kind}
	var said []string
	for stage := range strings.SplitSeq(script, ";") {
		command, _, _ := strings.Cut(stage, ">")
		said = append(said, p.play(t, strings.TrimSpace(command)))
	}
	if got := kind + ": " + strings.Join(said, " ; "); got != line {
		t.Errorf("got\n%s", got)
	}
	if end := said[len(said)-1]; strings.HasSuffix(end, "rolled-back") && len(w.there) > 0 {
		t.Errorf("left after it was rolled back: %v", w.there)
	}
}

type player struct {
	engine *Engine
	world  *world
	kind   string
	id     string
}

// play runs one command, and says what came of it.
func (p *player) play(t *testing.T, command string) string {
	t.Helper()
	words := strings.Fields(command)
	for _, word := range words[1:] {
		point, fault, _ := strings.Cut(word, "=")
		p.world.faults[point] = fault
	}
	p.world.trace = nil
	p.engine.Opened = func(id string) { p.id = id }
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	p.world.cancel = cancel
	ended := "killed"
	done := make(chan struct{})
	go func() {
		defer close(done)
		ended = p.result(p.do(ctx, words[0]))
	}()
	<-done
	clear(p.world.faults)
	return strings.Join(strings.Fields(command+" > "+strings.Join(p.world.trace, " ")+" > "+ended+p.after(ended)), " ")
}

func (p *player) do(ctx context.Context, verb string) (*Outcome, error) {
	switch verb {
	case "resume":
		return p.engine.Resume(ctx, p.id)
	case "accept":
		return p.engine.Accept(ctx, p.id)
	case "rollback":
		return p.engine.Rollback(ctx, p.id)
	case "close":
		return p.engine.Close(p.id)
	}
	p.world.keep, p.world.nothing = verb == "keep", verb == "nothing"
	return p.engine.Run(ctx, p.world.spec(p.engine, p.kind))
}

func (p *player) result(out *Outcome, err error) string {
	var f *Failure
	switch r, refused := plan.IsRefusal(err); {
	case errors.As(err, &f):
		text := "unrestored"
		if f.Restored {
			text = "restored"
		} else if f.Forward {
			text = "forward"
		}
		if !f.Begun {
			text += " untouched"
		}
		return text
	case refused:
		return string(r.Reason)
	case err != nil:
		return "error"
	case !out.Changed && out.State != "closed":
		return string(out.State) + " unchanged"
	}
	return string(out.State)
}

// after is what is known of the job then; an end that the result names is not repeated.
func (p *player) after(result string) string {
	s, err := p.engine.Status(p.id)
	if err != nil {
		if _, err := os.Stat(p.engine.Store.DirOf(p.id)); err == nil {
			return ", error"
		}
		if len(p.world.trace) > 0 {
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
