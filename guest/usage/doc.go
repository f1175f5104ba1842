// Package usage says how full the file systems of many guests are, and when they will be
// full: it asks the agents of running guests, keeps one sample a day of every file system in
// the state directory, extrapolates the samples, suggests an inventory of what should grow,
// and writes the figures for Prometheus.
//
// It changes no guest, starts no appliance, and prints nothing. Names and numbers come from
// inside the guests and are not trusted: the number of file systems and the length of names
// are limited, numbers are brought into a sensible order, and the writers of this package
// escape what they write.
package usage

import (
	"math"
	"slices"
	"strings"

	"github.com/virt-grow/virt-grow/guest/appliance"
	"github.com/virt-grow/virt-grow/plan/size"
)

// Guest is one guest, and how full its file systems are.
type Guest struct {
	// Name is the domain's name or UUID, or the path of an image.
	Name string `json:"target"`
	UUID string `json:"uuid,omitempty"`
	// Running reports that the guest was running: the figures are those of one moment.
	Running bool `json:"running"`
	// Source is where the figures come from; it is left out if there are none.
	Source Source `json:"source,omitempty"`
	// Unread is why the guest was not looked at.
	Unread Unread `json:"unread,omitempty"`
	// Why says in words why the guest was not looked at.
	Why         string       `json:"why,omitempty"`
	FileSystems []FileSystem `json:"filesystems"`
	Notes       []string     `json:"notes,omitempty"`
	// Err is the error, if the guest could not be looked at.
	Err error `json:"-"`
}

// Source is where the figures of a guest come from.
type Source string

// The sources: the agent of a running guest, or an appliance that has read the disks.
const (
	ByAgent     Source = "agent"
	ByAppliance Source = "appliance"
)

// Unread is why there are no figures of a guest.
type Unread string

// The reasons.
const (
	// Off: the guest does not run.
	Off Unread = "off"
	// Paused: the guest is paused, so that its agent cannot answer.
	Paused Unread = "paused"
	// NoAgent: the guest has no channel for an agent, or no agent has opened it.
	NoAgent Unread = "no-agent"
	// NoAnswer: the agent has not answered in time, or with an error.
	NoAnswer Unread = "no-answer"
)

// FileSystem is one file system of a guest.
type FileSystem struct {
	appliance.FileSystem
	// Disks are the targets of the domain's disks that it lies on, as far as they are known.
	Disks []string `json:"disks,omitempty"`
	// NoDisks is why the disks are not known.
	NoDisks string `json:"-"`
	// Forecast says when it will be full, if that was asked for.
	Forecast *Forecast `json:"forecast,omitempty"`
}

// Usable is the space for users other than root, used or free.
func (f FileSystem) Usable() size.Bytes { return f.Used + f.Free }

// Share returns the used share of the usable space, from 0 to 1, and false if the sizes are
// not known.
func (f FileSystem) Share() (float64, bool) {
	if f.Problem != nil || f.Usable() <= 0 {
		return 0, false
	}
	return float64(f.Used) / float64(f.Usable()), true
}

// Percent returns the used share in percent, rounded up as df(1) does.
func (f FileSystem) Percent() (int, bool) {
	share, known := f.Share()
	return int(math.Ceil(share*100 - 1e-9)), known
}

// Where names the file system for people: where it is mounted, or else its device.
func (f FileSystem) Where() string {
	if len(f.Mounted) > 0 {
		return f.Mounted[0]
	}
	return f.Device
}

// Inspected returns file systems that an appliance has found. targets are those of the
// domain's disks, by which the devices are named.
func Inspected(all []appliance.FileSystem, targets []string) []FileSystem {
	found := make([]FileSystem, len(all))
	for i, f := range all {
		found[i] = FileSystem{FileSystem: f, NoDisks: "it is a volume of a guest that does not run: its agent would say on which disks it lies"}
		for _, t := range targets {
			rest, ok := strings.CutPrefix(f.Device, t)
			if ok && t != "" && strings.Trim(strings.TrimPrefix(rest, "p"), "0123456789") == "" {
				found[i].Disks, found[i].NoDisks = []string{t}, ""
			}
		}
	}
	return found
}

// tidy brings sizes that a guest has reported into a sensible order.
func tidy(total, used, whole size.Bytes) (all, in, free size.Bytes) {
	const most = size.Bytes(math.MaxInt64 / 4)
	total = min(max(total, 0), most)
	used = min(max(used, 0), total)
	return max(total, min(whole, most)), used, total - used
}

// neverFills reports whether a file system is an image that is full by nature.
func neverFills(kind string) bool {
	return slices.Contains([]string{"squashfs", "iso9660", "udf", "erofs", "cramfs", "cdfs"}, strings.ToLower(kind))
}
