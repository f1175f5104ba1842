package job_test

import (
	"strings"
	"testing"

	"github.com/virt-grow/virt-grow/guest/job/jobtest"
)

// sequences are runs of the engine, one in each line: a kind, and a script as in
// jobtest.Player. The trace has the steps that were done, and with a "-" those that were
// undone. The points of an undo are "-STEP", and "open" is before the job's first entry.
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
files: run name/before=unchanged > create > domain-changed, working: resume rollback ; resume > name > done
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

func TestSequences(t *testing.T) { jobtest.Run(t, sequences, play) }

func play(t *testing.T, line string) string {
	kind, script, _ := strings.Cut(line, ": ")
	_, w := newWorld(t)
	got := w.of(kind).Play(script)
	if strings.HasSuffix(line, "rolled-back") && len(w.there) > 0 {
		t.Errorf("left after it was rolled back: %v", w.there)
	}
	return kind + ": " + got
}
