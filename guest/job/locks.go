package job

import (
	"errors"
	"slices"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/journal"
)

// lock locks the disks against other virt-grow processes, until unlock is called.
func (e *Engine) lock(path string, locks []string) (unlock func() error, err error) {
	var held []func() error
	unlock = func() error {
		var errs []error
		for _, release := range held {
			errs = append(errs, release())
		}
		return errors.Join(errs...)
	}
	for _, name := range locks {
		release, err := e.Store.LockDisk(name)
		if errors.Is(err, journal.ErrBusy) {
			err = plan.Refuse(plan.Locked, path, "another virt-grow is working on %s", path)
		}
		if err != nil {
			return nil, errors.Join(err, unlock())
		}
		held = append(held, release)
	}
	return unlock, nil
}

// lockNew locks the disks of a new job, and refuses it if an unfinished job uses one
// of them.
func (e *Engine) lockNew(path string, locks []string) (unlock func() error, err error) {
	if unlock, err = e.lock(path, locks); err != nil {
		return nil, err
	}
	if err := e.CheckNoJob(path, locks); err != nil {
		return nil, errors.Join(err, unlock())
	}
	return unlock, nil
}

// CheckNoJob refuses if an unfinished job uses one of the disks.
func (e *Engine) CheckNoJob(path string, locks []string) error {
	jobs, err := e.Store.List()
	if err != nil {
		return err
	}
	for _, other := range jobs {
		if other.Record.State.Ended() {
			continue
		}
		for _, lock := range locksOf(other.Record) {
			if slices.Contains(locks, lock) {
				return plan.Refuse(plan.JobActive, other.ID, "job %s on %s has not ended (%s)", other.ID, path, other.Record.State)
			}
		}
	}
	return nil
}
