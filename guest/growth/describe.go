package growth

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/journal"
)

// Describe says in plain words what the job is at.
func (g *growth) Describe(r journal.Record, active bool) string {
	guest := g.Guest()
	commit := g.commitBegun(r)
	switch {
	case r.State == journal.Finished:
		return "The disk is grown; the changes are in the image."
	case r.State == journal.RolledBack:
		return "It was rolled back: the image is as it was before."
	case r.State == journal.Cancelled:
		return "It was given up before anything was done."
	case r.State == journal.Waiting && guest != nil:
		return describeTrial(r, guest)
	case r.State == journal.Waiting:
		return "The overlay is complete and verified, and the image is untouched. Somebody has to decide."
	case active:
		return describeRunning(r, commit)
	case isPivoting(r):
		return "It ended while the guest's overlay was committed. The guest can go on running; only resume goes on from here, and nothing is lost meanwhile."
	case r.State == journal.Trial:
		return "It ended in the trial" + job.At(r) + ". The guest is on an overlay, or about to be; its image is untouched."
	case r.State == journal.Committing && commit:
		return "It ended while the overlay was being written into the image. The image may be partly written: do not start the guest before this job is finished or rolled back. Both are safe: the overlay and the saved bytes are here."
	case r.State == journal.Committing:
		return "It ended just before the commit. The image is untouched."
	case r.State == journal.Editing && guest != nil && guest.Running:
		return "It ended in the outage of " + guest.Name + job.At(r) + ", which may be off now. Its image is untouched: resume begins the edit again, rollback starts the guest from it."
	case r.State == journal.Editing:
		return "It ended while the overlay was edited" + job.At(r) + ". The image is untouched; the overlay is made again when the job is resumed."
	case g.Header().Agreed:
		return "It ended while it looked at the image. The image is untouched."
	}
	return "It ended while it looked at the image; its plan was not confirmed. The image is untouched."
}

// describeTrial returns what is at stake in a trial that a person has to decide.
func describeTrial(r journal.Record, g *plan.Guest) string {
	text := fmt.Sprintf("%s passed its health check and runs on overlays since %s (%s); its images are untouched. Accept commits them while it runs. A rollback restarts it from its images: everything it wrote since then is lost.",
		g.Name, r.Changed.Format(time.DateTime), time.Since(r.Changed).Round(time.Second))
	if len(g.Unprotected) > 0 {
		text += " What it wrote to " + strings.Join(g.Unprotected, ", ") + " stays."
	}
	return text
}

func describeRunning(r journal.Record, commit bool) string {
	switch {
	case commit:
		return "It runs: the overlay is being written into the image. Do not start the guest."
	case r.State == journal.Opening:
		return "It runs: it looks at the image, or waits for an answer. The image is untouched."
	}
	return "It runs: the overlay is being edited" + job.At(r) + ". The image is untouched."
}

// DescribeDamaged returns what a person can do about a growth whose journal is damaged, by
// its plan.
func DescribeDamaged(id string, saved *plan.Plan) string {
	base := filepath.Join(filepath.Dir(saved.Target.Path), filepath.Base(saved.Target.Path)+".virt-grow-"+id)
	return fmt.Sprintf(" If %s.undo.qcow2 is not there (or wherever --scratch-dir pointed), the commit had not begun and the image is untouched: delete the overlay %s.qcow2, if it is there, and move the folder away."+
		" If it is there, the image may be partly written: keep all three files, do not start the guest, and put the saved bytes back with qemu-img rebase -u -b %s -F %s and qemu-img commit on a copy of them.",
		base, base, saved.Target.Path, saved.Target.Format)
}
