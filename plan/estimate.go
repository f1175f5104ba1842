package plan

import "github.com/virt-grow/virt-grow/plan/size"

// usual has the seconds that a step takes under software emulation (QEMU TCG), measured on
// two cores; with KVM a step takes a fraction of it. The type of content matters more than
// the size, because only metadata is written.
var usual = map[StepKind]float64{
	StepOverlay: 0.1, StepTable: 0.8, StepCrypt: 3, StepPV: 0.5, StepLV: 0.5,
	StepVerify: 0.3, StepMove: 0.2, StepUndo: 0.1, StepCommit: 0.1, StepClean: 0.1,
	StepShutdown: 15, StepSwitch: 0.2, StepStart: 1, StepHealth: 30, StepPivot: 0.6,
	StepStop: 15, StepRestore: 0.1, StepExtend: 20, StepWrite: 3,
}

var usualCheck = map[string]float64{"ext2": 0.5, "ext3": 0.5, "ext4": 0.5, "xfs": 1.5, "ntfs": 0.5, "btrfs": 0.5}

var usualFS = map[StepKind]map[string]float64{
	StepCheck: usualCheck, StepSnapshotCheck: usualCheck,
	StepFS:     {"ext2": 0.9, "ext3": 0.9, "ext4": 0.9, "xfs": 0.6, "ntfs": 0.3, "btrfs": 0.7},
	StepHealth: {"ntfs": 90}, // with a chkdsk of few files
	StepVerify: {"ext2": 1, "ext3": 1, "ext4": 1, "xfs": 1.5, "ntfs": 1.2, "btrfs": 1},
}

// usualQuick has the seconds of check and verify steps without a full check.
var usualQuick = map[StepKind]float64{StepCheck: 0.1, StepVerify: 0.8}

// moveRate is how many bytes of a partition are copied and read back, or committed, per
// second. Holes cost nothing.
const moveRate = 150 * float64(size.MiB)

// usualPerFile is how many seconds steps take for each file, besides: those that read all
// inodes.
var usualPerFile = map[StepKind]map[string]float64{
	StepCheck: usualCheckPerFile, StepSnapshotCheck: usualCheckPerFile, StepVerify: usualCheckPerFile,
	StepFS: {"ext2": 27e-6, "ext3": 27e-6, "ext4": 27e-6, "ntfs": 10e-6},
}

var usualCheckPerFile = map[string]float64{"ext2": 26e-6, "ext3": 26e-6, "ext4": 26e-6, "xfs": 32e-6}

// Usual returns how many seconds a step takes that reads few files, and how many more for
// each file.
func Usual(s Step) (base, perFile float64) {
	base = usual[s.Kind]
	if fs, ok := usualFS[s.Kind][s.Content]; ok {
		base = fs
	}
	if quick, ok := usualQuick[s.Kind]; ok && s.Content != "" && !s.Full {
		base = quick
	}
	return base, usualPerFile[s.Kind][s.Content]
}

// estimate fills in how many files the steps read, and how long they take.
func estimate(l *Layout, steps []Step) {
	for i := range steps {
		s := &steps[i]
		if d, ok := l.Find(s.Device); ok && (s.Full || s.Kind == StepFS && !s.Mounted) {
			s.Files = d.Content.Files
		}
		base, perFile := Usual(*s)
		s.Seconds = base + perFile*float64(s.Files) + float64(s.Bytes)/moveRate
	}
}

// writes estimates how many bytes the steps write into the overlay, rather too many: its
// clusters have 64 KiB, so every small write counts as one.
func writes(l *Layout, steps []Step) size.Bytes {
	if len(steps) == 0 {
		return size.MiB
	}
	total := 8 * size.MiB // tables, superblocks, replayed journals
	for _, s := range steps {
		if s.Kind == StepMove {
			total += s.Bytes // holes count as well, because they are not known
		}
		if s.Kind != StepFS {
			continue
		}
		added := s.To - s.From
		switch s.Content {
		case "xfs": // four sectors and two B-tree roots per allocation group
			unit := 4 * size.GiB
			if d, ok := l.Find(s.Device); ok && d.Content.Unit > 0 {
				unit = d.Content.Unit
			}
			total += (added/unit + 1) * 192 * size.KiB
		case "ext2", "ext3": // inode tables are written out: 256 bytes for each 16 KiB
			total += added / 60
		case "ext4": // bitmaps and descriptors for each 128 MiB
			total += added / 1000
		default:
			total += added / 10000
		}
	}
	return total
}
