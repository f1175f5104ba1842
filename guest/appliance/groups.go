package appliance

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/lvm"
	"github.com/virt-grow/virt-grow/plan/size"
)

// pv is a PV, as its own metadata describes it.
type pv struct {
	device string
	label  lvm.Label
	// group is the newest description of its group; nil for a PV without one.
	group *lvm.Group
	// problem is why LVM in the appliance must not or cannot use the PV; nil for none.
	problem *plan.Refusal
}

// readPVs reads the PVs on the devices. Some PVs of a group, by default all, have the
// description of the group.
func (a *Appliance) readPVs(ctx context.Context, devices []string) ([]pv, error) {
	var pvs []pv
	newest := map[string]*lvm.Group{} // by UUID
	for _, device := range devices {
		p, g, err := a.readPV(ctx, device)
		if err != nil {
			return nil, err
		}
		if g != nil && (newest[g.UUID] == nil || newest[g.UUID].Seqno < g.Seqno) {
			newest[g.UUID] = g
		}
		pvs = append(pvs, p)
	}
	for i := range pvs {
		for _, uuid := range slices.Sorted(maps.Keys(newest)) {
			if _, ok := newest[uuid].PV(pvs[i].label.UUID); ok {
				pvs[i].group = newest[uuid]
			}
		}
	}
	judgePVs(pvs)
	return pvs, nil
}

// readPV reads one PV, and the description of its group if the PV has one. An unreadable
// description becomes the PV's problem.
func (a *Appliance) readPV(ctx context.Context, device string) (pv, *lvm.Group, error) {
	p := pv{device: device}
	unreadable := func(err error) (pv, *lvm.Group, error) {
		p.problem = plan.Refuse(plan.UnsupportedLayout, device, "cannot read the LVM metadata on %s: %v", device, err)
		return p, nil, nil
	}
	head, err := a.pread(ctx, device, lvm.Area{Size: lvm.LabelRoom})
	if err != nil {
		return p, nil, err
	}
	if p.label, err = lvm.ReadLabel(head); err != nil {
		return unreadable(err)
	}
	for _, area := range p.label.Metadata {
		head, err := a.pread(ctx, device, lvm.Area{Offset: area.Offset, Size: lvm.HeaderSize})
		if ctx.Err() != nil {
			return p, nil, err
		}
		if err != nil {
			return unreadable(err)
		}
		text, used, err := lvm.ReadHeader(head, area)
		if err != nil {
			return unreadable(err)
		}
		if !used {
			continue
		}
		var data []byte
		for _, piece := range text.Pieces() {
			part, err := a.pread(ctx, device, piece)
			if err != nil {
				return p, nil, err
			}
			data = append(data, part...)
		}
		g, err := text.Group(data)
		if err != nil {
			return unreadable(err)
		}
		return p, g, nil
	}
	return p, nil, nil
}

// most is how much one call reads: a message of libguestfs has at most 4 MiB.
const most = 2 * size.MiB

// pread reads a part of a device.
func (a *Appliance) pread(ctx context.Context, device string, area lvm.Area) ([]byte, error) {
	var all []byte
	for area.Size > 0 {
		n := min(area.Size, most)
		var data []byte
		err := a.do(ctx, func() (e error) {
			data, e = a.g.Pread_device(a.path(device), int(n), int64(area.Offset))
			return
		})
		if err != nil {
			return nil, err
		}
		if size.Bytes(len(data)) != n {
			return nil, fmt.Errorf("%s ends before byte %d", device, int64(area.Offset+n))
		}
		all = append(all, data...)
		area.Offset, area.Size = area.Offset+n, area.Size-n
	}
	return all, nil
}

// judgePVs finds the PVs that LVM in the appliance must not change, or will refuse.
func judgePVs(pvs []pv) {
	devices, names := map[string][]string{}, map[string]string{}
	for _, p := range pvs {
		devices[p.label.UUID] = append(devices[p.label.UUID], p.device)
	}
	twice := map[string]bool{}
	for _, p := range pvs {
		if g := p.group; g != nil {
			if other, ok := names[g.Name]; ok && other != g.UUID {
				twice[g.Name] = true
			}
			names[g.Name] = g.UUID
		}
	}
	for i := range pvs {
		p := &pvs[i]
		same := devices[p.label.UUID]
		switch {
		case p.problem != nil:
		case len(same) > 1:
			p.problem = plan.Refuse(plan.UnsupportedLayout, p.device, "%s are PVs with one UUID: one is a copy of the other", strings.Join(same, " and "))
		case p.group != nil && twice[p.group.Name]:
			p.problem = plan.Refuse(plan.UnsupportedLayout, p.group.Name, "two volume groups on the disk are called %s", p.group.Name)
		case p.group != nil:
			p.problem = foreign(p.group)
		}
	}
}

// foreign refuses a group that belongs to another system, or that several systems share.
func foreign(g *lvm.Group) *plan.Refusal {
	refuse := func(format string, args ...any) *plan.Refusal {
		r := plan.Refuse(plan.UnsupportedLayout, g.Name, "volume group %s "+format, append([]any{g.Name}, args...)...)
		r.Way = plan.WayOnline
		return r
	}
	switch {
	case g.SystemID != "":
		return refuse("belongs to another host: its system ID is %q, and the appliance has none", g.SystemID)
	case g.LockType != "" && g.LockType != "none":
		return refuse("is shared by several hosts (lock type %s), whose locks are not available here", g.LockType)
	case g.Clustered:
		return refuse("is clustered: shared by several hosts, whose locks are not available here")
	case g.Exported:
		r := refuse("is exported (vgexport): it cannot be used before vgimport is run")
		r.Way = ""
		return r
	case g.ReadOnly:
		return refuse("is read-only: LVM refuses to change it")
	}
	return nil
}

// openGroupsOf activates the groups of the PVs that LVM may use. The other PVs are hidden
// from LVM: their mere presence makes its scan fail.
func (a *Appliance) openGroupsOf(ctx context.Context, pvs []pv) error {
	var good []string
	for _, p := range pvs {
		if p.problem == nil {
			good = append(good, a.path(p.device))
		}
	}
	if len(good) == 0 {
		return nil
	}
	if len(good) < len(pvs) && !a.filtered {
		a.filtered = true
		if err := a.do(ctx, func() error { return a.g.Lvm_set_filter(good) }); err != nil {
			return err
		}
	}
	return a.openLVM(ctx)
}

// unfilter shows LVM all devices again.
func (a *Appliance) unfilter(ctx context.Context) error {
	if !a.filtered {
		return nil
	}
	a.filtered = false
	return a.do(ctx, a.g.Lvm_clear_filter)
}

// probeGroups activates the volume groups and probes their volumes.
func (a *Appliance) probeGroups(ctx context.Context, l *plan.Layout) error {
	var devices []string
	for _, d := range l.Devices {
		if d.Content.Type == plan.ContentPV && d.Kind != plan.LV {
			devices = append(devices, d.Name)
		}
	}
	if len(devices) == 0 {
		return nil
	}
	a.pvs = devices
	pvs, err := a.readPVs(ctx, devices)
	if err != nil {
		return err
	}
	if err := a.openGroupsOf(ctx, pvs); err != nil {
		return err
	}
	var groups []*lvm.Group
	for _, p := range pvs {
		placePV(l, p)
		if p.group != nil && !slices.Contains(groups, p.group) {
			groups = append(groups, p.group)
		}
	}
	for _, g := range groups {
		if err := a.placeGroup(ctx, l, g, pvs); err != nil {
			return err
		}
	}
	return nil
}

// placePV adds a PV to its device in the layout.
func placePV(l *plan.Layout, p pv) {
	d, _ := l.Find(p.device)
	c := &d.Content
	c.Problem, c.Tail = p.problem, p.label.Tail()
	if p.group == nil {
		return
	}
	here, _ := p.group.PV(p.label.UUID)
	used := p.group.Used(here)
	extents := func(n int64) size.Bytes { return size.Bytes(n) * p.group.Extent }
	c.Group, c.Offset, c.Fixed = p.group.Name, here.Start, !here.Allocatable
	c.Size, c.Used, c.Free = extents(here.Count), extents(used), extents(here.Count-used)
}

// placeGroup adds a group and its volumes to the layout.
func (a *Appliance) placeGroup(ctx context.Context, l *plan.Layout, g *lvm.Group, pvs []pv) error {
	group := plan.Group{Name: g.Name, Extent: g.Extent, Missing: len(g.PVs)}
	devices := map[string]string{} // by the PV's UUID
	var problem *plan.Refusal
	for _, p := range pvs {
		if p.group != g {
			continue
		}
		d, _ := l.Find(p.device)
		devices[p.label.UUID] = p.device
		group.PVs = append(group.PVs, p.device)
		group.Missing--
		if !d.Content.Fixed {
			group.Free += d.Content.Free
		}
		if p.problem != nil {
			problem = p.problem
		}
	}
	l.Groups = append(l.Groups, group)
	if problem == nil && group.Missing > 0 {
		problem = plan.RefuseMissing(group)
		for _, name := range group.PVs {
			d, _ := l.Find(name)
			d.Content.Problem = problem // LVM refuses to change such a group
		}
	}
	for _, lv := range g.LVs {
		if !lv.Visible || strings.HasSuffix(lv.Kind, " pool") {
			continue
		}
		if err := a.placeLV(ctx, l, g, lv, devices, problem); err != nil {
			return err
		}
	}
	return nil
}

// placeLV adds a volume to the layout, and probes its content if it is active.
func (a *Appliance) placeLV(ctx context.Context, l *plan.Layout, g *lvm.Group, lv lvm.LV, devices map[string]string, problem *plan.Refusal) error {
	name := g.Name + "/" + lv.Name
	end, behind, last := g.End(lv)
	d := plan.Device{Name: name, Kind: plan.LV, Group: g.Name, Size: g.Size(lv), Allocation: &plan.Allocation{
		Policy: lv.Policy, PV: devices[end.UUID], Behind: size.Bytes(behind) * g.Extent, Last: last}}
	n, err := a.deviceSize(ctx, name)
	if ctx.Err() != nil {
		return err
	}
	active := err == nil
	if active {
		d.Size = n
	}
	l.Devices = append(l.Devices, d)
	if active {
		if err := a.probeContent(ctx, l, name); err != nil {
			return err
		}
	}
	content := &l.Devices[slices.IndexFunc(l.Devices, func(d plan.Device) bool { return d.Name == name })].Content
	switch {
	case problem != nil:
		content.Problem = problem
	case lv.Kind != "":
		content.Problem = plan.Refuse(plan.UnsupportedLayout, name, "%s is %s, not a plain volume", name, lv.Kind)
	case !active && lv.Skip:
		content.Problem = plan.Refuse(plan.UnsupportedLayout, name, "%s is not activated: its activation is skipped by a flag (lvchange -ky)", name)
	case !active:
		content.Problem = plan.Refuse(plan.UnsupportedLayout, name, "%s is not activated: LVM in the appliance did not activate it", name)
	case lv.ReadOnly:
		content.Problem = plan.Refuse(plan.UnsupportedLayout, name, "%s is set read-only in LVM (lvchange -pr)", name)
	}
	return nil
}

// pvSize returns a PV's size by the present description of its group.
func (a *Appliance) pvSize(ctx context.Context, device string) (size.Bytes, error) {
	pvs, err := a.readPVs(ctx, a.pvs)
	if err != nil {
		return 0, err
	}
	for _, p := range pvs {
		if p.device == device && p.group != nil {
			here, _ := p.group.PV(p.label.UUID)
			return size.Bytes(here.Count) * p.group.Extent, nil
		}
	}
	return 0, fmt.Errorf("%s is no longer a PV of a volume group", device)
}
