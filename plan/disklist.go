package plan

import (
	"time"

	"github.com/virt-grow/virt-grow/plan/size"
)

// DiskList has a domain's disks.
type DiskList struct {
	Domain string `json:"domain"`
	UUID   string `json:"uuid"`
	// State is the state of the domain.
	State string       `json:"state" jsonschema:"enum=running,enum=off,enum=crashed,enum=paused"`
	Disks []ListedDisk `json:"disks"`
}

// ListedDisk is a disk of a domain, from the domain's definition and from the disk's
// files. For a running domain, the definition is the one that the domain runs with.
type ListedDisk struct {
	Target string `json:"target"`
	Bus    string `json:"bus"`
	Device string `json:"device" jsonschema:"enum=disk,enum=cdrom,enum=floppy,enum=lun"`
	// Kind is "file", "block", "network", "volume", …; "" for an empty drive.
	Kind string `json:"kind"`
	// Source is a path, or an address in the network.
	Source string `json:"source"`
	// Volume is "POOL/VOLUME" if the definition names a volume.
	Volume string `json:"volume,omitempty"`
	// Format is the format in the definition, which determines what the guest sees.
	Format    string `json:"format"`
	Serial    string `json:"serial,omitempty"`
	Cache     string `json:"cache,omitempty"`
	ReadOnly  bool   `json:"readonly,omitempty"`
	Shareable bool   `json:"shareable,omitempty"`
	// Size is the virtual size.
	Size size.Bytes `json:"size,omitempty"`
	// Allocated is the space that the image takes on the host, without its backing files.
	Allocated size.Bytes `json:"allocated,omitempty"`
	// Backing is the chain below the image, nearest first.
	Backing []Link `json:"backing,omitempty"`
	// Depth is the number of images in the chain, including the disk's own.
	Depth  int     `json:"depth,omitempty"`
	Inside *Inside `json:"inside,omitempty"`
	// Warnings are the problems of the disk.
	Warnings []*Refusal `json:"warnings"`
}

// Warn adds a warning.
func (d *ListedDisk) Warn(reason Reason, subject, format string, args ...any) {
	d.Warnings = append(d.Warnings, Refuse(reason, subject, format, args...))
}

// Inside is the content of an image at its last inspection.
type Inside struct {
	// At is when the image was inspected.
	At time.Time `json:"at"`
	// Current reports that the image has not been written to since.
	Current bool `json:"current"`
	// Table is the kind of partition table, if there is one.
	Table string `json:"table,omitempty" jsonschema:"enum=gpt,enum=mbr"`
	// OS is the name of the operating system, if there is one.
	OS       string        `json:"os,omitempty"`
	Contents []InsideThing `json:"contents"`
}

// InsideThing is a file system, or another content of a device.
type InsideThing struct {
	Device  string     `json:"device"`
	Type    string     `json:"type"`
	Label   string     `json:"label,omitempty"`
	UUID    string     `json:"uuid,omitempty"`
	Size    size.Bytes `json:"size,omitempty"`
	Used    size.Bytes `json:"used,omitempty"`
	Mounted []string   `json:"mounted,omitempty"`
}

// longest limits the length of texts from a guest.
const longest = 200

// InsideOf returns a summary of a layout.
func InsideOf(l *Layout, at time.Time) *Inside {
	in := &Inside{At: at.UTC().Truncate(time.Second), Current: true, Contents: []InsideThing{}}
	if l.Table != nil {
		in.Table = string(l.Table.Kind)
	}
	if l.OS != nil && l.OS.Product != "unknown" { // libguestfs's name for an unknown product
		in.OS = clip(l.OS.Product)
	}
	for _, d := range l.Devices {
		c := d.Content
		if c.Type == "" {
			continue
		}
		thing := InsideThing{Device: d.Name, Type: c.Type, Label: clip(c.Label), UUID: c.UUID, Size: c.Size, Used: c.Used}
		for _, where := range c.Mounted {
			thing.Mounted = append(thing.Mounted, clip(where))
		}
		in.Contents = append(in.Contents, thing)
	}
	return in
}

func clip(text string) string { return string([]rune(text)[:min(len([]rune(text)), longest)]) }
