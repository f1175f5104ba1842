package guest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/virt-grow/virt-grow/guest/block"
	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
)

// ListDisks lists a domain's disks, with what is wrong with each. look says that
// what is inside is to be looked at now; else it is what was seen last.
func ListDisks(ctx context.Context, d *domain.Domain, look bool, o SessionOptions) (*plan.DiskList, error) {
	survey, err := d.Survey(ctx, false)
	if err != nil {
		return nil, err
	}
	live := survey.Definition
	if survey.State == domain.Running || survey.State == domain.Held {
		if live, err = d.Live(ctx); err != nil {
			return nil, err
		}
	}
	list := &plan.DiskList{Domain: d.Name, UUID: d.UUID, State: string(survey.State), Disks: []plan.ListedDisk{}}
	others, err := d.Others(ctx)
	if err != nil {
		return nil, err
	}
	taken := takenBy(ctx, others)
	for _, disk := range bothOf(live.Disks, survey.Disks) {
		entry := listed(disk)
		describeFile(ctx, &entry)
		if survey.Persistent {
			definitionsDiffer(&entry, d.Name, live.Disks, survey.Disks)
		}
		usedElsewhere(&entry, taken)
		entry.Inside = o.Seen.find(stampsOf(entry.Source, entry.Backing))
		list.Disks = append(list.Disks, entry)
	}
	usedTwice(list.Disks)
	if look {
		err = lookInside(ctx, list, survey.State, o)
	}
	return list, err
}

// bothOf are the disks a domain runs with, and those that only its definition has.
func bothOf(live, defined []domain.Disk) []domain.Disk {
	all := slices.Clone(live)
	for _, disk := range defined {
		if _, ok := byTarget(live, disk.Target); !ok {
			all = append(all, disk)
		}
	}
	return all
}

func byTarget(disks []domain.Disk, target string) (domain.Disk, bool) {
	i := slices.IndexFunc(disks, func(d domain.Disk) bool { return d.Target == target })
	if i < 0 {
		return domain.Disk{}, false
	}
	return disks[i], true
}

func listed(d domain.Disk) plan.ListedDisk {
	entry := plan.ListedDisk{Target: d.Target, Bus: d.Bus, Device: d.Device, Kind: d.Kind, Source: d.Source, Format: d.Format,
		Serial: d.Serial, Cache: d.Cache, ReadOnly: d.Fixed, Shareable: d.Shared, Warnings: []*plan.Refusal{}}
	if d.Volume != (domain.Volume{}) {
		entry.Volume = d.Volume.String()
	}
	if d.Source == "" {
		entry.Source = d.Remote
	}
	if d.Cache == "unsafe" {
		entry.Warn(plan.CacheUnsafe, d.Target, "%s has cache='unsafe': what the guest believes to be on the disk is lost when the host goes down", d.Target)
	}
	return entry
}

// local says that there is a file or a device to look at.
func local(d *plan.ListedDisk) bool {
	return d.Source != "" && (d.Kind == "file" || d.Kind == "block")
}

// describeFile asks the image what it is. It is read in spite of its lock, because
// the guest may run.
func describeFile(ctx context.Context, d *plan.ListedDisk) {
	if !local(d) {
		return
	}
	stamp, err := StampOf(d.Source)
	if errors.Is(err, fs.ErrNotExist) {
		d.Warn(plan.NotFound, d.Source, "%s: there is no %s", d.Target, d.Source)
		return
	}
	if err != nil {
		d.Warn(plan.Unreadable, d.Source, "%s: %v", d.Target, err)
		return
	}
	format := d.Format
	if format == "" {
		format = "raw" // what libvirt takes it for
		if d.Device == "disk" {
			d.Warn(plan.FormatMissing, d.Source, "%s (%s) has no format in its definition: its <disk> lacks <driver name='qemu' type='qcow2'/>, or type='raw'", d.Target, d.Source)
		}
	}
	if err := contradiction(&Image{Target: plan.Target{Path: d.Source}, Stamp: stamp}, d.Source, format); err != nil {
		if r, ok := plan.IsRefusal(err); ok {
			d.Warnings = append(d.Warnings, plan.Refuse(r.Reason, r.Subject, "%s: %s", d.Target, r.Text))
		}
	}
	describeChain(ctx, d, format)
}

// describeChain goes down the chain as far as it can be followed without a guess.
func describeChain(ctx context.Context, d *plan.ListedDisk, format string) {
	path := d.Source
	for range 64 {
		info, err := block.Inspect(ctx, path, format, block.Shared)
		if err != nil {
			unreadable(d, path, err)
			return
		}
		d.Depth++
		if path == d.Source {
			d.Size, d.Allocated = info.VirtualSize, info.Allocated
		}
		if info.Backing == "" {
			return
		}
		d.Backing = append(d.Backing, plan.Link{Path: info.Backing, Format: info.BackingFormat})
		switch {
		case info.BackingFormat == "":
			d.Warn(plan.FormatMissing, path, "%s: %s does not say which format its backing file %s has", d.Target, path, info.Backing)
			return
		case !filepath.IsAbs(info.Backing):
			return // on the network
		}
		if _, err := os.Stat(info.Backing); errors.Is(err, fs.ErrNotExist) {
			d.Warn(plan.BackingMissing, info.Backing, "%s: the backing file of %s is gone: %s", d.Target, path, info.Backing)
			return
		}
		path, format = info.Backing, info.BackingFormat
	}
}

// unreadable warns of an image that QEMU does not open, unless it is known why.
func unreadable(d *plan.ListedDisk, path string, err error) {
	if !warned(d, plan.FormatMismatch) {
		d.Warn(plan.Unreadable, path, "%s: %v", d.Target, err)
	}
}

func warned(d *plan.ListedDisk, reason plan.Reason) bool {
	return slices.ContainsFunc(d.Warnings, func(w *plan.Refusal) bool { return w.Reason == reason })
}

// definitionsDiffer warns where the guest will have another disk after its next
// start.
func definitionsDiffer(d *plan.ListedDisk, name string, live, defined []domain.Disk) {
	now, runs := byTarget(live, d.Target)
	next, stays := byTarget(defined, d.Target)
	switch {
	case !runs:
		d.Warn(plan.DefinitionsDiffer, name, "%s is in the definition alone: the guest gets it at its next start", d.Target)
	case !stays:
		d.Warn(plan.DefinitionsDiffer, name, "%s is in the running guest alone: it is gone after the next shutdown", d.Target)
	default:
		if differ := now.Differs(next); len(differ) > 0 {
			d.Warn(plan.DefinitionsDiffer, name, "%s runs with another definition than the one for the next start: %s", d.Target, strings.Join(differ, "; "))
		}
	}
}

// user is somebody else's disk that has a file, at a depth of its chain.
type user struct {
	domain.User
	depth int
}

// takenBy finds out whose files are whose, by the files' identities.
func takenBy(ctx context.Context, others []domain.User) map[string][]user {
	taken := map[string][]user{}
	for _, other := range others {
		for depth, path := range chainOf(ctx, other.Disk) {
			stamp, err := StampOf(path)
			if err != nil {
				continue
			}
			id := stamp.Identity()
			same := func(u user) bool { return u.Domain == other.Domain && u.Target == other.Target }
			if !slices.ContainsFunc(taken[id], same) {
				taken[id] = append(taken[id], user{other, depth})
			}
		}
	}
	for _, users := range taken {
		slices.SortFunc(users, func(a, b user) int { return strings.Compare(a.Domain+" "+a.Target, b.Domain+" "+b.Target) })
	}
	return taken
}

// usedElsewhere warns of an image that another domain has, if one of the two
// writes to it.
func usedElsewhere(d *plan.ListedDisk, taken map[string][]user) {
	if !local(d) {
		return
	}
	for depth, link := range append([]plan.Link{{Path: d.Source}}, d.Backing...) {
		stamp, err := StampOf(link.Path)
		if err != nil {
			return
		}
		for _, u := range taken[stamp.Identity()] {
			writes := depth == 0 && !d.ReadOnly || u.depth == 0 && !u.Disk.Fixed
			switch {
			case !writes, d.Shareable && u.Disk.Shared && depth+u.depth == 0:
			case depth == 0 && u.depth == 0:
				d.Warn(plan.DiskShared, u.Domain, "%s: %s is disk %s of domain %s as well", d.Target, link.Path, u.Target, u.Domain)
			case depth == 0:
				d.Warn(plan.ChainShared, u.Domain, "%s: %s lies below disk %s of domain %s (%s)", d.Target, link.Path, u.Target, u.Domain, u.Disk.Source)
			default:
				d.Warn(plan.ChainShared, u.Domain, "%s lies on %s, which domain %s writes to as its %s", d.Target, link.Path, u.Domain, u.Target)
			}
		}
	}
}

// usedTwice warns of an image that the domain has twice itself.
func usedTwice(disks []plan.ListedDisk) {
	for i := range disks {
		for j := range disks[:i] {
			a, b := &disks[j], &disks[i]
			if local(a) && local(b) && !(a.ReadOnly && b.ReadOnly) && samePath(a.Source, b.Source) {
				b.Warn(plan.DiskShared, b.Source, "%s: %s is disk %s as well", b.Target, b.Source, a.Target)
			}
		}
	}
}

// lookInside looks at every disk, with as few appliances as it takes.
func lookInside(ctx context.Context, list *plan.DiskList, state domain.State, o SessionOptions) error {
	var images []*Image
	var entries []*plan.ListedDisk
	for i := range list.Disks {
		d := &list.Disks[i]
		if !local(d) || d.Device != "disk" && d.Device != "lun" || d.Size == 0 {
			continue
		}
		open := OpenOptions{Format: d.Format}
		if state != domain.Off && state != domain.Crashed {
			open.access = block.Shared
		}
		img, err := Open(ctx, d.Source, open)
		if err != nil {
			notLookedAt(d, err)
			continue
		}
		images, entries = append(images, img), append(entries, d)
	}
	looks, err := LookAtAll(ctx, images, o)
	for i, look := range looks {
		if look.Err != nil {
			notLookedAt(entries[i], look.Err)
			continue
		}
		entries[i].Inside = plan.InsideOf(look.Layout, look.At)
	}
	return err
}

// notLookedAt says why, unless there is a warning of it already.
func notLookedAt(d *plan.ListedDisk, err error) {
	reason := plan.Unreadable
	if r, ok := plan.IsRefusal(err); ok {
		reason = r.Reason
	}
	if warned(d, reason) {
		return
	}
	d.Warn(reason, d.Source, "%s: cannot look inside: %v", d.Target, err)
}

// Looked is a look at one image among several.
type Looked struct {
	Layout *plan.Layout
	At     time.Time
	Err    error
}

// LookAtAll is Look for several images of one domain, in one appliance if their
// sectors are of one size. An image that cannot be read does not keep it from the
// others.
func LookAtAll(ctx context.Context, images []*Image, o SessionOptions) (_ []Looked, err error) {
	looks := make([]Looked, len(images))
	dir, err := os.MkdirTemp("", "virt-grow-")
	if err != nil {
		return looks, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	for _, sector := range []size.Bytes{512, 4096} {
		var s *Session
		largest := largestOf(images, sector)
		for i, img := range images {
			if img.SectorSize != sector {
				continue
			}
			if s == nil {
				if s, err = StartSession(ctx, dir, largest, sector, o); err != nil {
					return looks, err
				}
			}
			if looks[i] = s.lookAt(ctx, img, dir, largest, o); ctx.Err() != nil {
				s.Abandon()
				return looks, context.Cause(ctx)
			}
			if s.Detach(ctx) != nil {
				s.Abandon()
				s = nil // the next one gets another
			}
		}
		if s != nil {
			s.Abandon()
		}
	}
	return looks, nil
}

func largestOf(images []*Image, sector size.Bytes) (largest size.Bytes) {
	for _, img := range images {
		if img.SectorSize == sector {
			largest = max(largest, img.Size)
		}
	}
	return largest
}

// lookAt looks at one image, through an overlay of the appliance's disk's size.
func (s *Session) lookAt(ctx context.Context, img *Image, dir string, disk size.Bytes, o SessionOptions) Looked {
	look := Looked{At: time.Now()}
	stamps := stampsOf(img.Path, img.Backing)
	if look.Err = s.peek(ctx, img, dir, disk); look.Err != nil {
		return look
	}
	read := s.readOff
	if img.access == block.Shared {
		read = s.read
	}
	if look.Layout, look.Err = read(ctx, img.Size, Always); look.Err != nil {
		look.Err = fmt.Errorf("cannot read %s: %w", img.Path, look.Err)
		return look
	}
	o.Seen.saw(stamps, look.Layout, look.At)
	return look
}
