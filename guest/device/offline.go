package device

import (
	"bytes"
	"context"
	"slices"

	"github.com/virt-grow/virt-grow/guest/disk"
	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/guest/files"
	"github.com/virt-grow/virt-grow/guest/image"
	"github.com/virt-grow/virt-grow/guest/inside"
	"github.com/virt-grow/virt-grow/guest/session"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/fstab"
)

// prepare reads the fstab of a guest that is off, in an appliance, and prepares a change
// of it. change is given the file systems on the disk of the target, and the text. The
// appliance keeps running for the job; the caller must close it.
func (p *offlineFstab) prepare(ctx context.Context, o Options, change func([]plan.Content, []byte) ([]byte, error)) (*files.Change, error) {
	var err error
	if p.session, err = files.StartSession(ctx, p.disks, o.Options); err != nil {
		return nil, err
	}
	var found []plan.Content
	if i := slices.IndexFunc(p.disks.Disks, func(d *disk.Disk) bool { return d.Def.Target == p.target }); i >= 0 {
		if found, err = p.session.Appliance.On(ctx, i); err != nil {
			return nil, err
		}
	}
	if err := p.session.OpenTree(ctx, ""); err != nil {
		return nil, err
	}
	c, err := p.session.EditText(ctx, fstab.Path, func(text []byte) ([]byte, error) { return change(found, text) })
	if err != nil || c == nil {
		return nil, err
	}
	c.Scratch = o.Scratch
	return c, nil
}

// offlineFstab is an appliance with the disks of a guest that is off, whose fstab is to
// change.
type offlineFstab struct {
	disks   *disk.Set
	target  string
	session *files.Session
}

// openOfflineFstab opens the domain's disks, and extra, an image that is to become one,
// if it is not nil. target names the disk whose file systems matter.
func openOfflineFstab(ctx context.Context, d *domain.Domain, target string, extra *image.Image) (*offlineFstab, error) {
	disks, err := disk.OpenDomainSet(ctx, d, 0)
	if err != nil {
		return nil, err
	}
	if extra != nil {
		def := domain.Disk{Target: target, Device: "disk", Format: extra.Format, Source: extra.Path}
		disks.Disks = append(disks.Disks, &disk.Disk{Image: extra, Domain: d, Def: def})
	}
	return &offlineFstab{disks: disks, target: target}, nil
}

// prepared returns the session that a job takes over; nil if the guest's fstab does not
// change.
func (p *offlineFstab) prepared() *session.Session {
	if p == nil || p.session == nil {
		return nil
	}
	return p.session.Session
}

func (p *offlineFstab) close() error {
	if p == nil {
		return nil
	}
	return p.session.Close() // the domain's connection is the caller's
}

// addLineOffline completes the change of the fstab of a guest that is off: the file
// system may just have been made. The steps that follow make the change.
func (m *mountJob) addLineOffline() error {
	if m.Entry == (fstab.Entry{}) {
		var err error
		if m.Entry, err = inside.EntryFor(m.Target().Path, m.content(), m.Path, m.Options); err != nil {
			return err
		}
	}
	text, err := fstab.Add(m.Change.Old, m.Entry)
	if err != nil {
		return err
	}
	m.Change.New = text
	m.file.Files[0].SetText(text)
	return m.save()
}

// withoutFileSystems removes the lines of some file systems from an fstab, and returns
// them.
func withoutFileSystems(text []byte, found []plan.Content) (left []byte, removed []fstab.Entry, err error) {
	var specs []string
	for _, c := range found {
		if c.UUID != "" {
			specs = append(specs, "UUID="+c.UUID)
		}
		if c.Label != "" {
			specs = append(specs, "LABEL="+c.Label)
		}
	}
	removed = fstab.Naming(text, specs...)
	left, err = fstab.RemoveAll(bytes.Clone(text), removed)
	return left, removed, err
}
