// Package files reads and changes files inside a guest, in an appliance with all disks of the
// guest and no others. Reading uses temporary overlays. A change is a job, or a part of one, on
// overlays of the disks that contain the file system.
package files

import (
	"context"
	"errors"
	"fmt"

	"github.com/virt-grow/virt-grow/guest/appliance"
	"github.com/virt-grow/virt-grow/guest/disk"
	"github.com/virt-grow/virt-grow/guest/image"
	"github.com/virt-grow/virt-grow/guest/session"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
)

// Tree reads a guest's file tree; the caller must call Close.
type Tree struct {
	*appliance.Tree
	session *session.Session
}

// Close ends the appliance.
func (t *Tree) Close() error { return t.session.Close() }

// Open opens the file tree of the guest. With mount, it only has that file system, at /.
func Open(ctx context.Context, disks *disk.Set, mount string, o session.Options) (*Tree, error) {
	s, err := disks.StartSession(ctx, o)
	if err != nil {
		return nil, err
	}
	tree, err := openTree(ctx, s, disks, mount)
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return &Tree{tree, s}, nil
}

func openTree(ctx context.Context, s *session.Session, disks *disk.Set, mount string) (*appliance.Tree, error) {
	tree, err := s.Appliance.OpenTree(ctx, mount)
	return tree, explainUnread(err, disks.Running)
}

// explainUnread adds to an error that the guest is running, unless the error is a refusal.
func explainUnread(err error, running bool) error {
	if _, refused := plan.IsRefusal(err); err == nil || refused || !running {
		return err
	}
	return fmt.Errorf("cannot read the disks while the guest writes to them: %w", err)
}

// Usage returns how full the guest's file systems are; with where, also where the
// guest mounts them.
func Usage(ctx context.Context, disks *disk.Set, where bool, o session.Options) (_ []appliance.FileSystem, err error) {
	s, err := disks.StartSession(ctx, o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	return s.Appliance.Usage(ctx, where)
}

// Session is an appliance in which a change of files is prepared. The job that
// carries the change out takes it over.
type Session struct {
	*session.Session
	disks *disk.Set
	tree  guestFiles
}

// StartSession starts an appliance on the disks of a guest that is off.
func StartSession(ctx context.Context, disks *disk.Set, o Options) (*Session, error) {
	if err := disks.CheckOff(); err != nil {
		return nil, err
	}
	if o.Note != nil {
		o.Note("starting the appliance")
	}
	s, err := disks.StartSession(ctx, o.Session)
	if err != nil {
		return nil, err
	}
	if err := s.CheckNotHibernated(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return &Session{Session: s, disks: disks}, nil
}

// OpenTree opens the guest's file tree, before EditText.
func (s *Session) OpenTree(ctx context.Context, mount string) error {
	tree, err := openTree(ctx, s.Session, s.disks, mount)
	if err != nil {
		return err
	}
	s.tree = tree
	return nil
}

// Close ends the appliance, unless a job has done so. It may be called again.
func (s *Session) Close() error {
	if s == nil {
		return nil
	}
	return s.Session.Close()
}

// drive is one disk of the guest in the data of a job.
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

func (s *Session) drives() []drive {
	var all []drive
	for _, d := range s.disks.Disks {
		all = append(all, drive{Target: d.Def.Target, Path: d.Path, Format: d.Format, Block: d.Block, Sector: d.SectorSize, Size: d.Size, Stamp: d.Stamp})
	}
	return all
}

// spaceFor returns the free space that a change of n bytes needs: for the overlay, the same
// amount for the undo file, and for metadata of the file systems.
func spaceFor(n size.Bytes) size.Bytes { return 2*n + 32*size.MiB }
