// Package doctor finds out whether this host can do what virt-grow needs, and
// says what to install or change where it cannot.
//
// It changes nothing on the host: it creates no directory and installs nothing.
// The appliance it boots has an empty disk of its own. Every finding that is
// not ok comes with the command that mends it, where a command can.
package doctor

import (
	"context"
	"os"
	"strings"
	"time"

	"github.com/virt-grow/virt-grow/guest/appliance"
)

// Level is how bad a finding is.
type Level string

// The levels: Warn is slow or incomplete, with Fail virt-grow does not work.
const (
	OK   Level = "ok"
	Warn Level = "warn"
	Fail Level = "fail"
)

// Finding is one thing that was looked at.
type Finding struct {
	Name  string `json:"name"`
	Level Level  `json:"level"`
	Text  string `json:"text"`
	// Mend is a shell command for the host's distribution; "" where none would
	// help, and Text says what would.
	Mend string `json:"mend,omitempty"`
}

// Options are what to look at.
type Options struct {
	// StateDir is where jobs are kept. ScratchDir is where overlays go; ""
	// leaves it out, as they lie beside the image then.
	StateDir, ScratchDir string
	Accel                appliance.Accel
	// LaunchTimeout is how long the appliance may take to start; 0 is
	// appliance.LaunchTimeout.
	LaunchTimeout time.Duration
	// Connect is libvirt's URI.
	Connect string
	// Quick leaves the appliance out: no launch, and nothing about what is
	// inside it.
	Quick bool
}

// Examine looks at everything, in an order to be read from top to bottom.
func Examine(ctx context.Context, o Options) []Finding {
	system := readSystem()
	findings := []Finding{
		examineTool(ctx, system, qemuImg),
		examineTool(ctx, system, storageDaemon),
		examineLibvirt(ctx, system, o.Connect),
	}
	if f, ok := examineConfinement(ctx, o.Connect); ok {
		findings = append(findings, f)
	}
	kernels := findKernels("/")
	if o.Quick {
		findings = append(findings, judgeKVM(lookAtKVM(), o.Accel, nil), judgeKernels(system, kernels, false))
	} else {
		facts, err := appliance.Features(ctx, o.Accel, o.LaunchTimeout)
		findings = append(findings, judgeKVM(lookAtKVM(), o.Accel, facts), judgeKernels(system, kernels, err == nil))
		findings = append(findings, judgeAppliance(system, facts, err)...)
	}
	for _, f := range directories(o) {
		findings = append(findings, f.examine())
	}
	return findings
}

// system is the kind of distribution, as far as commands differ.
type system int

const (
	otherSystem system = iota
	debian             // and Ubuntu, Mint, …
	fedora
	rhel // and CentOS Stream, Alma, Rocky, …
)

func readSystem() system {
	text, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return otherSystem
	}
	return parseSystem(string(text))
}

// parseSystem goes by ID and ID_LIKE (os-release(5)).
func parseSystem(osRelease string) system {
	ids := map[string]bool{}
	for line := range strings.Lines(osRelease) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		if key == "ID" || key == "ID_LIKE" {
			for _, id := range strings.Fields(strings.Trim(value, `"'`)) {
				ids[id] = true
			}
		}
	}
	switch {
	case ids["debian"], ids["ubuntu"]:
		return debian
	// Their ID_LIKE names Fedora as well.
	case ids["rhel"], ids["centos"]:
		return rhel
	case ids["fedora"]:
		return fedora
	}
	return otherSystem
}

// install returns the command that installs, or upgrades, packages.
func (s system) install(onDebian, onFedora string) string {
	switch s {
	case debian:
		return "sudo apt-get install " + onDebian
	case fedora, rhel:
		return "sudo dnf install " + onFedora
	}
	return "# install the package that Debian calls " + onDebian + " and Fedora " + onFedora
}
