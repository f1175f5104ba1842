package table

import (
	"errors"
	"fmt"
	"strings"
)

// ProblemCode is the kind of a problem.
type ProblemCode string

// Problem is a problem of a table. A table with a fatal problem is not edited: the user has
// to repair it first, with an interactive tool.
type Problem struct {
	Code ProblemCode `json:"code"`
	// Text describes the problem.
	Text string `json:"text"`
	// Fatal reports that the table must be repaired before it can be edited.
	Fatal bool `json:"fatal"`
}

// Codes of fatal problems.
const (
	// The primary GPT cannot be trusted. Linux then uses the backup, if that
	// is at the end of the disk; gdisk can rebuild one from the other.
	PrimaryMissing    ProblemCode = "primary-missing"        // LBA 1 holds no GPT header
	PrimaryHeaderCRC  ProblemCode = "primary-header-crc"     // the checksum is wrong
	PrimaryInvalid    ProblemCode = "primary-header-invalid" // the checksum is right, values are impossible
	PrimaryEntriesCRC ProblemCode = "primary-entries-crc"
	ProtectiveMissing ProblemCode = "protective-mbr-missing"
	WrongSectorSize   ProblemCode = "sector-size"      // the GPT was written for another sector size
	DiskTruncated     ProblemCode = "disk-truncated"   // the GPT describes a larger disk
	TooManyEntries    ProblemCode = "too-many-entries" // the array is larger than maxEntriesBytes

	BeyondEnd      ProblemCode = "beyond-end"      // a partition ends behind the disk
	Overlap        ProblemCode = "overlap"         // two partitions overlap, or one overlaps the table
	EntryReversed  ProblemCode = "entry-reversed"  // a GPT partition ends before its start
	ExtendedMany   ProblemCode = "extended-many"   // more than one extended partition
	EBRLoop        ProblemCode = "ebr-loop"        // the chain of EBRs is a loop
	EBRLimit       ProblemCode = "ebr-limit"       // the chain is longer than Linux follows
	EBROutside     ProblemCode = "ebr-outside"     // the chain leaves the extended partition
	EBRSignature   ProblemCode = "ebr-signature"   // the chain leads to a sector that is not an EBR
	LogicalOutside ProblemCode = "logical-outside" // a logical partition is not inside the extended one
	FileSystemToo  ProblemCode = "file-system-too" // sector 0 is also the start of a file system
)

// Codes of problems that growing the table repairs or leaves as they are.
const (
	BackupMissing    ProblemCode = "backup-missing" // no GPT header at AlternateLBA
	BackupHeaderCRC  ProblemCode = "backup-header-crc"
	BackupInvalid    ProblemCode = "backup-header-invalid"
	BackupEntriesCRC ProblemCode = "backup-entries-crc"
	BackupDiffers    ProblemCode = "backup-differs"    // the backup is valid, but differs
	BackupNotAtEnd   ProblemCode = "backup-not-at-end" // the disk was enlarged since
	BackupIntact     ProblemCode = "backup-intact"     // a hint in addition to a fatal problem of the primary
	OutsideUsable    ProblemCode = "outside-usable"    // a partition is not within First/LastUsableLBA
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

// Err returns nil if the table can be edited; else an error with all fatal problems, which
// wraps ErrDamaged.
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
