package device

import (
	"context"
	"time"

	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/guest/domainjob"
)

// vm is the domain whose devices a job changes.
type vm struct {
	libvirtDomain
	Name, UUID string
	// domain is the same domain, for the packages that open its images.
	domain *domain.Domain
	// patience is how long the guest may take to release a controller.
	patience time.Duration
}

func vmOf(d *domain.Domain) vm {
	return vm{libvirtDomain: d, Name: d.Name, UUID: d.UUID, domain: d, patience: ReleaseLimit}
}

// libvirtDomain is what this package needs of libvirt, and of the guest's agent.
type libvirtDomain interface {
	domainjob.Machine
	URI() string
	// Status also asks the agent, if agent says so.
	Status(ctx context.Context, agent bool) (domain.Status, error)
	// Others are the disks of all other domains.
	Others(context.Context) ([]domain.User, error)
	// Devices are the disks of one of the two definitions, and the types of its
	// controllers.
	Devices(context.Context, domain.Scope) ([]domain.Device, []string, error)
	// Attach, Detach and Update change one definition. Their answer may be lost: after
	// an error, the caller looks whether the definition was changed.
	Attach(ctx context.Context, element string, s domain.Scope) error
	Detach(ctx context.Context, element string, s domain.Scope) error
	Update(ctx context.Context, element string, s domain.Scope, force bool) error
	// Unplug returns when the running guest has released the device, and
	// domain.ErrHeld if it does not.
	Unplug(ctx context.Context, d domain.Device, limit time.Duration) error
	// Exec has the agent run a program, and returns what that prints.
	Exec(ctx context.Context, command []string) (string, error)
}
