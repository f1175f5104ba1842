package table

import (
	"errors"
	"fmt"
	"strings"
)

// ProblemCode says what is wrong with a table.
type ProblemCode string

// Problem is something wrong with a table. With a fatal one the table is not
// edited: it has to be repaired first, with tools that ask.
type Problem struct {
	Code ProblemCode `json:"code"`
	// Text says in words what is wrong.
	Text string `json:"text"`
	// Fatal reports that the table is not edited before it is repaired.
	Fatal bool `json:"fatal"`
}

// Codes of fatal problems.
const (
	// The primary GPT cannot be trusted. Linux then uses the backup, if that
	// is at the end of the disk; gdisk can rebuild one from the other.
	PrimaryMissing    ProblemCode = "primary-missing"        // LBA 1 holds no GPT header
	PrimaryHeaderCRC  ProblemCode = "primary-header-crc"     // its checksum is wrong
	PrimaryInvalid    ProblemCode = "primary-header-invalid" // checksum right, values impossible
	PrimaryEntriesCRC ProblemCode = "primary-entries-crc"
	ProtectiveMissing ProblemCode = "protective-mbr-missing"
	WrongSectorSize   ProblemCode = "sector-size"      // the GPT was written for another one
	DiskTruncated     ProblemCode = "disk-truncated"   // the GPT describes a larger disk
	TooManyEntries    ProblemCode = "too-many-entries" // more than maxEntriesBytes of them

	BeyondEnd      ProblemCode = "beyond-end"      // a partition ends behind the disk
	Overlap        ProblemCode = "overlap"         // two partitions, or one and the table
	EntryReversed  ProblemCode = "entry-reversed"  // a GPT partition ends before its start
	ExtendedMany   ProblemCode = "extended-many"   // more than one extended partition
	EBRLoop        ProblemCode = "ebr-loop"        // the chain of logicals bites its tail
	EBRLimit       ProblemCode = "ebr-limit"       // it is longer than Linux follows
	EBROutside     ProblemCode = "ebr-outside"     // it leaves the extended partition
	EBRSignature   ProblemCode = "ebr-signature"   // it leads to a sector that is no EBR
	LogicalOutside ProblemCode = "logical-outside" // a logical is not inside the extended
	FileSystemToo  ProblemCode = "file-system-too" // sector 0 starts a file system as well
)

// Codes of problems that growing the table repairs or leaves as they are.
const (
	BackupMissing    ProblemCode = "backup-missing" // no GPT header at AlternateLBA
	BackupHeaderCRC  ProblemCode = "backup-header-crc"
	BackupInvalid    ProblemCode = "backup-header-invalid"
	BackupEntriesCRC ProblemCode = "backup-entries-crc"
	BackupDiffers    ProblemCode = "backup-differs"    // valid, but says something else
	BackupNotAtEnd   ProblemCode = "backup-not-at-end" // the disk was enlarged since
	BackupIntact     ProblemCode = "backup-intact"     // a hint beside a fatal problem of the primary
	OutsideUsable    ProblemCode = "outside-usable"    // a partition ignores First/LastUsableLBA
	ProtectiveStart  ProblemCode = "protective-mbr-start"
	HybridMBR        ProblemCode = "hybrid-mbr"
	StaleGPT         ProblemCode = "stale-gpt" // an MBR disk with remains of a GPT
)

var harmless = map[ProblemCode]bool{
	BackupMissing: true, BackupHeaderCRC: true, BackupInvalid: true,
	BackupEntriesCRC: true, BackupDiffers: true, BackupNotAtEnd: true, BackupIntact: true,
	OutsideUsable: true, ProtectiveStart: true, HybridMBR: true, StaleGPT: true,
}

// ErrDamaged reports that a table has a fatal problem and is not edited.
var ErrDamaged = errors.New("the partition table is damaged")

// Err is nil if the table can be edited. Otherwise it wraps ErrDamaged and
// tells all fatal problems.
func (t *Table) Err() error {
	var texts []string
	for _, p := range t.Problems {
		if p.Fatal {
			texts = append(texts, p.Text)
		}
	}
	if texts == nil {
		return nil
	}
	if more := len(texts) - 5; more > 0 {
		texts = append(texts[:5], fmt.Sprintf("and %d more problems", more))
	}
	return fmt.Errorf("%w: %s", ErrDamaged, strings.Join(texts, "; "))
}

func (t *Table) problem(code ProblemCode, format string, args ...any) {
	t.Problems = append(t.Problems, Problem{
		Code:  code,
		Text:  fmt.Sprintf(format, args...),
		Fatal: !harmless[code],
	})
}
