package domain

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"libvirt.org/go/libvirtxml"

	"github.com/virt-grow/virt-grow/plan/live"
)

// addresses translates libvirt's addresses of controllers into the guest's.
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

// of returns the address of a disk in the guest, "" if it is not known.
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

// guestBuses numbers the PCI buses as SeaBIOS and OVMF do; guests keep these numbers. The
// firmware searches depth first, in the order of slots and functions, and gives the bus of
// each bridge that it finds the next number. libvirt's number is the index of the
// controller, which differs if a bridge was added late or is on another bridge
// (pcie-to-pci-bridge). The bus of an expander has the number in its definition.
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
