package batch

import (
	"context"
	"errors"
	"runtime"
	"time"

	"github.com/virt-grow/virt-grow/guest/appliance"
	"github.com/virt-grow/virt-grow/guest/disk"
	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/guest/growth"
	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/inventory"
	"github.com/virt-grow/virt-grow/plan/size"
)

// Growths plans growths with appliances, as the plan and rehearse commands do, and carries
// out their plans, as the apply command does.
type Growths struct {
	// Connect is libvirt's URI; a plan has its own.
	Connect string
	// Options are those of every growth.
	Options growth.Options
	// Rehearse has the options of rehearsals; nil plans without them.
	Rehearse *growth.RehearseOptions
	// Keys reads the keys of a guest; nil reads none when plans are carried out.
	Keys func([]inventory.Key) (appliance.KeyFinder, error)
}

// Find finds a guest in libvirt.
func (l *Growths) Find(ctx context.Context, g inventory.Guest) (Identity, error) {
	d, err := domain.Open(ctx, l.Connect, g.Name)
	if err != nil {
		return Identity{}, err
	}
	return Identity{Name: d.Name, UUID: d.UUID}, d.Close()
}

// Look plans or rehearses a guest's growth.
func (l *Growths) Look(ctx context.Context, g inventory.Guest, id Identity) (out Looked, err error) {
	r, err := g.Request()
	if err != nil {
		return out, err
	}
	o := l.Options
	o.Treat(g.Treatment)
	if o.Session.Keys, err = l.Keys(g.Keys); err != nil {
		return out, err
	}
	e := job.Engine{Options: o.Options}
	if err := e.CheckNoJob(id.Name, []string{lockOf(id.UUID)}); err != nil {
		return out, err
	}
	d, err := domain.Open(ctx, l.Connect, id.UUID)
	if err != nil {
		return out, err
	}
	treat := growth.ForDomain(g.Treatment, namesOf(g.Disks)...)
	opened, err := growth.OpenDomain(ctx, d, treat)
	if err != nil {
		return out, errors.Join(err, d.Close())
	}
	defer func() { err = errors.Join(err, opened.Close()) }()
	return growth.WithGroup(ctx, opened, treat, o.Session, func(d *disk.Disk) (Looked, error) {
		if err := growth.CheckNoJob(d, o.Options); err != nil {
			return Looked{}, err
		}
		r := growth.ByTarget(r, d)
		out, err := l.plan(ctx, d, r, o)
		if err != nil {
			return Looked{}, err
		}
		return out, growth.Window{Max: o.Window.Max}.Fits(out.Plan, time.Now())
	})
}

// plan makes the plan, with or without a rehearsal.
func (l *Growths) plan(ctx context.Context, d *disk.Disk, r plan.Request, o growth.Options) (Looked, error) {
	if l.Rehearse == nil {
		p, err := growth.MakePlan(ctx, d, r, o)
		return Looked{Plan: p}, err
	}
	done, err := growth.Rehearse(ctx, d, r, o, *l.Rehearse)
	if err != nil {
		return Looked{}, err
	}
	return Looked{Plan: done.Plan, Rehearsed: done.Took}, nil
}

// namesOf returns the disks' names in the domain; none if there is one disk without a name.
func namesOf(disks []inventory.Disk) []string {
	var names []string
	for _, d := range disks {
		names = append(names, d.Disk)
	}
	return names
}

// The share of the host that one appliance takes.
const (
	processorsPerAppliance = 2
	memoryPerAppliance     = 2 * size.GiB
	maxAppliances          = 8
)

// Capacity is how many appliances a host can run, beside the guests that run.
type Capacity struct {
	// Boots is how many may boot or work at the same time: without KVM, an appliance then
	// takes two processors. 0 is one.
	Boots int
	// Appliances is for how many there is memory: each takes 1.25 GiB, or more for a large
	// disk. 0 is no limit.
	Appliances int
}

// HostCapacity returns the capacity of this host: one boot at a time on two processors.
func HostCapacity() Capacity { return capacity(runtime.NumCPU(), appliance.AvailableMemory()) }

// capacity computes HostCapacity. memory is 0 if it is not known.
func capacity(processors int, memory size.Bytes) Capacity {
	c := Capacity{Boots: max(1, min(processors/processorsPerAppliance, maxAppliances))}
	if memory > 0 {
		c.Appliances = max(1, int(memory/memoryPerAppliance))
	}
	return c
}

// Appliances returns how many appliances can boot and work at the same time on this host.
func Appliances() int {
	c := HostCapacity()
	if c.Appliances == 0 {
		return c.Boots
	}
	return min(c.Boots, c.Appliances)
}
