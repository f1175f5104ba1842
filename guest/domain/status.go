package domain

import (
	"cmp"
	"context"

	"libvirt.org/go/libvirt"
)

// Status is the status of a domain, which is checked before a change.
type Status struct {
	Definition
	State      State
	Persistent bool
	Autostart  bool
	// Saved means that the memory is saved and that a start would resume the guest.
	Saved bool
	// Checkpoints and Snapshots are the numbers of libvirt's checkpoints and snapshots.
	Checkpoints, Snapshots int
	// Job means that a job runs on the domain: backup, migration, save.
	Job bool
	// Blocked are the disks with a block job.
	Blocked []string
	// Agent means that the guest's agent answers.
	Agent bool
	// Exec means that the agent runs programs.
	Exec bool
	// Backup means that the running guest's disks can be read as they were at one moment.
	Backup bool
}

// properties reads what libvirt knows of a domain besides its definition.
type properties interface {
	IsActive() (bool, error)
	IsPersistent() (bool, error)
	GetAutostart() (bool, error)
	HasManagedSaveImage(flags uint32) (bool, error)
	Checkpoints() (int, error)
	SnapshotNum(libvirt.DomainSnapshotListFlags) (int, error)
	GetJobInfo() (*libvirt.DomainJobInfo, error)
}

// Status asks libvirt, and with agent also the agent of a running guest.
func (d *Domain) Status(ctx context.Context, agent bool) (Status, error) {
	s := Status{}
	var err error
	if s.Definition, err = d.Read(ctx); err != nil {
		return s, err
	}
	if s.State, err = d.State(ctx); err != nil {
		return s, err
	}
	if err := d.inspect(ctx, s.flags); err != nil {
		return s, err
	}
	if s.State != Running {
		return s, nil
	}
	if err := d.inspect(ctx, s.jobs); err != nil {
		return s, err
	}
	if s.Backup, err = d.canBackUp(ctx, s.Emulator); err != nil {
		return s, err
	}
	if agent && s.Channel {
		s.Agent = d.Ping(ctx) == nil
		s.Exec = s.Agent && d.mayExec(ctx)
	}
	return s, nil
}

// inspect is call for an f that ignores the failure of some of its calls: f is repeated if
// they failed because the connection broke.
func (d *Domain) inspect(ctx context.Context, f func(handle) error) error {
	return d.conn.do(ctx, func(l connection) error {
		found, err := l.DomainByUUID(d.UUID)
		if err != nil {
			return err
		}
		defer found.Free()
		return cmp.Or(f(found), stillAlive(l))
	})
}

func (s *Status) flags(l handle) error {
	var err error
	if s.Persistent, err = l.IsPersistent(); err != nil {
		return err
	}
	if s.Autostart, err = l.GetAutostart(); err != nil {
		return err
	}
	if s.Saved, err = l.HasManagedSaveImage(0); err != nil {
		return err
	}
	if n, err := l.Checkpoints(); err == nil {
		s.Checkpoints = n
	}
	s.Snapshots, err = l.SnapshotNum(0)
	return err
}

func (s *Status) jobs(l handle) error {
	info, err := l.GetJobInfo()
	s.Job = err == nil && info.Type != libvirt.DOMAIN_JOB_NONE
	s.Blocked = nil
	for _, disk := range s.Disks {
		if !disk.Writable() {
			continue
		}
		info, err := l.GetBlockJobInfo(disk.Target, 0)
		if err == nil && info != nil && info.Type != libvirt.DOMAIN_BLOCK_JOB_TYPE_UNKNOWN {
			s.Blocked = append(s.Blocked, disk.Target)
		}
	}
	return nil
}
