package domain

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"libvirt.org/go/libvirtxml"

	"github.com/virt-grow/virt-grow/plan/live"
)

// addresses says where the guest sees what libvirt attaches.
type addresses struct {
	// buses are the guest's numbers of the PCI buses, by the index of the controller.
	buses map[uint]uint
	// controllers are the PCI addresses of the other controllers, by type and index.
	controllers map[string]string
}

func newAddresses(controllers []libvirtxml.DomainController) addresses {
	a := addresses{buses: guestBuses(controllers), controllers: map[string]string{}}
	for _, c := range controllers {
		if c.Index != nil && c.Address != nil {
			a.controllers[fmt.Sprint(c.Type, *c.Index)] = a.pci(c.Address.PCI)
		}
	}
	return a
}

// of returns the address of a disk, "" if the guest cannot tell it.
func (a addresses) of(x libvirtxml.DomainDisk) string {
	switch {
	case x.Address == nil || x.Target == nil:
		return ""
	case x.Address.PCI != nil:
		return a.pci(x.Address.PCI)
	case x.Address.Drive == nil:
		return ""
	}
	d := x.Address.Drive
	controller := a.controllers[fmt.Sprint(x.Target.Bus, number(d.Controller))]
	switch x.Target.Bus {
	case "scsi":
		return live.SCSIAddress(controller, number(d.Target), number(d.Unit))
	case "sata":
		return live.SATAAddress(controller, number(d.Unit))
	case "ide":
		return live.IDEAddress(controller, number(d.Bus), number(d.Unit))
	}
	return ""
}

func (a addresses) pci(p *libvirtxml.DomainAddressPCI) string {
	if p == nil || p.Bus == nil || p.Slot == nil {
		return ""
	}
	bus, known := a.buses[*p.Bus]
	if !known {
		bus = *p.Bus
	}
	return live.PCIAddress(number(p.Domain), bus, *p.Slot, number(p.Function))
}

func number(n *uint) uint {
	if n == nil {
		return 0
	}
	return *n
}

// guestBuses numbers the PCI buses as SeaBIOS and OVMF do, and guests keep it: a bridge's
// bus gets the next number when the bridge is found, in the order of slots and functions
// and below each bridge first. libvirt's number is the index of the controller, which is
// another one where a bridge was added late or stands on a bridge (pcie-to-pci-bridge).
// An expander's bus has the number that its definition says.
func guestBuses(controllers []libvirtxml.DomainController) map[uint]uint {
	below := map[uint][]libvirtxml.DomainController{}
	for _, c := range controllers {
		if c.Type == "pci" && c.Index != nil && c.Address != nil && c.Address.PCI != nil && !strings.HasSuffix(c.Model, "-root") {
			bus := number(c.Address.PCI.Bus)
			below[bus] = append(below[bus], c)
		}
	}
	buses := map[uint]uint{}
	var scan func(index, bus uint) (last uint)
	scan = func(index, bus uint) uint {
		buses[index] = bus
		last := bus
		slices.SortStableFunc(below[index], func(x, y libvirtxml.DomainController) int {
			p, q := x.Address.PCI, y.Address.PCI
			return cmp.Or(cmp.Compare(number(p.Slot), number(q.Slot)), cmp.Compare(number(p.Function), number(q.Function)))
		})
		for _, c := range below[index] {
			if _, again := buses[*c.Index]; again {
				continue
			}
			if nr, is := expanderBus(c); is {
				scan(*c.Index, nr)
				continue
			}
			last = scan(*c.Index, last+1)
		}
		return last
	}
	scan(0, 0)
	return buses
}

// expanderBus returns the bus number of a pci-expander-bus or pcie-expander-bus.
func expanderBus(c libvirtxml.DomainController) (uint, bool) {
	if c.PCI == nil || c.PCI.Target == nil || c.PCI.Target.BusNr == nil {
		return 0, false
	}
	return *c.PCI.Target.BusNr, true
}
