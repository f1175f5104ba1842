package online

import (
	"context"

	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/guest/image"
	"github.com/virt-grow/virt-grow/guest/inside"
	"github.com/virt-grow/virt-grow/plan/size"
)

// vm is the running domain whose disk is to grow.
type vm struct {
	libvirtDomain
	Name, UUID string
	// domain is the same domain, for the job that carries the plan out.
	domain *domain.Domain
}

func vmOf(d *domain.Domain) vm {
	return vm{libvirtDomain: d, Name: d.Name, UUID: d.UUID, domain: d}
}

// libvirtDomain is what this package needs of libvirt, and of the guest's agent.
type libvirtDomain interface {
	guestDomain
	image.BitmapReader
	URI() string
	Close() error
	// Status also asks the agent, if agent says so.
	Status(ctx context.Context, agent bool) (domain.Status, error)
	// Live is the definition that the domain runs with, Read the persistent one.
	Live(context.Context) (domain.Definition, error)
	Read(context.Context) (domain.Definition, error)
	// Others are the disks of all other domains.
	Others(context.Context) ([]domain.User, error)
	// Drives are the disks as QEMU lists them, HMPDrives as its human monitor does.
	Drives(context.Context) ([]domain.Drive, error)
	HMPDrives(context.Context) ([]domain.Drive, error)
}

// guestDomain is what a job needs of them.
type guestDomain interface {
	inside.Agent
	State(context.Context) (domain.State, error)
	// SizeSeen is the size that QEMU has for the disk, which Resize changes.
	SizeSeen(context.Context, domain.Resize) (size.Bytes, error)
	Resize(context.Context, domain.Resize) error
}
