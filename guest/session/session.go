package session

import (
	"cmp"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/virt-grow/virt-grow/guest/appliance"
	"github.com/virt-grow/virt-grow/guest/block"
	"github.com/virt-grow/virt-grow/guest/image"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/journal"
	"github.com/virt-grow/virt-grow/plan/size"
)

// Options are how an appliance is started.
type Options struct {
	Accel appliance.Accel
	Keys  appliance.KeyFinder
	// Started is called with every process that is started, so that the process can
	// be found again after a crash; may be nil.
	Started func(journal.Proc)
	// LaunchTimeout is how long an appliance may take to start; 0 is
	// appliance.LaunchTimeout.
	LaunchTimeout time.Duration
	// Processors is how many processors the appliance has; 0 is two, if the host has them.
	Processors int
	// Reuse is a running session that Start returns instead of another one. Its
	// drives have to be large enough. It is for tests, which would take hours if
	// each booted an appliance.
	Reuse *Session

	// limit, if not 0, replaces LaunchTimeout for the first appliance.
	limit time.Duration
	// host starts gates and appliances; nil is this host.
	host *host
}

// Drive is a disk of the appliance.
type Drive struct {
	// Name is what messages call the disk, "vda"; "" for an image by itself.
	Name string
	// Image is the image's path, for messages.
	Image string
	Size  size.Bytes
	// Sector is the sector size that the guest sees.
	Sector size.Bytes
}

// Session is a running appliance with its gates.
type Session struct {
	// Appliance works on what is attached.
	Appliance *appliance.Appliance

	dir    string
	drives []Drive
	gates  []gate
	// open are the drives whose gates are pointed at an overlay.
	open  []int
	vm    machine
	procs []journal.Proc
	// temporary reports that dir is deleted by Close.
	temporary bool
	// reused reports that Close leaves the appliance running.
	reused bool
}

// gate is what a session needs of a block.Gate.
type gate interface {
	Open(ctx context.Context, overlay string) error
	OpenShared(ctx context.Context, o block.Overlay) error
	OpenNew(ctx context.Context, path, format string) error
	Shut(ctx context.Context) error
	Stop() error
	disk
}

// machine is what a session itself needs of an appliance: to attach, read and detach
// disks.
type machine interface {
	Refresh(ctx context.Context) error
	Settle(ctx context.Context) error
	Kill()

	Probe(ctx context.Context, disks ...size.Bytes) (*plan.Layout, error)
	Inspect(ctx context.Context, l *plan.Layout) error
	ReadFstabs(ctx context.Context, l *plan.Layout) error
	FindMemoryImage(ctx context.Context, l *plan.Layout) error
	Hibernated(ctx context.Context) (*plan.Refusal, error)
}

// host starts the processes of a session.
type host struct {
	startGate func(ctx context.Context, dir string, to size.Bytes) (gate, appliance.Drive, journal.Proc, error)
	launch    func(context.Context, appliance.Options) (*appliance.Appliance, machine, error)
}

var thisHost = host{
	startGate: func(ctx context.Context, dir string, to size.Bytes) (gate, appliance.Drive, journal.Proc, error) {
		g, err := block.StartGate(ctx, dir, to)
		if err != nil {
			return nil, appliance.Drive{}, journal.Proc{}, err
		}
		p, err := g.Process()
		if err != nil {
			return nil, appliance.Drive{}, p, errors.Join(err, g.Stop())
		}
		return g, appliance.Drive{Socket: g.Socket, Export: g.Name}, p, nil
	},
	launch: func(ctx context.Context, o appliance.Options) (*appliance.Appliance, machine, error) {
		a, err := appliance.Launch(ctx, o)
		return a, a, err
	},
}

// Start starts a gate for each drive, with its sockets in dir, and boots an
// appliance on them. prepare may attach overlays before the boot, so that the
// appliance finds by itself what is on them; nil boots on empty disks. If the
// appliance hangs, everything is started a second time.
func Start(ctx context.Context, dir string, drives []Drive, o Options, prepare func(context.Context, *Session) error) (*Session, error) {
	if o.Reuse != nil && prepare == nil && len(drives) <= len(o.Reuse.drives) {
		s := *o.Reuse
		s.reused = true
		s.Appliance.SetKeys(o.Keys)
		return &s, nil
	}
	s, err := start(ctx, dir, drives, o, prepare)
	if errors.Is(err, appliance.ErrHung) && ctx.Err() == nil {
		o.limit = 0
		return start(ctx, dir, drives, o, prepare)
	}
	return s, err
}

func start(ctx context.Context, dir string, drives []Drive, o Options, prepare func(context.Context, *Session) error) (*Session, error) {
	s := &Session{dir: dir, drives: drives}
	if err := s.start(ctx, o, prepare); err != nil {
		_ = s.Close() // how the processes end says nothing more
		return nil, err
	}
	return s, nil
}

func (s *Session) start(ctx context.Context, o Options, prepare func(context.Context, *Session) error) error {
	h := o.host
	if h == nil {
		h = &thisHost
	}
	started := func(p journal.Proc) {
		s.procs = append(s.procs, p)
		if o.Started != nil {
			o.Started(p)
		}
	}
	options := appliance.Options{Accel: o.Accel, Keys: o.Keys, Started: started, Limit: cmp.Or(o.limit, o.LaunchTimeout), Processors: o.Processors}
	for i := range s.drives {
		if err := s.startGate(ctx, h, i, &options); err != nil {
			return err
		}
	}
	if prepare != nil {
		if err := prepare(ctx, s); err != nil {
			return err
		}
	}
	a, vm, err := h.launch(ctx, options)
	if err != nil {
		return err
	}
	s.Appliance, s.vm = a, vm
	return nil
}

// startGate starts a drive's gate, and adds the drive to the appliance's options.
func (s *Session) startGate(ctx context.Context, h *host, i int, o *appliance.Options) error {
	d := s.drives[i]
	if err := os.MkdirAll(s.dirOf(i), 0o700); err != nil {
		return err
	}
	g, export, p, err := h.startGate(ctx, s.dirOf(i), d.Size)
	if err != nil {
		return err
	}
	o.Started(p)
	s.gates = append(s.gates, g)
	o.Disks += d.Size
	export.Name, export.Sector, export.Disk = d.Name, d.Sector, g
	o.Drives = append(o.Drives, export)
	return nil
}

// dirOf returns the directory of a drive's sockets: the session's own for the first
// drive, to keep the path short (unix(7) allows 107 bytes).
func (s *Session) dirOf(i int) string {
	if i == 0 {
		return s.dir
	}
	return filepath.Join(s.dir, strconv.Itoa(i))
}

// Source is an image that a session reads.
type Source struct {
	Name string // of the drive
	*image.Image
}

func drivesOf(sources []Source) (drives []Drive) {
	for _, src := range sources {
		drives = append(drives, Drive{Name: src.Name, Image: src.Path, Size: src.Size, Sector: src.SectorSize})
	}
	return drives
}

// StartReadOnly starts an appliance on temporary overlays of images, in a temporary
// directory.
func StartReadOnly(ctx context.Context, sources []Source, o Options) (*Session, error) {
	dir, err := os.MkdirTemp("", "virt-grow-")
	if err != nil {
		return nil, err
	}
	s, err := Start(ctx, dir, drivesOf(sources), o, func(ctx context.Context, s *Session) error {
		for i, src := range sources {
			if err := s.AttachReadOnly(ctx, i, src.Image); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	s.temporary = true
	return s, nil
}

// Dir returns the session's directory.
func (s *Session) Dir() string { return s.dir }

// Processes returns the processes that were started, for the journal of a job that
// takes the session over.
func (s *Session) Processes() []journal.Proc { return s.procs }

// Attach shows overlays to the appliance, one for each drive; a drive stays empty
// if its overlay is "".
func (s *Session) Attach(ctx context.Context, overlays ...string) error {
	for i, path := range overlays {
		if path == "" {
			continue
		}
		if err := s.gates[i].Open(ctx, path); err != nil {
			return image.RefuseInUse(s.drives[i].Image, err)
		}
		s.open = append(s.open, i)
	}
	return s.refresh(ctx)
}

// AttachReadOnly attaches a temporary overlay of the image to the appliance.
func (s *Session) AttachReadOnly(ctx context.Context, i int, img *image.Image) error {
	overlay := block.Overlay{Image: img.Path, Format: img.Format, Path: s.throwAway(i)}
	if err := s.openReadOnly(ctx, i, img.Access, overlay); err != nil {
		return image.RefuseInUse(img.Path, err)
	}
	s.open = append(s.open, i)
	return s.refresh(ctx)
}

func (s *Session) openReadOnly(ctx context.Context, i int, access block.Access, overlay block.Overlay) error {
	if access == block.Shared {
		if err := overlay.CreateShared(ctx, s.drives[i].Size); err != nil {
			return err
		}
		return s.gates[i].OpenShared(ctx, overlay)
	}
	if err := overlay.Create(ctx, s.drives[i].Size); err != nil {
		return err
	}
	return s.gates[i].Open(ctx, overlay.Path)
}

// throwAway returns the path of a drive's temporary overlay.
func (s *Session) throwAway(i int) string { return filepath.Join(s.dirOf(i), "look.qcow2") }

// AttachNew shows the appliance a new image that is being made.
func (s *Session) AttachNew(ctx context.Context, path, format string) error {
	if err := s.gates[0].OpenNew(ctx, path, format); err != nil {
		return err
	}
	s.open = append(s.open, 0)
	return s.refresh(ctx)
}

// refresh makes a running appliance forget what it read before.
func (s *Session) refresh(ctx context.Context) error {
	if s.vm == nil {
		return nil
	}
	return s.vm.Refresh(ctx)
}

// Detach writes everything out and empties all drives.
func (s *Session) Detach(ctx context.Context) error {
	if err := s.vm.Settle(ctx); err != nil {
		return err
	}
	for len(s.open) > 0 {
		last := len(s.open) - 1
		i := s.open[last]
		if err := s.gates[i].Shut(ctx); err != nil {
			return err
		}
		s.open = s.open[:last]
		_ = os.Remove(s.throwAway(i))
	}
	return nil
}

// Close ends the appliance and the gates at once; what Detach has not written out
// is lost. It may be called again.
func (s *Session) Close() error {
	if s == nil {
		return nil
	}
	if s.reused {
		if len(s.open) > 0 {
			return s.Detach(context.Background())
		}
		return nil
	}
	if s.vm != nil {
		// Nothing is left to write: a clean shutdown would only take longer.
		s.vm.Kill()
	}
	var errs []error
	for _, g := range s.gates {
		errs = append(errs, g.Stop())
	}
	for i := range s.drives {
		_ = os.Remove(s.throwAway(i))
		if i > 0 {
			errs = append(errs, os.RemoveAll(s.dirOf(i)))
		}
	}
	s.Appliance, s.vm, s.gates, s.open = nil, nil, nil, nil
	if s.temporary {
		errs = append(errs, os.RemoveAll(s.dir))
	}
	return errors.Join(errs...)
}

// Running reports whether the appliance runs.
func (s *Session) Running() bool { return s != nil && s.vm != nil }

// CheckNotHibernated refuses disks from which a hibernated system waits to be
// resumed.
func (s *Session) CheckNotHibernated(ctx context.Context) error {
	r, err := s.vm.Hibernated(ctx)
	if r != nil {
		return r
	}
	return err
}
