package guest

import (
	"context"
	"errors"
	"time"

	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/guest/inside"
	engine "github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/plan"
)

// domainJob is a job on a domain, which its work embeds.
type domainJob struct {
	*engine.Job
	// domain is nil until the job is connected.
	domain *domain.Domain
	// connected reports that the connection is the job's own.
	connected bool
}

// guest is how the job's domain is treated; nil for an image by itself.
func (j *domainJob) guest() *plan.Guest { return j.Target().Guest }

// agent acts in the running guest.
func (j *domainJob) agent() *inside.Guest { return inside.New(j.domain.Name, j.domain) }

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
