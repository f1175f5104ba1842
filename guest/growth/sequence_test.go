package growth

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/virt-grow/virt-grow/guest/block"
	"github.com/virt-grow/virt-grow/guest/disk"
	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/guest/image"
	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/guest/job/jobtest"
	"github.com/virt-grow/virt-grow/guest/session"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/apply"
	"github.com/virt-grow/virt-grow/plan/apply/applytest"
	"github.com/virt-grow/virt-grow/plan/size"
)

// growthSequences are growths on fakes, one in each line: how the guest is treated, and
// a script as in jobtest.Player. The trace has the steps that were done, and with a "-"
// those that were undone. The command "ask" leaves the decision to the user, "keep"
// stops before the commit, "admit" asks whether the outage may begin, "limited" gives full
// checks no time.
var growthSequences = `
image: run > overlay check:sda fs:sda verify:sda save-undo commit clean-up > done
image: run overlay/before=error > -overlay > error, forgotten
image: run check:sda/before=refuse > overlay -overlay > no-space, forgotten
image: run fs:sda/before=error > overlay check:sda -overlay > restored untouched, rolled-back
image: run fs:sda/before=cancel > overlay check:sda -overlay > restored untouched, rolled-back
image: run save-undo/after=error > overlay check:sda fs:sda verify:sda -save-undo -overlay > restored untouched, rolled-back
image: run commit/after=error > overlay check:sda fs:sda verify:sda save-undo -commit -save-undo -overlay > restored, rolled-back
image: run clean-up/before=error > overlay check:sda fs:sda verify:sda save-undo commit > forward, committing: resume rollback ; resume > clean-up > done
image: run clean-up/before=error > overlay check:sda fs:sda verify:sda save-undo commit > forward, committing: resume rollback ; rollback > -commit -save-undo -overlay > rolled-back
image: run clean-up/after=kill > overlay check:sda fs:sda verify:sda save-undo commit > killed, committing: resume ; rollback > > job-state, committing: resume ; resume > clean-up > done
image: run clean-up/before=cancel > overlay check:sda fs:sda verify:sda save-undo commit clean-up > done
image: run overlay/before=kill > > killed, opening: resume rollback ; resume > overlay check:sda fs:sda verify:sda save-undo commit clean-up > done
image: run overlay/before=kill > > killed, opening: resume rollback ; rollback > -overlay > rolled-back
image: run fs:sda/before=kill > overlay check:sda > killed, editing: resume rollback ; resume > overlay check:sda fs:sda verify:sda save-undo commit clean-up > done
image: run fs:sda/before=kill > overlay check:sda > killed, editing: resume rollback ; rollback > -overlay > rolled-back
image: run fs:sda/before=kill > overlay check:sda > killed, editing: resume rollback ; accept > > job-state, editing: resume rollback
image: run fs:sda/before=kill > overlay check:sda > killed, editing: resume rollback ; resume fs:sda/before=error > overlay check:sda -overlay > restored untouched, rolled-back
image: run save-undo/before=kill > overlay check:sda fs:sda verify:sda > killed, committing: resume rollback ; resume > save-undo commit clean-up > done
image: run commit/before=kill > overlay check:sda fs:sda verify:sda save-undo > killed, committing: resume rollback ; resume > commit clean-up > done
image: run commit/before=kill > overlay check:sda fs:sda verify:sda save-undo > killed, committing: resume rollback ; rollback > -commit -save-undo -overlay > rolled-back
image: run commit/after=kill > overlay check:sda fs:sda verify:sda save-undo > killed, committing: resume rollback ; accept > commit clean-up > done
image: run > overlay check:sda fs:sda verify:sda save-undo commit clean-up > done ; rollback > > job-state, done ; accept > > done unchanged
image: keep > overlay check:sda fs:sda verify:sda > waiting, waiting: accept rollback ; resume > > job-state, waiting: accept rollback ; accept > save-undo commit clean-up > done
image: keep > overlay check:sda fs:sda verify:sda > waiting, waiting: accept rollback ; rollback > -overlay > rolled-back ; accept > > job-state, rolled-back
image: keep > overlay check:sda fs:sda verify:sda > waiting, waiting: accept rollback ; accept image=error > > image-changed, waiting: accept rollback
image: ask answer=kill > overlay > killed, opening: rollback resume ; resume > > cancelled unchanged, no job
image: ask answer=kill > overlay > killed, opening: rollback resume ; rollback > -overlay > rolled-back
image: ask answer=refuse > overlay -overlay > no-space, forgotten

image: admit > overlay admit check:sda fs:sda verify:sda save-undo commit clean-up > done
off: admit admit=refuse > overlay admit -overlay > no-space, forgotten
off: admit fs:sda/before=kill > overlay admit check:sda > killed, editing: resume rollback ; resume > overlay check:sda fs:sda verify:sda save-undo commit clean-up > done
trial: admit > admit shutdown overlay check:sda fs:sda verify:sda switch start health pivot:vda restore clean-up > done
trial: admit admit=refuse > admit > no-space, forgotten
trial: admit admit=cancel > admit > error, forgotten
trial: admit admit=kill > admit > killed, opening: resume rollback ; resume > shutdown overlay check:sda fs:sda verify:sda switch start health pivot:vda restore clean-up > done
trial: admit admit=kill > admit > killed, opening: resume rollback ; rollback > > rolled-back
early: admit > snapshot snapshot-check:sda -snapshot admit shutdown overlay check:sda fs:sda verify:sda switch start health pivot:vda restore clean-up > done
early: admit snapshot-check:sda/before=refuse > snapshot -snapshot > no-space, forgotten

no-trial: run > shutdown overlay check:sda fs:sda verify:sda save-undo commit start clean-up > done
no-trial: run shutdown/before=error > -shutdown > restored untouched, rolled-back
no-trial: run fs:sda/before=kill > shutdown overlay check:sda > killed, editing: resume rollback ; resume > overlay check:sda fs:sda verify:sda save-undo commit start clean-up > done
no-trial: run fs:sda/before=kill > shutdown overlay check:sda > killed, editing: resume rollback ; rollback > -overlay -shutdown > rolled-back
no-trial: run commit/after=kill > shutdown overlay check:sda fs:sda verify:sda save-undo > killed, committing: resume rollback ; rollback > -commit -save-undo -overlay -shutdown > rolled-back
no-trial: run clean-up/before=error > shutdown overlay check:sda fs:sda verify:sda save-undo commit start > forward stopped, committing: resume ; rollback > > job-state, committing: resume ; resume > clean-up > done
no-trial: ask answer=refuse > > no-space, no job
no-trial: run shutdown/before=refuse > -shutdown > restored untouched, rolled-back
no-trial: run start/before=error > shutdown overlay check:sda fs:sda verify:sda save-undo commit -start -commit -save-undo -overlay -shutdown > restored stopped, rolled-back
no-trial: run start/before=kill > shutdown overlay check:sda fs:sda verify:sda save-undo commit > killed, committing: resume ; rollback > > job-state, committing: resume ; resume > start clean-up > done
off: run > overlay check:sda fs:sda verify:sda save-undo commit clean-up > done
off: run fs:sda/before=kill > overlay check:sda > killed, editing: resume rollback ; resume > overlay check:sda fs:sda verify:sda save-undo commit clean-up > done
trial: run > shutdown overlay check:sda fs:sda verify:sda switch start health pivot:vda restore clean-up > done
trial: run health/before=error > shutdown overlay check:sda fs:sda verify:sda switch start -start -switch -overlay -shutdown > restored stopped untouched, rolled-back
trial: run shutdown/before=kill > > killed, editing: resume rollback ; resume > shutdown overlay check:sda fs:sda verify:sda switch start health pivot:vda restore clean-up > done
trial: run fs:sda/before=kill > shutdown overlay check:sda > killed, editing: resume rollback ; resume > overlay check:sda fs:sda verify:sda switch start health pivot:vda restore clean-up > done
trial: run fs:sda/before=kill > shutdown overlay check:sda > killed, editing: resume rollback ; rollback > -overlay -shutdown > rolled-back
trial: run switch/before=kill > shutdown overlay check:sda fs:sda verify:sda > killed, trial: resume rollback ; resume > switch start health pivot:vda restore clean-up > done
trial: run health/before=kill > shutdown overlay check:sda fs:sda verify:sda switch start > killed, trial: resume rollback ; resume > health pivot:vda restore clean-up > done
trial: run health/before=kill > shutdown overlay check:sda fs:sda verify:sda switch start > killed, trial: resume rollback ; rollback > -start -switch -overlay -shutdown > rolled-back
trial: run pivot:vda/before=error > shutdown overlay check:sda fs:sda verify:sda switch start health > forward stopped, committing: resume ; resume > pivot:vda restore clean-up > done
trial: run pivot:vda/before=kill > shutdown overlay check:sda fs:sda verify:sda switch start health > killed, committing: resume ; rollback > > job-state, committing: resume ; resume > pivot:vda restore clean-up > done
trial: run libvirt=error > shutdown overlay check:sda fs:sda verify:sda switch start health -start -switch -overlay -shutdown > restored stopped untouched, rolled-back
trial: run start/before=kill > shutdown overlay check:sda fs:sda verify:sda switch > killed, trial: resume rollback ; resume > start health pivot:vda restore clean-up > done
trial: run restore/before=error > shutdown overlay check:sda fs:sda verify:sda switch start health pivot:vda > forward stopped, committing: resume ; resume > restore clean-up > done
trial: run clean-up/before=kill > shutdown overlay check:sda fs:sda verify:sda switch start health pivot:vda restore > killed, committing: resume ; rollback > > job-state, committing: resume ; resume > clean-up > done
manual: run > shutdown overlay check:sda fs:sda verify:sda switch start health > waiting, waiting: accept rollback ; accept > pivot:vda restore clean-up > done
manual: run > shutdown overlay check:sda fs:sda verify:sda switch start health > waiting, waiting: accept rollback ; accept pivot:vda/before=kill > > killed, committing: resume ; accept > pivot:vda restore clean-up > done
manual: run > shutdown overlay check:sda fs:sda verify:sda switch start health > waiting, waiting: accept rollback ; rollback > -start -switch -overlay -shutdown > rolled-back
manual: run > shutdown overlay check:sda fs:sda verify:sda switch start health > waiting, waiting: accept rollback ; accept libvirt=error > > job-state, waiting: accept rollback
manual: run > shutdown overlay check:sda fs:sda verify:sda switch start health > waiting, waiting: accept rollback ; resume > > job-state, waiting: accept rollback

early: run > snapshot snapshot-check:sda -snapshot shutdown overlay check:sda fs:sda verify:sda switch start health pivot:vda restore clean-up > done
early: run snapshot=error > snapshot -snapshot > check-unfinished, forgotten
early: run snapshot-check:sda/before=refuse > snapshot -snapshot > no-space, forgotten
early: run snapshot-check:sda/before=cancel > snapshot -snapshot > error, forgotten
early: run check:sda/before=refuse > snapshot snapshot-check:sda -snapshot shutdown overlay -overlay -shutdown > restored stopped untouched, rolled-back
early: run snapshot-check:sda/before=kill > snapshot > killed, opening: resume rollback ; rollback > -snapshot > rolled-back
early: run snapshot=kill > snapshot > killed, opening: resume rollback ; resume > -snapshot snapshot snapshot-check:sda -snapshot shutdown overlay check:sda fs:sda verify:sda switch start health pivot:vda restore clean-up > done
early: run shutdown/before=kill > snapshot snapshot-check:sda -snapshot > killed, editing: resume rollback ; resume > snapshot snapshot-check:sda -snapshot shutdown overlay check:sda fs:sda verify:sda switch start health pivot:vda restore clean-up > done
early: run fs:sda/before=kill > snapshot snapshot-check:sda -snapshot shutdown overlay check:sda > killed, editing: resume rollback ; resume > overlay check:sda fs:sda verify:sda switch start health pivot:vda restore clean-up > done
early: limited snapshot-check:sda/before=hang > snapshot -snapshot > check-unfinished, forgotten
image: limited check:sda/before=hang > overlay -overlay > check-unfinished, forgotten
early: ask answer=refuse > > no-space, no job
early: rehearse > snapshot snapshot-check:sda check:sda fs:sda verify:sda -snapshot > cancelled unchanged, forgotten

libvirt: run > shutdown overlay check:sda fs:sda verify:sda switch start health pivot:vda restore clean-up > done
libvirt: run shutdown/after=error > -shutdown > restored stopped untouched, rolled-back
libvirt: run fs:sda/before=kill > shutdown overlay check:sda > killed, editing: resume rollback ; resume > overlay check:sda fs:sda verify:sda switch start health pivot:vda restore clean-up > done
libvirt: run fs:sda/before=kill > shutdown overlay check:sda > killed, editing: resume rollback ; rollback > -overlay -shutdown > rolled-back
libvirt: run fs:sda/before=kill > shutdown overlay check:sda > killed, editing: resume rollback ; resume domain-start=error > > domain-changed, editing: resume rollback ; rollback > -overlay -shutdown > rolled-back
libvirt: run switch/before=kill > shutdown overlay check:sda fs:sda verify:sda > killed, trial: resume rollback ; resume domain-start=error > -switch -overlay -shutdown > restored stopped untouched, rolled-back
libvirt: run switch/before=kill > shutdown overlay check:sda fs:sda verify:sda > killed, trial: resume rollback ; resume domain-define=error > -switch -overlay -shutdown > restored stopped untouched, rolled-back
libvirt: run switch/before=kill > shutdown overlay check:sda fs:sda verify:sda > killed, trial: resume rollback ; resume image=error > -switch -overlay -shutdown > restored stopped untouched, rolled-back
libvirt: run switch/after=kill > shutdown overlay check:sda fs:sda verify:sda > killed, trial: resume rollback ; resume > switch start health pivot:vda restore clean-up > done
libvirt: run switch/after=kill > shutdown overlay check:sda fs:sda verify:sda > killed, trial: resume rollback ; rollback > -switch -overlay -shutdown > rolled-back
libvirt: run health/before=error > shutdown overlay check:sda fs:sda verify:sda switch start -start -switch -overlay -shutdown > restored stopped untouched, rolled-back
libvirt: run health/before=kill > shutdown overlay check:sda fs:sda verify:sda switch start > killed, trial: resume rollback ; resume domain-destroy=error > health pivot:vda restore clean-up > done
libvirt: run health/before=kill > shutdown overlay check:sda fs:sda verify:sda switch start > killed, trial: resume rollback ; rollback domain-define=error > -start -switch -overlay -shutdown > rolled-back
libvirt: run pivot:vda/after=kill > shutdown overlay check:sda fs:sda verify:sda switch start health > killed, committing: resume ; resume > pivot:vda restore clean-up > done
libvirt: run libvirt=error > shutdown overlay check:sda fs:sda verify:sda switch start health -start -switch -overlay -shutdown > restored stopped untouched, rolled-back
libvirt no-trial: run > shutdown overlay check:sda fs:sda verify:sda save-undo commit start clean-up > done
libvirt no-trial: run start/after=error > shutdown overlay check:sda fs:sda verify:sda save-undo commit -start -commit -save-undo -overlay -shutdown > restored stopped, rolled-back
libvirt no-trial: run shutdown/before=kill > > killed, editing: resume rollback ; rollback > -shutdown > rolled-back
libvirt agent: run > shutdown overlay check:sda fs:sda verify:sda switch start health pivot:vda restore clean-up > done
libvirt agent: run agent=error > shutdown overlay check:sda fs:sda verify:sda switch start health pivot:vda restore clean-up > done
libvirt agent: run health/before=kill > shutdown overlay check:sda fs:sda verify:sda switch start > killed, trial: resume rollback ; resume domain-destroy=error > health pivot:vda restore clean-up > done
image: rehearse > overlay check:sda fs:sda verify:sda > cancelled unchanged, forgotten
image: rehearse fs:sda/before=error > overlay check:sda > error, forgotten
image: rehearse fs:sda/before=cancel > overlay check:sda > error, forgotten
image: rehearse fs:sda/before=kill > overlay check:sda > killed, opening: rollback resume ; rollback > > cancelled unchanged, no job
image: rehearse fs:sda/before=kill > overlay check:sda > killed, opening: rollback resume ; resume > > cancelled unchanged, no job
image: rehearse fs:sda/before=kill > overlay check:sda > killed, opening: rollback resume ; accept > > job-state, opening: rollback resume
off: rehearse > overlay check:sda fs:sda verify:sda > cancelled unchanged, forgotten
trial: rehearse > snapshot check:sda fs:sda verify:sda -snapshot > cancelled unchanged, forgotten
trial: rehearse snapshot=error > snapshot -snapshot > no-rehearsal, forgotten
trial: rehearse fs:sda/before=kill > snapshot check:sda > killed, opening: rollback resume ; rollback > -snapshot > cancelled unchanged, forgotten
agent: rehearse > freeze snapshot thaw check:sda fs:sda verify:sda -snapshot > cancelled unchanged, forgotten
agent: rehearse freeze=error > freeze thaw snapshot check:sda fs:sda verify:sda -snapshot > cancelled unchanged, forgotten
agent: rehearse-frozen freeze=error > freeze thaw -snapshot > no-rehearsal, forgotten
agent: rehearse snapshot=error > freeze snapshot thaw -snapshot > no-rehearsal, forgotten
agent: rehearse thaw=error > freeze snapshot thaw thaw -snapshot > error, forgotten
agent: rehearse freeze=error thaw=error > freeze thaw thaw -snapshot > error, forgotten
agent: rehearse snapshot=kill > freeze snapshot > killed, opening: rollback resume ; rollback > thaw -snapshot > cancelled unchanged, forgotten
agent: rehearse snapshot=kill > freeze snapshot > killed, opening: rollback resume ; resume thaw=error > thaw -snapshot thaw -snapshot > error, forgotten
agent: rehearse snapshot=kill > freeze snapshot > killed, opening: rollback resume ; rollback domain-destroy=error > > cancelled unchanged, no job
`

// twoDisks are growths of two disks in one job. If either fails, both are as before;
// otherwise both are grown.
var twoDisks = `
two off: run > overlay:vda overlay:vdb check:vda check:vdb fs:vda fs:vdb verify:vda verify:vdb save-undo:vda save-undo:vdb commit:vda commit:vdb clean-up > done
two off: run check:vdb/before=refuse > overlay:vda overlay:vdb check:vda -overlay:vdb -overlay:vda > no-space, forgotten
two off: run overlay:vdb/before=kill > overlay:vda > killed, opening: resume rollback ; rollback > -overlay:vdb -overlay:vda > rolled-back
two off: run fs:vdb/before=error > overlay:vda overlay:vdb check:vda check:vdb fs:vda -overlay:vdb -overlay:vda > restored untouched, rolled-back
two off: run fs:vdb/before=kill > overlay:vda overlay:vdb check:vda check:vdb fs:vda > killed, editing: resume rollback ; resume > overlay:vda overlay:vdb check:vda check:vdb fs:vda fs:vdb verify:vda verify:vdb save-undo:vda save-undo:vdb commit:vda commit:vdb clean-up > done
two off: run save-undo:vdb/before=kill > overlay:vda overlay:vdb check:vda check:vdb fs:vda fs:vdb verify:vda verify:vdb save-undo:vda > killed, committing: resume rollback ; rollback > -save-undo:vdb -save-undo:vda -overlay:vdb -overlay:vda > rolled-back
two off: run commit:vdb/before=error > overlay:vda overlay:vdb check:vda check:vdb fs:vda fs:vdb verify:vda verify:vdb save-undo:vda save-undo:vdb commit:vda -commit:vdb -commit:vda -save-undo:vdb -save-undo:vda -overlay:vdb -overlay:vda > restored, rolled-back
two off: run commit:vdb/before=kill > overlay:vda overlay:vdb check:vda check:vdb fs:vda fs:vdb verify:vda verify:vdb save-undo:vda save-undo:vdb commit:vda > killed, committing: resume rollback ; resume > commit:vdb clean-up > done
two off: run commit:vdb/before=kill > overlay:vda overlay:vdb check:vda check:vdb fs:vda fs:vdb verify:vda verify:vdb save-undo:vda save-undo:vdb commit:vda > killed, committing: resume rollback ; rollback > -commit:vdb -commit:vda -save-undo:vdb -save-undo:vda -overlay:vdb -overlay:vda > rolled-back
two off: run commit:vdb/after=kill > overlay:vda overlay:vdb check:vda check:vdb fs:vda fs:vdb verify:vda verify:vdb save-undo:vda save-undo:vdb commit:vda > killed, committing: resume rollback ; rollback > -commit:vdb -commit:vda -save-undo:vdb -save-undo:vda -overlay:vdb -overlay:vda > rolled-back
two off: run clean-up/before=error > overlay:vda overlay:vdb check:vda check:vdb fs:vda fs:vdb verify:vda verify:vdb save-undo:vda save-undo:vdb commit:vda commit:vdb > forward, committing: resume rollback ; rollback > -commit:vdb -commit:vda -save-undo:vdb -save-undo:vda -overlay:vdb -overlay:vda > rolled-back
two off: run clean-up/after=kill > overlay:vda overlay:vdb check:vda check:vdb fs:vda fs:vdb verify:vda verify:vdb save-undo:vda save-undo:vdb commit:vda commit:vdb > killed, committing: resume ; rollback > > job-state, committing: resume ; resume > clean-up > done
two off: run fs:vdb/before=kill > overlay:vda overlay:vdb check:vda check:vdb fs:vda > killed, editing: resume rollback ; resume image=error > overlay:vda overlay:vdb check:vda check:vdb fs:vda fs:vdb verify:vda verify:vdb save-undo:vda save-undo:vdb commit:vda commit:vdb clean-up > done
two no-trial: run > shutdown overlay:vda overlay:vdb check:vda check:vdb fs:vda fs:vdb verify:vda verify:vdb save-undo:vda save-undo:vdb commit:vda commit:vdb start clean-up > done
two no-trial: run start/before=error > shutdown overlay:vda overlay:vdb check:vda check:vdb fs:vda fs:vdb verify:vda verify:vdb save-undo:vda save-undo:vdb commit:vda commit:vdb -start -commit:vdb -commit:vda -save-undo:vdb -save-undo:vda -overlay:vdb -overlay:vda -shutdown > restored stopped, rolled-back
two no-trial: run commit:vdb/after=error > shutdown overlay:vda overlay:vdb check:vda check:vdb fs:vda fs:vdb verify:vda verify:vdb save-undo:vda save-undo:vdb commit:vda -commit:vdb -commit:vda -save-undo:vdb -save-undo:vda -overlay:vdb -overlay:vda -shutdown > restored stopped, rolled-back
two early: run > snapshot snapshot-check:vda snapshot-check:vdb -snapshot shutdown overlay:vda overlay:vdb check:vda check:vdb fs:vda fs:vdb verify:vda verify:vdb switch start health pivot:vda pivot:vdb restore clean-up > done
two early: run snapshot-check:vdb/before=refuse > snapshot snapshot-check:vda -snapshot > no-space, forgotten
two early: run snapshot-check:vdb/before=kill > snapshot snapshot-check:vda > killed, opening: resume rollback ; rollback > -snapshot > rolled-back
two trial: run > shutdown overlay:vda overlay:vdb check:vda check:vdb fs:vda fs:vdb verify:vda verify:vdb switch start health pivot:vda pivot:vdb restore clean-up > done
two trial: run health/before=error > shutdown overlay:vda overlay:vdb check:vda check:vdb fs:vda fs:vdb verify:vda verify:vdb switch start -start -switch -overlay:vdb -overlay:vda -shutdown > restored stopped untouched, rolled-back
two trial: run pivot:vdb/before=error > shutdown overlay:vda overlay:vdb check:vda check:vdb fs:vda fs:vdb verify:vda verify:vdb switch start health pivot:vda > forward stopped, committing: resume ; rollback > > job-state, committing: resume ; resume > pivot:vdb restore clean-up > done
two trial: run pivot:vdb/before=kill > shutdown overlay:vda overlay:vdb check:vda check:vdb fs:vda fs:vdb verify:vda verify:vdb switch start health pivot:vda > killed, committing: resume ; resume > pivot:vdb restore clean-up > done
two manual: run > shutdown overlay:vda overlay:vdb check:vda check:vdb fs:vda fs:vdb verify:vda verify:vdb switch start health > waiting, waiting: accept rollback ; accept > pivot:vda pivot:vdb restore clean-up > done
two manual: run > shutdown overlay:vda overlay:vdb check:vda check:vdb fs:vda fs:vdb verify:vda verify:vdb switch start health > waiting, waiting: accept rollback ; rollback > -start -switch -overlay:vdb -overlay:vda -shutdown > rolled-back
two libvirt: run > shutdown overlay:vda overlay:vdb check:vda check:vdb fs:vda fs:vdb verify:vda verify:vdb switch start health pivot:vda pivot:vdb restore clean-up > done
two libvirt: run health/before=error > shutdown overlay:vda overlay:vdb check:vda check:vdb fs:vda fs:vdb verify:vda verify:vdb switch start -start -switch -overlay:vdb -overlay:vda -shutdown > restored stopped untouched, rolled-back
two libvirt: run switch/after=kill > shutdown overlay:vda overlay:vdb check:vda check:vdb fs:vda fs:vdb verify:vda verify:vdb > killed, trial: resume rollback ; rollback > -switch -overlay:vdb -overlay:vda -shutdown > rolled-back
two libvirt: run switch/before=kill > shutdown overlay:vda overlay:vdb check:vda check:vdb fs:vda fs:vdb verify:vda verify:vdb > killed, trial: resume rollback ; resume image=error > -switch -overlay:vdb -overlay:vda -shutdown > restored stopped untouched, rolled-back
two libvirt: run pivot:vda/after=kill > shutdown overlay:vda overlay:vdb check:vda check:vdb fs:vda fs:vdb verify:vda verify:vdb switch start health > killed, committing: resume ; resume > pivot:vda pivot:vdb restore clean-up > done
two off: rehearse > overlay:vda overlay:vdb check:vda check:vdb fs:vda fs:vdb verify:vda verify:vdb > cancelled unchanged, forgotten
two trial: rehearse > snapshot check:vda check:vdb fs:vda fs:vdb verify:vda verify:vdb -snapshot > cancelled unchanged, forgotten
two trial: rehearse fs:vdb/before=kill > snapshot check:vda check:vdb fs:vda > killed, opening: rollback resume ; rollback > -snapshot > cancelled unchanged, forgotten
`

// busMoves are growths of a disk that also moves to another bus, on a domain of libvirt's test
// driver.
var busMoves = `
libvirt bus: run > shutdown overlay check:sda fs:sda verify:sda write switch start health pivot:vda restore clean-up > done
libvirt bus agent: run > shutdown overlay check:sda fs:sda verify:sda write switch start health pivot:vda restore clean-up > done
libvirt bus: run health/before=error > shutdown overlay check:sda fs:sda verify:sda write switch start -start -switch -overlay -shutdown > restored stopped untouched, rolled-back
libvirt bus: run health/before=kill > shutdown overlay check:sda fs:sda verify:sda write switch start > killed, trial: resume rollback ; rollback domain-define=error > -start -switch -overlay -shutdown > rolled-back
libvirt bus: run health/before=kill > shutdown overlay check:sda fs:sda verify:sda write switch start > killed, trial: resume rollback ; resume domain-define=error > health pivot:vda restore clean-up > done
libvirt bus: run switch/before=kill > shutdown overlay check:sda fs:sda verify:sda write > killed, trial: resume rollback ; resume domain-define=error > -switch -overlay -shutdown > restored stopped untouched, rolled-back
libvirt bus: run health/before=kill > shutdown overlay check:sda fs:sda verify:sda write switch start > killed, trial: resume rollback ; resume domain-destroy=error > health pivot:vda restore clean-up > done
libvirt bus: run switch/after=kill > shutdown overlay check:sda fs:sda verify:sda write > killed, trial: resume rollback ; rollback > -switch -overlay -shutdown > rolled-back
two libvirt bus: run > shutdown overlay:vda overlay:vdb check:vda check:vdb fs:vda fs:vdb verify:vda verify:vdb write switch start health pivot:vda pivot:vdb restore clean-up > done
libvirt bus: run write/before=kill > shutdown overlay check:sda fs:sda verify:sda > killed, editing: resume rollback ; resume > overlay check:sda fs:sda verify:sda write switch start health pivot:vda restore clean-up > done
`

func TestGrowthSequences(t *testing.T) {
	jobtest.Run(t, growthSequences+twoDisks+busMoves, func(t *testing.T, line string) string {
		treated, script, _ := strings.Cut(line, ": ")
		s := newStageOf(t, treatments(treated), strings.HasPrefix(treated, "two "))
		got := s.Play(script)
		s.checkImages(t, script)
		if s.live && (strings.HasSuffix(script, "done") || strings.HasSuffix(script, "rolled-back")) {
			s.checkDomain(t, strings.HasSuffix(script, "done"), strings.Contains(script, "domain-define"))
		}
		return treated + ": " + got
	})
}

// TestTwoDisksFaults checks that an error or a crash before or after any step never
// leaves one image grown and the other not, whether the job is undone or continued.
func TestTwoDisksFaults(t *testing.T) {
	for _, treated := range []string{"two off", "two libvirt", "two libvirt no-trial"} {
		whole := newStageOf(t, treatments(treated), true)
		_, steps, _ := strings.Cut(whole.Command("run"), " > ")
		steps, _, _ = strings.Cut(steps, " > ")
		for _, step := range strings.Fields(steps) {
			for _, fault := range []string{"before=error", "after=error", "before=kill ; resume", "before=kill ; rollback", "after=kill ; resume", "after=kill ; rollback"} {
				line := fmt.Sprintf("run %s/%s ; resume", step, fault)
				t.Run(treated+": "+line, func(t *testing.T) {
					t.Parallel()
					s := newStageOf(t, treatments(treated), true)
					played := s.Play(line)
					one, other := s.images["vda"], s.images["vdb"]
					if one.Bytes != other.Bytes || one.Bytes == "torn" || one.Overlay || other.Overlay || one.Undo || other.Undo {
						t.Errorf("%s\nvda: %+v, vdb: %+v", played, *one, *other)
					}
				})
			}
		}
	}
}

// TestBusFaults checks that an error or a crash before or after any step leaves the domain
// with its disks on the new bus and grown, or on the old bus and as before.
func TestBusFaults(t *testing.T) {
	const treated = "two libvirt bus"
	whole := newStageOf(t, treatments(treated), true)
	_, steps, _ := strings.Cut(whole.Command("run"), " > ")
	steps, _, _ = strings.Cut(steps, " > ")
	for _, step := range strings.Fields(steps) {
		for _, fault := range []string{"before=error", "after=error", "before=kill ; resume", "before=kill ; rollback", "after=kill ; resume", "after=kill ; rollback"} {
			line := fmt.Sprintf("run %s/%s ; resume", step, fault)
			t.Run(line, func(t *testing.T) {
				t.Parallel()
				s := newStageOf(t, treatments(treated), true)
				played := s.Play(line)
				first := s.imageOf("vda").Bytes
				for target, i := range s.images {
					if i.Bytes != first || i.Bytes == "torn" || i.Overlay || i.Undo {
						t.Errorf("%s\n%s: %+v", played, target, *i)
					}
				}
				s.checkDomain(t, first == "new", false)
			})
		}
	}
}

// checkImages fails the test unless all images are grown, or all are as before.
func (s *stage) checkImages(t *testing.T, script string) {
	t.Helper()
	state := script[strings.LastIndexAny(script, " ")+1:]
	want, ok := map[string]string{"done": "new", "rolled-back": "old", "forgotten": "old"}[state]
	for target, i := range s.images {
		if ok && (i.Bytes != want || state != "forgotten" && (i.Overlay || i.Undo)) {
			t.Errorf("image %s: %+v, want %s", target, *i, want)
		}
	}
}

// checkDomain fails the test unless the domain runs as before and with its own definition, in
// which the disks are on their new bus if the job is done. Edits by other users are kept.
func (s *stage) checkDomain(t *testing.T, done, edited bool) {
	t.Helper()
	state, err := s.domain.State(context.Background())
	if err != nil || state != domain.Running {
		t.Errorf("the domain is %s, %v", state, err)
	}
	x, err := s.domain.XML(context.Background())
	want := string(s.original)
	if moves := s.disk.Target.Guest.Moves; done && len(moves) > 0 {
		moved, err := withMoves(s.original, slices.Clone(moves))
		if err != nil {
			t.Fatal(err)
		}
		want = string(moved)
	}
	if edited {
		want = strings.Replace(want, "</uuid>", "</uuid>\n  <title>edited</title>", 1)
	}
	left := edited && x.Alike(domain.DefinitionXML(want)) // a controller that a move has added
	if err != nil || string(x) != want && !left {
		t.Errorf("the definition is\n%s\n%v, want\n%s", x, err, want)
	}
}

// treatments returns the ways in which a guest is treated; none for an image without a
// domain. With "libvirt", the guest's steps are the real ones, on a domain of libvirt's
// test driver.
func treatments(name string) *plan.Guest {
	name, two := strings.CutPrefix(name, "two ")
	g := &plan.Guest{Name: "dev7", UUID: "6695eb01-f6a4-8304-79aa-97f2502e193f", Disk: "vda", Running: name != "off", Manual: name == "manual"}
	switch name {
	case "image":
		return nil
	case "trial", "manual", "libvirt", "libvirt agent", "libvirt bus", "libvirt bus agent":
		g.Trial = true
	case "early":
		g.Trial, g.Snapshot = true, true
	case "agent":
		g.Health.Agent, g.Health.Limit = true, 60
	}
	if strings.HasPrefix(name, "libvirt") {
		g.Health.Agent, g.Health.Limit = strings.HasSuffix(name, "agent"), 60
		g.Shutdown = []plan.ShutdownAttempt{{Method: string(domain.ByForce), Seconds: 1}}
	}
	if strings.HasPrefix(name, "libvirt bus") {
		g.Health.Command = "true"
		g.Moves = []plan.BusMove{{Disk: "vda", From: "virtio", To: "sata", Target: "sda"}}
		if two {
			g.Moves = append(g.Moves, plan.BusMove{Disk: "vdb", From: "virtio", To: "sata", Target: "sdb"})
		}
	}
	return g
}

// TestGrowthHooks checks which of the user's hooks are run, and when.
func TestGrowthHooks(t *testing.T) {
	for _, c := range []struct{ treated, command, pre, told string }{
		{"no-trial", "run", "true", "pre post"},
		{"trial", "run", "true", "pre post"},
		{"image", "run", "true", "post"},
		{"no-trial", "run fs:sda/before=error", "true", "pre on-failure"},
		{"trial", "run health/before=error", "true", "pre on-failure"},
		{"no-trial", "run start/before=error", "true", "pre on-failure"},
		{"no-trial", "run shutdown/before=error", "false", "pre"}, // without an outage
		{"no-trial", "run clean-up/before=error", "true", "pre"},  // without an undo
		{"image", "run overlay/before=error", "true", ""},
	} {
		t.Run(c.treated+" "+c.command, func(t *testing.T) {
			s := newStage(t, treatments(c.treated))
			told := filepath.Join(t.TempDir(), "told")
			tell := "echo $VIRT_GROW_PHASE >> " + told
			s.hooks = Hooks{Pre: tell + "; " + c.pre, Post: tell, OnFailure: tell}
			s.Command(c.command)
			text, err := os.ReadFile(told)
			if got := strings.Join(strings.Fields(string(text)), " "); got != c.told {
				t.Errorf("%q, %v; want %q", got, err, c.told)
			}
		})
	}
}

// stage is an image in memory with a growth on it.
type stage struct {
	*jobtest.Player
	disk   *disk.Disk
	layout *plan.Layout
	images map[string]*applytest.Image // by the names in the steps
	guest  *applytest.Guest            // nil for an image without a domain
	domain *domain.Domain              // in libvirt's test driver
	live   bool                        // the guest's steps are the real ones
	// original is the domain's definition before the growth.
	original domain.DefinitionXML
	// inhibited is how many locks keep the host up.
	inhibited int
	hooks     Hooks
}

func newStage(t *testing.T, treated *plan.Guest) *stage { return newStageOf(t, treated, false) }

// newStageOf returns a stage with one disk, or with two disks of one guest.
func newStageOf(t *testing.T, treated *plan.Guest, two bool) *stage {
	t.Helper()
	s := &stage{Player: jobtest.New(t, nil), images: map[string]*applytest.Image{}}
	dir, content := t.TempDir(), plan.Content{Type: "xfs", Size: size.GiB}
	s.disk = stagedDisk(t, filepath.Join(dir, "a.raw"), "vda")
	s.disk.Target.Guest = treated
	s.layout = &plan.Layout{DiskLayout: plan.DiskLayout{Size: size.GiB, Sector: 512}, Devices: []plan.Device{
		{Name: "sda", Kind: plan.Disk, Size: size.GiB, Content: content}}}
	if two {
		s.disk.Join(stagedDisk(t, filepath.Join(dir, "b.raw"), "vdb"))
		s.layout.Disk, s.layout.Devices[0].Name = "vda", "vda"
		s.layout.More = []plan.DiskLayout{{Disk: "vdb", Size: size.GiB, Sector: 512}}
		s.layout.Devices = append(s.layout.Devices, plan.Device{Name: "vdb", Kind: plan.Disk, Size: size.GiB, Content: content})
	}
	for _, img := range s.disk.Target.Images() {
		s.images[img.Disk] = &applytest.Image{Old: size.GiB, Bytes: "old"}
	}
	if treated != nil {
		var err error
		for _, d := range s.disk.All() {
			treated.Disks = append(treated.Disks, plan.TrialDisk{Target: d.Def.Target, Path: d.Path, Format: "raw"})
		}
		s.guest = &applytest.Guest{Image: s.imageOf("vda"), More: s.images, Runs: treated.Running, WasRunning: treated.Running}
		s.domain, s.live = testDomain(t, treated), len(treated.Shutdown) > 0
		if s.original, err = s.domain.XML(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	s.Engine.Kinds = job.Kinds{Kind: s.open, KindBus: s.open, KindRehearsal: s.openRehearsal}
	s.Engine.Emit = s.emit
	s.Engine.Inhibit = func(string) (func(), error) {
		s.inhibited++
		return func() { s.inhibited-- }, nil
	}
	t.Cleanup(func() {
		if s.inhibited != 0 {
			t.Errorf("%d locks still keep the host up", s.inhibited)
		}
	})
	s.Start = s.grow
	return s
}

// stagedDisk is an image without a domain.
func stagedDisk(t *testing.T, path, target string) *disk.Disk {
	t.Helper()
	if err := os.WriteFile(path, []byte("image"), 0o600); err != nil {
		t.Fatal(err)
	}
	stamp, err := image.StampOf(path)
	if err != nil {
		t.Fatal(err)
	}
	return &disk.Disk{Def: domain.Disk{Target: target},
		Image: &image.Image{Target: plan.Target{Path: path, Format: "raw", SectorSize: 512}, Size: size.GiB, Stamp: stamp}}
}

// imageOf returns the image of a disk of the domain.
func (s *stage) imageOf(target string) *applytest.Image {
	if alone := s.images[""]; alone != nil {
		return alone
	}
	return s.images[target]
}

// emit records the steps in the trace.
func (s *stage) emit(e apply.Event) {
	away := []plan.StepKind{plan.StepShutdown, plan.StepSwitch, plan.StepStart, plan.StepHealth, plan.StepPivot, plan.StepRestore}
	if slices.Contains(away, e.Step.Kind) && s.inhibited != 1 {
		s.Did(fmt.Sprintf("%d locks in %s", s.inhibited, e.Step.ID()))
	}
	if s.guest == nil && s.inhibited != 0 {
		s.Did("inhibited for an image")
	}
	switch e.Phase {
	case apply.Finished:
		s.Did(e.Step.ID())
	case apply.Undone:
		s.Did("-" + e.Step.ID())
	}
}

// grow begins a growth.
func (s *stage) grow(ctx context.Context, command string) (*job.Outcome, error) {
	o := Options{Keep: command == "keep", Hooks: s.hooks}
	if command == "limited" {
		o.CheckLimit = 1
	}
	if command == "ask" {
		o.Confirm = func(ctx context.Context, _ *plan.Plan) error { return s.Fault(ctx, "answer") }
	}
	if command == "admit" {
		o.Admit = func(ctx context.Context, _ *plan.Plan) error {
			s.Did("admit")
			return s.Fault(ctx, "admit")
		}
	}
	kind, work := Kind, func(g *growth) job.Work { return s.fake(g) }
	if guest := s.disk.Target.Guest; guest != nil && len(guest.Moves) > 0 {
		kind = KindBus
	}
	if strings.HasPrefix(command, "rehearse") {
		q := RehearseOptions{Quiesce: "auto", Guard: func(string, string) (func(bool), error) { return func(bool) {}, nil }}
		if command == "rehearse-frozen" {
			q.Quiesce = "yes"
		}
		kind, work = KindRehearsal, func(g *growth) job.Work { return &rehearsal{s.fake(g).growth, q, &Rehearsal{}} }
	}
	r := plan.Request{Size: plan.Amount{Mode: plan.Relative, Bytes: size.GiB}}
	for _, d := range s.disk.More {
		r.More = append(r.More, plan.DiskSize{Disk: d.Def.Target, Size: r.Size})
	}
	sizes, err := newSizes(s.disk, r)
	if err != nil {
		return nil, err
	}
	spec, err := growthSpec(ctx, kind, s.disk, r, sizes, o, work)
	if err != nil {
		return nil, err
	}
	return s.Engine.Run(ctx, spec)
}

func (s *stage) open(j *job.Job) (job.Work, error) {
	w, err := Open(Options{})(j)
	return s.fake(w.(*growth)), err
}

func (s *stage) openRehearsal(j *job.Job) (job.Work, error) {
	w, err := OpenRehearsal(Options{})(j)
	r := w.(*rehearsal)
	return &stagedRehearsal{r, s.fake(r.growth)}, err
}

// stagedRehearsal is a rehearsal that needs no libvirt.
type stagedRehearsal struct {
	*rehearsal
	staged *stagedGrowth
}

func (r *stagedRehearsal) Connect(ctx context.Context) error { return r.staged.Connect(ctx) }

func (r *stagedRehearsal) Disconnect() error { return nil }

// stagedSnapshot records what a rehearsal does to a running guest. Libvirt's test driver
// has neither such snapshots nor an agent.
type stagedSnapshot struct{ *stage }

func (d *stagedSnapshot) State(ctx context.Context) (domain.State, error) { return d.domain.State(ctx) }

func (d *stagedSnapshot) PlaceSocket(name string) (string, error) {
	return filepath.Join(filepath.Dir(d.disk.Path), name), nil
}

func (d *stagedSnapshot) BeginSnapshot(ctx context.Context, v domain.DiskSnapshot) error {
	d.Did("snapshot")
	return errors.Join(os.WriteFile(v.Scratch, nil, 0o600), d.Fault(ctx, "snapshot"))
}

func (d *stagedSnapshot) EndSnapshot(context.Context, domain.DiskSnapshot) error {
	d.Did("-snapshot")
	return nil
}

func (d *stagedSnapshot) Freeze(ctx context.Context) error {
	d.Did("freeze")
	return d.Fault(ctx, "freeze")
}

func (d *stagedSnapshot) Thaw(ctx context.Context) error {
	d.Did("thaw")
	return d.Fault(ctx, "thaw")
}

// fake makes a growth work on the stage.
func (s *stage) fake(g *growth) *stagedGrowth {
	g.steps.Overlays = apply.Overlays{}
	for _, e := range g.edited {
		g.steps.Overlays[e.Target] = &stagedImage{s.images[e.Target], e.Files}
	}
	g.start = func(context.Context) (editSession, error) { return &stagedSession{s}, nil }
	switch {
	case s.live:
		g.useDomain(s.domain)
		g.steps.Guest = &hostGuest{g, &trialOnTestDriver{s.domain, s}}
	case s.guest != nil:
		g.useDomain(s.domain)
		g.steps.Guest = &stagedGuest{s.guest, s}
	}
	g.live = &stagedSnapshot{s}
	return &stagedGrowth{g, s}
}

// stagedGrowth is a growth that needs no libvirt.
type stagedGrowth struct {
	*growth
	stage *stage
}

// Connect first makes the changes of other programs: "image" writes to the image, and
// "domain-…" changes the domain.
func (g *stagedGrowth) Connect(ctx context.Context) error {
	d := g.stage.domain
	for what, act := range map[string]func() error{
		"image":          func() error { return os.Chtimes(g.Target().Path, time.Time{}, time.Now().Add(time.Hour)) },
		"domain-start":   func() error { return d.Start(ctx) },
		"domain-destroy": func() error { return d.Destroy(ctx) },
		"domain-define": func() error {
			x, err := d.XML(ctx)
			edited := strings.Replace(string(x), "</uuid>", "</uuid><title>edited</title>", 1)
			return errors.Join(err, d.Define(ctx, domain.DefinitionXML(edited)))
		},
	} {
		if g.stage.Fault(ctx, what) != nil {
			return act()
		}
	}
	return nil
}

func (g *stagedGrowth) Disconnect() error { return nil }

// stagedImage also implements the files that a growth deletes and syncs itself.
type stagedImage struct {
	*applytest.Image
	files block.Overlay
}

func (i *stagedImage) CreateOverlay(ctx context.Context, to size.Bytes) error {
	return errors.Join(i.Image.CreateOverlay(ctx, to), os.WriteFile(i.files.Path, nil, 0o600))
}

func (i *stagedImage) DropOverlay(ctx context.Context) error {
	return errors.Join(i.Image.DropOverlay(ctx), i.files.Drop())
}

func (i *stagedImage) SaveUndo(ctx context.Context) error {
	return errors.Join(i.Image.SaveUndo(ctx), os.WriteFile(i.files.Undo, nil, 0o600))
}

func (i *stagedImage) DropUndo(ctx context.Context) error {
	return errors.Join(i.Image.DropUndo(ctx), i.files.DropUndo())
}

// stagedSession reads and edits the stage's layout.
type stagedSession struct{ *stage }

func (s *stagedSession) Attach(context.Context, ...string) error                 { return nil }
func (s *stagedSession) AttachReadOnly(context.Context, int, *image.Image) error { return nil }
func (s *stagedSession) Detach(context.Context) error                            { return nil }
func (s *stagedSession) Close() error                                            { return nil }
func (s *stagedSession) Editor(...block.Overlay) apply.Editor {
	e := applytest.NewEditor(s.layout, 2*size.GiB)
	for _, d := range e.Layout.Disks() {
		device, _ := e.Layout.Find(d.Name())
		device.Size = 2 * size.GiB
	}
	return e
}
func (s *stagedSession) Read(context.Context, session.Inspection, ...size.Bytes) (*plan.Layout, error) {
	return s.layout.Clone(), nil
}

func (s *stagedSession) ReadAtRest(context.Context, session.Inspection, ...size.Bytes) (*plan.Layout, error) {
	return s.layout.Clone(), nil
}

func (s *stagedSession) FindForBus(context.Context, plan.Target) (*plan.BusFindings, error) {
	return &plan.BusFindings{Files: []plan.FileEdit{{Path: "/etc/fstab", Before: []byte("/dev/vda"), After: []byte("UUID=1")}}}, nil
}

func (s *stagedSession) ReadAgain(context.Context, *plan.Layout, []string) (*plan.Layout, error) {
	return s.layout.Clone(), nil
}

// stagedGuest is a guest with a domain in libvirt, because the growth reads the domain's
// state.
type stagedGuest struct {
	*applytest.Guest
	stage *stage
}

// follow gives the domain the guest's state.
func (g *stagedGuest) follow(ctx context.Context, err error) error {
	state, asked := g.stage.domain.State(ctx)
	if err != nil || asked != nil || (state == domain.Running) == g.Runs {
		return errors.Join(err, asked)
	}
	if g.Runs {
		return g.stage.domain.Start(ctx)
	}
	return g.stage.domain.Destroy(ctx)
}

func (g *stagedGuest) ShutDown(ctx context.Context) error {
	return g.follow(ctx, g.Guest.ShutDown(ctx))
}
func (g *stagedGuest) Start(ctx context.Context) error { return g.follow(ctx, g.Guest.Start(ctx)) }
func (g *stagedGuest) Stop(ctx context.Context) error  { return g.follow(ctx, g.Guest.Stop(ctx)) }

func (g *stagedGuest) StartAgain(ctx context.Context) error {
	return g.follow(ctx, g.Guest.StartAgain(ctx))
}

func (g *stagedGuest) Pivot(ctx context.Context, target string) error {
	if g.stage.Fault(ctx, "libvirt") != nil {
		return domain.ErrNotBegun
	}
	return g.Guest.Pivot(ctx, target)
}

// trialOnTestDriver implements what libvirt's test driver lacks: it puts a disk on an
// overlay, and commits the overlay while the guest runs.
type trialOnTestDriver struct {
	*domain.Domain
	stage *stage
}

func (d *trialOnTestDriver) Redirect(ctx context.Context, overlays []domain.Overlay) error {
	var errs []error
	for i, o := range overlays {
		errs = append(errs, d.replace(ctx, d.stage.disk.All()[i].Path, o.Path))
	}
	return errors.Join(errs...)
}

func (d *trialOnTestDriver) CommitLive(ctx context.Context, target, image string, _ func(done, all uint64)) error {
	if d.stage.Fault(ctx, "libvirt") != nil {
		return domain.ErrNotBegun
	}
	def, err := d.Read(ctx)
	if err != nil {
		return err
	}
	for _, m := range d.stage.disk.Target.Guest.Moves {
		if m.Target == target {
			target = m.Disk // the images have the names in the steps
		}
	}
	d.stage.imageOf(target).Bytes = "new"
	return d.replace(ctx, def.SourceOf(target), image)
}

func (d *trialOnTestDriver) Wake(context.Context) error { return nil }

func (d *trialOnTestDriver) Ping(context.Context) error { return nil }

func (d *trialOnTestDriver) FileSystems(ctx context.Context) ([]domain.FS, error) {
	return []domain.FS{{MountPoint: "/", Type: "xfs", Total: 2 * size.GiB}}, d.stage.Fault(ctx, "agent")
}

func (d *trialOnTestDriver) replace(ctx context.Context, from, to string) error {
	x, err := d.XML(ctx)
	if err != nil {
		return err
	}
	return d.Define(ctx, domain.DefinitionXML(strings.ReplaceAll(string(x), "'"+from+"'", "'"+to+"'")))
}

// testDomain returns a domain in a libvirt test driver of its own.
func testDomain(t *testing.T, g *plan.Guest) *domain.Domain {
	t.Helper()
	var disks strings.Builder
	for _, d := range g.Disks {
		fmt.Fprintf(&disks, "<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='%s'/><target dev='%s' bus='virtio'/></disk>", d.Path, d.Target)
	}
	host := filepath.Join(t.TempDir(), "host.xml")
	text := fmt.Sprintf("<node><domain type='test'><name>%s</name><uuid>%s</uuid><memory>8192</memory><os><type>hvm</type></os><devices>%s<controller type='pci' index='0' model='pci-root'/></devices></domain></node>", g.Name, g.UUID, &disks)
	if err := os.WriteFile(host, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	conn, err := domain.Connect("test://" + host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	d, err := conn.Find(context.Background(), g.UUID)
	if err == nil && !g.Running {
		err = d.Destroy(context.Background())
	}
	if err != nil {
		t.Fatal(err)
	}
	return d
}
