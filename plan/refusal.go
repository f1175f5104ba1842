package plan

import (
	"fmt"

	"github.com/virt-grow/virt-grow/plan/size"
)

// Reason is the stable name of a refusal, for scripts.
type Reason string

// The reasons, in the order of the manual.
const (
	Shrink            Reason = "shrink"
	FormatMissing     Reason = "format-missing"
	FormatMismatch    Reason = "format-mismatch"
	FormatUnsupported Reason = "format-unsupported"
	UnknownContent    Reason = "unknown-content"
	UnsupportedLayout Reason = "unsupported-layout"
	NewerFeature      Reason = "newer-feature"
	NoDriver          Reason = "no-driver"
	LUKSLocked        Reason = "luks-locked"
	BitLocker         Reason = "bitlocker"
	DynamicDisk       Reason = "dynamic-disk"
	StorageSpaces     Reason = "storage-spaces"
	NTFSHibernated    Reason = "ntfs-hibernated"
	Hibernated        Reason = "hibernated"
	NTFSDirty         Reason = "ntfs-dirty"
	NTFSBadClusters   Reason = "ntfs-bad-clusters"
	FSDamaged         Reason = "fs-damaged"
	CheckUnfinished   Reason = "check-unfinished"
	FSLimit           Reason = "fs-limit"
	TableDamaged      Reason = "table-damaged"
	ImmovableNeighbor Reason = "immovable-neighbour"
	MBRLimit          Reason = "mbr-limit"
	AmbiguousTarget   Reason = "ambiguous-target"
	NotFound          Reason = "not-found"
	InternalSnapshot  Reason = "internal-snapshot"
	NoSpace           Reason = "no-space"
	NoRoom            Reason = "no-room"
	InUse             Reason = "in-use"
	Locked            Reason = "locked"
	JobActive         Reason = "job-active"
	JobState          Reason = "job-state"
	NewerJob          Reason = "newer-job"
	StalePlan         Reason = "stale-plan"
	ImageDamaged      Reason = "image-damaged"
	ImageChanged      Reason = "image-changed"
	NotAFile          Reason = "not-a-file"
	BitmapInUse       Reason = "bitmap-in-use"
	ContainerLimit    Reason = "container-limit"
	NotWritable       Reason = "not-writable"

	// About new files.
	FileExists Reason = "file-exists"
	TooSmall   Reason = "too-small"
	TooLarge   Reason = "too-large"
	BadLabel   Reason = "bad-label"

	// Warnings in lists of disks.
	CacheUnsafe       Reason = "cache-unsafe"
	DefinitionsDiffer Reason = "definitions-differ"
	BackingMissing    Reason = "backing-missing"
	Unreadable        Reason = "unreadable"

	// About domains.
	TransientDomain Reason = "transient-domain"
	ManagedSave     Reason = "managed-save"
	DomainState     Reason = "domain-state"
	DomainJob       Reason = "domain-job"
	DomainChanged   Reason = "domain-changed"
	Checkpoint      Reason = "checkpoint"
	Confined        Reason = "confined"
	NoLibvirt       Reason = "no-libvirt"
	RemoteHost      Reason = "remote-host"
	AmbiguousDisk   Reason = "ambiguous-disk"
	DiskShared      Reason = "disk-shared"
	ListedTwice     Reason = "listed-twice"
	DiskReadOnly    Reason = "disk-readonly"
	DiskUnsupported Reason = "disk-unsupported"
	ChainShared     Reason = "chain-shared"
	NoScratch       Reason = "no-scratch"
	NoRehearsal     Reason = "no-rehearsal"
	NoAgent         Reason = "no-agent"
	HMPUnnamed      Reason = "hmp-unnamed"
	ToolMissing     Reason = "tool-missing"
	ShutdownTimeout Reason = "shutdown-timeout"
	HealthCheck     Reason = "health-check"
	Window          Reason = "window"

	// About attaching and detaching disks and media.
	TargetTaken Reason = "target-taken"
	MountTaken  Reason = "mount-taken"
	Mounted     Reason = "mounted"
	NotReleased Reason = "not-released"
	NoHotplug   Reason = "no-hotplug"
	IsISO       Reason = "is-iso"
	NotISO      Reason = "not-iso"

	// About moving a disk to another bus.
	BusDriver   Reason = "bus-driver"
	BusDisabled Reason = "bus-disabled"
	BusNames    Reason = "bus-names"
	BusUnclear  Reason = "bus-unclear"
	NoBus       Reason = "no-bus"
	BusSetting  Reason = "bus-setting"
)

// Refusal is the error of a check that does not let the work begin. Nothing was changed.
type Refusal struct {
	Reason Reason `json:"reason"`
	// Text is the message, with the numbers.
	Text string `json:"text"`
	// Subject is the device, path or job with the problem, for the hint.
	Subject string `json:"subject,omitempty"`
	// Item is the part of the subject with the problem, for example a bitmap of an image.
	Item string `json:"item,omitempty"`
	// Way is another way to the goal, if the reason alone does not determine the hint.
	Way Way `json:"way,omitempty"`
	// Size is the largest size that would not be refused, if there is one.
	Size size.Bytes `json:"size,omitempty"`
}

// Way names another way to the goal, for the hint.
type Way string

// The ways.
const (
	// WayOnline: the running guest grows it, because it sees all disks of the group.
	WayOnline Way = "online"
	// WayEvenUnknown: --even-unknown, if the user knows that the content allows it.
	WayEvenUnknown Way = "even-unknown"
	// WayRemake: remove the member from its array in the guest, and add it again.
	WayRemake Way = "remake"
	// WayUnmount: unmount the file system, or shut down the system that has it mounted.
	WayUnmount Way = "unmount"
	// WayClearMMP: clear the mark of the multiple mount protection.
	WayClearMMP Way = "clear-mmp"
	// WayLargerClusters: copy the image into one with larger clusters.
	WayLargerClusters Way = "larger-clusters"
	// WayStartPool: start the disk's storage pool.
	WayStartPool Way = "start-pool"
)

func (r *Refusal) Error() string { return r.Text }

// Refuse returns a refusal about a subject.
func Refuse(reason Reason, subject, format string, args ...any) *Refusal {
	return &Refusal{Reason: reason, Subject: subject, Text: fmt.Sprintf(format, args...)}
}
