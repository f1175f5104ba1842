package plan

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Guest is the domain of the disk when the plan was made, and how the job treats it. It
// contains nothing of the domain's XML.
type Guest struct {
	Connect string `json:"connect"` // libvirt's URI
	Name    string `json:"name"`
	UUID    string `json:"uuid"`
	// Disk is the target of the disk that grows: "vda".
	Disk string `json:"disk"`
	// Bus is the bus of the disk: "virtio", "scsi", "sata", "ide".
	Bus string `json:"bus,omitempty"`
	// Pool is the storage pool if the definition names the disk by pool and volume; "" if
	// it names a path.
	Pool string `json:"pool,omitempty"`
	// Running reports that the guest runs and is shut down for the edit.
	Running bool `json:"running"`
	// Trial boots the guest on overlays before anything is written into an
	// image.
	Trial bool `json:"trial"`
	// Disks are the disks that get an overlay for the trial, beginning with the one that
	// grows.
	Disks []TrialDisk `json:"disks,omitempty"`
	// Unprotected are writable disks without an overlay: what the guest writes to them
	// during the trial stays after a rollback.
	Unprotected []string `json:"unprotected,omitempty"`
	// Manual waits for accept or rollback after the check has passed.
	Manual bool `json:"manual,omitempty"`
	// Shutdown lists the shutdown methods, in the order in which they are tried.
	Shutdown []ShutdownAttempt `json:"shutdown,omitempty"`
	Health   Health            `json:"health"`
	// Snapshot reports that the disk can be read as it was at one moment, while the guest
	// runs.
	Snapshot bool `json:"snapshot,omitempty"`
	// Exec reports that the guest's agent runs programs.
	Exec bool `json:"exec,omitempty"`
	// Moves are the disks that move to another bus.
	Moves []BusMove `json:"moves,omitempty"`
}

// TrialDisk is a disk that gets an overlay for the trial.
type TrialDisk struct {
	Target string `json:"target"`
	Path   string `json:"path"`
	Format string `json:"format"`
}

// ShutdownAttempt is one method of stopping a guest, and how long it may take.
type ShutdownAttempt struct {
	Method string `json:"way" jsonschema:"enum=agent,enum=acpi,enum=force"`
	// Seconds is how many seconds the guest may take.
	Seconds float64 `json:"seconds"`
}

// Health is the health check of a guest after its start.
type Health struct {
	// Agent waits for the guest's agent and compares the file system's size.
	Agent bool `json:"agent"`
	// Settle is how many seconds the guest must keep running, if the agent is not used.
	Settle float64 `json:"settle,omitempty"`
	// Limit is how long the agent may take to answer, in seconds.
	Limit float64 `json:"limit,omitempty"`
	// Command is run on the host and must succeed.
	Command string `json:"command,omitempty"`
}

// The kinds of step around the edit of a domain's disk.
const (
	StepShutdown StepKind = "shutdown"
	StepSwitch   StepKind = "switch"
	StepStart    StepKind = "start"
	StepHealth   StepKind = "health"
	StepPivot    StepKind = "pivot"
	StepStop     StepKind = "stop"
	StepRestore  StepKind = "restore"
)

// The kinds of step that grow the disk of a running guest: QEMU grows the container, the
// guest its content.
const (
	StepContainer StepKind = "container"
	StepInside    StepKind = "inside"
)

// withGuestSteps returns the steps of the edit, with the steps for the guest around them,
// and the steps that the guest itself carries out after its start.
func (g *Guest) withGuestSteps(edit, extend []Step, images []imageGrowth) []Step {
	var steps []Step
	if g.Running {
		steps = append(steps, g.shutdown())
	}
	steps = append(steps, edit...)
	if g.Trial {
		steps = append(steps, g.trial(edit, extend, images)...)
	} else {
		steps = append(steps, commitSteps(images)...)
		if g.Running {
			steps = append(steps, Step{Kind: StepStart, Summary: "start " + g.Name})
			steps = append(steps, extend...)
		}
	}
	return append(steps, Step{Kind: StepClean, Summary: g.cleaning(len(images))})
}

func (g *Guest) shutdown() Step {
	var methods []string
	for _, r := range g.Shutdown {
		if r.Method == "force" {
			methods = append(methods, "power off")
			continue
		}
		methods = append(methods, fmt.Sprintf("%s up to %.0f s", map[string]string{"agent": "guest agent", "acpi": "ACPI"}[r.Method], r.Seconds))
	}
	return Step{Kind: StepShutdown, Summary: fmt.Sprintf("shut %s down: %s", g.Name, strings.Join(methods, ", then "))}
}

func (g *Guest) trial(edit, extend []Step, images []imageGrowth) []Step {
	var targets []string
	for _, d := range g.Disks {
		targets = append(targets, d.Target)
	}
	steps := []Step{
		{Kind: StepSwitch, Summary: fmt.Sprintf("point %s at overlays of %s%s", g.Name, strings.Join(targets, ", "), g.moving())},
		{Kind: StepStart, Summary: fmt.Sprintf("start %s for a trial: the images are only read", g.Name)},
	}
	steps = append(steps, extend...)
	steps = append(steps, g.health(edit))
	for i, d := range g.Disks {
		s := Step{Kind: StepPivot, Device: d.Target, Summary: fmt.Sprintf("commit %s live, and pivot to its image", d.Target)}
		for j, img := range images {
			if img.disk == d.Target || i == 0 && j == 0 {
				s.From, s.To = img.from, img.to
			}
		}
		steps = append(steps, s)
	}
	if !g.Running {
		steps = append(steps, Step{Kind: StepStop, Summary: fmt.Sprintf("shut %s down again", g.Name)})
	}
	if g.moves() {
		return append(steps, Step{Kind: StepRestore, Summary: "restore the domain's XML, with the disks on their new bus"})
	}
	return append(steps, Step{Kind: StepRestore, Summary: "restore the domain's XML"})
}

// moving says which disks move to another bus, for the summary of the switch.
func (g *Guest) moving() string {
	var moves []string
	for _, m := range g.Moves {
		moves = append(moves, ", and move "+m.String())
	}
	return strings.Join(moves, "")
}

// health returns the step of the health check. After ntfsresize, it takes as long as the
// chkdsk of Windows.
func (g *Guest) health(edit []Step) Step {
	sees := "the new size"
	if g.moves() {
		sees = "the disks on their new bus"
	}
	s := Step{Kind: StepHealth, Summary: "health check: " + g.Health.text(sees)}
	if slices.ContainsFunc(edit, func(e Step) bool { return e.Kind == StepFS && e.Content == "ntfs" }) {
		s.Content = "ntfs"
		s.Summary += ", after a chkdsk"
	}
	return s
}

// text describes the check; sees is what the agent has to see.
func (h Health) text(sees string) string {
	var parts []string
	if h.Agent {
		parts = append(parts, fmt.Sprintf("the agent answers within %.0f s and sees %s", h.Limit, sees))
	} else {
		parts = append(parts, fmt.Sprintf("it is still running after %.0f s", h.Settle))
	}
	if h.Command != "" {
		parts = append(parts, "the health command succeeds")
	}
	return strings.Join(parts, ", ")
}

func (g *Guest) cleaning(images int) string {
	if g.Trial && len(g.Disks) > 1 || images > 1 {
		return "delete the overlays"
	}
	return "delete the overlay"
}

// Outage returns how long the guest is away, from the request to shut down to the
// end of its health check; 0 for a guest that is off.
func (p *Plan) Outage() time.Duration {
	if p.Target.Guest == nil || !p.Target.Guest.Running {
		return 0
	}
	return p.total(Step.InOutage)
}

// InOutage reports whether a running guest is away during the step.
func (s Step) InOutage() bool {
	return !slices.Contains([]StepKind{StepSnapshotCheck, StepPivot, StepRestore, StepClean, StepStop}, s.Kind)
}

// Reserve returns how long a rollback takes: the guest is stopped, and boots from its
// untouched image.
func (p *Plan) Reserve() time.Duration {
	if p.Target.Guest == nil || !p.Target.Guest.Running {
		return 0
	}
	return rollbackTime + p.total(func(s Step) bool { return s.Kind == StepStart || s.Kind == StepHealth })
}

// rollbackTime is how long the rollback of a trial takes, without the boot.
const rollbackTime = 2 * time.Second
