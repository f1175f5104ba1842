package domain

import (
	"errors"
	"fmt"
	"slices"

	"libvirt.org/go/libvirtxml"
)

// keepFirst keeps the disk that the firmware boots from. <boot dev='hd'/> means the first of
// the domain's disks, and libvirt orders the disks of one bus by their names: a disk that
// moves to the bus of another one may come after it. Then the order is written to the
// devices themselves, and the <boot dev> are removed, because libvirt does not allow both.
func (m *mover) keepFirst() error {
	os := m.domain.OS
	if os == nil || !slices.ContainsFunc(os.BootDevices, func(b libvirtxml.DomainBootDevice) bool { return b.Dev == "hd" }) {
		return nil
	}
	first := m.first("disk", "lun")
	if first == m.firstAfter() {
		return nil
	}
	orders, err := find(m.text, "domain", "os", "boot")
	if err != nil {
		return err
	}
	order := 0
	for _, e := range orders {
		m.edits = append(m.edits, remove(m.text, e.from, e.to))
		at, err := m.bootElement(e.attr("dev"), first)
		if err != nil {
			return err
		}
		if at == nil {
			continue // the domain has no such device
		}
		order++
		m.insertFirst(*at, fmt.Sprintf("<boot order='%d'/>", order))
	}
	m.note("the boot order is written to the devices, because %s would be the firmware's first disk otherwise", diskTarget(m.domain.Devices.Disks[m.firstAfter()]).Dev)
	return nil
}

// first returns the index of the first disk of a device type, -1 if there is none.
func (m *mover) first(devices ...string) int {
	return slices.IndexFunc(m.domain.Devices.Disks, func(d libvirtxml.DomainDisk) bool {
		return slices.Contains(devices, deviceOf(d))
	})
}

func deviceOf(d libvirtxml.DomainDisk) string {
	if d.Device == "" {
		return "disk"
	}
	return d.Device
}

// firstAfter returns the index of the disk that libvirt has first after the move. It adds one
// disk after the other: before the first one of its bus whose name is greater, or else behind
// the last one of its bus, or else at the end (virDomainDiskInsert).
func (m *mover) firstAfter() int {
	var order []int
	bus := func(i int) string {
		if i == m.at {
			return m.bus
		}
		return diskTarget(m.domain.Devices.Disks[i]).Bus
	}
	name := func(i int) int {
		if i == m.at {
			return diskIndex(m.move.Target)
		}
		return diskIndex(diskTarget(m.domain.Devices.Disks[i]).Dev)
	}
	for i := range m.domain.Devices.Disks {
		at := len(order)
		for j, other := range slices.Backward(order) {
			switch {
			case bus(other) != bus(i):
			case name(other) > name(i):
				at = j
			case at == len(order):
				at = j + 1
			}
		}
		order = slices.Insert(order, at, i)
	}
	for _, i := range order {
		if d := deviceOf(m.domain.Devices.Disks[i]); d == "disk" || d == "lun" {
			return i
		}
	}
	return -1
}

// WithBootOf returns the definition with the boot order of original, if that is in its <os>:
// the one of the devices is removed.
func (x DefinitionXML) WithBootOf(original DefinitionXML) (DefinitionXML, error) {
	text := string(x)
	boots, err := find(string(original), "domain", "os", "boot")
	now, bad := find(text, "domain", "os", "boot")
	types, worse := find(text, "domain", "os", "type")
	if err := errors.Join(err, bad, worse); err != nil {
		return "", err
	}
	if len(boots) == 0 || len(now) > 0 || len(types) != 1 {
		return x, nil
	}
	var edits []edit
	for _, device := range []string{"disk", "interface", "hostdev", "redirdev"} {
		orders, err := find(text, "domain", "devices", device, "boot")
		if err != nil {
			return "", err
		}
		for _, e := range orders {
			edits = append(edits, remove(text, e.from, e.to))
		}
	}
	var order string
	for _, e := range boots {
		order += spaceBefore(text, types[0].from) + e.in(string(original))
	}
	edits = append(edits, edit{types[0].to, types[0].to, order})
	return DefinitionXML(apply(text, edits...)), nil
}

// bootElement returns the device that a <boot dev> means; nil if there is none.
func (m *mover) bootElement(dev string, disk int) (*element, error) {
	i := -1
	switch dev {
	case "hd":
		i = disk
	case "cdrom":
		i = m.first("cdrom")
	case "fd":
		i = m.first("floppy")
	case "network":
		all, err := find(m.text, "domain", "devices", "interface")
		if err != nil || len(all) == 0 {
			return nil, err
		}
		return &all[0], nil
	}
	if i < 0 {
		return nil, nil
	}
	if m.disks[i].tag == m.disks[i].to {
		return nil, errors.New("an empty <disk/> element")
	}
	return &m.disks[i], nil
}

// insertFirst inserts text as the first child of an element.
func (m *mover) insertFirst(e element, text string) {
	space := spaceAfter(m.text, e.tag)
	for i, d := range m.edits {
		if d.from == e.from && d.to == e.to { // the disk that moves is replaced as a whole
			tag := e.tag - e.from
			m.edits[i].with = d.with[:tag] + space + text + d.with[tag:]
			return
		}
	}
	m.edits = append(m.edits, edit{e.tag, e.tag, space + text})
}

// spaceAfter returns the white space after an offset.
func spaceAfter(text string, at int) string {
	end := at
	for end < len(text) && (text[end] == ' ' || text[end] == '\t' || text[end] == '\r' || text[end] == '\n') {
		end++
	}
	return text[at:end]
}
