package plan

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/virt-grow/virt-grow/plan/size"
)

// Granule is the unit to which sizes are rounded up and partitions are aligned.
const Granule = size.MiB

// Mode is the kind of an amount.
type Mode string

// The kinds of amount.
const (
	Absolute Mode = "absolute" // 30G
	Relative Mode = "relative" // +10G
	Fill     Mode = "fill"     // all the free space
	Share    Mode = "share"    // 60% of the space that targets with a size leave
	Keep     Mode = "keep"     // the size does not change
)

// Amount is a size as the user requests it.
type Amount struct {
	Mode  Mode       `json:"mode"`
	Bytes size.Bytes `json:"bytes,omitempty"`
	// Percent is the size of a share, from 1 to 100.
	Percent int `json:"percent,omitempty"`
}

// ParseAmount reads "30G", "+10G", "60%" or "fill".
func ParseAmount(s string) (Amount, error) {
	text := strings.TrimSpace(s)
	if text == string(Fill) {
		return Amount{Mode: Fill}, nil
	}
	if strings.HasPrefix(text, "-") {
		return Amount{}, fmt.Errorf("%q: virt-grow only grows", s)
	}
	if number, ok := strings.CutSuffix(text, "%"); ok {
		percent, err := strconv.ParseUint(number, 10, 8)
		if err != nil || percent < 1 || percent > 100 {
			return Amount{}, fmt.Errorf("%q is not a percentage from 1%% to 100%%", s)
		}
		return Amount{Mode: Share, Percent: int(percent)}, nil
	}
	mode := Absolute
	if rest, ok := strings.CutPrefix(text, "+"); ok {
		mode, text = Relative, rest
	}
	n, err := size.Parse(text)
	if err != nil {
		return Amount{}, err
	}
	if n == 0 {
		return Amount{}, fmt.Errorf("%q: the size must not be zero", s)
	}
	return Amount{Mode: mode, Bytes: n}, nil
}

// takesRest reports whether the amount depends on what other targets leave.
func (a Amount) takesRest() bool { return a.Mode == Fill || a.Mode == Share }

func (a Amount) String() string {
	switch a.Mode {
	case Relative:
		return "+" + a.Bytes.String()
	case Absolute:
		return a.Bytes.String()
	case Share:
		return fmt.Sprintf("%d%%", a.Percent)
	case Keep:
		return string(Keep)
	}
	return string(Fill)
}

// From returns the new size of a device with the size now, rounded up to the granule. Fill
// and Keep return now.
func (a Amount) From(now size.Bytes) (size.Bytes, error) {
	switch a.Mode {
	case Fill, Keep:
		return now, nil
	case Relative:
		if a.Bytes > maxSize-now {
			return 0, fmt.Errorf("%s more than %s is beyond %s", a.Bytes, now, maxSize)
		}
		return (now + a.Bytes).Up(Granule), nil
	case Absolute:
		if a.Bytes > maxSize {
			return 0, fmt.Errorf("%s is beyond %s", a.Bytes, maxSize)
		}
		return a.Bytes.Up(Granule), nil
	}
	return 0, fmt.Errorf("unknown kind of size: %q", a.Mode)
}

// maxSize keeps every sum of two sizes within an int64. No image format allows as much.
const maxSize = 1024 * size.PiB

// GrowTarget names what should grow.
type GrowTarget struct {
	// Name is a mount point, drive letter, device, vg/lv, UUID=…, LABEL=…, PARTUUID=…,
	// PARTLABEL=…, or "none" for the container only.
	Name string `json:"name"`
	// Amount is the requested size; Fill if the user gave none.
	Amount Amount `json:"amount"`
}

// GrowNone is the name that grows the container only.
const GrowNone = "none"

// tags are the prefixes of names that contain a "=".
var tags = []string{"UUID=", "LABEL=", "PARTUUID=", "PARTLABEL="}

// ParseGrowTarget reads WHERE or WHERE=SIZE.
func ParseGrowTarget(s string) (GrowTarget, error) {
	w := GrowTarget{Name: s, Amount: Amount{Mode: Fill}}
	from := 0
	for _, prefix := range tags {
		if strings.HasPrefix(s, prefix) {
			from = len(prefix)
		}
	}
	if i := strings.LastIndex(s[from:], "="); i >= 0 {
		amount, err := ParseAmount(s[from+i+1:])
		if err != nil {
			return GrowTarget{}, err
		}
		w.Name, w.Amount = s[:from+i], amount
	}
	if w.Name == "" || slices.Contains(tags, w.Name) {
		return GrowTarget{}, fmt.Errorf("%q does not name what should grow (for example /data, C:, sda3, vg/root or UUID=…)", s)
	}
	if w.Name == GrowNone && w.Amount.Mode != Fill {
		return GrowTarget{}, fmt.Errorf("%q: give the container's size with --size", s)
	}
	return w, nil
}

// Request is what the user asked for.
type Request struct {
	// Size is the size of the disk, or of the first of several.
	Size Amount `json:"size"`
	// More are the sizes of other disks of the same guest.
	More []DiskSize `json:"more_disks,omitempty"`
	// Grow is empty if the planner chooses what grows.
	Grow []GrowTarget `json:"grow,omitempty"`
	// Delete names the partitions to delete.
	Delete []string `json:"delete,omitempty"`
	// PartitionOnly grows the partition without its content.
	PartitionOnly bool `json:"partition_only,omitempty"`
	// EvenUnknown allows PartitionOnly for content that may keep metadata at its end.
	EvenUnknown bool `json:"even_unknown,omitempty"`
	// NoMove refuses a growth for which partitions would have to move.
	NoMove bool `json:"no_move,omitempty"`
	// NTFS says who grows an NTFS; "" is virt-grow.
	NTFS NTFSWay `json:"ntfs,omitempty"`
	// Check says how thoroughly file systems are checked; "" is CheckAuto.
	Check CheckMode `json:"check,omitempty"`
	// Bus moves disks to another bus; it is left out if none moves.
	Bus *BusRequest `json:"bus,omitempty"`
}

// DiskSize is the requested size of one of several disks.
type DiskSize struct {
	// Disk is the disk's target in the domain.
	Disk string `json:"disk"`
	Size Amount `json:"size"`
}

// CheckMode says how thoroughly file systems are checked before and after they grow.
type CheckMode string

// The modes. CheckAuto has a full check before the growth, and another one after it only if
// a tool has grown the file system, not the kernel. CheckFull has both. CheckQuick has only
// the checks without which a file system cannot be grown.
const (
	CheckAuto  CheckMode = "auto"
	CheckFull  CheckMode = "full"
	CheckQuick CheckMode = "quick"
)

// ContainerOnly reports whether only the container grows.
func (r Request) ContainerOnly() bool {
	return len(r.Grow) == 1 && r.Grow[0].Name == GrowNone
}

// NewSize returns the disk's size after the request, for a disk of now bytes.
func (r Request) NewSize(now size.Bytes) (size.Bytes, error) {
	return r.Size.newSize("the disk", now)
}

// NewSizeOf is NewSize for another disk. A disk without a requested size keeps its own.
func (r Request) NewSizeOf(disk string, now size.Bytes) (size.Bytes, error) {
	for _, d := range r.More {
		if d.Disk == disk {
			return d.Size.newSize("disk "+disk, now)
		}
	}
	return now, nil
}

// Grows reports whether the request has a size for the disk. first is the first disk.
func (r Request) Grows(disk, first string) bool {
	return disk == first && r.Size.Mode != Keep || slices.ContainsFunc(r.More, func(d DiskSize) bool { return d.Disk == disk })
}

// newSize returns the size that a disk of now bytes gets.
func (a Amount) newSize(disk string, now size.Bytes) (size.Bytes, error) {
	to, err := a.From(now)
	if err != nil {
		return 0, err
	}
	// The exact present size needs no rounding.
	if a.Mode == Absolute && a.Bytes == now {
		return now, nil
	}
	if to < now {
		return 0, Refuse(Shrink, "", "cannot make %s %s: it already has %s (%d bytes), and virt-grow only grows", disk, a.Bytes, now, int64(now))
	}
	return to, nil
}

// NeedsInspection reports whether the request names a mount point or drive letter of the
// guest.
func (r Request) NeedsInspection() bool {
	for _, w := range r.Grow {
		if isMountPoint(w.Name) || isDriveLetter(w.Name) {
			return true
		}
	}
	return false
}
