// Package doctor checks whether this host has what virt-grow needs, and says what to
// install or change.
//
// It changes nothing on the host: it creates no directory and installs nothing. The
// appliance that it starts has an empty disk. Findings that are not ok come with the
// command that fixes the problem, if there is one.
package doctor

import (
	"context"
	"os"
	"strings"
	"time"

	"github.com/virt-grow/virt-grow/guest/appliance"
)

// Level is the severity of a finding.
type Level string

// The levels: with Warn virt-grow is slow or incomplete, with Fail it does not work.
const (
	OK   Level = "ok"
	Warn Level = "warn"
	Fail Level = "fail"
)

// Finding is the result of one check.
type Finding struct {
	Name  string `json:"name"`
	Level Level  `json:"level"`
	Text  string `json:"text"`
	// Mend is a shell command for the host's distribution that fixes the problem; "" if
	// there is none, and Text says what to do.
	Mend string `json:"mend,omitempty"`
}

// Options say what to check.
type Options struct {
	// StateDir is the directory of the jobs. ScratchDir is the directory for overlays; ""
	// if they are created in the image's directory, which is not checked.
	StateDir, ScratchDir string
	Accel                appliance.Accel
	// LaunchTimeout is how long the appliance may take to start; 0 is
	// appliance.LaunchTimeout.
	LaunchTimeout time.Duration
	// Connect is the URI of libvirt.
	Connect string
	// Quick skips the checks that need the appliance.
	Quick bool
}

// Examine runs all checks, and returns the findings in the order in which they are shown.
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

// system is a family of distributions with the same commands.
type system int

const (
	otherSystem system = iota
	debian             // and Ubuntu, Mint, …
	fedora
	rhel // and CentOS Stream, Alma, Rocky, …
)

func readSystem() system { return parseSystem(readOSRelease()) }

// readOSRelease returns the text of os-release(5); "" if the host has none.
func readOSRelease() string {
	text, _ := os.ReadFile("/etc/os-release")
	return string(text)
}

// osRelease returns the values of os-release(5), which may be quoted.
func osRelease(text string) map[string]string {
	values := map[string]string{}
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			values[key] = value
		}
	}
	return values
}

// parseSystem reads ID and ID_LIKE.
func parseSystem(text string) system {
	ids, values := map[string]bool{}, osRelease(text)
	for _, key := range []string{"ID", "ID_LIKE"} {
		for _, id := range strings.Fields(strings.Trim(values[key], `"'`)) {
			ids[id] = true
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
