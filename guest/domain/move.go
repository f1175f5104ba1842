package domain

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"libvirt.org/go/libvirtxml"

	"github.com/virt-grow/virt-grow/plan"
)

// Move is what the move of a disk to another bus changes in the domain's definition.
type Move struct {
	// Target is the disk's target after the move: "vda".
	Target string
	// Notes say for people what changes besides the disk's target and bus.
	Notes []string
}

// busNames are the first letters of the targets on a bus.
var busNames = map[string]string{"virtio": "vd", "scsi": "sd", "sata": "sd"}

// MoveDisk returns the definition with a disk on another bus: virtio, scsi (a virtio-scsi
// controller) or sata. The disk keeps its target if the new bus allows it, and otherwise gets
// the first free one. Its own address is removed, or replaced by one on a controller, which is
// added if there is none with a free place. The firmware's first disk stays the same. All else
// stays byte for byte.
func (x DefinitionXML) MoveDisk(target, bus string) (DefinitionXML, Move, error) {
	m, err := newMover(string(x), target, bus)
	if err != nil {
		return "", Move{}, err
	}
	if err := errors.Join(m.checkBus(), m.checkDisk()); err != nil {
		return "", Move{}, err
	}
	if err := errors.Join(m.moveDisk(), m.keepFirst()); err != nil {
		return "", Move{}, fmt.Errorf("cannot move disk %s in the domain's definition: %w", target, err)
	}
	return DefinitionXML(apply(m.text, m.edits...)), m.move, nil
}

// CheckBus refuses a bus that the domain's QEMU does not have for its machine. If libvirt does
// not tell the buses, it returns nil.
func (d *Domain) CheckBus(ctx context.Context, x DefinitionXML, bus string) error {
	var def libvirtxml.Domain
	if err := def.Unmarshal(string(x)); err != nil {
		return fmt.Errorf("cannot read the domain's XML: %w", err)
	}
	if def.OS == nil || def.OS.Type == nil || def.Devices == nil {
		return nil
	}
	can, err := d.capabilities(ctx, def.Devices.Emulator, *def.OS.Type)
	if err != nil || can.Devices == nil || can.Devices.Disk == nil {
		return err
	}
	for _, e := range can.Devices.Disk.Enums {
		if e.Name == "bus" && !slices.Contains(e.Values, bus) {
			return plan.Refuse(plan.NoBus, d.Name, "the QEMU of domain %s has no %s for its machine (%s), only %s", d.Name, bus, def.OS.Type.Machine, strings.Join(e.Values, ", "))
		}
	}
	return nil
}

// mover collects the edits of a definition.
type mover struct {
	text   string
	domain libvirtxml.Domain
	// at is the disk's place among the disks of the definition, whose elements are disks.
	at    int
	disks []element
	bus   string
	edits []edit
	move  Move
}

func newMover(text, target, bus string) (*mover, error) {
	m := &mover{text: text, bus: bus}
	if err := m.domain.Unmarshal(text); err != nil {
		return nil, fmt.Errorf("cannot read the domain's XML: %w", err)
	}
	var err error
	if m.disks, err = find(text, "domain", "devices", "disk"); err != nil {
		return nil, err
	}
	if m.domain.Devices == nil || len(m.domain.Devices.Disks) != len(m.disks) {
		return nil, errors.New("cannot read the disks of the domain's definition")
	}
	m.at = slices.IndexFunc(m.domain.Devices.Disks, func(d libvirtxml.DomainDisk) bool { return diskTarget(d).Dev == target })
	if m.at < 0 {
		return nil, fmt.Errorf("disk %s is no longer in the domain's definition", target)
	}
	return m, nil
}

func diskTarget(d libvirtxml.DomainDisk) libvirtxml.DomainDiskTarget {
	if d.Target == nil {
		return libvirtxml.DomainDiskTarget{}
	}
	return *d.Target
}

// disk returns the disk that moves.
func (m *mover) disk() libvirtxml.DomainDisk { return m.domain.Devices.Disks[m.at] }

func (m *mover) refuse(reason plan.Reason, format string, args ...any) error {
	r := plan.Refuse(reason, m.domain.Name, "disk %s of %s cannot move to %s: %s", diskTarget(m.disk()).Dev, m.domain.Name, m.bus, fmt.Sprintf(format, args...))
	r.Item = diskTarget(m.disk()).Dev
	return r
}

// checkBus refuses a bus that the domain's machine does not have. virtio and the controllers
// of SCSI and SATA are PCI devices, or channel devices of s390x.
func (m *mover) checkBus() error {
	if busNames[m.bus] == "" {
		return m.refuse(plan.NoBus, "there is no such bus to move to")
	}
	var machine libvirtxml.DomainOSType
	if m.domain.OS != nil && m.domain.OS.Type != nil {
		machine = *m.domain.OS.Type
	}
	pci := func(c libvirtxml.DomainController) bool { return c.Type == "pci" }
	switch {
	case slices.ContainsFunc(m.domain.Devices.Controllers, pci):
		return nil
	case strings.HasPrefix(machine.Arch, "s390") && m.bus != "sata":
		return nil
	}
	return m.refuse(plan.NoBus, "its machine (%s) has no PCI, and so no such bus", cmp.Or(machine.Machine, "unknown"))
}

// checkDisk refuses a disk whose settings the new bus does not have, as libvirt and QEMU
// would.
func (m *mover) checkDisk() error {
	d := m.disk()
	if d.Device != "" && d.Device != "disk" {
		return m.refuse(plan.DiskUnsupported, "it is a %s, not a disk", d.Device)
	}
	if lost := lostSettings(d, m.bus); len(lost) > 0 {
		return m.refuse(plan.BusSetting, "that bus does not have its %s", strings.Join(lost, ", "))
	}
	os := m.domain.OS
	if os == nil || os.Kernel == "" || busNames[m.bus] == "sd" && diskTarget(d).Bus != "virtio" {
		return nil
	}
	for _, word := range strings.Fields(os.Cmdline) {
		for _, name := range []string{"/dev/sd", "/dev/vd", "/dev/hd"} {
			if strings.Contains(word, name) {
				return m.refuse(plan.BusNames, "the kernel's command line in the definition has %s, a name that may change with the bus", word)
			}
		}
	}
	return nil
}

// maxSerial is the length to which virtio and the disks of SATA cut a serial number
// (VIRTIO_BLK_ID_BYTES of QEMU; 20 bytes of ATA's IDENTIFY DEVICE).
const maxSerial = 20

// lostSettings returns the settings of a disk that a bus does not have.
func lostSettings(d libvirtxml.DomainDisk, bus string) (lost []string) {
	settings := []struct {
		name  string
		set   bool
		buses []string
	}{
		{"wwn", d.WWN != "", []string{"scsi"}},
		{"vendor", d.Vendor != "", []string{"scsi"}},
		{"product", d.Product != "", []string{"scsi"}},
		{"removable", diskTarget(d).Removable != "", []string{"scsi"}},
		{"rotation_rate", diskTarget(d).RotationRate != 0, []string{"scsi", "sata"}},
		{"geometry trans", d.Geometry != nil && d.Geometry.Trans != "", []string{"sata"}},
		{"serial number of more than 20 characters", len(d.Serial) > maxSerial, []string{"scsi"}},
		{"sectors of 4096 bytes", d.BlockIO != nil && d.BlockIO.LogicalBlockSize > 512, []string{"virtio", "scsi"}},
		{"model " + d.Model, d.Model != "", []string{"virtio"}},
	}
	for _, s := range settings {
		if s.set && !slices.Contains(s.buses, bus) {
			lost = append(lost, s.name)
		}
	}
	if bus != "virtio" && d.Driver != nil {
		lost = append(lost, virtioSettings(*d.Driver)...)
	}
	return lost
}

// virtioSettings returns the settings of a driver that only disks on virtio have.
func virtioSettings(d libvirtxml.DomainDiskDriver) (set []string) {
	for _, s := range []struct {
		name string
		set  bool
	}{
		{"iothread", d.IOThread != nil}, {"iothreads", d.IOThreads != nil},
		{"queues", d.Queues != nil}, {"queue_size", d.QueueSize != nil},
		{"ioeventfd", d.IOEventFD != ""}, {"event_idx", d.EventIDX != ""},
		{"iommu", d.IOMMU != ""}, {"ats", d.ATS != ""}, {"packed", d.Packed != ""}, {"page_per_vq", d.PagePerVQ != ""},
	} {
		if s.set {
			set = append(set, s.name)
		}
	}
	return set
}

// moveDisk changes the disk's target, bus and address, and adds a controller if the disk
// needs one.
func (m *mover) moveDisk() error {
	e := m.disks[m.at]
	text := e.in(m.text)
	targets, err := find(text, "disk", "target")
	addresses, bad := find(text, "disk", "address")
	if err := errors.Join(err, bad); err != nil {
		return err
	}
	if len(targets) != 1 || len(addresses) > 1 {
		return fmt.Errorf("it has %d targets and %d addresses", len(targets), len(addresses))
	}
	m.move.Target = m.newTarget()
	t := targets[0]
	edits := []edit{retarget(text, t, m.move.Target, m.bus)}
	switch {
	case m.bus != "virtio":
		address := m.placeDisk()
		if len(addresses) == 0 {
			edits = append(edits, edit{t.to, t.to, spaceBefore(text, t.from) + address})
		}
		for _, a := range addresses {
			edits = append(edits, edit{a.from, a.to, address})
		}
	case len(addresses) > 0: // libvirt chooses the address
		edits = append(edits, remove(text, addresses[0].from, addresses[0].to))
	}
	m.edits = append(m.edits, edit{e.from, e.to, apply(text, edits...)})
	return nil
}

// placeDisk returns the address of the disk on a controller. It adds a controller if there is
// none with a free place.
func (m *mover) placeDisk() string {
	at := m.freePlace()
	if at.added != "" {
		last := m.disks[len(m.disks)-1] // libvirt has the controllers behind the disks
		m.edits = append(m.edits, edit{last.to, last.to, spaceBefore(m.text, last.from) + at.added})
		m.note("a controller is added: %s", at.added)
	}
	return fmt.Sprintf("<address type='drive' controller='%d' bus='0' target='0' unit='%d'/>", at.controller, at.unit)
}

func (m *mover) note(format string, args ...any) {
	m.move.Notes = append(m.move.Notes, fmt.Sprintf(format, args...))
}

// retarget returns the edit of a disk's <target> that sets its name and bus.
func retarget(text string, target element, dev, bus string) edit {
	tag := text[target.from:target.tag]
	from, to, _ := attrValue(tag, "dev")
	edits := []edit{{from, to, dev}}
	if from, to, ok := attrValue(tag, "bus"); ok {
		edits = append(edits, edit{from, to, bus})
	} else {
		edits[0].with += "' bus='" + bus
		if tag[edits[0].to] == '"' {
			edits[0].with = dev + `" bus="` + bus
		}
	}
	return edit{target.from, target.tag, apply(tag, edits...)}
}

// spaceBefore returns the white space before an element.
func spaceBefore(text string, from int) string {
	return text[len(strings.TrimRight(text[:from], " \t\r\n")):from]
}

// newTarget returns the disk's target on the new bus: the same one if it is possible there,
// or else the first name that no disk has.
func (m *mover) newTarget() string {
	now := diskTarget(m.disk()).Dev
	if strings.HasPrefix(now, busNames[m.bus]) {
		return now
	}
	for i := 0; ; i++ {
		name := busNames[m.bus] + diskLetters(i)
		if !slices.ContainsFunc(m.domain.Devices.Disks, func(d libvirtxml.DomainDisk) bool { return diskTarget(d).Dev == name }) {
			return name
		}
	}
}

// diskLetters returns the letters of the disk with an index: a, b, …, z, aa, ab, ….
func diskLetters(index int) string {
	letters := string(rune('a' + index%26))
	if index < 26 {
		return letters
	}
	return diskLetters(index/26-1) + letters
}

// diskIndex is the reverse of diskLetters, for a whole name such as "vdb"; -1 if it is no
// such name.
func diskIndex(target string) int {
	index := 0
	for i, letter := range target {
		if letter < 'a' || letter > 'z' {
			return -1
		}
		if i >= 2 {
			index = index*26 + int(letter-'a') + 1
		}
	}
	return index - 1
}

// place is a place for a disk on a controller.
type place struct {
	controller, unit uint
	// added is the controller's element if the definition does not have it.
	added string
}

// The number of disks on a controller. An AHCI controller has 6 ports. virtio-scsi has more
// units than any domain has disks.
const (
	sataUnits = 6
	scsiUnits = 256
	// narrowUnits is how many disks libvirt puts on a SCSI controller by their names.
	narrowUnits = 7
)

// freePlace returns a free place on a controller of the new bus.
func (m *mover) freePlace() place {
	units, model := uint(sataUnits), ""
	if m.bus == "scsi" {
		units, model = scsiUnits, " model='virtio-scsi'"
	}
	used := m.usedPlaces()
	indexes := map[uint]bool{}
	for _, c := range m.domain.Devices.Controllers {
		if c.Type != m.bus {
			continue
		}
		index := number(c.Index)
		indexes[index] = true
		if m.bus == "scsi" && !strings.HasPrefix(c.Model, "virtio") {
			continue
		}
		for unit := range units {
			if !used[place{controller: index, unit: unit}] {
				return place{controller: index, unit: unit}
			}
		}
	}
	var index uint
	for indexes[index] || used[place{controller: index}] {
		index++
	}
	return place{controller: index, added: fmt.Sprintf("<controller type='%s' index='%d'%s/>", m.bus, index, model)}
}

// usedPlaces returns the places that the disks, drives and SCSI devices on the new bus have.
// libvirt derives the place of a disk without an address from its name.
func (m *mover) usedPlaces() map[place]bool {
	used := map[place]bool{}
	use := func(a *libvirtxml.DomainAddress) bool {
		if a == nil || a.Drive == nil {
			return false
		}
		used[place{controller: number(a.Drive.Controller), unit: number(a.Drive.Unit)}] = true
		return true
	}
	units := map[string]uint{"sata": sataUnits, "scsi": narrowUnits}[m.bus]
	for _, d := range m.domain.Devices.Disks {
		if t := diskTarget(d); t.Bus == m.bus && !use(d.Address) && diskIndex(t.Dev) >= 0 {
			index := uint(diskIndex(t.Dev))
			used[place{controller: index / units, unit: index % units}] = true
		}
	}
	for _, h := range m.domain.Devices.Hostdevs {
		if h.SubsysSCSI != nil && m.bus == "scsi" {
			use(h.Address)
		}
	}
	return used
}
