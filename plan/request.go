package plan

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/virt-grow/virt-grow/plan/size"
)

// Granule is what every size is rounded up to, and what partitions are
// aligned to.
const Granule = size.MiB

// Mode says how an amount is meant.
type Mode string

// The ways to say how big something should be.
const (
	Absolute Mode = "absolute" // 30G
	Relative Mode = "relative" // +10G
	Fill     Mode = "fill"     // all the room there is
	Share    Mode = "share"    // 60% of the room that those with a size leave
)

// Amount is a size as a person asks for it.
type Amount struct {
	Mode  Mode       `json:"mode"`
	Bytes size.Bytes `json:"bytes,omitempty"`
	// Percent is how much of the room a share takes, from 1 to 100.
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

// takesRest reports that the amount depends on what others leave.
func (a Amount) takesRest() bool { return a.Mode == Fill || a.Mode == Share }

func (a Amount) String() string {
	switch a.Mode {
	case Relative:
		return "+" + a.Bytes.String()
	case Absolute:
		return a.Bytes.String()
	case Share:
		return fmt.Sprintf("%d%%", a.Percent)
	}
	return string(Fill)
}

// From returns the size that the amount means for something of size now,
// rounded up to the granule. Fill leaves it as it is.
func (a Amount) From(now size.Bytes) (size.Bytes, error) {
	switch a.Mode {
	case Fill:
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
	return 0, fmt.Errorf("unknown form of a size: %q", a.Mode)
}

// maxSize keeps every sum of two sizes inside an int64, far above what any
// image format takes.
const maxSize = 1024 * size.PiB

// GrowTarget names what should grow.
type GrowTarget struct {
	// Name is a mount point, drive letter, device, vg/lv, UUID=…, LABEL=…,
	// PARTUUID=…, PARTLABEL=…,
	// or "none": the container only.
	Name string `json:"name"`
	// Amount is how big it should become; Fill when the user gave none.
	Amount Amount `json:"amount"`
}

// GrowNone asks for a bigger container and nothing else.
const GrowNone = "none"

// tags are the names that hold a "=" of their own.
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

// Request is what a person asked for.
type Request struct {
	Size Amount `json:"size"`
	// Grow is empty for the automatic answer.
	Grow []GrowTarget `json:"grow,omitempty"`
	// Delete names partitions to drop.
	Delete []string `json:"delete,omitempty"`
	// PartitionOnly leaves what the partition holds as it is.
	PartitionOnly bool `json:"partition_only,omitempty"`
	// EvenUnknown makes a partition longer whose content is not known to bear that.
	EvenUnknown bool `json:"even_unknown,omitempty"`
	// NoMove refuses where partitions behind the target would have to move.
	NoMove bool `json:"no_move,omitempty"`
	// NTFS is who grows an NTFS; "" is virt-grow.
	NTFS NTFSWay `json:"ntfs,omitempty"`
	// Check is how closely file systems are checked; "" is CheckAuto.
	Check CheckMode `json:"check,omitempty"`
}

// CheckMode says how closely file systems are checked before and after they grow.
type CheckMode string

// The modes. CheckAuto has a full check before the growth, and another one afterwards only
// where a tool has grown the file system and not the kernel. CheckFull has both. CheckQuick
// has none but those without which a file system cannot be grown.
const (
	CheckAuto  CheckMode = "auto"
	CheckFull  CheckMode = "full"
	CheckQuick CheckMode = "quick"
)

// ContainerOnly reports that nothing on the disk is to be touched.
func (r Request) ContainerOnly() bool {
	return len(r.Grow) == 1 && r.Grow[0].Name == GrowNone
}

// NewSize returns the disk's size after the request, for a disk of now bytes.
func (r Request) NewSize(now size.Bytes) (size.Bytes, error) {
	to, err := r.Size.From(now)
	if err != nil {
		return 0, err
	}
	// A disk of an odd size asked for by its exact size stays as it is.
	if r.Size.Mode == Absolute && r.Size.Bytes == now {
		return now, nil
	}
	if to < now {
		return 0, Refuse(Shrink, "", "cannot make the disk %s: it already has %s (%d bytes), and virt-grow only grows", r.Size.Bytes, now, int64(now))
	}
	return to, nil
}

// NeedsInspection reports whether the request can only be answered by knowing
// the guest's own mount points or drive letters.
func (r Request) NeedsInspection() bool {
	for _, w := range r.Grow {
		if isMountPoint(w.Name) || isDriveLetter(w.Name) {
			return true
		}
	}
	return false
}
