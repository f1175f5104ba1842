package guest

import (
	"cmp"
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/virt-grow/virt-grow/guest/appliance"
	"github.com/virt-grow/virt-grow/guest/block"
	"github.com/virt-grow/virt-grow/guest/disk"
	"github.com/virt-grow/virt-grow/guest/image"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/journal"
	"github.com/virt-grow/virt-grow/plan/size"
)

// SessionOptions are how an appliance is started.
type SessionOptions struct {
	Accel appliance.Accel
	Keys  appliance.KeyFinder
	// Started is told of every process, so that it can be found again after
	// a crash; may be nil.
	Started func(journal.Proc)
	// LaunchTimeout is how long an appliance may take to start; 0 is
	// appliance.LaunchTimeout.
	LaunchTimeout time.Duration

	// Rates are how long steps took before; nil knows nothing.
	Rates *Rates
	// Seen keeps what is found in images; nil does not.
	Seen *Seen

	// limit, if not 0, is what the first appliance has instead of LaunchTimeout.
	limit time.Duration
	// shared is a running session of the right size that tests use for one
	// image after the other: booting one for each would take hours.
	shared *Session
}

// Session is an appliance that booted on a closed gate. It is pointed at one
// overlay after the other; a command uses it for one.
type Session struct {
	gate *block.Gate
	app  *appliance.Appliance
	// kept says that Close and Abandon leave it running, with the gate shut.
	kept bool
}

// StartSession starts the gate, with its sockets in dir, and boots the
// appliance on it. If one of them hangs, both get a second try.
func StartSession(ctx context.Context, dir string, disk, sector size.Bytes, o SessionOptions) (*Session, error) {
	if o.shared != nil {
		o.shared.app.SetKeys(o.Keys)
		return o.shared, nil
	}
	s, err := startSession(ctx, dir, disk, sector, o)
	if errors.Is(err, appliance.ErrHung) && ctx.Err() == nil {
		o.limit = 0
		return startSession(ctx, dir, disk, sector, o)
	}
	return s, err
}

func startSession(ctx context.Context, dir string, disk, sector size.Bytes, o SessionOptions) (*Session, error) {
	gate, err := block.StartGate(ctx, dir, disk)
	if err != nil {
		return nil, err
	}
	if o.Started != nil {
		if p, err := gate.Process(); err == nil {
			o.Started(p)
		}
	}
	app, err := appliance.Launch(ctx, appliance.Options{
		Socket: gate.Socket, Export: gate.Name, Sector: sector, Limit: cmp.Or(o.limit, o.LaunchTimeout),
		Accel: o.Accel, Keys: o.Keys, Started: o.Started, Disk: gate,
	})
	if err != nil {
		return nil, errors.Join(err, gate.Stop())
	}
	return &Session{gate: gate, app: app}, nil
}

// Attach shows the overlay to the appliance.
func (s *Session) Attach(ctx context.Context, overlay string) error {
	if err := s.gate.Open(ctx, overlay); err != nil {
		if errors.Is(err, block.ErrInUse) {
			return plan.Refuse(plan.InUse, overlay, "the image is in use: a running QEMU holds its lock")
		}
		return err
	}
	return s.app.Refresh(ctx)
}

// AttachShared shows the appliance an overlay whose image a guest writes to.
func (s *Session) AttachShared(ctx context.Context, o block.Overlay) error {
	if err := s.gate.OpenShared(ctx, o); err != nil {
		return err
	}
	return s.app.Refresh(ctx)
}

// Detach writes everything out and lets the overlay go.
func (s *Session) Detach(ctx context.Context) error {
	if err := s.app.Settle(ctx); err != nil {
		return err
	}
	return s.gate.Shut(ctx)
}

// Close ends the appliance and the gate after Detach.
func (s *Session) Close() error {
	if s.kept {
		return nil
	}
	// Nothing is left to write: a clean shutdown would only take longer.
	s.app.Kill()
	return s.gate.Stop()
}

// Abandon ends both at once; what was not written out is lost.
func (s *Session) Abandon() {
	if s.kept {
		_ = s.Detach(context.Background())
		return
	}
	s.app.Kill()
	_ = s.gate.Stop()
}

// Inspection says how closely to look at what was found so far.
type Inspection func(*plan.Layout) plan.Closeness

// Always looks at the system of every disk.
func Always(*plan.Layout) plan.Closeness { return plan.LookAtSystem }

// read finds out what is on the attached disk of that size.
func (s *Session) read(ctx context.Context, disk size.Bytes, inspect Inspection) (*plan.Layout, error) {
	layout, err := s.app.Probe(ctx, disk)
	if err != nil {
		return nil, err
	}
	switch inspect(layout) {
	case plan.LookAtSystem:
		err = s.app.Inspect(ctx, layout)
	case plan.LookAtFstab:
		err = s.app.ReadFstabs(ctx, layout)
	}
	return layout, err
}

// readOff is read for a disk that nobody writes to: what waits to be resumed is looked
// for as well.
func (s *Session) readOff(ctx context.Context, disk size.Bytes, inspect Inspection) (*plan.Layout, error) {
	layout, err := s.read(ctx, disk, inspect)
	if err != nil {
		return nil, err
	}
	return layout, s.app.FindMemoryImage(ctx, layout)
}

// Look reads what is on an image, through a throw-away overlay: the image is
// only read. try, if not nil, may go on in the appliance with what was found.
func Look(ctx context.Context, img *image.Image, o SessionOptions, inspect Inspection, try func(context.Context, *plan.Layout, *appliance.Appliance) error) (_ *plan.Layout, err error) {
	dir, err := os.MkdirTemp("", "virt-grow-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	s, err := StartSession(ctx, dir, img.Size, img.SectorSize, o)
	if err != nil {
		return nil, err
	}
	defer s.Abandon()
	stamps, at := image.Stamps(img.Path, img.Backing), time.Now()
	if err := s.peek(ctx, img, dir, img.Size); err != nil {
		return nil, err
	}
	read := s.readOff
	if img.Access == block.Shared {
		read = s.read
	}
	layout, err := read(ctx, img.Size, inspect)
	if err == nil {
		o.Seen.saw(stamps, layout, at)
	}
	if err == nil && img.Access == block.Shared {
		estimated(layout)
	}
	if err == nil && try != nil {
		err = try(ctx, layout, s.app)
	}
	return layout, err
}

// peek attaches a throw-away overlay of the image, in dir.
func (s *Session) peek(ctx context.Context, img *image.Image, dir string, disk size.Bytes) error {
	overlay := block.Overlay{Image: img.Path, Format: img.Format, Path: filepath.Join(dir, "look.qcow2")}
	if img.Access == block.Shared {
		if err := overlay.CreateShared(ctx, disk); err != nil {
			return err
		}
		return s.AttachShared(ctx, overlay)
	}
	if err := overlay.Create(ctx, disk); err != nil {
		return image.RefuseInUse(img.Path, err)
	}
	return s.Attach(ctx, overlay.Path)
}

// estimated takes what a running guest's disk always looks like, in the middle
// of its work, for no damage: the check comes after the shutdown.
func estimated(l *plan.Layout) {
	for i := range l.Devices {
		content := &l.Devices[i].Content
		if p := content.Problem; p != nil && (p.Reason == plan.NTFSDirty || p.Reason == plan.FSDamaged || p.Way == plan.WayUnmount) {
			content.Problem = nil
		}
	}
}

// MakePlan looks at the image and plans, and runs the checks that the edit
// would begin with: a plan that is shown is one that can be carried out.
func MakePlan(ctx context.Context, d *disk.Disk, r plan.Request, o SessionOptions) (*plan.Plan, error) {
	newSize, err := r.NewSize(d.Size)
	if err != nil {
		return nil, err
	}
	if err := d.CheckSize(ctx, newSize); err != nil {
		return nil, err
	}
	if err := checkOthersNotHibernated(ctx, d, o); err != nil {
		return nil, err
	}
	var p *plan.Plan
	_, err = Look(ctx, d.Image, o, needs(r), func(ctx context.Context, l *plan.Layout, app *appliance.Appliance) error {
		var err error
		if p, err = plan.Build(l, d.Target, r); err != nil {
			return err
		}
		p.Warnings = append(p.Warnings, d.Notes...)
		o.Rates.Tune(p)
		for _, s := range p.Steps {
			if s.Kind != plan.StepCheck || d.Access == block.Shared {
				continue
			}
			if err := app.Check(ctx, s.Device, s.Content); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return p, nil
}

func needs(r plan.Request) Inspection {
	return func(l *plan.Layout) plan.Closeness { return plan.Look(l, r) }
}

// checkRoom refuses when the host has too little space for what the plan writes:
// into the overlay, the same again as the saved undo, and into the image.
func checkRoom(p *plan.Plan, overlayDir string) error {
	needs := map[string]size.Bytes{overlayDir: 2 * p.Writes}
	if !p.Target.Block {
		needs[filepath.Dir(p.Target.Path)] += p.Writes
	}
	return image.CheckSpace(needs)
}
