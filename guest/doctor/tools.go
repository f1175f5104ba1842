package doctor

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"

	"github.com/virt-grow/virt-grow/guest/block"
)

// tool is a program that must be installed.
type tool struct {
	name           string
	debian, fedora string // packages
	// least is the oldest version that works, and why the feature that older versions
	// lack.
	least version
	why   string
}

// QEMU's changelog for 6.1: blockdev-reopen became stable. 6.0 has it as
// x-blockdev-reopen, with other arguments.
var (
	qemuImg       = tool{name: "qemu-img", debian: "qemu-utils", fedora: "qemu-img"}
	storageDaemon = tool{
		name: "qemu-storage-daemon", debian: "qemu-system-common qemu-utils", fedora: "qemu-img",
		least: version{6, 1}, why: "blockdev-reopen, which points the running appliance at the overlay",
	}
)

func examineTool(ctx context.Context, s system, t tool) Finding {
	if _, err := exec.LookPath(t.name); err != nil {
		return Finding{t.name, Fail, t.name + " is not installed", s.install(t.debian, t.fedora)}
	}
	out, err := block.Run(ctx, t.name, "--version")
	if err != nil {
		return Finding{t.name, Fail, err.Error(), s.install(t.debian, t.fedora)}
	}
	return judgeTool(s, t, string(out))
}

func judgeTool(s system, t tool, output string) Finding {
	v, ok := parseVersion(output)
	switch {
	case !ok:
		return Finding{Name: t.name, Level: Warn, Text: "its version is unknown"}
	case v.before(t.least):
		return Finding{t.name, Fail, fmt.Sprintf("version %s has no %s; QEMU %s or newer is needed: Debian 12, Ubuntu 22.04 and RHEL 9 have it", v, t.why, t.least),
			s.install(t.debian, t.fedora)}
	}
	return Finding{Name: t.name, Level: OK, Text: "version " + v.String()}
}

// version is a major and a minor version number.
type version [2]int

func (v version) before(w version) bool {
	return v[0] < w[0] || v[0] == w[0] && v[1] < w[1]
}

func (v version) String() string { return fmt.Sprintf("%d.%d", v[0], v[1]) }

var versionWords = regexp.MustCompile(`version (\d+)\.(\d+)`)

// parseVersion parses the output of --version of QEMU's tools; the test has examples.
func parseVersion(output string) (version, bool) {
	m := versionWords.FindStringSubmatch(output)
	if m == nil {
		return version{}, false
	}
	major, err := strconv.Atoi(m[1])
	if err != nil {
		return version{}, false
	}
	minor, err := strconv.Atoi(m[2])
	return version{major, minor}, err == nil
}
