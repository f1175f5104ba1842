package guest

import (
	"bytes"
	"context"
	"slices"

	"github.com/virt-grow/virt-grow/guest/disk"
	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/guest/image"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/fstab"
)

// prepareFstab looks into a guest that is off, and prepares a change of its fstab.
// extra, if not nil, is a disk that it is to get. change is given the file systems
// on the disk of that target, and the text. The appliance stays, for the job; the
// caller closes it in the end.
func (p *fstabVisit) prepare(ctx context.Context, o *Options, change func([]plan.Content, []byte) ([]byte, error)) (*fileChange, error) {
	if err := p.disks.CheckOff(); err != nil {
		return nil, err
	}
	if o.Note != nil {
		o.Note("starting the appliance")
	}
	var err error
	if p.visit, err = enter(ctx, p.disks, o.Session); err != nil {
		return nil, err
	}
	if err := p.visit.awake(ctx); err != nil {
		return nil, err
	}
	var found []plan.Content
	if i := slices.IndexFunc(p.visit.drives, func(d drive) bool { return d.Target == p.target }); i >= 0 {
		if found, err = p.visit.app.On(ctx, i); err != nil {
			return nil, err
		}
	}
	if err := p.visit.openTree(ctx, ""); err != nil {
		return nil, err
	}
	c, err := p.visit.editText(ctx, fstabPath, func(text []byte) ([]byte, error) { return change(found, text) })
	if err != nil || c == nil {
		return nil, err
	}
	c.Scratch, o.visit = o.Scratch, p.visit
	return c, nil
}

// fstabVisit is an appliance with the disks of a guest whose fstab is to change.
type fstabVisit struct {
	disks  *disk.Set
	target string
	visit  *visit
}

// newFstabVisit opens the domain's disks, and the image that is to become one, if
// there is one. target names the disk whose file systems matter.
func newFstabVisit(ctx context.Context, d *domain.Domain, target string, extra *image.Image) (*fstabVisit, error) {
	disks, err := disk.OpenDomainSet(ctx, d, 0)
	if err != nil {
		return nil, err
	}
	if extra != nil {
		def := domain.Disk{Target: target, Device: "disk", Format: extra.Format, Source: extra.Path}
		disks.Disks = append(disks.Disks, &disk.Disk{Image: extra, Domain: d, Def: def})
	}
	return &fstabVisit{disks: disks, target: target}, nil
}

func (p *fstabVisit) close() error {
	if p == nil {
		return nil
	}
	return p.visit.close() // the domain's connection is the caller's
}

// entryOn is the line for the only file system that can be mounted.
func (m *mounting) entryOn(device string, found []plan.Content) (fstab.Entry, error) {
	found = slices.DeleteFunc(slices.Clone(found), func(c plan.Content) bool {
		return !isOneOf(c.Type, mountable...) || !validUUID.MatchString(c.UUID)
	})
	if len(found) != 1 {
		return fstab.Entry{}, notOne(device, len(found))
	}
	return fstab.For(found[0].UUID, found[0].Type, m.Path, m.Options), nil
}

// addOffline completes the change of the fstab of a guest that is off: the file
// system may just have been made. The steps that follow carry it out.
func (m *mountJob) addOffline() error {
	if m.Entry == (fstab.Entry{}) {
		var err error
		if m.Entry, err = m.entryOn(m.facts.Target.Path, m.content()); err != nil {
			return err
		}
	}
	text, err := fstab.Add(m.Change.Old, m.Entry)
	if err != nil {
		return err
	}
	m.Change.New = text
	m.file.Files[0].Text, m.file.Files[0].Is = text, sum(text)
	return m.keep()
}

// withoutUUIDs takes the lines of some file systems out of an fstab.
func withoutUUIDs(text []byte, found []plan.Content) ([]byte, []fstab.Entry, error) {
	var gone []fstab.Entry
	left := bytes.Clone(text)
	for _, e := range fstab.Entries(text) {
		if !slices.ContainsFunc(found, func(c plan.Content) bool {
			return c.UUID != "" && fstab.SameSpec(e.Spec, "UUID="+c.UUID) || c.Label != "" && fstab.SameSpec(e.Spec, "LABEL="+c.Label)
		}) {
			continue
		}
		var err error
		if left, err = fstab.Remove(left, e); err != nil {
			return nil, nil, err
		}
		gone = append(gone, e)
	}
	return left, gone, nil
}
