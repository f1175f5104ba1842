package doctor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/virt-grow/virt-grow/guest/appliance"
)

// kvm is the state of /dev/kvm on the host.
type kvm int

const (
	kvmMissing kvm = iota
	kvmDenied      // it exists, but this user may not open it
	kvmThere
)

func lookAtKVM() kvm {
	switch err := unix.Access("/dev/kvm", unix.R_OK|unix.W_OK); err {
	case nil:
		return kvmThere
	case unix.EACCES, unix.EPERM:
		return kvmDenied
	}
	return kvmMissing
}

// judgeKVM compares the state of /dev/kvm with what the appliance used; facts is nil if
// the appliance was not launched.
func judgeKVM(state kvm, wanted appliance.Accel, facts *appliance.Facts) Finding {
	const slow = "the appliance is emulated (TCG) and 5 to 10 times slower"
	f := Finding{Name: "KVM", Level: Warn}
	switch {
	case wanted == appliance.TCG:
		f.Level, f.Text = OK, "not used, because of --accel tcg"
	case state == kvmMissing:
		f.Text = "there is no /dev/kvm: " + slow
		f.Mend = "grep -cwE 'vmx|svm' /proc/cpuinfo   # 0: enable VT-x or AMD-V in the firmware, or nested virtualisation on the host of this machine"
	case state == kvmDenied:
		f.Text = "this user may not use /dev/kvm: " + slow
		f.Mend = "sudo usermod -aG kvm $USER   # then log in again"
	case facts == nil:
		f.Level, f.Text = OK, "/dev/kvm exists; it was not tried"
	case facts.KVMError != nil:
		f.Text = "/dev/kvm exists, but QEMU fails when it uses it: " + slow +
			"; fix nested virtualisation on the host of this machine"
	default:
		f.Level, f.Text = OK, "usable"
	}
	return f
}

// judgeAppliance returns the findings on the appliance, or why it did not launch.
func judgeAppliance(s system, facts *appliance.Facts, err error) []Finding {
	if err != nil {
		// libguestfs appends advice for reports to its mailing list.
		text, _, _ := strings.Cut(err.Error(), " This usually means")
		mend := "libguestfs-test-tool   # shows where the launch ends; see also the finding on the kernel"
		if errors.Is(err, appliance.ErrHung) {
			mend = "virt-grow --launch-timeout 15m doctor   # for a host that is only slow; else libguestfs-test-tool shows where the launch ends"
		}
		return []Finding{{"appliance", Fail, strings.TrimSuffix(text, "."), mend}}
	}
	accel := "KVM"
	if facts.Used == appliance.TCG {
		accel = "TCG"
	}
	launch := Finding{Name: "appliance", Level: OK, Text: fmt.Sprintf(
		"libguestfs %s, kernel %s, launched with %s in %.1f s",
		facts.Version, facts.Kernel, accel, facts.Launch.Seconds())}
	if facts.Launch > time.Minute {
		launch.Level = Warn
		launch.Text += "; the first launch after an upgrade takes longer, because it builds the appliance"
		launch.Mend = "virt-grow doctor   # again; if it stays as slow, the host is busy"
	}
	return []Finding{launch, judgeNTFS(s, facts), judgeFileSystems(s, facts.Lacking)}
}

func judgeNTFS(s system, facts *appliance.Facts) Finding {
	// RHEL has NTFS in a separate package, and allows it only for programs whose name
	// begins with "virt-".
	mend := s.install("ntfs-3g", "ntfs-3g ntfsprogs")
	if s == rhel {
		mend = s.install("", "libguestfs-winsupport")
	}
	switch {
	case slices.Contains(facts.Lacking, "ntfs"):
		return Finding{"NTFS", Warn, "the appliance does not support NTFS: Windows guests cannot be grown on this host", mend}
	case facts.NTFSError != nil:
		return Finding{"NTFS", Warn, "the appliance supports NTFS, but a test failed: " + facts.NTFSError.Error() +
			"; until it works, grow Windows guests with --ntfs guest", mend}
	}
	return Finding{Name: "NTFS", Level: OK, Text: "created, resized and mounted a file system"}
}

// packages are the host's packages from which the appliance is built.
var packages = map[string]struct{ debian, fedora string }{
	"ext4":  {"e2fsprogs", "e2fsprogs"},
	"xfs":   {"libguestfs-xfs", "libguestfs-xfs"},
	"btrfs": {"btrfs-progs", "btrfs-progs"},
	"LUKS":  {"cryptsetup-bin", "cryptsetup"},
	"LVM":   {"lvm2", "lvm2"},
}

func judgeFileSystems(s system, lacking []string) Finding {
	var there, gone, onDebian, onFedora []string
	for _, name := range []string{"ext4", "xfs", "btrfs", "LVM", "LUKS"} {
		if !slices.Contains(lacking, name) {
			there = append(there, name)
			continue
		}
		gone = append(gone, name)
		onDebian, onFedora = append(onDebian, packages[name].debian), append(onFedora, packages[name].fedora)
	}
	if len(gone) == 0 {
		return Finding{Name: "file systems", Level: OK, Text: strings.Join(there, ", ")}
	}
	return Finding{"file systems", Warn, "the appliance cannot handle " + strings.Join(gone, ", "),
		s.install(strings.Join(onDebian, " "), strings.Join(onFedora, " "))}
}

// kernels are the host's kernels, of which the appliance boots one.
type kernels struct{ readable, denied []string }

// findKernels looks in the same places as supermin(1): Debian has kernels in /boot, Fedora
// in the directories of their modules.
func findKernels(root string) kernels {
	var k kernels
	for _, pattern := range []string{"boot/vmlinuz-*", "lib/modules/*/vmlinuz"} {
		paths, _ := filepath.Glob(filepath.Join(root, pattern))
		for _, path := range paths {
			if unix.Access(path, unix.R_OK) == nil {
				k.readable = append(k.readable, path)
			} else {
				k.denied = append(k.denied, path)
			}
		}
	}
	return k
}

// judgeKernels returns the finding on the kernels. An appliance that was launched proves
// that one is readable, whatever the file modes are.
func judgeKernels(s system, k kernels, launched bool) Finding {
	f := Finding{Name: "kernel", Level: OK}
	switch {
	case os.Getenv("SUPERMIN_KERNEL") != "":
		f.Text = "SUPERMIN_KERNEL says " + os.Getenv("SUPERMIN_KERNEL")
	case len(k.denied) > 0:
		f.Level, f.Text = Fail, "only root may read "+strings.Join(k.denied, ", ")+", and the appliance boots it (Ubuntu ships kernels that way)"
		if launched {
			f.Level = Warn
		}
		f.Mend = "sudo chmod 0644 /boot/vmlinuz-*   # to keep it so: sudo dpkg-statoverride --update --add root root 0644 /boot/vmlinuz-$(uname -r)"
	case len(k.readable) == 0 && !launched:
		f.Level, f.Text = Fail, "there is no kernel in /boot for the appliance"
		f.Mend = s.install("linux-image-amd64   # Ubuntu: linux-image-generic", "kernel-core")
	case len(k.readable) == 0:
		f.Text = "there is none in /boot, but the appliance has one"
	default:
		f.Text = fmt.Sprintf("readable (%d)", len(k.readable))
	}
	return f
}
