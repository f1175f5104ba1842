package doctor

import (
	"context"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/virt-grow/virt-grow/guest/appliance"
	"github.com/virt-grow/virt-grow/guest/block"
	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/guest/job"
)

// Versions returns the versions of what virt-grow uses on this host, for the record of a
// job. What has no version that can be read is left out. It starts nothing but qemu-img.
func Versions(ctx context.Context) []job.Version {
	var all []job.Version
	add := func(name, version string, err error) {
		if err == nil && version != "" {
			all = append(all, job.Version{Name: name, Version: version})
		}
	}
	out, err := block.Run(ctx, qemuImg.name, "--version")
	add("QEMU", versionLine(string(out)), err)
	library, err := appliance.LibraryVersion()
	add("libguestfs", library, err)
	library, err = domain.LibraryVersion()
	add("libvirt", library, err)
	return all
}

// versionLine returns the version in the output of --version with all that the distribution
// adds: "7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)".
func versionLine(output string) string {
	first, _, _ := strings.Cut(output, "\n")
	_, version, _ := strings.Cut(first, "version ")
	return strings.TrimSpace(version)
}

// SystemName returns the name of this host's distribution; "" if it has none.
func SystemName() string {
	value := osRelease(readOSRelease())["PRETTY_NAME"]
	if plain, err := strconv.Unquote(value); err == nil {
		return plain
	}
	return strings.Trim(value, `'"`)
}

// KernelRelease returns the release of this host's kernel.
func KernelRelease() string {
	var name unix.Utsname
	if unix.Uname(&name) != nil {
		return ""
	}
	return unix.ByteSliceToString(name.Release[:])
}
