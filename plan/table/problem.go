package table

import (
	"errors"
	"fmt"
	"strings"
)

// Problem is something wrong with a table. With a fatal one the table is not
// edited: it has to be repaired first, with tools that ask.
type Problem struct {
	Code  string `json:"code"` // one of the constants below
	Text  string `json:"text"` // for people
	Fatal bool   `json:"fatal"`
}

// Codes of fatal problems.
const (
	// The primary GPT cannot be trusted. Linux then uses the backup, if that
	// is at the end of the disk; gdisk can rebuild one from the other.
	PrimaryMissing    = "primary-missing"        // LBA 1 holds no GPT header
	PrimaryHeaderCRC  = "primary-header-crc"     // its checksum is wrong
	PrimaryInvalid    = "primary-header-invalid" // checksum right, values impossible
	PrimaryEntriesCRC = "primary-entries-crc"
	ProtectiveMissing = "protective-mbr-missing"
	WrongSectorSize   = "sector-size"      // the GPT was written for another one
	DiskTruncated     = "disk-truncated"   // the GPT describes a larger disk
	TooManyEntries    = "too-many-entries" // more than maxEntriesBytes of them

	BeyondEnd      = "beyond-end"      // a partition ends behind the disk
	Overlap        = "overlap"         // two partitions, or one and the table
	EntryReversed  = "entry-reversed"  // a GPT partition ends before its start
	ExtendedMany   = "extended-many"   // more than one extended partition
	EBRLoop        = "ebr-loop"        // the chain of logicals bites its tail
	EBRLimit       = "ebr-limit"       // it is longer than Linux follows
	EBROutside     = "ebr-outside"     // it leaves the extended partition
	EBRSignature   = "ebr-signature"   // it leads to a sector that is no EBR
	LogicalOutside = "logical-outside" // a logical is not inside the extended
	FileSystemToo  = "file-system-too" // sector 0 starts a file system as well
)

// Codes of problems that growing the table repairs or leaves as they are.
const (
	BackupMissing    = "backup-missing" // no GPT header at AlternateLBA
	BackupHeaderCRC  = "backup-header-crc"
	BackupInvalid    = "backup-header-invalid"
	BackupEntriesCRC = "backup-entries-crc"
	BackupDiffers    = "backup-differs"    // valid, but says something else
	BackupNotAtEnd   = "backup-not-at-end" // the disk was enlarged since
	BackupIntact     = "backup-intact"     // a hint beside a fatal problem of the primary
	OutsideUsable    = "outside-usable"    // a partition ignores First/LastUsableLBA
	ProtectiveStart  = "protective-mbr-start"
	HybridMBR        = "hybrid-mbr"
	StaleGPT         = "stale-gpt" // an MBR disk with remains of a GPT
)

var harmless = map[string]bool{
	BackupMissing: true, BackupHeaderCRC: true, BackupInvalid: true,
	BackupEntriesCRC: true, BackupDiffers: true, BackupNotAtEnd: true, BackupIntact: true,
	OutsideUsable: true, ProtectiveStart: true, HybridMBR: true, StaleGPT: true,
}

// ErrDamaged says that a table has a fatal problem and is not edited.
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

func (t *Table) problem(code, format string, args ...any) {
	t.Problems = append(t.Problems, Problem{
		Code:  code,
		Text:  fmt.Sprintf(format, args...),
		Fatal: !harmless[code],
	})
}
