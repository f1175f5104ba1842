package growth

import (
	"fmt"
	"strings"
	"time"

	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/journal"
)

// Describe describes the state of the job for people.
func (g *growth) Describe(r journal.Record, active bool) string {
	guest := g.Guest()
	commit := g.commitBegun(r)
	switch {
	case r.State == journal.Finished && guest != nil && len(guest.Moves) > 0:
		return "The disk is on its new bus; the changes are in the image."
	case r.State == journal.Finished:
		return "The disk is grown; the changes are in the image."
	case r.State == journal.RolledBack:
		return "The job was rolled back: the image is as it was before."
	case r.State == journal.Cancelled:
		return "The job was ended before anything was done."
	case r.State == journal.Waiting && guest != nil:
		return describeTrial(r, guest)
	case r.State == journal.Waiting:
		return "The overlay is complete and verified, and the image is untouched. The job waits for accept or rollback."
	case active:
		return describeRunning(r, commit)
	case isPivoting(r):
		return "The job was interrupted while the guest's overlay was committed. The guest can keep running, and nothing is lost; only resume finishes the job."
	case r.State == journal.Trial:
		return "The job was interrupted in the trial" + job.At(r) + ". The guest uses an overlay, or was about to; its image is untouched."
	case r.State == journal.Committing && commit:
		return "The job was interrupted while the overlay was committed into the image. The image may be partly written: do not start the guest before this job is finished or rolled back. Both are safe: the overlay and the saved bytes exist."
	case r.State == journal.Committing:
		return "The job was interrupted just before the commit. The image is untouched."
	case r.State == journal.Editing && guest != nil && guest.Running:
		return "The job was interrupted in the outage of " + guest.Name + job.At(r) + "; the guest may be off now. Its image is untouched: resume starts the edit again, rollback starts the guest from its image."
	case r.State == journal.Editing:
		return "The job was interrupted while the overlay was edited" + job.At(r) + ". The image is untouched; resume creates the overlay again."
	case g.Header().Agreed:
		return "The job was interrupted while it read the image. The image is untouched."
	}
	return "The job was interrupted while it read the image, before its plan was confirmed. The image is untouched."
}

// describeTrial describes a trial that waits for the user's decision.
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
		return "The job is running: the overlay is being committed into the image. Do not start the guest."
	case r.State == journal.Opening:
		return "The job is running: it reads the image, or waits for confirmation. The image is untouched."
	}
	return "The job is running: the overlay is being edited" + job.At(r) + ". The image is untouched."
}

// DescribeDamaged says what the user can do about a growth whose journal is damaged, using
// the plan.
func DescribeDamaged(id string, saved *plan.Plan) string {
	var text strings.Builder
	for i, img := range saved.Target.Images() {
		base := img.Path
		if i > 0 {
			base += "." + img.Disk
		}
		base += ".virt-grow-" + id
		fmt.Fprintf(&text, " If %s.undo.qcow2 does not exist (or is not in the directory given with --scratch-dir), the commit had not begun and the image is untouched: delete the overlay %s.qcow2, if it exists, and move the job's directory away with accept --as-is."+
			" If it exists, the image may be partly written: keep all three files, do not start the guest, and restore the saved bytes with qemu-img rebase -u -b %s -F %s and qemu-img commit on a copy of them.",
			base, base, img.Path, img.Format)
	}
	return text.String()
}
