package plan

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/virt-grow/virt-grow/plan/table"
)

// Closeness says how much of a disk must be read.
type Closeness int

// The levels; each includes those before it.
const (
	LookAtContents Closeness = iota // tables, volumes, file systems
	LookAtFstab                     // mounts by an offset on the disk in an fstab
	LookAtSystem                    // the operating system, mount points, drive letters
)

// Look returns how much of a disk must be read for a request: mount points and drive
// letters if the request names one, or if it names no target and there are several file
// systems; the fstab if partitions have to move.
func Look(l *Layout, r Request) Closeness {
	if r.NeedsInspection() || len(r.Grow) == 0 && l.hasChoice() {
		return LookAtSystem
	}
	if p, err := Build(l, Target{}, r); err == nil && p.Moves() > 0 {
		return LookAtFstab
	}
	return LookAtContents
}

// hasChoice reports whether a disk has several file systems that can be grown.
func (l *Layout) hasChoice() bool {
	on := map[string]int{}
	for _, d := range l.fileSystems() {
		for _, disk := range l.under(d) {
			on[disk]++
		}
	}
	for _, n := range on {
		if n > 1 {
			return true
		}
	}
	return false
}

// fileSystems returns the devices that hold a file system that can be grown.
func (l *Layout) fileSystems() []*Device {
	var found []*Device
	for i := range l.Devices {
		if l.Devices[i].Content.Growable() {
			found = append(found, &l.Devices[i])
		}
	}
	return found
}

// choose returns the devices that the request grows; none means the container only.
func choose(l *Layout, r Request) ([]*Device, error) {
	if len(r.Grow) == 0 {
		return chooseAlone(l, r)
	}
	if r.ContainerOnly() {
		return nil, nil
	}
	var chosen []*Device
	for _, w := range r.Grow {
		if w.Name == GrowNone {
			return nil, Refuse(AmbiguousTarget, "", "--grow none (only the container) cannot be combined with another --grow")
		}
		d, err := chooseNamed(l, w.Name)
		if err != nil {
			return nil, err
		}
		if slices.Contains(chosen, d) {
			return nil, Refuse(AmbiguousTarget, d.Name, "%s is given twice", d.Name)
		}
		chosen = append(chosen, d)
	}
	return chosen, nil
}

// chooseAlone returns the devices for a request without --grow: on each disk that grows,
// exactly one must be sensible.
func chooseAlone(l *Layout, r Request) ([]*Device, error) {
	var chosen []*Device
	for _, disk := range l.Disks() {
		if !r.Grows(disk.Name(), l.Name()) {
			continue
		}
		d, err := chooseOn(l, disk.Name())
		if err != nil {
			return nil, err
		}
		if !slices.Contains(chosen, d) {
			chosen = append(chosen, d)
		}
	}
	return chosen, nil
}

// chooseOn returns the device for one of the disks, if exactly one is sensible.
func chooseOn(l *Layout, disk string) (*Device, error) {
	elsewhere := func(d *Device) bool { return !slices.Contains(l.under(d), disk) }
	found := l.fileSystems()
	if len(l.More) > 0 {
		found = slices.DeleteFunc(found, elsewhere)
	}
	if l.OS != nil && l.OS.Root != "" {
		if d, ok := l.Find(l.OS.Root); ok && (len(l.More) == 0 || !elsewhere(d)) {
			return d, nil
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return nil, refuseNothingToGrow(l)
	}
	return nil, Refuse(AmbiguousTarget, "", "several file systems could grow: %s", describe(found))
}

// refuseNothingToGrow returns the refusal for a disk without a candidate. It names the
// content that was most likely meant.
func refuseNothingToGrow(l *Layout) error {
	var blocked *Device
	for i := range l.Devices {
		d := &l.Devices[i]
		if d.Content.Problem != nil && (blocked == nil || d.Size > blocked.Size) {
			blocked = d
		}
	}
	foreign := l.foreign()
	if blocked != nil && (blocked.Content.Problem.Reason != UnknownContent || foreign == nil || foreign.Size <= blocked.Size) {
		return blocked.Content.Problem
	}
	var held []string
	for _, d := range l.Devices {
		if d.Content.Type != ContentNone {
			held = append(held, d.Name+" holds "+contentName(d.Content.Type))
		}
	}
	switch {
	case len(held) == 0:
		return Refuse(UnknownContent, l.Devices[0].Name, "nothing on the disk can grow: it is empty")
	case foreign == nil:
		return Refuse(UnknownContent, l.Devices[0].Name, "nothing on the disk can grow by itself: %s", strings.Join(held, ", "))
	}
	return Refuse(UnknownContent, foreign.Name, "nothing on the disk can grow by itself: %s; %s can grow without its content, with --partition-only", strings.Join(held, ", "), foreign.Name)
}

// foreign returns the largest partition with a content that only the guest can grow, nil if
// there is none.
func (l *Layout) foreign() *Device {
	var found *Device
	for i := range l.Devices {
		d := &l.Devices[i]
		switch {
		case d.Kind != Partition || d.Extended || d.Content.Problem != nil:
		case d.Content.Type == ContentNone, d.Content.Type == "vfat", d.Content.Type == "swap":
		case found == nil || d.Size > found.Size:
			found = d
		}
	}
	return found
}

// describe lists devices with their type, size and mount points or labels.
func describe(devices []*Device) string {
	var parts []string
	for _, d := range devices {
		text := fmt.Sprintf("%s (%s, %s", d.Name, d.Content.Type, d.Size)
		for _, m := range d.Content.Mounted {
			text += ", " + m
		}
		if d.Content.Label != "" {
			text += ", label " + d.Content.Label
		}
		parts = append(parts, text+")")
	}
	return strings.Join(parts, ", ")
}

func isMountPoint(name string) bool {
	return strings.HasPrefix(name, "/") && !strings.HasPrefix(name, "/dev/")
}

func isDriveLetter(name string) bool {
	return len(name) == 2 && name[1] == ':' && (name[0]|0x20 >= 'a' && name[0]|0x20 <= 'z')
}

// diskName matches the names that guests use for the disk or a partition: sda3, vda3,
// xvda3, nvme0n1p3, mmcblk0p3. The letters often differ from those in the appliance; with
// one disk, the number identifies the partition.
var diskName = regexp.MustCompile(`^(?:/dev/)?(?:(?:[shv]|xv)d[a-z]+|(?:nvme\d+n|mmcblk)\d+(?:p|$))(\d*)$`)

// chooseNamed returns the device that WHERE names. The name of a LUKS container stands for
// its content.
func chooseNamed(l *Layout, name string) (*Device, error) {
	d, err := l.only(name)
	if err != nil {
		return nil, err
	}
	return l.innermost(d), nil
}

// only returns the device with a name, or a refusal if there is none or several.
func (l *Layout) only(name string) (*Device, error) {
	match := l.matching(name)
	switch len(match) {
	case 1:
		return match[0], nil
	case 0:
		return nil, l.refuseNotFound(name)
	}
	return nil, Refuse(AmbiguousTarget, name, "%s is ambiguous: %s", name, describe(match))
}

// refuseNotFound returns the refusal for a name that was not found, or that may be in a
// locked container.
func (l *Layout) refuseNotFound(name string) error {
	for _, d := range l.Devices {
		if p := d.Content.Problem; p != nil && p.Reason == LUKSLocked {
			return Refuse(LUKSLocked, d.Name, "%s was not found on the disk, unless it is in the LUKS container on %s: %s", name, d.Name, p.Text)
		}
	}
	return Refuse(NotFound, name, "%s was not found on the disk, which holds %s", name, l.names())
}

func (l *Layout) matching(name string) []*Device {
	is := l.matcher(name)
	var found []*Device
	for i := range l.Devices {
		if is(&l.Devices[i]) {
			found = append(found, &l.Devices[i])
		}
	}
	return found
}

// matcher returns a function that tests whether WHERE names a device.
func (l *Layout) matcher(name string) func(*Device) bool {
	if guid, ok := strings.CutPrefix(name, "PARTUUID="); ok {
		return func(d *Device) bool {
			p, ok := l.entry(d)
			return ok && guid != "" && strings.EqualFold(partUUID(l.tableOf(d), p), guid)
		}
	}
	if label, ok := strings.CutPrefix(name, "PARTLABEL="); ok {
		return func(d *Device) bool { p, ok := l.entry(d); return ok && label != "" && p.Name == label }
	}
	if uuid, ok := strings.CutPrefix(name, "UUID="); ok {
		return func(d *Device) bool { return uuid != "" && strings.EqualFold(d.Content.UUID, uuid) }
	}
	if label, ok := strings.CutPrefix(name, "LABEL="); ok {
		return func(d *Device) bool { return label != "" && d.Content.Label == label }
	}
	if isMountPoint(name) {
		return func(d *Device) bool { return slices.Contains(d.Content.Mounted, name) }
	}
	if isDriveLetter(name) {
		letter := strings.ToUpper(name)
		return func(d *Device) bool { return slices.Contains(d.Content.Mounted, letter) }
	}
	if m := diskName.FindStringSubmatch(name); m != nil && len(l.More) == 0 {
		if m[1] == "" {
			return func(d *Device) bool { return d.Kind == Disk }
		}
		number, err := strconv.Atoi(m[1])
		return func(d *Device) bool { return err == nil && d.Kind == Partition && d.Number == number }
	}
	plain := strings.TrimPrefix(name, "/dev/")
	return func(d *Device) bool {
		return d.Name == plain || d.Kind == LV && mapperName(d.Name) == strings.TrimPrefix(plain, "mapper/")
	}
}

// tableOf returns the table of a partition's disk, and nil for any other device.
func (l *Layout) tableOf(d *Device) *table.Table {
	if d.Kind != Partition {
		return nil
	}
	if disk := l.DiskNamed(d.Parent); disk != nil {
		return disk.Table
	}
	return nil
}

// entry returns a partition's entry in its table.
func (l *Layout) entry(d *Device) (p table.Partition, ok bool) {
	t := l.tableOf(d)
	if t == nil {
		return p, false
	}
	return t.Partition(d.Number)
}

// partUUID returns Linux's PARTUUID of a partition: its GUID, or on an MBR disk the disk's
// signature and the partition's number in hexadecimal.
func partUUID(t *table.Table, p table.Partition) string {
	if t.Kind == table.MBR {
		return fmt.Sprintf("%s-%02x", strings.TrimPrefix(t.ID, "0x"), p.Number)
	}
	return p.GUID
}

// mapperName returns device-mapper's name of vg/lv: hyphens are doubled, and a single one
// joins the names.
func mapperName(lv string) string {
	vg, name, _ := strings.Cut(lv, "/")
	double := strings.NewReplacer("-", "--")
	return double.Replace(vg) + "-" + double.Replace(name)
}

// innermost returns the device in a LUKS container, or d itself.
func (l *Layout) innermost(d *Device) *Device {
	for d.Content.Type == ContentLUKS {
		i := slices.IndexFunc(l.Devices, func(c Device) bool { return c.Kind == Crypt && c.Parent == d.Name })
		if i < 0 {
			return d
		}
		d = &l.Devices[i]
	}
	return d
}

func (l *Layout) names() string {
	var names []string
	for _, d := range l.Devices {
		text := d.Name
		for _, m := range d.Content.Mounted {
			text += " (" + m + ")"
		}
		names = append(names, text)
	}
	return strings.Join(names, ", ")
}
