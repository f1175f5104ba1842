package plan

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/virt-grow/virt-grow/plan/size"
	"github.com/virt-grow/virt-grow/plan/table"
)

// Build computes the plan for a request on a layout. A plan without steps means that
// everything has the requested size already. A *Refusal says why there is no plan.
func Build(l *Layout, target Target, r Request) (*Plan, error) {
	newSizes, err := newSizes(l, target, r)
	if err != nil {
		return nil, err
	}
	if l.Hibernated != nil {
		return nil, l.Hibernated
	}
	if err := readable(l); err != nil && !r.ContainerOnly() {
		return nil, err
	}
	chosen, err := choose(l, r)
	if err != nil {
		return nil, err
	}
	b := newBuilder(l, r, newSizes)
	if err := b.build(chosen); err != nil {
		return nil, err
	}
	p := &Plan{
		Schema: Schema, Target: target, Request: r,
		OldSize: l.Size, NewSize: newSizes[0],
		Before: l, After: b.after, Steps: b.steps, Warnings: b.warnings, ManualSteps: b.todo,
		Writes: writes(l, b.steps), Fingerprint: l.Fingerprint(),
	}
	for i, d := range chosen {
		if i == 0 {
			p.Grows = d.Name
		} else {
			p.Also = append(p.Also, d.Name)
		}
	}
	p.drivers()
	if err := p.moveDisks(); err != nil {
		return nil, err
	}
	p.addSafetySteps(b.extend())
	return p, nil
}

// addSafetySteps adds the steps around the edit: overlay, undo file, commit, or those for
// a guest. extend are the steps that the guest carries out.
func (p *Plan) addSafetySteps(extend []Step) {
	if len(p.Steps) == 0 && len(extend) == 0 && !p.Resizes() && !p.Target.Guest.moves() {
		return
	}
	if !p.Target.Guest.extends() {
		for _, s := range extend {
			p.ManualSteps = append(p.ManualSteps, s.ByHand())
		}
		extend = nil
	}
	for _, s := range extend {
		d, _ := p.After.Find(s.Device)
		d.Size, d.Content.Size = s.To, s.To
	}
	early := p.checkEarly()
	images := p.images()
	steps := overlaySteps(images)
	steps = append(steps, p.Steps...)
	if g := p.Target.Guest; g != nil {
		steps = append(early, g.withGuestSteps(steps, extend, images)...)
		for _, target := range g.Unprotected {
			p.Warnings = append(p.Warnings, target+" gets no overlay: a rollback does not undo what the guest writes to it during the trial")
		}
	} else {
		steps = append(steps, commitSteps(images)...)
		steps = append(steps, Step{Kind: StepClean, Summary: "delete the overlay"})
	}
	p.Steps = steps
	estimate(p.Before, p.Steps)
}

// builder walks from the disks up to each target and collects the steps.
type builder struct {
	before, after *Layout
	request       Request
	disks         []*onDisk
	deleted       []*Device
	steps         []Step
	warnings      []string
	// todo is what the user has to do afterwards.
	todo []string
	// extensions are the partitions that Windows extends.
	extensions []extension
	// recoveries are PowerShell expressions that find the recovery partitions that move.
	recoveries []string
	// shares has the partitions' shares of the remaining space, in percent.
	shares map[*Device]int
	// room is the space of a group that is left for volumes with a share.
	room map[string]size.Bytes
	// sharing counts the targets that still take a part of a group's remaining space.
	sharing map[string]int
	// grown has the last volume of each group that has grown.
	grown map[string]*Device
}

// goal is one target: the device, the devices below it from the disk up, and the size that
// it should get, 0 for all the free space.
type goal struct {
	*Device
	stack []*Device
	want  size.Bytes
	share int // share of the remaining space, in percent
}

func (b *builder) build(chosen []*Device) error {
	for _, d := range b.disks {
		if err := d.diskEndsWell(); err != nil {
			return err
		}
	}
	if len(chosen) == 0 {
		if slices.ContainsFunc(b.disks, (*onDisk).grows) {
			b.warn("only the container grows: the partition table and the file systems do not change")
		}
		return nil
	}
	for _, d := range b.disks {
		if d.disk.Table == nil {
			continue
		}
		for _, problem := range d.disk.Table.Problems {
			b.warn("partition table: " + problem.Text)
		}
	}
	goals, err := b.goals(chosen)
	if err != nil {
		return err
	}
	if err := b.guestCan(goals); err != nil {
		return err
	}
	if err := b.drop(goals); err != nil {
		return err
	}
	for _, d := range b.disks {
		if err := d.growPartitions(goals); err != nil {
			return err
		}
	}
	if err := b.endsWell(goals); err != nil {
		return err
	}
	for _, g := range goals {
		if b.byGuest(g.Device) {
			continue
		}
		for i, d := range g.stack {
			if err := b.grow(d, i == len(g.stack)-1, g); err != nil {
				return err
			}
		}
	}
	b.check(goals)
	b.todo = b.afterwards(goals)
	return nil
}

// goals returns the targets: those with a size, those with a share of what is left,
// and those that take the rest.
func (b *builder) goals(chosen []*Device) ([]goal, error) {
	b.sharing, b.room, b.grown = map[string]int{}, map[string]size.Bytes{}, map[string]*Device{}
	var sized, sharing, filling []goal
	for i, d := range chosen {
		g := goal{Device: d, stack: b.stack(d)}
		if err := b.sound(g.stack); err != nil {
			return nil, err
		}
		var err error
		if g.want, err = b.want(i, d); err != nil {
			return nil, err
		}
		switch {
		case g.want > 0:
			sized = append(sized, g)
			continue
		case len(b.request.Grow) > 0 && b.request.Grow[i].Amount.Mode == Share:
			g.share = b.request.Grow[i].Amount.Percent
			sharing = append(sharing, g)
			continue
		}
		filling = append(filling, g)
		if d.Kind == LV {
			b.sharing[d.Group]++
		}
	}
	goals := slices.Concat(sized, sharing, filling)
	others, err := b.otherPVs(goals)
	return append(others, goals...), err
}

// sound refuses if the target, or a device below it, has a problem.
func (b *builder) sound(stack []*Device) error {
	last := stack[len(stack)-1]
	for _, d := range stack {
		if d == last && b.request.PartitionOnly && d.Kind == Partition && !alwaysStops(d.Content.Problem) {
			continue
		}
		if p := d.Content.Problem; p != nil && !(b.byGuest(d) && windowsCan(p)) {
			return p
		}
		for _, note := range d.Content.Notes {
			b.warn(d.Name + ": " + note)
		}
	}
	if b.request.PartitionOnly && last.Kind != Partition {
		return Refuse(UnsupportedLayout, last.Name, "--partition-only grows a partition without its content; %s is not a partition", last.Name)
	}
	if len(b.request.Grow) == 0 || b.request.PartitionOnly || last.Content.Growable() || last.Content.Type == ContentPV {
		return nil
	}
	return Refuse(UnknownContent, last.Name, "cannot grow the content of %s (%s)", last.Name, contentName(last.Content.Type))
}

// windowsCan reports whether a problem stops ntfsresize, but not Windows.
func windowsCan(p *Refusal) bool { return p.Reason == NTFSDirty || p.Reason == NTFSBadClusters }

// readable refuses a damaged table. The content of its partitions was not probed, because
// the kernel may see other partitions.
func readable(l *Layout) error {
	for _, d := range l.Disks() {
		if d.Table == nil {
			continue
		}
		for _, problem := range d.Table.Problems {
			if problem.Fatal {
				return Refuse(TableDamaged, d.Name(), "the partition table is damaged: %s", problem.Text)
			}
		}
	}
	return nil
}

// alwaysStops reports whether a problem forbids even to grow the partition alone.
func alwaysStops(p *Refusal) bool {
	return p != nil && (p.Reason == DynamicDisk || p.Reason == StorageSpaces)
}

func contentName(t string) string {
	switch t {
	case ContentNone:
		return "nothing"
	case ContentUnknown:
		return "unknown content"
	}
	return t
}

// want returns the size that the target should get; 0 for all the free space.
func (b *builder) want(i int, chosen *Device) (size.Bytes, error) {
	if len(b.request.Grow) == 0 || b.request.Grow[i].Amount.takesRest() {
		return 0, nil
	}
	amount := b.request.Grow[i].Amount
	to, err := amount.From(chosen.Size)
	if err != nil {
		return 0, err
	}
	if to < chosen.Size {
		return 0, Refuse(Shrink, chosen.Name, "cannot make %s %s: it already has %s, and virt-grow only grows", chosen.Name, amount, chosen.Size)
	}
	return to, nil
}

// grow grows one device of a stack, unless it is a partition, and then its content.
func (b *builder) grow(d *Device, target bool, g goal) error {
	switch d.Kind {
	case Crypt:
		b.growCrypt(d)
	case LV:
		if err := b.growLV(d, target, g); err != nil {
			return err
		}
	}
	switch {
	case d.Content.Type == ContentPV:
		return b.growPV(d)
	case target && !b.request.PartitionOnly:
		return b.growFS(d)
	}
	return nil
}

// now returns the device as it is after the steps so far.
func (b *builder) now(name string) *Device {
	d, _ := b.after.Find(name)
	return d
}

// growPartitions grows the partitions below the targets, and moves the partitions in
// their way.
func (b *onDisk) growPartitions(goals []goal) error {
	b.shares = map[*Device]int{}
	var grow []*Device
	needs := map[*Device]size.Bytes{}
	for _, g := range goals {
		i := slices.IndexFunc(g.stack, b.isOn)
		if i < 0 || slices.Contains(grow, g.stack[i]) {
			continue // two volumes of one group: their PV takes all the free space
		}
		grow = append(grow, g.stack[i])
		needs[g.stack[i]] = b.needed(g.stack[i:], g.want)
		if g.share > 0 && !onGroup(g.stack) {
			b.shares[g.stack[i]] = g.share
		}
	}
	if len(grow) == 0 {
		b.warnUnused(goals)
		return nil
	}
	ends, err := b.places(grow, needs)
	if err != nil {
		return err
	}
	ends = b.leave(ends, goals)
	b.move(ends)
	for _, d := range b.deleted {
		if b.isOn(d) {
			ends = append(ends, End{Number: d.Number, Delete: true})
		}
	}
	if len(ends) == 0 && !b.grows() {
		return nil // the disk's end does not change: there is nothing to write
	}
	return b.writeTable(ends)
}

// warnUnused warns of a disk that gets larger when nothing on it grows.
func (b *onDisk) warnUnused(goals []goal) {
	uses := func(g goal) bool {
		return slices.ContainsFunc(g.stack, func(d *Device) bool { return slices.Contains(b.before.under(d), b.disk.Name()) })
	}
	if b.grows() && !slices.ContainsFunc(goals, uses) {
		b.warn(fmt.Sprintf("only the container of %s grows: its partition table and its file systems do not change", b.disk.Name()))
	}
}

// places grows the partitions in place if there is enough free space behind them;
// otherwise the partitions behind them move.
func (b *onDisk) places(grow []*Device, needs map[*Device]size.Bytes) ([]End, error) {
	var blocked error
	if len(b.deleted) == 0 && len(b.shares) == 0 {
		ends, neighbour, err := b.inPlace(grow, needs)
		if err != nil || neighbour == nil {
			return ends, err
		}
		blocked = neighbour
	}
	ends, err := b.arrange(needs)
	if err != nil {
		return nil, err
	}
	first := slices.IndexFunc(ends, func(e End) bool { return e.Start != 0 })
	switch {
	case first < 0 || !b.request.NoMove:
		return ends, nil
	case blocked != nil:
		return nil, blocked
	}
	neighbour := b.now(b.disk.Partition(ends[first].Number))
	return nil, Refuse(ImmovableNeighbor, neighbour.Name, "cannot grow %s: %s is in the way", grow[0].Name, neighbour)
}

// inPlace grows the partitions into the free space behind each. blocked is the refusal for
// one that does not get enough because of a neighbour.
func (b *onDisk) inPlace(grow []*Device, needs map[*Device]size.Bytes) (ends []End, blocked *Refusal, err error) {
	for _, d := range grow {
		maxEnd, next, err := b.disk.Table.Room(d.Number, b.newSize)
		if err != nil {
			return nil, nil, fmt.Errorf("cannot grow partition %d: %w", d.Number, err)
		}
		maxEnd = max(maxEnd, d.End())
		need := needs[d]
		end := maxEnd
		if need > 0 {
			end = min(max((d.Start+need).Up(Granule), d.End()), maxEnd)
		}
		missing := b.missing(d, need, maxEnd, next)
		switch {
		case missing > 0 && next == nil:
			return nil, nil, b.refuseSpace(d, missing)
		case missing > 0:
			return nil, b.refuseNeighbour(d, missing, maxEnd, next), nil
		case end != d.End():
			ends = append(ends, End{Number: d.Number, End: end})
		}
	}
	return ends, nil, nil
}

// missing returns how many bytes are missing if the partition can grow up to maxEnd; 0 if
// that is enough for the request.
func (b *onDisk) missing(d *Device, need, maxEnd size.Bytes, next *table.Partition) size.Bytes {
	switch {
	case need == 0:
		return b.missed(maxEnd-d.End(), next)
	case d.Start+need > maxEnd:
		return d.Start + need - maxEnd
	}
	return 0
}

// onGroup reports whether a volume group is in the stack. A group takes all the free space.
func onGroup(stack []*Device) bool {
	return slices.ContainsFunc(stack, func(d *Device) bool { return d.Content.Type == ContentPV })
}

// needed returns the size of the partition at the bottom of the stack that a target of
// want bytes at the top requires; 0 for all the free space, also below a volume group.
func (b *builder) needed(stack []*Device, want size.Bytes) size.Bytes {
	if want == 0 {
		return 0
	}
	need := want
	for _, lower := range stack[:len(stack)-1] {
		if lower.Content.Type == ContentPV {
			return 0
		}
		need += lower.Content.Offset
	}
	return need
}

// missed returns the free space of the disk that a partition cannot use if it can only
// grow by reach, because of a neighbour or the table's limit; 0 if reach is enough for the
// request.
func (b *onDisk) missed(reach size.Bytes, next *table.Partition) size.Bytes {
	if added := b.newSize - b.disk.Size; added > 0 {
		if reach < added-slack {
			return added
		}
		return 0
	}
	if next == nil {
		return 0
	}
	// With fill, the space behind the neighbours may have been added before.
	if tail := b.newSize - b.lastEnd(); tail > slack && reach < tail {
		return tail
	}
	return 0
}

// slack is the space that alignment and the backup table may take.
const slack = 4 * Granule

func (b *onDisk) lastEnd() size.Bytes {
	var end size.Bytes
	for _, p := range b.disk.Table.Partitions {
		end = max(end, p.End())
	}
	return end
}

// refuseNeighbour returns the refusal that names the partition in the way.
func (b *onDisk) refuseNeighbour(d *Device, missing, maxEnd size.Bytes, next *table.Partition) *Refusal {
	room := maxEnd - d.End()
	neighbour := b.now(b.disk.Partition(next.Number))
	return Refuse(ImmovableNeighbor, neighbour.Name, "cannot grow %s: %s needed, %s free; %s is behind it", d.Name, room+missing, room, neighbour)
}

// refuseSpace returns the refusal for a disk, or a table's limit, that is too small.
func (b *onDisk) refuseSpace(d *Device, missing size.Bytes) *Refusal {
	t := b.disk.Table
	if t.Kind == table.MBR && b.newSize > mbrReach(t) {
		return Refuse(MBRLimit, d.Name, "cannot grow %s past %s: an MBR partition table with sectors of %d bytes cannot use more, and the disk will have %s", d.Name, mbrReach(t), int64(t.SectorSize), b.newSize)
	}
	return Refuse(NoRoom, d.Name, "cannot grow %s: %s are missing on a disk of %s", d.Name, missing, b.newSize)
}

// mbrReach returns the first byte beyond the reach of an MBR's 32-bit sector numbers.
func mbrReach(t *table.Table) size.Bytes { return (1 << 32) * t.SectorSize }

// writeTable adds the step that writes the table with the partitions' new places.
func (b *onDisk) writeTable(ends []End) error {
	grown, err := b.disk.Table.Grown(b.newSize, Changes(ends))
	for _, unable := range []error{table.ErrUnusualEBR, table.ErrRenumber, table.ErrNotEmpty, table.ErrNoTable} {
		if errors.Is(err, unable) {
			return Refuse(UnsupportedLayout, b.disk.Name(), "cannot write such a partition table: %v", err)
		}
	}
	if err != nil {
		return fmt.Errorf("cannot write the partition table: %w", err)
	}
	step := Step{Kind: StepTable, Device: b.disk.Name(), Ends: ends}
	var what []string
	for _, d := range b.deleted {
		if b.isOn(d) {
			what = append(what, "without "+d.Name)
		}
	}
	for _, p := range grown.Partitions {
		was := b.now(b.disk.Partition(p.Number))
		switch {
		case was == nil || was.Size == p.Size && was.Start == p.Start:
			continue
		case was.Size == p.Size:
			what = append(what, was.Name+" at its new place")
		default:
			what = append(what, fmt.Sprintf("%s %s → %s", was.Name, was.Size, p.Size))
		}
		was.Start, was.Size = p.Start, p.Size
	}
	if b.disk.Table.Kind == table.GPT && b.grows() {
		what = append(what, "backup header to the disk's end")
	}
	if len(what) == 0 {
		return nil
	}
	if b.before.Held != nil {
		return b.before.Held
	}
	step.Summary = "write the " + strings.ToUpper(string(grown.Kind)) + ": " + strings.Join(what, ", ")
	if b.disk.Disk != "" {
		step.Summary = fmt.Sprintf("write the %s of %s: %s", strings.ToUpper(string(grown.Kind)), b.disk.Disk, strings.Join(what, ", "))
	}
	b.after.DiskNamed(b.disk.Name()).Table = grown
	b.steps = append(b.steps, step)
	return nil
}

// growCrypt gives an opened LUKS container the size of what it lies on.
func (b *builder) growCrypt(d *Device) {
	parent := b.now(d.Parent)
	to := (parent.Size - parent.Content.Offset).Down(b.sector(d))
	if to <= b.now(d.Name).Size {
		return
	}
	parent.Content.Size = to
	b.now(d.Name).Size = to
	b.steps = append(b.steps, Step{Kind: StepCrypt, Device: d.Name, From: d.Size, To: to,
		Summary: fmt.Sprintf("grow LUKS %s %s → %s", d.Parent, d.Size, to)})
}

// growFS grows the file system if it does not fill its device.
func (b *builder) growFS(d *Device) error {
	if !d.Content.Growable() {
		return nil
	}
	now := b.now(d.Name)
	to := d.Content.Filled(now.Size)
	if to == d.Content.Size {
		return nil
	}
	if d.Content.Max > 0 && to > d.Content.Max {
		return refuseLimit(d, now.Size)
	}
	if d.Content.Type == "xfs" && d.Content.Unit > 0 && now.Size/d.Content.Unit > 400 {
		b.warn(fmt.Sprintf("%s: XFS will have %d allocation groups of %s, because it was created on a far smaller disk; this makes it slower", d.Name, int64(now.Size/d.Content.Unit), d.Content.Unit))
	}
	if d.Content.Type == "ntfs" {
		b.warn(d.Name + ": ntfsresize marks NTFS for a check: Windows runs chkdsk at its next boot, which takes longer with more files (--boot-timeout); with --ntfs guest, Windows extends the volume itself, without a check")
	}
	from := d.Content.Size
	now.Content.Size = to
	b.steps = append(b.steps, Step{Kind: StepFS, Device: d.Name, Content: d.Content.Type, From: from, To: to, Mounted: d.Content.growsMounted(to),
		Summary: fmt.Sprintf("grow %s on %s %s → %s", d.Content.Type, d.Name, from, to)})
	return nil
}

// refuseLimit returns the refusal that names the largest possible size.
func refuseLimit(d *Device, asked size.Bytes) *Refusal {
	text := fmt.Sprintf("the %s on %s can grow to %s at most, and %s were requested", d.Content.Type, d.Name, d.Content.Max, asked)
	if d.Content.MaxWhy != "" {
		text += ": " + d.Content.MaxWhy
	}
	r := Refuse(FSLimit, d.Name, "%s", text)
	r.Size = d.Content.Max.Down(Granule)
	return r
}

// check adds a check of each file system before the steps that change it, and a verify
// step for each at the end. A file system that moves is checked at its new place.
//
// resize2fs requires an e2fsck before it, in every mode. The checks of NTFS take the same
// time for any number of files.
func (b *builder) check(goals []goal) {
	if len(b.steps) == 0 {
		return
	}
	var before, moved, after []Step
	for _, g := range goals {
		now := b.now(g.Name)
		verify := Step{Kind: StepVerify, Device: g.Name, From: g.Size, To: now.Size, Summary: "verify: table, sizes"}
		if g.Content.Growable() && !b.request.PartitionOnly && !b.byGuest(g.Device) {
			mounted := g.Content.growsMounted(now.Content.Size)
			verify = verifyFS(verify, g.Content.Type, b.request.Check == CheckFull || b.request.Check != CheckQuick && !mounted)
			verify.To = now.Content.Size
			check := checkFS(g.Device, b.request.Check != CheckQuick || !mounted)
			if slices.ContainsFunc(g.stack, func(d *Device) bool { return b.now(d.Name).Start != d.Start }) {
				moved = append(moved, check)
			} else {
				before = append(before, check)
			}
		}
		if len(b.disks) > 1 {
			verify.Summary = strings.Replace(verify.Summary, "verify:", "verify "+g.Name+":", 1)
		}
		after = append(after, verify)
	}
	table := 0 // behind the last one
	for i, s := range b.steps {
		if s.Kind == StepTable {
			table = i + 1
		}
	}
	b.steps = slices.Concat(before, slices.Insert(b.steps, table, moved...), after)
}

// checkFS is a check of the file system on a device.
func checkFS(d *Device, full bool) Step {
	s := Step{Kind: StepCheck, Device: d.Name, Content: d.Content.Type, Full: full}
	s.Summary = fmt.Sprintf("compare the superblock of the %s on %s with the plan", s.Content, s.Device)
	if full {
		s.Summary = fmt.Sprintf("check %s on %s", s.Content, s.Device)
	}
	return s
}

// verifyFS is the verification of a device that has a file system.
func verifyFS(s Step, content string, full bool) Step {
	s.Content, s.Full = content, full
	s.Summary = "verify: table, sizes, read-only mount"
	if full {
		s.Summary = fmt.Sprintf("verify: table, sizes, %s check, read-only mount", content)
	}
	return s
}

func (b *builder) warn(text string) { b.warnings = append(b.warnings, text) }

// IsRefusal returns the refusal in err, if it is one.
func IsRefusal(err error) (*Refusal, bool) {
	var r *Refusal
	ok := errors.As(err, &r)
	return r, ok
}
