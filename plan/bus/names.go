package bus

import (
	"bytes"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/virt-grow/virt-grow/plan"
)

// Device is a disk, partition or volume of the guest.
type Device struct {
	// Names are the names by which the guest may call it: "/dev/sda2", and in an old system
	// "/dev/hda2".
	Names []string
	// Disk is the target of its disk, Number the number of the partition; 0 is the disk.
	Disk   string
	Number int
	// Type, UUID and PartUUID are blkid's values.
	Type, UUID, PartUUID string
}

// changing matches the names that change with the bus. The names of LVM, md and the device
// mapper in by-id do not.
var changing = regexp.MustCompile(`/dev/(?:(?:sd|vd|xvd|hd)[a-z]+\d*\b|disk/by-(?:id|path)/[^\s"'|,;:)\]]+(?::[^\s"'|,;:)\]]+)*)`)

var stable = regexp.MustCompile(`^/dev/disk/by-id/(dm-|lvm-|md-)`)

// ofPartition matches the end of a partition's name in by-id and by-path.
var ofPartition = regexp.MustCompile(`-part(\d+)$`)

// place is a part of a line that may name a disk.
type place struct {
	from, to int
	form     form
	// harmless reports that the system also starts with a wrong name.
	harmless bool
	// why is why the name cannot be replaced; "" if it can.
	why string
}

// form is how a name is replaced.
type form int

const (
	byUUID form = iota
	byPartUUID
	// byLink is a name below /dev/disk, where UUID=… is not understood.
	byLink
)

// names finds and replaces the names of disks in texts.
type names struct {
	devices []Device
	found   []Name
	edits   []plan.FileEdit
}

// rule returns the places in a line that may name a disk.
type rule func(line string) []place

// file applies a rule to the lines of a file.
func (n *names) file(path string, text []byte, r rule) {
	var after bytes.Buffer
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		at := 0
		for _, p := range r(line) {
			name := line[p.from:p.to]
			if !changing.MatchString(name) || stable.MatchString(name) {
				continue
			}
			becomes, why := p.replacement(n, name)
			n.found = append(n.found, Name{Path: path, Line: number, Text: name, Becomes: becomes, Why: why, Harmless: p.harmless})
			if becomes != "" {
				after.WriteString(line[at:p.from] + becomes)
				at = p.to
			}
		}
		after.WriteString(line[at:])
	}
	if !bytes.Equal(after.Bytes(), text) {
		n.edits = append(n.edits, plan.FileEdit{Path: path, Before: text, After: after.Bytes()})
	}
}

// replacement returns what replaces a name, or why nothing does.
func (p place) replacement(n *names, name string) (becomes, why string) {
	if p.why != "" {
		return "", p.why
	}
	d, why := n.find(name)
	switch {
	case why != "":
		return "", why
	case p.form == byPartUUID || d.UUID == "":
		if d.PartUUID == "" {
			return "", "it has no UUID"
		}
		return "PARTUUID=" + d.PartUUID, ""
	case p.form == byLink:
		return "/dev/disk/by-uuid/" + d.UUID, ""
	}
	return "UUID=" + d.UUID, ""
}

// find returns the device with a name.
func (n *names) find(name string) (d Device, why string) {
	var found []Device
	for _, d := range n.devices {
		if slices.Contains(d.Names, name) {
			found = append(found, d)
		}
	}
	if len(found) == 0 && strings.HasPrefix(name, "/dev/disk/") {
		found = n.only(name)
	}
	switch len(found) {
	case 0:
		return d, "it is not known which disk of the guest that is"
	case 1:
		return found[0], ""
	}
	return d, "several disks of the guest may have that name"
}

// only returns the device with a name in by-id or by-path, if the guest has a single disk.
func (n *names) only(name string) []Device {
	number := "0"
	if m := ofPartition.FindStringSubmatch(name); m != nil {
		number = m[1]
	}
	disks := map[string]bool{}
	var found []Device
	for _, d := range n.devices {
		disks[d.Disk] = true
		if fmt.Sprint(d.Number) == number {
			found = append(found, d)
		}
	}
	if len(disks) != 1 {
		return nil
	}
	return found
}

// field returns the place of a field of a line, and the fields.
func field(line string, number int) (p place, fields []string, ok bool) {
	if strings.HasPrefix(strings.TrimSpace(line), "#") {
		return p, nil, false
	}
	fields = strings.Fields(line)
	if len(fields) <= number {
		return p, nil, false
	}
	at := 0
	for i, f := range fields {
		at += strings.Index(line[at:], f)
		if i == number {
			return place{from: at, to: at + len(f)}, fields, true
		}
		at += len(f)
	}
	return p, nil, false
}

// inFstab is the rule of fstab(5).
func inFstab(line string) []place {
	p, fields, ok := field(line, 0)
	if !ok || len(fields) < 3 {
		return nil
	}
	options := ""
	if len(fields) > 3 {
		options = fields[3]
	}
	for o := range strings.SplitSeq(options, ",") {
		p.harmless = p.harmless || o == "nofail" || o == "noauto"
	}
	p.harmless = p.harmless || fields[2] == "swap"
	return []place{p}
}

// inCrypttab is the rule of crypttab(5). A device with a random key has no UUID of its own,
// and a new one at each start; only that of its partition stays.
func (n *names) inCrypttab(line string) []place {
	p, fields, ok := field(line, 1)
	if !ok {
		return nil
	}
	if d, why := n.find(fields[1]); why == "" && d.Type != "crypto_LUKS" {
		p.form, p.harmless = byPartUUID, true
	}
	return []place{p}
}

// parameter matches a parameter of the kernel's command line whose value may be UUID=….
var parameter = regexp.MustCompile(`(?:^|[\s"'=])(?:root|resume|cryptdevice|cryptroot)=["']?(/dev/[^\s"':,]+)`)

// commandLine matches a line of a boot loader's configuration with a kernel's command line.
var commandLine = regexp.MustCompile(`^\s*(?i:linux|linux16|linuxefi|kernel|options|append|kernelopts|set kernelopts)\b`)

// inLoader returns the rule for boot loaders' files: their lines, settings with a command line,
// and files that are one.
func inLoader(f form, whole bool) rule {
	return func(line string) []place {
		if strings.HasPrefix(strings.TrimSpace(line), "#") {
			return nil
		}
		known := map[int]bool{}
		var places []place
		for _, m := range parameter.FindAllStringSubmatchIndex(line, -1) {
			places = append(places, place{from: m[2], to: m[3], form: f})
			known[m[2]] = true
		}
		for _, m := range changing.FindAllStringIndex(line, -1) {
			if !known[m[0]] {
				places = append(places, place{from: m[0], to: m[1], harmless: !whole && !commandLine.MatchString(line),
					why: "it is not known what the name is for"})
			}
		}
		slices.SortFunc(places, func(a, b place) int { return a.from - b.from })
		return places
	}
}

// setting returns the rule for lines KEY=NAME.
func setting(key string, f form) rule {
	return func(line string) []place {
		rest, ok := strings.CutPrefix(strings.TrimLeft(line, " \t"), key+"=")
		if !ok {
			return nil
		}
		at := len(line) - len(rest)
		m := changing.FindStringIndex(rest)
		if m == nil {
			return nil
		}
		return []place{{from: at + m[0], to: at + m[1], form: f, harmless: true}}
	}
}

// mentioned returns the rule for files whose names are only reported.
func mentioned(why string, harmless bool) rule {
	return func(line string) []place {
		if strings.HasPrefix(strings.TrimSpace(line), "#") {
			return nil
		}
		var places []place
		for _, m := range changing.FindAllStringIndex(line, -1) {
			places = append(places, place{from: m[0], to: m[1], why: why, harmless: harmless})
		}
		return places
	}
}

// grubenvSize is the size of GRUB's environment block, which must not change.
const grubenvSize = 1024

// fitGrubenv gives the environment block its size again: it ends with a row of #.
func (n *names) fitGrubenv() {
	for i, e := range n.edits {
		if path.Base(e.Path) != "grubenv" || len(e.Before) != grubenvSize {
			continue
		}
		text := bytes.TrimRight(e.After, "#")
		if len(text) > grubenvSize {
			for j := range n.found {
				if n.found[j].Path == e.Path {
					n.found[j].Becomes, n.found[j].Why = "", "there is no room in GRUB's environment block"
				}
			}
			n.edits = slices.Delete(n.edits, i, i+1)
			return
		}
		n.edits[i].After = append(text, bytes.Repeat([]byte("#"), grubenvSize-len(text))...)
	}
}
