package disk

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/virt-grow/virt-grow/guest/block"
	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/guest/image"
	"github.com/virt-grow/virt-grow/guest/session"
	"github.com/virt-grow/virt-grow/plan"
)

// List lists a domain's disks, with what is wrong with each. With look, every disk is
// inspected now; otherwise the list shows what the cache has.
func List(ctx context.Context, d *domain.Domain, look bool, o session.Options, c *session.Cache) (*plan.DiskList, error) {
	status, err := d.Status(ctx, false)
	if err != nil {
		return nil, err
	}
	live := status.Definition
	if status.State == domain.Running || status.State == domain.Held {
		if live, err = d.Live(ctx); err != nil {
			return nil, err
		}
	}
	others, err := d.Others(ctx)
	if err != nil {
		return nil, err
	}
	list := &plan.DiskList{Domain: d.Name, UUID: d.UUID, State: string(status.State), Disks: []plan.ListedDisk{}}
	users := FindUsers(ctx, block.Inspect, others)
	for _, def := range bothOf(live.Disks, status.Disks) {
		entry := listed(def)
		describeFile(ctx, block.Inspect, &entry)
		if status.Persistent {
			warnIfDefinitionsDiffer(&entry, d.Name, live.Disks, status.Disks)
		}
		warnIfShared(&entry, users)
		entry.Inside = c.Find(image.Stamps(entry.Source, entry.Backing))
		list.Disks = append(list.Disks, entry)
	}
	warnIfTwice(list.Disks)
	if look {
		err = lookInside(ctx, list, status.State, o, c)
	}
	return list, err
}

// bothOf returns the disks that a domain runs with, and those that only its
// persistent definition has.
func bothOf(live, defined []domain.Disk) []domain.Disk {
	all := slices.Clone(live)
	for _, def := range defined {
		if _, ok := ByTarget(live, def.Target); !ok {
			all = append(all, def)
		}
	}
	return all
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
		entry.Warn(plan.CacheUnsafe, d.Target, "%s has cache='unsafe': flushed writes of the guest are lost if the host crashes", d.Target)
	}
	return entry
}

// local reports whether the disk is a file or a device of this host.
func local(d *plan.ListedDisk) bool {
	return d.Source != "" && (d.Kind == "file" || d.Kind == "block")
}

// describeFile describes the image. It is read in spite of its lock, because the
// guest may run.
func describeFile(ctx context.Context, inspect image.Inspector, d *plan.ListedDisk) {
	if !local(d) {
		return
	}
	if _, err := os.Stat(d.Source); errors.Is(err, fs.ErrNotExist) {
		d.Warn(plan.NotFound, d.Source, "%s: there is no %s", d.Target, d.Source)
		return
	} else if err != nil {
		d.Warn(plan.Unreadable, d.Source, "%s: %v", d.Target, err)
		return
	}
	format := d.Format
	if format == "" {
		format = "raw" // as libvirt does
		if d.Device == "disk" {
			d.Warn(plan.FormatMissing, d.Source, "%s (%s) has no format in its definition: its <disk> lacks <driver name='qemu' type='qcow2'/>, or type='raw'", d.Target, d.Source)
		}
	}
	if r, ok := plan.IsRefusal(image.CheckContent(d.Source, format)); ok {
		d.Warn(r.Reason, r.Subject, "%s: %s", d.Target, r.Text)
	}
	describeChain(ctx, inspect, d, format)
}

// describeChain describes the backing chain, as far as it can be followed without a
// guess.
func describeChain(ctx context.Context, inspect image.Inspector, d *plan.ListedDisk, format string) {
	chain, err := image.ReadChain(ctx, inspect, d.Source, format, block.Shared)
	d.Depth = len(chain)
	last := d.Source
	for _, link := range chain {
		if link.Info.Backing != "" {
			d.Backing = append(d.Backing, plan.Link{Path: link.Info.Backing, Format: link.Info.BackingFormat})
			last = link.Info.Backing
		}
	}
	if len(chain) > 0 {
		d.Size, d.Allocated = chain[0].Info.VirtualSize, chain[0].Info.Allocated
	}
	switch r, refused := plan.IsRefusal(err); {
	case err == nil:
	case refused && r.Reason == plan.NotFound:
		d.Warn(plan.BackingMissing, r.Subject, "%s: %s", d.Target, r.Text)
	case refused && r.Reason == plan.FormatMissing:
		d.Warn(r.Reason, r.Subject, "%s: %s", d.Target, r.Text)
	case refused && r.Reason == plan.FormatUnsupported: // on the network
	case warned(d, plan.FormatMismatch): // QEMU cannot open it for that reason
	default:
		d.Warn(plan.Unreadable, last, "%s: %v", d.Target, err)
	}
}

func warned(d *plan.ListedDisk, reason plan.Reason) bool {
	return slices.ContainsFunc(d.Warnings, func(w *plan.Refusal) bool { return w.Reason == reason })
}

// warnIfDefinitionsDiffer warns where the guest will have another disk after its
// next start.
func warnIfDefinitionsDiffer(d *plan.ListedDisk, name string, live, defined []domain.Disk) {
	now, runs := ByTarget(live, d.Target)
	next, stays := ByTarget(defined, d.Target)
	switch {
	case !runs:
		d.Warn(plan.DefinitionsDiffer, name, "%s is only in the persistent definition: the guest sees it at its next start", d.Target)
	case !stays:
		d.Warn(plan.DefinitionsDiffer, name, "%s is only in the running guest: it is gone after the next shutdown", d.Target)
	default:
		if differ := now.Differs(next); len(differ) > 0 {
			d.Warn(plan.DefinitionsDiffer, name, "the definition of %s in the running guest differs from the persistent one: %s", d.Target, strings.Join(differ, "; "))
		}
	}
}

// warnIfShared warns of an image that another domain uses, if one of the two domains
// writes to it.
func warnIfShared(d *plan.ListedDisk, others Users) {
	if !local(d) {
		return
	}
	for depth, link := range append([]plan.Link{{Path: d.Source}}, d.Backing...) {
		if !image.Exists(link.Path) {
			return
		}
		for _, u := range others.Of(link.Path) {
			writes := depth == 0 && !d.ReadOnly || u.Depth == 0 && !u.Disk.Fixed
			switch {
			case !writes, d.Shareable && u.Disk.Shared && depth+u.Depth == 0:
			case depth == 0 && u.Depth == 0:
				d.Warn(plan.DiskShared, u.Domain, "%s: %s is also disk %s of domain %s", d.Target, link.Path, u.Target, u.Domain)
			case depth == 0:
				d.Warn(plan.ChainShared, u.Domain, "%s: %s is a backing file of disk %s of domain %s (%s)", d.Target, link.Path, u.Target, u.Domain, u.Disk.Source)
			default:
				d.Warn(plan.ChainShared, u.Domain, "%s has the backing file %s, which is the writable disk %[4]s of domain %[3]s", d.Target, link.Path, u.Domain, u.Target)
			}
		}
	}
}

// warnIfTwice warns of an image that is two disks of the domain.
func warnIfTwice(disks []plan.ListedDisk) {
	for i := range disks {
		for j := range disks[:i] {
			a, b := &disks[j], &disks[i]
			if local(a) && local(b) && !(a.ReadOnly && b.ReadOnly) && image.SameFile(a.Source, b.Source) {
				b.Warn(plan.DiskShared, b.Source, "%s: %s is also disk %s", b.Target, b.Source, a.Target)
			}
		}
	}
}

// lookInside looks at every disk, with as few appliances as possible.
func lookInside(ctx context.Context, list *plan.DiskList, state domain.State, o session.Options, c *session.Cache) error {
	var images []*image.Image
	var entries []*plan.ListedDisk
	for i := range list.Disks {
		d := &list.Disks[i]
		if !local(d) || d.Device != "disk" && d.Device != "lun" || d.Size == 0 {
			continue
		}
		open := image.Options{Format: d.Format}
		if state != domain.Off && state != domain.Crashed {
			open.Access = block.Shared
		}
		img, err := image.Open(ctx, d.Source, open)
		if err != nil {
			warnNotInspected(d, err)
			continue
		}
		images, entries = append(images, img), append(entries, d)
	}
	looks, err := session.LookAll(ctx, images, o, c)
	for i, look := range looks {
		if look.Err != nil {
			warnNotInspected(entries[i], look.Err)
			continue
		}
		entries[i].Inside = plan.InsideOf(look.Layout, look.At)
	}
	return err
}

// warnNotInspected warns of a disk that could not be inspected, unless there is a
// warning with that reason already.
func warnNotInspected(d *plan.ListedDisk, err error) {
	reason := plan.Unreadable
	if r, ok := plan.IsRefusal(err); ok {
		reason = r.Reason
	}
	if !warned(d, reason) {
		d.Warn(reason, d.Source, "%s: cannot inspect the disk: %v", d.Target, err)
	}
}
