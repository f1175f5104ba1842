// Package domainjob has what jobs on a domain have in common: the
// connection, the original definition, and the guest's agent.
package domainjob

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/guest/inside"
	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/plan"
)

// Job is a job on a domain. The work of such a job embeds it.
type Job struct {
	*job.Job
	// Domain is nil until the job is connected.
	Domain *domain.Domain
	// Machine is the same domain, as the methods here use it; tests have another one.
	Machine Machine
	// connected reports that the connection is the job's own.
	connected bool
}

// Machine is what every job on a domain needs of libvirt, and of the guest's agent.
type Machine interface {
	inside.Agent
	State(context.Context) (domain.State, error)
	// XML and Define read and write the persistent definition.
	XML(context.Context) (domain.DefinitionXML, error)
	Define(context.Context, domain.DefinitionXML) error
}

// New returns a job on a domain that is connected already; nil for one to be connected.
func New(j *job.Job, d *domain.Domain) *Job { return &Job{Job: j, Domain: d, Machine: d} }

// Guest returns how the job's domain is treated; nil for an image by itself.
func (j *Job) Guest() *plan.Guest { return j.Target().Guest }

// Inside returns the running guest, for changes through its agent.
func (j *Job) Inside() *inside.Guest { return inside.New(j.Guest().Name, j.Machine) }

// IsRunning reports whether the guest runs, so that its agent can act in it.
func (j *Job) IsRunning(ctx context.Context) (bool, error) {
	state, err := j.Machine.State(ctx)
	return err == nil && state == domain.Running, err
}

// CheckRunning returns a refusal if a guest whose agent has to act in it was shut down
// meanwhile.
func (j *Job) CheckRunning(ctx context.Context) error {
	running, err := j.IsRunning(ctx)
	if err == nil && !running {
		err = plan.Refuse(plan.DomainState, j.Guest().Name, "%s is off now, but its agent is needed to write its fstab", j.Guest().Name)
	}
	return err
}

// Fstab edits the fstab of the running guest.
func (j *Job) Fstab() inside.FstabEditor {
	return inside.FstabEditor{Guest: j.Inside(), ID: j.ID(), Note: j.Note, Reached: j.Fault}
}

// The files in a job's directory with the domain's definition as it was before the job,
// and as libvirt made it for the trial.
const (
	OriginalXML = "domain.xml"
	TrialXML    = "domain-trial.xml"
)

func (j *Job) SaveDefinition(name string, x domain.DefinitionXML) error {
	return x.Save(filepath.Join(j.Dir(), name))
}

func (j *Job) LoadDefinition(name string) (domain.DefinitionXML, error) {
	return domain.LoadDefinition(filepath.Join(j.Dir(), name))
}

// SaveOriginal saves the definition as it is before anything is done to the domain. A
// job that is continued has saved it already.
func (j *Job) SaveOriginal(ctx context.Context) error {
	if _, err := j.LoadDefinition(OriginalXML); err == nil {
		return nil
	}
	x, err := j.Machine.XML(ctx)
	if err != nil {
		return err
	}
	return j.SaveDefinition(OriginalXML, x)
}

// RestoreDefinition restores the domain's original definition, unless more than its
// controllers differs: libvirt adds those, and leaves them.
func (j *Job) RestoreDefinition(ctx context.Context) error {
	original, err := j.LoadDefinition(OriginalXML)
	if err != nil {
		return err
	}
	now, err := j.Machine.XML(ctx)
	if err != nil || now == original {
		return err
	}
	if !now.Alike(original) {
		j.Note("the definition of %s was edited meanwhile: the edits are kept", j.Guest().Name)
		return nil
	}
	if err := j.Machine.Define(ctx, original); err != nil {
		return err
	}
	if now, err = j.Machine.XML(ctx); err == nil && now != original {
		err = fmt.Errorf("the definition of %s has changed; the original is %s in the job's directory", j.Guest().Name, OriginalXML)
	}
	return err
}

// Connect connects a continued job to its domain.
func (j *Job) Connect(ctx context.Context) error {
	d, err := domain.Open(ctx, j.Guest().Connect, j.Guest().UUID)
	if err != nil {
		return err
	}
	j.Domain, j.Machine, j.connected = d, d, true
	return nil
}

// Disconnect releases the domain. It refreshes the storage pool of the disk's volume.
func (j *Job) Disconnect() error {
	if j.Domain == nil {
		return nil
	}
	j.refreshPools()
	return j.Release()
}

// Release closes the job's own connection.
func (j *Job) Release() error {
	if !j.connected {
		return nil
	}
	return j.Domain.Close()
}

// refreshPool makes libvirt read the volume's new size. A busy pool reads it
// when it is refreshed next.
func (j *Job) refreshPools() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	refreshed := map[string]bool{"": true}
	target := j.Target()
	for _, img := range target.Images() {
		if refreshed[img.Pool] {
			continue
		}
		refreshed[img.Pool] = true
		if err := j.Domain.RefreshPool(ctx, img.Pool); err != nil {
			j.Note("cannot refresh the storage pool %s: %v (virsh pool-refresh does it)", img.Pool, err)
		}
	}
}
