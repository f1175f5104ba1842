package guest

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/guest/inside"
	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/plan"
)

// domainJob is a job on a domain, which its work embeds.
type domainJob struct {
	*job.Job
	// domain is nil until the job is connected.
	domain *domain.Domain
	// connected reports that the connection is the job's own.
	connected bool
}

// guest is how the job's domain is treated; nil for an image by itself.
func (j *domainJob) guest() *plan.Guest { return j.Target().Guest }

// agent acts in the running guest.
func (j *domainJob) agent() *inside.Guest { return inside.New(j.domain.Name, j.domain) }

// isRunning reports whether the guest runs, so that its agent can act in it.
func (j *domainJob) isRunning(ctx context.Context) (bool, error) {
	state, err := j.domain.State(ctx)
	return err == nil && state == domain.Running, err
}

// checkRunning returns a refusal if a guest whose agent has to act in it was shut down
// meanwhile.
func (j *domainJob) checkRunning(ctx context.Context) error {
	running, err := j.isRunning(ctx)
	if err == nil && !running {
		err = plan.Refuse(plan.DomainState, j.domain.Name, "%s is off now, and its agent has to write its fstab", j.domain.Name)
	}
	return err
}

// fstab edits the fstab of the running guest.
func (j *domainJob) fstab() inside.FstabEditor {
	return inside.FstabEditor{Guest: j.agent(), ID: j.ID(), Note: j.Note, Reached: j.Fault}
}

// The files in a job's directory with the domain's definition as it was before the job,
// and as libvirt made it for the trial.
const (
	originalXML = "domain.xml"
	trialXML    = "domain-trial.xml"
)

func (j *domainJob) saveDefinition(name string, x domain.DefinitionXML) error {
	return x.Save(filepath.Join(j.Dir(), name))
}

func (j *domainJob) loadDefinition(name string) (domain.DefinitionXML, error) {
	return domain.LoadDefinition(filepath.Join(j.Dir(), name))
}

// saveOriginal saves the definition as it is before anything is done to the domain. A
// job that is continued has saved it already.
func (j *domainJob) saveOriginal(ctx context.Context) error {
	if _, err := j.loadDefinition(originalXML); err == nil {
		return nil
	}
	x, err := j.domain.XML(ctx)
	if err != nil {
		return err
	}
	return j.saveDefinition(originalXML, x)
}

// restoreDefinition gives the domain its original definition, unless more than its
// controllers differs: libvirt adds those, and leaves them.
func (j *domainJob) restoreDefinition(ctx context.Context) error {
	original, err := j.loadDefinition(originalXML)
	if err != nil {
		return err
	}
	now, err := j.domain.XML(ctx)
	if err != nil || now == original {
		return err
	}
	if !now.Alike(original) {
		j.Note("the definition of %s was edited meanwhile: all else stays as it is", j.domain.Name)
		return nil
	}
	if err := j.domain.Define(ctx, original); err != nil {
		return err
	}
	if now, err = j.domain.XML(ctx); err == nil && now != original {
		err = fmt.Errorf("the definition of %s is not what it was; the one from before is %s in the job's folder", j.domain.Name, originalXML)
	}
	return err
}

// Connect connects a job that is taken up again with its domain.
func (j *domainJob) Connect(ctx context.Context) error {
	conn, err := domain.Connect(j.guest().Connect)
	if err != nil {
		return err
	}
	d, err := conn.Find(ctx, j.guest().UUID)
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	j.domain, j.connected = d, true
	return nil
}

// Disconnect lets the domain go. Its storage pool learns of the volume's new size.
func (j *domainJob) Disconnect() error {
	if j.domain == nil {
		return nil
	}
	j.refreshPool()
	return j.release()
}

// release closes the job's own connection.
func (j *domainJob) release() error {
	if !j.connected {
		return nil
	}
	return j.domain.Close()
}

// refreshPool lets libvirt know the volume's new size. A pool that is busy learns of it
// when it is refreshed next.
func (j *domainJob) refreshPool() {
	pool := j.guest().Pool
	if pool == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := j.domain.RefreshPool(ctx, pool); err != nil {
		j.Note("cannot refresh the storage pool %s: %v (virsh pool-refresh does it)", pool, err)
	}
}
