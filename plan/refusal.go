package plan

import (
	"fmt"

	"github.com/virt-grow/virt-grow/plan/size"
)

// Reason is the stable name of a refusal; scripts decide by it.
type Reason string

// The reasons, as the manual lists them.
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

	// About disks as they are listed.
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
	NoLibvirt       Reason = "no-libvirt"
	RemoteHost      Reason = "remote-host"
	AmbiguousDisk   Reason = "ambiguous-disk"
	DiskShared      Reason = "disk-shared"
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

	// About the disks and drives a domain is to get or to lose.
	TargetTaken Reason = "target-taken"
	MountTaken  Reason = "mount-taken"
	Mounted     Reason = "mounted"
	NotReleased Reason = "not-released"
	NoHotplug   Reason = "no-hotplug"
	IsISO       Reason = "is-iso"
	NotISO      Reason = "not-iso"
)

// Refusal reports that a check would not let the work begin. Nothing was changed.
type Refusal struct {
	Reason Reason `json:"reason"`
	// Text is one sentence with the facts and the numbers.
	Text string `json:"text"`
	// Subject is the device, path or job the text is about, for the hint.
	Subject string `json:"subject,omitempty"`
	// Item is the part of the subject that is to be dealt with: a bitmap of an image.
	Item string `json:"item,omitempty"`
	// Way is the way that leads on, where the reason alone does not tell.
	Way Way `json:"way,omitempty"`
	// Size is the largest size that would not be refused, where there is one.
	Size size.Bytes `json:"size,omitempty"`
}

// Way names another way to the goal, for the hint.
type Way string

// The ways on.
const (
	// WayOnline is that the guest grows it itself: what it lies on is complete there.
	WayOnline Way = "online"
	// WayEvenUnknown is to say that the content is known to bear it.
	WayEvenUnknown Way = "even-unknown"
	// WayRemake is that the owner of what is at the end takes it away and makes it
	// again.
	WayRemake Way = "remake"
	// WayUnmount is that whoever has it mounted unmounts it, or is shut down.
	WayUnmount Way = "unmount"
	// WayClearMMP is to say that nobody uses it, in its multiple mount protection.
	WayClearMMP Way = "clear-mmp"
	// WayLargerClusters is to copy the image into one with larger clusters.
	WayLargerClusters Way = "larger-clusters"
	// WayStartPool is to start the storage pool that the disk is in.
	WayStartPool Way = "start-pool"
)

func (r *Refusal) Error() string { return r.Text }

// Refuse makes a refusal about subject.
func Refuse(reason Reason, subject, format string, args ...any) *Refusal {
	return &Refusal{Reason: reason, Subject: subject, Text: fmt.Sprintf(format, args...)}
}
