package domain

import (
	"context"

	"libvirt.org/go/libvirt"
)

// Survey is what libvirt knows about a domain that matters before it is shut
// down.
type Survey struct {
	Definition
	State      State
	Persistent bool
	Autostart  bool
	// Saved says that its memory is saved and a start would resume it.
	Saved bool
	// Checkpoints and Snapshots count libvirt's own.
	Checkpoints, Snapshots int
	// Job says that a job on the domain runs: backup, migration, save.
	Job bool
	// Blocked are the disks with a block job.
	Blocked []string
	// Agent says that the guest's agent answers.
	Agent bool
	// Exec says that it runs programs.
	Exec bool
}

// status is what libvirt knows of a domain besides its definition.
type status interface {
	IsActive() (bool, error)
	IsPersistent() (bool, error)
	GetAutostart() (bool, error)
	HasManagedSaveImage(flags uint32) (bool, error)
	Checkpoints() (int, error)
	SnapshotNum(libvirt.DomainSnapshotListFlags) (int, error)
	GetJobInfo() (*libvirt.DomainJobInfo, error)
}

// Survey asks libvirt, and the agent of a running guest.
func (d *Domain) Survey(ctx context.Context, agent bool) (Survey, error) {
	s := Survey{}
	var err error
	if s.Definition, err = d.Read(ctx); err != nil {
		return s, err
	}
	if s.State, err = d.State(ctx); err != nil {
		return s, err
	}
	if err := d.call(ctx, s.flags); err != nil {
		return s, err
	}
	if s.State != Running {
		return s, nil
	}
	if err := d.call(ctx, s.jobs); err != nil {
		return s, err
	}
	if agent && s.Channel {
		s.Agent = d.Ping(ctx) == nil
		s.Exec = s.Agent && d.mayExec(ctx)
	}
	return s, nil
}

func (s *Survey) flags(l handle) error {
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

func (s *Survey) jobs(l handle) error {
	if info, err := l.GetJobInfo(); err == nil && info.Type != libvirt.DOMAIN_JOB_NONE {
		s.Job = true
	}
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
