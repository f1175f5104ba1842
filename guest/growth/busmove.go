package growth

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/virt-grow/virt-grow/guest/disk"
	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/guest/domainjob"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/bus"
	"github.com/virt-grow/virt-grow/plan/live"
)

// movedXML is the file in a job's directory with the domain's definition as libvirt made it
// with the disks on their new bus and on their own images.
const movedXML = "domain-moved.xml"

// movesOf returns the moves to another bus of the named disks. A disk that is on that bus
// already does not move.
func movesOf(ctx context.Context, d *domain.Domain, named []domain.Disk, o DomainOptions) ([]plan.BusMove, error) {
	if o.Bus == "" {
		return nil, nil
	}
	if len(o.Moves) > 0 {
		named = slices.DeleteFunc(slices.Clone(named), func(def domain.Disk) bool { return !slices.Contains(o.Moves, def.Target) })
	}
	var moves []plan.BusMove
	for _, def := range named {
		if def.Bus != o.Bus {
			moves = append(moves, plan.BusMove{Disk: def.Target, From: def.Bus, To: o.Bus})
		}
	}
	if len(moves) == 0 {
		return nil, nil
	}
	x, err := d.XML(ctx)
	if err == nil {
		_, err = withMoves(x, moves)
	}
	if err == nil {
		err = d.CheckBus(ctx, x, o.Bus)
	}
	return moves, err
}

// withMoves returns the definition with the disks on their new bus, and completes the moves.
func withMoves(x domain.DefinitionXML, moves []plan.BusMove) (domain.DefinitionXML, error) {
	for i, m := range moves {
		var moved domain.Move
		var err error
		if x, moved, err = x.MoveDisk(m.Disk, m.To); err != nil {
			return "", err
		}
		moves[i].Target, moves[i].Notes = moved.Target, moved.Notes
	}
	return x, nil
}

// withOthers returns all disks of the domain that can be changed, in the order of the
// definition. A guest's files may name any of them, and a file with such a name may be on any
// of them. notes has those that cannot be changed. A block device needs the directory scratch
// for its overlay.
func withOthers(domainName string, all, named []domain.Disk, scratch string) (disks []domain.Disk, notes []string) {
	for _, def := range all {
		_, asked := disk.ByTarget(named, def.Target)
		err := disk.CheckChangeable(domainName, def)
		switch {
		case asked || err == nil && (def.Kind == "file" || scratch != ""):
			disks = append(disks, def)
		case err == nil:
			notes = append(notes, fmt.Sprintf("disk %s is a block device, and without --scratch-dir it was not looked at for names that change with the bus", def.Target))
		case def.Device == "disk" || def.Device == "lun":
			notes = append(notes, fmt.Sprintf("%v; it was not looked at for names that change with the bus", err))
		}
	}
	return disks, notes
}

// ForMove returns the request with the sizes of the disks that are named, for all disks that
// a move to another bus opens.
func ForMove(r plan.Request, d *disk.Disk, names []string) (plan.Request, error) {
	sizes := map[string]plan.Amount{}
	for i, name := range names {
		def, err := disk.Choose(d.Domain.Name, d.Status.Disks, name)
		if err != nil {
			return r, err
		}
		sizes[def.Target] = r.Size
		if i > 0 && len(r.More) >= i {
			sizes[def.Target] = r.More[i-1].Size
		}
	}
	r.Size, r.More = plan.Amount{Mode: plan.Keep}, nil
	for i, each := range d.All() {
		asked, ok := sizes[each.Def.Target]
		switch {
		case !ok || asked.Mode == plan.Keep:
		case i == 0:
			r.Size = asked
		default:
			r.More = append(r.More, plan.DiskSize{Disk: each.Def.Target, Size: asked})
		}
	}
	return r, nil
}

// lookForBus finds out whether the guest starts when its disks move to another bus.
func lookForBus(ctx context.Context, a busSearcher, t plan.Target) (*plan.BusFindings, error) {
	var disks []bus.Disk
	buses := map[string]string{t.Guest.Disk: t.Guest.Bus}
	for _, more := range t.More {
		buses[more.Disk] = more.Bus
	}
	for _, target := range t.Disks() {
		moves := func(m plan.BusMove) bool { return m.Disk == target }
		disks = append(disks, bus.Disk{Target: target, Bus: buses[target], Moves: slices.ContainsFunc(t.Guest.Moves, moves)})
	}
	found, err := a.LookForBus(ctx, disks)
	if err != nil {
		return nil, fmt.Errorf("cannot find out whether the guest starts from another bus: %w", err)
	}
	return judgeBus(*found, t.Guest.Moves)
}

// busSearcher finds what has to be known before disks move to another bus: the appliance.
type busSearcher interface {
	LookForBus(context.Context, []bus.Disk) (*bus.Findings, error)
}

// addBus adds to the layout what look finds about the moves to another bus, if there are any.
func addBus(ctx context.Context, l *plan.Layout, t plan.Target, look func(context.Context, plan.Target) (*plan.BusFindings, error)) (err error) {
	if t.Guest != nil && len(t.Guest.Moves) > 0 {
		l.Bus, err = look(ctx, t)
	}
	return err
}

// judgeBus returns what the findings mean for the moves: disks may come from several buses.
func judgeBus(found bus.Findings, moves []plan.BusMove) (*plan.BusFindings, error) {
	var all plan.BusFindings
	var from []string
	for _, m := range moves {
		if slices.Contains(from, m.From) {
			continue
		}
		from = append(from, m.From)
		edits, warnings, err := bus.Check(found, m.From, m.To)
		refusal, refused := plan.IsRefusal(err)
		switch {
		case refused && all.Problem == nil:
			all.Problem = refusal
		case err != nil && !refused:
			return nil, err
		}
		for _, w := range warnings {
			if !slices.Contains(all.Warnings, w) {
				all.Warnings = append(all.Warnings, w)
			}
		}
		for _, e := range edits {
			if !slices.ContainsFunc(all.Files, func(f plan.FileEdit) bool { return f.Path == e.Path }) {
				all.Files = append(all.Files, e)
			}
		}
	}
	return &all, nil
}

// moveDisks moves the disks to their new bus in the domain's definition, before they are
// pointed to overlays. An earlier run may have done that.
func (h *hostGuest) moveDisks(ctx context.Context) error {
	if len(h.Guest().Moves) == 0 {
		return nil
	}
	original, err := h.LoadDefinition(domainjob.OriginalXML)
	if err != nil {
		return err
	}
	now, err := h.domain.XML(ctx)
	if err != nil {
		return err
	}
	if now == original {
		moved, err := withMoves(original, slices.Clone(h.Guest().Moves))
		if err == nil {
			err = h.domain.Define(ctx, moved)
		}
		if err != nil {
			return err
		}
		if now, err = h.domain.XML(ctx); err != nil {
			return err
		}
	}
	return h.SaveDefinition(movedXML, now)
}

// isMoved reports whether a definition is what moveDisks makes of the original one, perhaps
// with the controllers that libvirt adds.
func (h *hostGuest) isMoved(now, original domain.DefinitionXML) bool {
	if len(h.Guest().Moves) == 0 {
		return false
	}
	moved, err := withMoves(original, slices.Clone(h.Guest().Moves))
	return err == nil && now.Alike(moved)
}

// hasMoved reports whether the domain's disks are on their new bus.
func (h *hostGuest) hasMoved(ctx context.Context) (bool, error) {
	moves := h.Guest().Moves
	if len(moves) == 0 {
		return false, nil
	}
	def, err := h.domain.Read(ctx)
	if err != nil {
		return false, err
	}
	old := func(m plan.BusMove) bool {
		d, ok := disk.ByTarget(def.Disks, m.Target)
		return !ok || d.Bus != m.To
	}
	return !slices.ContainsFunc(moves, old), nil
}

// imagesXML returns the definition that the domain has with its disks on their images: the
// original one, or that with the disks on their new bus.
func (h *hostGuest) imagesXML(original domain.DefinitionXML, moved bool) (domain.DefinitionXML, error) {
	if !moved {
		return original, nil
	}
	if saved, err := h.LoadDefinition(movedXML); err == nil {
		return saved, nil
	}
	// A crash came before the moved definition was saved.
	return withMoves(original, slices.Clone(h.Guest().Moves))
}

// movedBack returns a definition, whose disks are on their images, with the disks on their
// old bus. If another user has edited the definition meanwhile, only the disks go back.
func (h *hostGuest) movedBack(x, moved, original domain.DefinitionXML) (domain.DefinitionXML, error) {
	if x == original || x == moved || x.Alike(moved) {
		return original, nil
	}
	var err error
	for _, m := range h.Guest().Moves {
		if x, err = x.ReplaceDisk(m.Target, original, m.Disk); err != nil {
			return "", err
		}
	}
	return x.WithBootOf(original)
}

// seesMoves returns an error unless the guest sees each moved disk at its place on the new
// bus, and mounts the file systems that it mounted before.
func (h *hostGuest) seesMoves(ctx context.Context, after []domain.FS) error {
	if len(h.Guest().Moves) == 0 {
		return nil
	}
	for _, was := range h.data.Before {
		if !slices.ContainsFunc(after, func(f domain.FS) bool { return f.MountPoint == was.MountPoint }) {
			return fmt.Errorf("%s was mounted before, and is not", was.MountPoint)
		}
	}
	live, err := h.domain.Live(ctx)
	if err != nil {
		return err
	}
	seen, err := h.domain.GuestDisks(ctx)
	if domain.Unsupported(err) {
		h.Note("the guest agent does not list disks: whether the guest sees them on their new bus was not checked")
		return nil
	}
	if err != nil {
		return err
	}
	for _, m := range h.Guest().Moves {
		def, ok := disk.ByTarget(live.Disks, m.Target)
		if !ok || def.Bus != m.To {
			return fmt.Errorf("disk %s is not on %s in the definition of the running guest", m.Target, m.To)
		}
		if err := seesDisk(def, seen); err != nil {
			return fmt.Errorf("the guest does not see %s on %s: %w", m.Target, m.To, err)
		}
	}
	return nil
}

// seesDisk returns an error if no disk that the guest sees is at the place of the disk. A guest
// that does not know the places of all its disks (one without PCI, for example) may have it.
func seesDisk(def domain.Disk, seen []domain.GuestDisk) error {
	unknown := func(g domain.GuestDisk) bool { return g.Address == "" }
	if def.Place == "" || slices.ContainsFunc(seen, unknown) {
		return nil
	}
	def.Serial = "" // the disk has it on every bus
	_, err := domain.MatchDisk(def, seen)
	if errors.Is(err, live.ErrAmbiguous) {
		return nil // the agent on Linux leaves the target of a SCSI disk out
	}
	return err
}
