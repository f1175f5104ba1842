package domain

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"slices"
	"strings"

	"libvirt.org/go/libvirt"

	"github.com/virt-grow/virt-grow/guest/poll"
)

// blockJobs points a disk to an overlay, and commits the overlay.
type blockJobs interface {
	Snapshot(xml string, flags libvirt.DomainSnapshotCreateFlags) error
	BlockCommit(disk, base, top string, bandwidth uint64, flags libvirt.DomainBlockCommitFlags) error
	BlockJobAbort(disk string, flags libvirt.DomainBlockJobAbortFlags) error
	GetBlockJobInfo(disk string, flags libvirt.DomainBlockJobInfoFlags) (*libvirt.DomainBlockJobInfo, error)
}

// Overlay is a qcow2 file that was created for one disk.
type Overlay struct{ Target, Path string }

// Redirect points the disks of a domain that is off to overlays. It uses libvirt's
// snapshot call, which changes only the sources of the disks in the definition.
func (d *Domain) Redirect(ctx context.Context, overlays []Overlay) error {
	def, err := d.Read(ctx)
	if err != nil {
		return err
	}
	request := snapshotXML(def, overlays)
	flags := libvirt.DOMAIN_SNAPSHOT_CREATE_DISK_ONLY | libvirt.DOMAIN_SNAPSHOT_CREATE_REUSE_EXT |
		libvirt.DOMAIN_SNAPSHOT_CREATE_NO_METADATA
	return d.call(ctx, func(l handle) error { return l.Snapshot(request, flags) })
}

// snapshotXML returns the request, which leaves all other disks out.
func snapshotXML(def Definition, overlays []Overlay) string {
	var b strings.Builder
	b.WriteString("<domainsnapshot><disks>")
	for _, disk := range def.Disks {
		i := slices.IndexFunc(overlays, func(o Overlay) bool { return o.Target == disk.Target })
		if i < 0 {
			fmt.Fprintf(&b, "<disk name='%s' snapshot='no'/>", escaped(disk.Target))
			continue
		}
		fmt.Fprintf(&b, "<disk name='%s' snapshot='external' type='file'><driver type='qcow2'/><source file='%s'/></disk>",
			escaped(disk.Target), escaped(overlays[i].Path))
	}
	b.WriteString("</disks></domainsnapshot>")
	return b.String()
}

func escaped(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a strings.Builder never fails
	return b.String()
}

// SourceOf returns the file or device of a disk, "" if there is no such disk.
func (def Definition) SourceOf(target string) string {
	for _, disk := range def.Disks {
		if disk.Target == target {
			return disk.Source
		}
	}
	return ""
}

// CommitLive commits a running guest's overlay into its backing image and pivots the guest
// to that image. It continues a commit that was begun before, and does nothing if the disk
// is on the image already. said is called with the progress.
func (d *Domain) CommitLive(ctx context.Context, target, image string, said func(done, all uint64)) error {
	live, err := d.Live(ctx)
	if err != nil {
		return err
	}
	if live.SourceOf(target) == image {
		return nil
	}
	if err := d.beginCommit(ctx, target, image); err != nil {
		return err
	}
	w := poll.Wait{For: "the live commit of " + target, Every: d.conn.pace.commit}
	return poll.Until(ctx, w, func() (bool, error) {
		info, err := d.blockJob(ctx, target)
		if err != nil {
			return false, err
		}
		if info == nil || info.Type == libvirt.DOMAIN_BLOCK_JOB_TYPE_UNKNOWN {
			return true, d.pivoted(ctx, target, image)
		}
		said(info.Cur, info.End)
		if info.Cur != info.End || info.End == 0 {
			return false, nil
		}
		return d.pivot(ctx, target, image)
	})
}

// beginCommit starts the job unless one runs on the disk already. SHALLOW commits into the
// overlay's backing image, not into the last image of the chain.
func (d *Domain) beginCommit(ctx context.Context, target, image string) error {
	info, err := d.blockJob(ctx, target)
	if err != nil {
		return err
	}
	if info != nil && info.Type == libvirt.DOMAIN_BLOCK_JOB_TYPE_ACTIVE_COMMIT {
		return nil
	}
	if err := allowCommit(profiles, d.UUID, image); err != nil {
		return fmt.Errorf("%w: %w", ErrNotBegun, err)
	}
	flags := libvirt.DOMAIN_BLOCK_COMMIT_ACTIVE | libvirt.DOMAIN_BLOCK_COMMIT_SHALLOW
	refused := d.call(ctx, func(l handle) error { return l.BlockCommit(target, "", "", 0, flags) })
	if refused == nil {
		return nil
	}
	// A call whose answer was lost may have begun the commit.
	if info, err = d.blockJob(ctx, target); err != nil {
		return err
	}
	if info != nil && info.Type == libvirt.DOMAIN_BLOCK_JOB_TYPE_ACTIVE_COMMIT {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrNotBegun, refused)
}

// ErrNotBegun means that libvirt refused the live commit and that nothing was written.
var ErrNotBegun = errors.New("the live commit did not begin")

func (d *Domain) blockJob(ctx context.Context, target string) (*libvirt.DomainBlockJobInfo, error) {
	return ask(ctx, d, func(l handle) (*libvirt.DomainBlockJobInfo, error) { return l.GetBlockJobInfo(target, 0) })
}

// pivot ends the job and moves the guest to the image. It returns false if the job is not
// ready.
func (d *Domain) pivot(ctx context.Context, target, image string) (bool, error) {
	err := d.call(ctx, func(l handle) error { return l.BlockJobAbort(target, libvirt.DOMAIN_BLOCK_JOB_ABORT_PIVOT) })
	if isCode(err, libvirt.ERR_BLOCK_COPY_ACTIVE) {
		return false, nil
	}
	now := d.pivoted(ctx, target, image)
	if err == nil || now == nil { // a pivot whose answer was lost fails when it is repeated
		return true, now
	}
	return false, err
}

// pivoted returns an error unless the guest uses the image now.
func (d *Domain) pivoted(ctx context.Context, target, image string) error {
	live, err := d.Live(ctx)
	if err != nil {
		return err
	}
	if now := live.SourceOf(target); now != image {
		return fmt.Errorf("the live commit of %s ended without a pivot to %s: the guest uses %s", target, image, now)
	}
	return nil
}
