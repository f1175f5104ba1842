package usage

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/inventory"
	"github.com/virt-grow/virt-grow/plan/size"
)

// Increase is by how much file systems are suggested to grow. One field is set.
type Increase struct {
	// Percent is a share of the file system's size.
	Percent float64
	// Bytes is the same for each.
	Bytes size.Bytes
	// Days is how many days the space shall last at the rate seen.
	Days float64
}

// ParseIncrease reads "+30%" or "+10G".
func ParseIncrease(text string) (Increase, error) {
	rest, relative := strings.CutPrefix(text, "+")
	if number, ok := strings.CutSuffix(rest, "%"); ok && relative {
		percent, err := strconv.ParseFloat(number, 64)
		if err != nil || !(percent > 0 && percent <= 1000) {
			return Increase{}, fmt.Errorf("%q is not a percentage from +1%% to +1000%%", text)
		}
		return Increase{Percent: percent}, nil
	}
	amount, err := plan.ParseAmount(text)
	if err == nil && amount.Mode != plan.Relative {
		err = fmt.Errorf("%q must be a share (+30%%) or an amount (+10G)", text)
	}
	return Increase{Bytes: amount.Bytes}, err
}

// Suggestion is an inventory, and remarks about its file systems.
type Suggestion struct {
	*inventory.Inventory
	// Grown are the file systems that grow, and LeftOut those that should and are not in the
	// inventory.
	Grown, LeftOut []Remark
}

// Remark says why a file system grows, or why it is left out; FS is "" for a whole guest.
type Remark struct{ Guest, FS, Why string }

func (r Remark) String() string {
	return strings.TrimSuffix(r.Guest+" "+r.FS, " ") + ": " + r.Why
}

// Suggest returns an inventory in which the file systems of the guests grow. With
// Increase.Days, only those grow whose space does not last so long.
func Suggest(guests []Guest, by Increase) *Suggestion {
	usual := inventory.DefaultTreatment()
	s := &Suggestion{Inventory: &inventory.Inventory{Canary: inventory.Canary{Count: inventory.DefaultCanary},
		Parallel: inventory.DefaultParallel, StopAfter: inventory.DefaultStopAfter, Defaults: usual}}
	for g := range guests {
		if guests[g].Source == "" {
			s.LeftOut = append(s.LeftOut, Remark{guests[g].Name, "", cmp.Or(guests[g].Why, "its disks could not be read")})
		}
		var disks []growing
		for f := range guests[g].FileSystems {
			fs := &guests[g].FileSystems[f]
			disk, needed, why := by.of(&guests[g], fs)
			switch {
			case why != "":
				s.LeftOut = append(s.LeftOut, Remark{guests[g].Name, fs.Where(), why})
			case needed:
				s.Grown = append(s.Grown, Remark{guests[g].Name, fs.Where(), reason(fs)})
				disks = addTo(disks, disk)
			}
		}
		if len(disks) > 0 {
			guest := inventory.Guest{Name: guests[g].Name, Treatment: usual}
			for _, d := range disks {
				guest.Disks = append(guest.Disks, d.disk())
			}
			s.Guests = append(s.Guests, guest)
		}
	}
	return s
}

// reason says why a file system grows.
func reason(f *FileSystem) string {
	why := ""
	if percent, known := f.Percent(); known {
		why = fmt.Sprintf("%d%% of %s are used", percent, f.Usable())
	}
	if f.Forecast != nil && f.Forecast.Outlook != Unknown {
		why += "; " + f.Forecast.String()
	}
	return why
}

// Text returns the inventory's text, with the remarks as comments.
func (s *Suggestion) Text() ([]byte, error) {
	text := []byte("# Nothing has to grow, as far as it is known.\n")
	if len(s.Guests) > 0 {
		var err error
		if text, err = s.YAML(); err != nil {
			return nil, err
		}
	}
	for _, part := range []struct {
		title   string
		remarks []Remark
	}{{"Why", s.Grown}, {"Left out", s.LeftOut}} {
		if len(part.remarks) == 0 {
			continue
		}
		text = append(text, "\n# "+part.title+":\n"...)
		for _, r := range part.remarks {
			text = append(text, "#   "+oneLine(r.String())+"\n"...)
		}
	}
	return text, nil
}

// oneLine replaces what would end a comment, or act on a terminal.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
}

// growing is a disk that grows for file systems on it.
type growing struct {
	target string
	by     size.Bytes
	grow   []plan.GrowTarget
}

func addTo(disks []growing, d growing) []growing {
	i := slices.IndexFunc(disks, func(o growing) bool { return o.target == d.target })
	if i < 0 {
		return append(disks, d)
	}
	disks[i].by += d.by
	disks[i].grow = append(disks[i].grow, d.grow...)
	return disks
}

// disk returns the disk of an inventory. A single file system takes all that the disk gets;
// each of several its own amount.
func (d growing) disk() inventory.Disk {
	disk := inventory.Disk{Disk: d.target, Size: "+" + text(d.by)}
	for _, g := range d.grow {
		where := g.Name
		if len(d.grow) > 1 {
			where += "=+" + text(g.Amount.Bytes)
		}
		disk.Grow = append(disk.Grow, where)
	}
	return disk
}

// text returns a multiple of a MiB as sizes are written.
func text(n size.Bytes) string {
	if n%size.GiB == 0 {
		return fmt.Sprintf("%dG", n/size.GiB)
	}
	return fmt.Sprintf("%dM", n/size.MiB)
}

// of returns the disk that grows for a file system. needed is false if the file system need
// not grow; why is not "" if it cannot be said what has to grow.
func (by Increase) of(g *Guest, f *FileSystem) (d growing, needed bool, why string) {
	if f.Problem != nil {
		return d, false, f.Problem.Text
	}
	more, why := by.bytes(f)
	if why != "" || more <= 0 {
		return d, false, why
	}
	if g.UUID == "" {
		return d, false, "it is in an image, and an inventory lists domains"
	}
	if !(plan.Content{Type: f.Type}).Growable() {
		return d, false, "virt-grow does not grow " + f.Type
	}
	where, why := whereOf(f)
	switch {
	case why != "":
	case f.NoDisks != "":
		why = f.NoDisks
	case len(f.Disks) == 0:
		why = "it is not known on which disk it lies"
	case len(f.Disks) > 1:
		why = "it lies on several disks, " + strings.Join(f.Disks, " and ") + ": choose the one that grows"
	default:
		return growing{f.Disks[0], more, []plan.GrowTarget{{Name: where, Amount: plan.Amount{Mode: plan.Relative, Bytes: more}}}}, true, ""
	}
	return d, false, why
}

// maxMore is the largest growth that is suggested.
const maxMore = 64 * size.TiB

// bytes returns by how much a file system should grow, in whole MiB below a GiB and in whole
// GiB above; 0 if it need not grow.
func (by Increase) bytes(f *FileSystem) (size.Bytes, string) {
	more := float64(by.Bytes)
	switch {
	case by.Percent > 0:
		more = float64(f.Size) * by.Percent / 100
	case by.Days > 0:
		forecast := f.Forecast
		switch {
		case forecast == nil || forecast.Outlook == Unknown:
			return 0, "there are too few samples to say how much it needs"
		case forecast.PerDay <= 0:
			return 0, "" // it is not growing
		}
		more = float64(forecast.PerDay)*by.Days - float64(f.Free)
		// What is reserved for root grows as well.
		more *= float64(max(f.Size, f.Usable())) / float64(max(1, f.Usable()))
	}
	if more <= 0 {
		return 0, ""
	}
	n := size.Bytes(math.Ceil(min(more, float64(maxMore))))
	if n < size.GiB {
		return n.Up(size.MiB), ""
	}
	return n.Up(size.GiB), ""
}

// whereOf names a file system as --grow does: by its mount point, or else by its UUID.
func whereOf(f *FileSystem) (where, why string) {
	if len(f.Mounted) > 0 {
		where = f.Mounted[0]
	} else if f.UUID != "" {
		where = "UUID=" + f.UUID
	}
	target, err := plan.ParseGrowTarget(where)
	switch {
	case where == "":
		return "", "it is not mounted, and its UUID is not known"
	case strings.ContainsFunc(where, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }):
		return "", "its mount point has characters that cannot be shown"
	case err != nil, target.Name != where, target.Amount.Mode != plan.Fill:
		return "", "its mount point cannot be told from a mount point with a size"
	}
	return where, ""
}
