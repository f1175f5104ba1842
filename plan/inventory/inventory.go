// Package inventory reads and writes the file in which people list the guests of a change
// window: which disks grow, to which size, and how each guest is treated.
//
// The file is YAML. Parse is strict: it refuses keys that it does not know, keys that are
// given twice, and everything of YAML that a list of guests does not need (anchors, tags,
// several documents). Its errors show the line, with a caret below the place.
//
// The package is pure: it reads no file and no clock, and asks no guest.
package inventory

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
)

// Inventory is what the file contains.
type Inventory struct {
	// Connect is libvirt's URI; "" is the one that the command line gives.
	Connect string
	Window  Window
	// Canary are the guests that grow first, one after the other and alone.
	Canary Canary
	// Parallel is how many guests may be away at the same time.
	Parallel int
	// StopAfter is the number of failed guests after which no new outage begins.
	StopAfter int
	// Defaults is the treatment of the guests that do not say otherwise.
	Defaults Treatment
	// Guests are in the order in which they grow. The defaults are merged into them.
	Guests []Guest
}

// Window is the time in which guests may be away. Each end is a time of day ("02:00", which
// is its next occurrence), or a time stamp (RFC 3339), or "" if there is no limit.
type Window struct {
	Start string `json:"start,omitempty"`
	End   string `json:"end,omitempty"`
}

// Canary is either the first Count guests of the list, or those with the Names.
type Canary struct {
	Count int
	Names []string
}

// Guest is one guest with its disks.
type Guest struct {
	// Name is the domain's name or UUID.
	Name  string
	Disks []Disk
	Treatment
}

// Disk is one disk that grows.
type Disk struct {
	// Disk is a target (vda), or the path of the disk's source; "" if the guest has only
	// one disk.
	Disk string `json:"disk,omitempty"`
	// Size is as --size: 30G, +10G or fill.
	Size string `json:"size"`
	// Grow are as --grow: WHERE or WHERE=SIZE.
	Grow []string `json:"grow,omitempty"`
}

// Treatment says how a guest is grown. Each field is the flag of that name of the grow
// command, or its opposite.
type Treatment struct {
	Accept string         `json:"accept" jsonschema:"enum=auto,enum=manual"`
	Check  plan.CheckMode `json:"check" jsonschema:"enum=auto,enum=full,enum=quick"`
	NTFS   plan.NTFSWay   `json:"ntfs" jsonschema:"enum=offline,enum=guest"`
	// Trial runs a running guest on overlays before its images are written to.
	Trial bool `json:"trial"`
	// TrialBoot has a trial for a guest that is off, too.
	TrialBoot bool `json:"trial_boot,omitempty"`
	// TrialDisks are the disks that get an overlay during the trial.
	TrialDisks string `json:"trial_disks" jsonschema:"enum=all,enum=target"`
	// NoMove refuses a growth for which partitions would have to move.
	NoMove  bool `json:"no_move,omitempty"`
	NoAgent bool `json:"no_agent,omitempty"`
	// ForceOff allows powering the guest off if it does not shut down.
	ForceOff        bool     `json:"force_off,omitempty"`
	ShutdownTimeout Duration `json:"shutdown_timeout"`
	BootTimeout     Duration `json:"boot_timeout"`
	Settle          Duration `json:"settle"`
	// MaxOutage is how long the guest may be away, CheckTimeout how long the full check of
	// one file system may take; 0 is no limit.
	MaxOutage     Duration `json:"max_outage,omitempty"`
	CheckTimeout  Duration `json:"check_timeout,omitempty"`
	HealthCommand string   `json:"health_command,omitempty"`
	Hooks         Hooks    `json:"hooks,omitzero"`
	// ScratchDir is the directory for overlays; "" is that of each image.
	ScratchDir string `json:"scratch_dir,omitempty"`
	// SectorSize is 512 or 4096; 0 if the partition table says it.
	SectorSize size.Bytes `json:"sector_size,omitempty"`
	// Keys open LUKS containers.
	Keys []Key `json:"keys,omitempty"`
}

// Duration is a length of time; its text is "5m0s".
type Duration time.Duration

func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText returns the length as text.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads a length that is not negative: "90s", "5m", "1h30m".
func (d *Duration) UnmarshalText(text []byte) error {
	length, err := time.ParseDuration(string(text))
	switch {
	case err != nil:
		return fmt.Errorf("%q is not a length of time (examples: 90s, 5m, 1h30m)", text)
	case length < 0:
		return fmt.Errorf("%q must not be negative", text)
	}
	*d = Duration(length)
	return nil
}

// Hooks are commands that run on the host around the outage.
type Hooks struct {
	Pre       string `json:"pre,omitempty"`
	Post      string `json:"post,omitempty"`
	OnFailure string `json:"on_failure,omitempty"`
}

// Key is the passphrase of a LUKS container: the first line of a file. An inventory never
// contains the passphrase itself. Its text is "ID:file:PATH".
type Key struct {
	// ID is a device (sda3), the container's UUID, or "all".
	ID string
	// File is an absolute path.
	File string
}

func (k Key) String() string { return k.ID + ":file:" + k.File }

// MarshalText returns the key's text.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads a key's text. Its errors repeat no more than the ID: the rest may be a
// passphrase.
func (k *Key) UnmarshalText(text []byte) error {
	id, rest, ok := strings.Cut(string(text), ":")
	how, file, _ := strings.Cut(rest, ":")
	switch {
	case !ok || id == "":
		return errors.New("a key must be ID:file:PATH")
	case how == "key":
		return fmt.Errorf("the key for %q is a passphrase: an inventory must not contain passphrases; use %s:file:PATH", id, id)
	case how != "file" || file == "":
		return fmt.Errorf("the key for %q must be %s:file:PATH", id, id)
	case !strings.HasPrefix(file, "/"):
		return fmt.Errorf("the key for %q: the file's path must be absolute", id)
	}
	*k = Key{ID: id, File: file}
	return nil
}

// The defaults of an inventory.
const (
	DefaultCanary    = 1
	DefaultParallel  = 1
	DefaultStopAfter = 1
)

// The default times of a treatment, for slow guests.
const (
	ShutdownTimeout = 3 * time.Minute
	BootTimeout     = 5 * time.Minute
	Settle          = 30 * time.Second
)

// DefaultTreatment is the treatment of a guest about which nothing is said. It is the one
// that the grow command has without flags.
func DefaultTreatment() Treatment {
	return Treatment{
		Accept: "auto", Check: plan.CheckAuto, NTFS: plan.NTFSOffline, Trial: true, TrialDisks: "all",
		ShutdownTimeout: Duration(ShutdownTimeout), BootTimeout: Duration(BootTimeout), Settle: Duration(Settle),
	}
}

// Canaries returns the names of the guests that grow first, in the order of the list.
func (inv *Inventory) Canaries() []string {
	var names []string
	for i, g := range inv.Guests {
		if i < inv.Canary.Count || slices.Contains(inv.Canary.Names, g.Name) {
			names = append(names, g.Name)
		}
	}
	return names
}

// Ask sets the parts of a request that a treatment decides.
func (t *Treatment) Ask(r *plan.Request) {
	r.NoMove = t.NoMove
	if t.Check != plan.CheckAuto {
		r.Check = t.Check
	}
	if t.NTFS != plan.NTFSOffline {
		r.NTFS = t.NTFS
	}
}

// Request returns what the guest's disks shall become. It does not fail for a guest that
// Parse has returned.
func (g *Guest) Request() (plan.Request, error) {
	var r plan.Request
	g.Treatment.Ask(&r)
	for i, d := range g.Disks {
		amount, err := diskSize(d.Size)
		if err != nil {
			return r, err
		}
		if i == 0 {
			r.Size = amount
		} else {
			r.More = append(r.More, plan.DiskSize{Disk: d.Disk, Size: amount})
		}
		for _, text := range d.Grow {
			where, err := plan.ParseGrowTarget(text)
			if err != nil {
				return r, err
			}
			r.Grow = append(r.Grow, where)
		}
	}
	return r, nil
}

// diskSize reads the size of a disk.
func diskSize(text string) (plan.Amount, error) {
	amount, err := plan.ParseAmount(text)
	if err == nil && amount.Mode == plan.Share {
		err = fmt.Errorf("%q: the size of a disk must not be a percentage", text)
	}
	return amount, err
}

// At returns the window for a batch that is started now; a zero time is no limit. A time of
// day is its next occurrence, but a window that is open is the one that has begun.
func (w Window) At(now time.Time) (start, end time.Time, err error) {
	if end, err = At(w.End, now); err != nil {
		return start, end, err
	}
	if start, err = At(w.Start, now); err != nil || start.IsZero() || end.IsZero() {
		return start, end, err
	}
	if start.After(end) && isTimeOfDay(w.Start) {
		start = start.AddDate(0, 0, -1)
	}
	return start, end, nil
}

// At reads a time of day, which means its next occurrence after now, or a time stamp; zero
// if the text is "".
func At(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	}
	clock, err := time.Parse(timeOfDay, text)
	if err != nil {
		return time.Time{}, fmt.Errorf("%q must be a time of day (04:00) or a time stamp (2026-01-31T04:00:00Z)", text)
	}
	at := time.Date(now.Year(), now.Month(), now.Day(), clock.Hour(), clock.Minute(), 0, 0, now.Location())
	if !at.After(now) {
		at = at.AddDate(0, 0, 1)
	}
	return at, nil
}

const timeOfDay = "15:04"

func isTimeOfDay(text string) bool {
	_, err := time.Parse(timeOfDay, text)
	return err == nil
}
