package files

import (
	"context"
	"io"

	"github.com/virt-grow/virt-grow/guest/appliance"
	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/guest/session"
	"github.com/virt-grow/virt-grow/plan/journal"
)

// editSession is what a job needs of the session in which it changes files.
type editSession interface {
	Running() bool
	// Processes returns the processes that the session has started.
	Processes() []journal.Proc
	// Attach attaches overlays to the appliance, one for each drive; Detach flushes
	// everything and empties the drives.
	Attach(ctx context.Context, overlays ...string) error
	Detach(ctx context.Context) error
	// Write writes the changes, and reads them back. from returns the path on the host
	// of a change's content.
	Write(ctx context.Context, at appliance.Place, changes []appliance.Change, from func(appliance.Change) string) error
	Close() error
}

// applianceSession is a session with an appliance.
type applianceSession struct{ *session.Session }

func (s applianceSession) Write(ctx context.Context, at appliance.Place, changes []appliance.Change, from func(appliance.Change) string) error {
	return s.Appliance.Write(ctx, at, changes, from)
}

// bootSession starts an appliance on the overlays. The other disks are empty, and only keep the
// devices' names the same.
func bootSession(ctx context.Context, j *job.Job, o session.Options, c *Change, overlays []string) (editSession, error) {
	o.Started = j.Started
	var drives []session.Drive
	for _, d := range c.Drives {
		drives = append(drives, session.Drive{Name: d.Target, Image: d.Path, Size: d.Size, Sector: d.Sector})
	}
	s, err := session.Start(ctx, j.Dir(), drives, o, func(ctx context.Context, s *session.Session) error {
		return s.Attach(ctx, overlays...)
	})
	if err != nil {
		return nil, err
	}
	return applianceSession{s}, nil
}

// guestFiles is the file tree of a guest, for preparing a change.
type guestFiles interface {
	// Locate and Lstat find a file, or a name in a directory; Lstat follows no links, and
	// returns nil if there is none.
	Locate(ctx context.Context, path string) (appliance.Place, appliance.Entry, error)
	Lstat(ctx context.Context, parent appliance.Place, name string) (*appliance.Entry, error)
	Read(ctx context.Context, path string, w io.Writer) error
	// Sum returns the SHA-256 of a file.
	Sum(ctx context.Context, path string) (string, error)
}

// copySource is the file tree of a guest, for copying out.
type copySource interface {
	Stat(ctx context.Context, path string) (appliance.Entry, error)
	Read(ctx context.Context, path string, w io.Writer) error
	// Archive writes a directory as a tar stream.
	Archive(ctx context.Context, path string, w io.Writer) error
}
