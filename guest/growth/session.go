package growth

import (
	"context"

	"github.com/virt-grow/virt-grow/guest/block"
	"github.com/virt-grow/virt-grow/guest/image"
	"github.com/virt-grow/virt-grow/guest/session"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/apply"
	"github.com/virt-grow/virt-grow/plan/size"
)

// editSession is what a growth needs of the session in which it reads and edits a disk.
type editSession interface {
	// Attach attaches the overlays, AttachReadOnly the images of a running guest; Detach
	// flushes everything and empties the drives.
	Attach(ctx context.Context, overlays ...string) error
	AttachReadOnly(ctx context.Context, i int, img *image.Image) error
	Detach(ctx context.Context) error
	// Read reads the disk, ReadAtRest one that does not change, ReadAgain only what may
	// have changed since.
	Read(ctx context.Context, inspect session.Inspection, disks ...size.Bytes) (*plan.Layout, error)
	ReadAtRest(ctx context.Context, inspect session.Inspection, disks ...size.Bytes) (*plan.Layout, error)
	ReadAgain(ctx context.Context, was *plan.Layout, devices []string) (*plan.Layout, error)
	// FindForBus finds out whether the guest starts when its disks move to another bus.
	FindForBus(ctx context.Context, t plan.Target) (*plan.BusFindings, error)
	Editor(...block.Overlay) apply.Editor
	Close() error
}

// applianceSession is a session with an appliance.
type applianceSession struct{ *session.Session }

func (s applianceSession) ReadAgain(ctx context.Context, was *plan.Layout, devices []string) (*plan.Layout, error) {
	return s.Appliance.ProbeAgain(ctx, was, devices)
}

func (s applianceSession) FindForBus(ctx context.Context, t plan.Target) (*plan.BusFindings, error) {
	return lookForBus(ctx, s.Appliance, t)
}

// startSession starts an appliance on an empty disk of the new size.
func (g *growth) startSession(ctx context.Context) (editSession, error) {
	options := g.options.Session
	options.Started = g.Started
	s, err := session.Start(ctx, g.Dir(), g.drives(), options, nil)
	if err != nil {
		return nil, err
	}
	return applianceSession{s}, nil
}
