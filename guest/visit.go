package guest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/virt-grow/virt-grow/guest/appliance"
	"github.com/virt-grow/virt-grow/guest/block"
	"github.com/virt-grow/virt-grow/guest/disk"
	"github.com/virt-grow/virt-grow/guest/image"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/journal"
	"github.com/virt-grow/virt-grow/plan/size"
)

// visit is one appliance with all disks of one guest, and of no other: each is
// behind a gate of its own, which is pointed at an overlay. The images are only read.
type visit struct {
	disks  *disk.Set // nil in a job that was taken up again
	drives []drive
	dir    string
	gates  []*block.Gate
	// open are the gates that are not shut.
	open []int
	app  *appliance.Appliance
	tree *appliance.Tree
	// folder is to be deleted in the end; "" is a job's own.
	folder string
	// procs are its processes, for the journal of a job that takes it over.
	procs []journal.Proc
}

// enter boots an appliance on throw-away overlays of all disks.
func enter(ctx context.Context, g *disk.Set, o SessionOptions) (*visit, error) {
	dir, err := os.MkdirTemp("", "virt-grow-")
	if err != nil {
		return nil, err
	}
	in, err := startVisit(ctx, dir, drivesOf(g), o, peekAt(g))
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	in.disks, in.folder = g, dir
	return in, nil
}

// drive is one of the disks, as a job keeps it.
type drive struct {
	// Target is its name in the domain; "" for an image by itself.
	Target string      `json:"target,omitempty"`
	Path   string      `json:"path"`
	Format string      `json:"format"`
	Block  bool        `json:"block,omitempty"`
	Sector size.Bytes  `json:"sector"`
	Size   size.Bytes  `json:"size"`
	Stamp  image.Stamp `json:"stamp"`
}

func drivesOf(g *disk.Set) []drive {
	var all []drive
	for _, d := range g.Disks {
		all = append(all, drive{Target: d.Def.Target, Path: d.Path, Format: d.Format, Block: d.Block, Sector: d.SectorSize, Size: d.Size, Stamp: d.Stamp})
	}
	return all
}

// peekAt points gates at throw-away overlays of the disks.
func peekAt(g *disk.Set) opener {
	return func(ctx context.Context, i int, gate *block.Gate, dir string) (bool, error) {
		img := g.Disks[i]
		overlay := block.Overlay{Image: img.Path, Format: img.Format, Path: filepath.Join(dir, "look.qcow2")}
		if img.Access == block.Shared {
			if err := overlay.CreateShared(ctx, img.Size); err != nil {
				return false, err
			}
			return true, gate.OpenShared(ctx, overlay)
		}
		if err := overlay.Create(ctx, img.Size); err != nil {
			return false, image.RefuseInUse(img.Path, err)
		}
		return true, image.RefuseInUse(img.Path, gate.Open(ctx, overlay.Path))
	}
}

// opener points the gate of a disk at something, with files in dir, or leaves it
// shut.
type opener func(ctx context.Context, i int, gate *block.Gate, dir string) (opened bool, err error)

// startVisit starts a gate for each disk and boots the appliance on them, so that
// it finds what is on them by itself. If it hangs it gets a second try.
func startVisit(ctx context.Context, dir string, drives []drive, o SessionOptions, open opener) (*visit, error) {
	in := &visit{drives: drives, dir: dir}
	started := func(p journal.Proc) {
		in.procs = append(in.procs, p)
		if o.Started != nil {
			o.Started(p)
		}
	}
	options := appliance.Options{Accel: o.Accel, Keys: o.Keys, Started: started, Limit: cmp.Or(o.limit, o.LaunchTimeout)}
	for i, d := range drives {
		if err := in.startGate(ctx, i, d, started, open); err != nil {
			in.close()
			return nil, err
		}
		export := appliance.Drive{Socket: in.gates[i].Socket, Export: in.gates[i].Name, Sector: d.Sector}
		if i == 0 {
			options.Socket, options.Export, options.Sector, options.Disk = export.Socket, export.Export, export.Sector, in.gates[0]
		} else {
			options.More = append(options.More, export)
		}
		if d.Target != "" {
			options.Names = append(options.Names, d.Target)
		}
	}
	var err error
	in.app, err = appliance.Launch(ctx, options)
	if errors.Is(err, appliance.ErrHung) && ctx.Err() == nil {
		options.Limit = 0
		in.app, err = appliance.Launch(ctx, options)
	}
	if err != nil {
		in.close()
		return nil, err
	}
	return in, nil
}

func (in *visit) startGate(ctx context.Context, i int, d drive, started func(journal.Proc), open opener) error {
	dir := filepath.Join(in.dir, strconv.Itoa(i))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	gate, err := block.StartGate(ctx, dir, d.Size)
	if err != nil {
		return err
	}
	in.gates = append(in.gates, gate)
	if p, err := gate.Process(); err == nil {
		started(p)
	}
	opened, err := open(ctx, i, gate, dir)
	if opened && err == nil {
		in.open = append(in.open, i)
	}
	return err
}

// shut writes everything out and lets all overlays go.
func (in *visit) shut(ctx context.Context) error {
	if err := in.app.Settle(ctx); err != nil {
		return err
	}
	for _, i := range in.open {
		if err := in.gates[i].Shut(ctx); err != nil {
			return err
		}
	}
	in.open = nil
	return nil
}

// reopen points the gates of some disks at overlays, after shut.
func (in *visit) reopen(ctx context.Context, overlays map[int]string) error {
	for i, path := range overlays {
		if err := in.gates[i].Open(ctx, path); err != nil {
			return image.RefuseInUse(in.drives[i].Path, err)
		}
		in.open = append(in.open, i)
	}
	slices.Sort(in.open)
	return in.app.Refresh(ctx)
}

// close ends the appliance and the gates at once; what was not shut is lost. It can
// be called again.
func (in *visit) close() error {
	if in == nil {
		return nil
	}
	if in.app != nil {
		in.app.Kill()
	}
	var errs []error
	for _, gate := range in.gates {
		errs = append(errs, gate.Stop())
	}
	in.app, in.gates = nil, nil
	for i := range in.drives {
		errs = append(errs, os.RemoveAll(filepath.Join(in.dir, strconv.Itoa(i))))
	}
	if in.folder != "" {
		errs = append(errs, os.RemoveAll(in.folder))
	}
	return errors.Join(errs...)
}

// Files is a guest's file tree, to be read; Close is to be called in the end.
type Files struct {
	*appliance.Tree
	in *visit
}

// Close ends the appliance.
func (f *Files) Close() error { return f.in.close() }

// OpenFiles opens the file tree of the guest. With mount, that file system alone is
// at /.
func OpenFiles(ctx context.Context, g *disk.Set, mount string, o SessionOptions) (*Files, error) {
	in, err := enter(ctx, g, o)
	if err != nil {
		return nil, err
	}
	if err := in.openTree(ctx, mount); err != nil {
		return nil, errors.Join(err, in.close())
	}
	return &Files{in.tree, in}, nil
}

func (in *visit) openTree(ctx context.Context, mount string) error {
	var err error
	in.tree, err = in.app.OpenTree(ctx, mount)
	if err != nil && in.disks.Running {
		if _, refused := plan.IsRefusal(err); !refused {
			return fmt.Errorf("cannot read the disks while the guest writes to them: %w", err)
		}
	}
	return err
}

// Usage returns how full the guest's file systems are; with where, also where the
// guest mounts them.
func Usage(ctx context.Context, g *disk.Set, where bool, o SessionOptions) (_ []appliance.FileSystem, err error) {
	in, err := enter(ctx, g, o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, in.close()) }()
	return in.app.Usage(ctx, where)
}

// room is what a change of n bytes may take: in the overlay, the same again as the
// saved undo, and what the file systems write about it.
func room(n size.Bytes) size.Bytes { return 2*n + 32*size.MiB }
