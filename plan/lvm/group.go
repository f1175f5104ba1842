package lvm

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/virt-grow/virt-grow/plan/size"
)

// Group is a volume group, as its metadata describes it.
type Group struct {
	Name, UUID string
	// Seqno is higher in newer descriptions.
	Seqno  int64
	Extent size.Bytes
	// SystemID is the host that the group belongs to, "" for any host; LockType is the
	// lock manager of a shared group ("sanlock", "dlm"), "" or "none" for no locks.
	SystemID, LockType  string
	Exported, Clustered bool
	// ReadOnly reports that LVM refuses to change the group.
	ReadOnly bool
	PVs      []PV
	LVs      []LV
}

// PV is a physical volume of a group.
type PV struct {
	// UUID has no hyphens, as in the label.
	UUID string
	// Start is the offset of the first extent, Count the number of extents.
	Start size.Bytes
	Count int64
	// Allocatable reports that LVM may allocate extents on it, Missing that it was absent
	// when the group was last written.
	Allocatable, Missing bool

	name string // in the text
}

// LV is a logical volume of a group.
type LV struct {
	Name string
	// Visible reports that it is not an internal part of another volume.
	Visible bool
	// Kind is why it is not a plain volume, "" for a plain one.
	Kind string
	// ReadOnly reports that LVM activates it read-only, Skip that it is not activated with
	// the others.
	ReadOnly, Skip bool
	// Policy is the allocation policy: "normal" or "anywhere", "contiguous", "cling".
	Policy string
	// Extents is the volume's size in extents.
	Extents int64

	segments []segment
}

// segment is one part of a volume, with its places on PVs.
type segment struct {
	start, count int64
	kind         string
	places       []place
}

// place is a range of extents of one PV.
type place struct {
	pv           string
	start, count int64
}

// Size returns the volume's size in its group.
func (g *Group) Size(lv LV) size.Bytes { return size.Bytes(lv.Extents) * g.Extent }

// PV returns the PV with a UUID.
func (g *Group) PV(uuid string) (PV, bool) {
	i := slices.IndexFunc(g.PVs, func(pv PV) bool { return pv.UUID == uuid })
	if i < 0 {
		return PV{}, false
	}
	return g.PVs[i], true
}

// Used returns how many of a PV's extents are in use.
func (g *Group) Used(pv PV) int64 {
	var used int64
	for _, p := range g.places(pv) {
		used += p.count
	}
	return min(used, pv.Count)
}

// places returns the ranges in use on a PV, sorted by their start.
func (g *Group) places(pv PV) []place {
	var used []place
	for _, lv := range g.LVs {
		for _, s := range lv.segments {
			for _, p := range s.places {
				if p.pv == pv.name {
					used = append(used, p)
				}
			}
		}
	}
	slices.SortFunc(used, func(a, b place) int { return cmp.Compare(a.start, b.start) })
	return used
}

// End returns the PV on which a plain volume ends, the number of free extents right behind
// it, and whether these are the PV's last ones.
func (g *Group) End(lv LV) (pv PV, free int64, last bool) {
	if lv.Kind != "" || len(lv.segments) == 0 {
		return pv, 0, false
	}
	end := lv.segments[len(lv.segments)-1].places[0]
	i := slices.IndexFunc(g.PVs, func(pv PV) bool { return pv.name == end.pv })
	if i < 0 {
		return pv, 0, false
	}
	pv = g.PVs[i]
	from := end.start + end.count
	for _, p := range g.places(pv) {
		if p.start >= from {
			return pv, min(p.start-from, pv.Count), false
		}
	}
	return pv, max(0, pv.Count-from), true
}

// ReadGroup reads a description.
func ReadGroup(text []byte) (*Group, error) {
	all, err := parse(string(text))
	if err != nil {
		return nil, err
	}
	if len(all.names) != 1 {
		return nil, fmt.Errorf("the LVM metadata describes %d volume groups", len(all.names))
	}
	g, err := group(all.names[0], all.sub(all.names[0]))
	if err != nil {
		return nil, fmt.Errorf("volume group %s: %w", all.names[0], err)
	}
	return g, nil
}

func group(name string, s *section) (*Group, error) {
	status, flags := s.words("status"), s.words("flags")
	extent := s.number("extent_size")
	if extent <= 0 || extent > farthest/int64(sector) {
		return nil, fmt.Errorf("extents of %d sectors", extent)
	}
	g := &Group{
		Name: name, UUID: plainUUID(s.text("id")), Seqno: s.number("seqno"), Extent: size.Bytes(extent) * sector,
		SystemID: s.text("system_id"), LockType: s.text("lock_type"),
		Exported:  has("EXPORTED", status, flags),
		Clustered: has("CLUSTERED", status, flags),
		ReadOnly:  !has("WRITE", status) && !has("WRITE_LOCKED", status, flags),
	}
	// A group with a system ID has WRITE_LOCKED instead of WRITE, so that LVM before
	// 2.02.117 does not change it (format_text/export.c).
	pvs := s.sub("physical_volumes")
	for _, name := range pvs.names {
		pv, err := g.pv(name, pvs.sub(name))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		g.PVs = append(g.PVs, pv)
	}
	lvs := s.sub("logical_volumes")
	policy := cmp.Or(s.text("allocation_policy"), "normal")
	for _, name := range lvs.names {
		lv, err := g.lv(name, lvs.sub(name), policy)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		g.LVs = append(g.LVs, lv)
	}
	g.snapshots(lvs)
	return g, nil
}

func has(word string, lists ...[]string) bool {
	return slices.ContainsFunc(lists, func(l []string) bool { return slices.Contains(l, word) })
}

func plainUUID(id string) string { return strings.ReplaceAll(id, "-", "") }

func (g *Group) pv(name string, s *section) (PV, error) {
	start, count := s.number("pe_start"), s.number("pe_count")
	if start < 0 || start > farthest/int64(sector) || count < 0 || count > math.MaxUint32 {
		return PV{}, fmt.Errorf("%d extents at sector %d", count, start)
	}
	status, flags := s.words("status"), s.words("flags")
	return PV{
		UUID: plainUUID(s.text("id")), Start: size.Bytes(start) * sector, Count: count,
		Allocatable: has("ALLOCATABLE", status, flags), Missing: has("MISSING", status, flags), name: name,
	}, nil
}

func (g *Group) lv(name string, s *section, policy string) (LV, error) {
	status, flags := s.words("status"), s.words("flags")
	lv := LV{
		Name: name, Visible: has("VISIBLE", status, flags),
		ReadOnly: !has("WRITE", status) && !has("WRITE_LOCKED", status, flags),
		Skip:     has("ACTIVATION_SKIP", status, flags), Policy: cmp.Or(s.text("allocation_policy"), policy),
	}
	for _, name := range s.names {
		if !strings.HasPrefix(name, "segment") {
			continue
		}
		sub := s.sub(name)
		piece, err := g.segment(sub)
		if err != nil {
			return lv, fmt.Errorf("%s: %w", name, err)
		}
		lv.segments = append(lv.segments, piece)
		if kind := kindOf(sub, piece); lv.Kind == "" {
			lv.Kind = kind
		}
		lv.Extents += piece.count
	}
	slices.SortStableFunc(lv.segments, func(a, b segment) int { return cmp.Compare(a.start, b.start) })
	if has("LOCKED", status, flags) || has("PVMOVE", status, flags) {
		lv.Kind = "being moved"
	}
	return lv, nil
}

// segment reads one segment. A stripe has its share of the extents, each half of a mirror
// has all of them; segments of other kinds lie on volumes.
func (g *Group) segment(s *section) (segment, error) {
	piece := segment{start: s.number("start_extent"), count: s.number("extent_count"), kind: s.text("type")}
	if piece.start < 0 || piece.start > math.MaxUint32 || piece.count < 1 || piece.count > math.MaxUint32 {
		return piece, fmt.Errorf("%d extents at %d", piece.count, piece.start)
	}
	stripes := s.list("stripes")
	shares := max(1, int64(len(stripes)/2))
	var err error
	if piece.places, err = g.onPVs(stripes, piece.count/shares); err != nil {
		return piece, err
	}
	mirrors, err := g.onPVs(s.list("mirrors"), piece.count)
	piece.places = append(piece.places, mirrors...)
	return piece, err
}

// onPVs reads a list of names and first extents, and returns those on PVs.
func (g *Group) onPVs(list []any, count int64) ([]place, error) {
	var places []place
	for i := 0; i+1 < len(list); i += 2 {
		name, named := list[i].(string)
		start, numbered := list[i+1].(int64)
		if !named || !numbered {
			return nil, errors.New("an area is no name with a number")
		}
		if start < 0 || start > math.MaxUint32 {
			return nil, fmt.Errorf("an area at extent %d", start)
		}
		if slices.ContainsFunc(g.PVs, func(pv PV) bool { return pv.name == name }) {
			places = append(places, place{name, start, count})
		}
	}
	return places, nil
}

// kinds has the names of segment types for people (lvs(8), segtype).
var kinds = map[string]string{
	"thin": "thin", "thin-pool": "a thin pool", "mirror": "a mirror", "cache": "cached", "cache-pool": "a cache pool",
	"writecache": "cached", "snapshot": "a snapshot", "vdo": "VDO", "vdo-pool": "a VDO pool", "zero": "virtual", "error": "virtual",
	"integrity": "one with integrity data",
}

// kindOf returns why a segment is not a plain one, "" for a plain one. A striped segment
// needs free extents on several PVs.
func kindOf(s *section, piece segment) string {
	stripes := len(s.list("stripes")) / 2
	// The type may have flags: "striped+FLAG" (format_text/flags.c).
	kind, _, _ := strings.Cut(piece.kind, "+")
	switch {
	case kind == "striped" && stripes > 1:
		return fmt.Sprintf("striped over %d PVs", stripes)
	case kind == "striped" && len(piece.places) == 1:
		return ""
	case kind == "striped":
		return "one that lies on other volumes"
	case strings.HasPrefix(kind, "raid"):
		return "RAID"
	case kinds[kind] != "":
		return kinds[kind]
	}
	return fmt.Sprintf("of type %q", kind)
}

// snapshots marks the origins of snapshots and the volumes that store them. In the text, a
// snapshot is an invisible volume of its own.
func (g *Group) snapshots(lvs *section) {
	for _, name := range lvs.names {
		for _, piece := range lvs.sub(name).names {
			s := lvs.sub(name).sub(piece)
			if s.text("type") != "snapshot" {
				continue
			}
			g.mark(s.text("origin"), "the origin of a snapshot")
			g.mark(s.text("cow_store"), "a snapshot")
		}
	}
}

func (g *Group) mark(name, kind string) {
	for i := range g.LVs {
		if g.LVs[i].Name == name {
			g.LVs[i].Kind = kind
		}
	}
}
