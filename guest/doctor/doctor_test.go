package doctor

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/virt-grow/virt-grow/guest/appliance"
	"github.com/virt-grow/virt-grow/plan/size"
	"github.com/virt-grow/virt-grow/testimages/level"
)

func TestParseVersion(t *testing.T) {
	tests := []struct {
		host, output string
		want         version
	}{
		{"Debian 12", "qemu-img version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)\nCopyright (c) 2003-2022 Fabrice Bellard and the QEMU Project developers\n", version{7, 2}},
		{"Debian 12, daemon", "qemu-storage-daemon version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)\n", version{7, 2}},
		{"Ubuntu 22.04", "qemu-img version 6.2.0 (Debian 1:6.2+dfsg-2ubuntu6.22)\n", version{6, 2}},
		{"Ubuntu 20.04", "qemu-img version 4.2.1 (Debian 1:4.2-3ubuntu6.28)\n", version{4, 2}},
		{"Fedora 41", "qemu-img version 9.1.2 (qemu-9.1.2-1.fc41)\n", version{9, 1}},
		{"RHEL 9", "qemu-img version 9.0.0 (qemu-kvm-9.0.0-10.el9)\n", version{9, 0}},
		{"CentOS 7", "qemu-img version 1.5.3, Copyright (c) 2004-2008 Fabrice Bellard\n", version{1, 5}},
		{"two digits", "qemu-img version 10.0.2\n", version{10, 0}},
	}
	for _, test := range tests {
		if got, ok := parseVersion(test.output); !ok || got != test.want {
			t.Errorf("%s: got %v, %v, want %v", test.host, got, ok, test.want)
		}
	}
	if got, ok := parseVersion("qemu-img: unrecognized option"); ok {
		t.Errorf("got %v from no version", got)
	}
}

func TestJudgeTool(t *testing.T) {
	levels := map[string]Level{
		"version 4.2.1": Fail, "version 6.0.0": Fail, "version 6.1.0": OK, "version 10.0.0": OK, "": Warn,
	}
	for output, want := range levels {
		if got := judgeTool(debian, storageDaemon, output); got.Level != want {
			t.Errorf("%q: got %+v, want %s", output, got, want)
		}
	}
}

func TestParseSystem(t *testing.T) {
	tests := map[string]struct {
		text string
		want system
	}{
		"Debian": {"PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=\"Debian GNU/Linux\"\nID=debian\n", debian},
		"Ubuntu": {"NAME=\"Ubuntu\"\nID=ubuntu\nID_LIKE=debian\nUBUNTU_CODENAME=noble\n", debian},
		"Mint":   {"ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n", debian},
		"Fedora": {"NAME=\"Fedora Linux\"\nID=fedora\nVERSION_ID=41\n", fedora},
		"RHEL":   {"ID=\"rhel\"\nID_LIKE=\"fedora\"\n", rhel},
		"Alma":   {"ID=\"almalinux\"\nID_LIKE=\"rhel centos fedora\"\n", rhel},
		"Arch":   {"ID=arch\nLOGO=debian\n", otherSystem},
		"empty":  {"", otherSystem},
	}
	for name, test := range tests {
		if got := parseSystem(test.text); got != test.want {
			t.Errorf("%s: got %d, want %d", name, got, test.want)
		}
	}
}

func TestJudgeKVM(t *testing.T) {
	broken := &appliance.Facts{Used: appliance.TCG, KVMError: errors.New("launch")}
	tests := []struct {
		name   string
		state  kvm
		wanted appliance.Accel
		facts  *appliance.Facts
		level  Level
		mend   string
	}{
		{"missing", kvmMissing, appliance.Auto, nil, Warn, "/proc/cpuinfo"},
		{"denied", kvmDenied, appliance.Auto, nil, Warn, "usermod -aG kvm"},
		{"not tried", kvmThere, appliance.Auto, nil, OK, ""},
		{"broken", kvmThere, appliance.Auto, broken, Warn, ""},
		{"works", kvmThere, appliance.Auto, &appliance.Facts{Used: appliance.KVM}, OK, ""},
		{"not wanted", kvmThere, appliance.TCG, &appliance.Facts{Used: appliance.TCG}, OK, ""},
	}
	for _, test := range tests {
		got := judgeKVM(test.state, test.wanted, test.facts)
		if got.Level != test.level || !strings.Contains(got.Mend, test.mend) || got.Text == "" {
			t.Errorf("%s: got %+v", test.name, got)
		}
	}
}

// TestNTFSOnRHEL checks the advice for RHEL, where NTFS support comes with
// libguestfs-winsupport and ntfs-3g is in none of the distribution's repositories.
func TestNTFSOnRHEL(t *testing.T) {
	got := judgeNTFS(rhel, &appliance.Facts{Lacking: []string{"ntfs"}})
	if got.Mend != "sudo dnf install libguestfs-winsupport" {
		t.Errorf("got %+v", got)
	}
}

func TestJudgeAppliance(t *testing.T) {
	failed := judgeAppliance(debian, nil, errors.New("cannot launch the appliance: supermin failed. This usually means a lot"))
	if len(failed) != 1 || failed[0].Level != Fail || failed[0].Text != "cannot launch the appliance: supermin failed" {
		t.Errorf("got %+v", failed)
	}
	tests := []struct {
		name  string
		facts appliance.Facts
		want  [3]Level // appliance, NTFS, file systems
		mend  string
	}{
		{"complete", appliance.Facts{Launch: time.Second}, [3]Level{OK, OK, OK}, ""},
		{"slow", appliance.Facts{Launch: 2 * time.Minute}, [3]Level{Warn, OK, OK}, "doctor"},
		{"no NTFS", appliance.Facts{Lacking: []string{"ntfs"}}, [3]Level{OK, Warn, OK}, "apt-get install ntfs-3g"},
		{"RHEL's NTFS", appliance.Facts{NTFSError: errors.New("mount: unsupported")}, [3]Level{OK, Warn, OK}, "apt-get install ntfs-3g"},
		{"no XFS, no LVM", appliance.Facts{Lacking: []string{"xfs", "LVM"}}, [3]Level{OK, OK, Warn}, "apt-get install libguestfs-xfs lvm2"},
	}
	for _, test := range tests {
		got := judgeAppliance(debian, &test.facts, nil)
		var levels [3]Level
		var mends strings.Builder
		for i, f := range got {
			levels[i] = f.Level
			mends.WriteString(f.Mend)
		}
		if levels != test.want || !strings.Contains(mends.String(), test.mend) {
			t.Errorf("%s: got %+v", test.name, got)
		}
	}
}

func TestJudgeKernels(t *testing.T) {
	t.Setenv("SUPERMIN_KERNEL", "")
	root := t.TempDir()
	if got := judgeKernels(debian, findKernels(root), false); got.Level != Fail || !strings.Contains(got.Mend, "linux-image") {
		t.Errorf("none: got %+v", got)
	}
	path := filepath.Join(root, "boot", "vmlinuz-6.1.0")
	if err := os.Mkdir(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if got := judgeKernels(debian, findKernels(root), false); got.Level != OK {
		t.Errorf("readable: got %+v", got)
	}
	// The test may run as root, which can read every file, so the error of Ubuntu's file
	// mode is simulated.
	denied := kernels{denied: []string{path}}
	if got := judgeKernels(debian, denied, false); got.Level != Fail || !strings.Contains(got.Mend, "dpkg-statoverride") {
		t.Errorf("denied: got %+v", got)
	}
	if got := judgeKernels(debian, denied, true); got.Level != Warn {
		t.Errorf("denied, but launched: got %+v", got)
	}
}

func TestFolder(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	f := directory{name: "state directory", path: filepath.Join(dir, "not", "made", "yet"), use: "journals", set: "--state-dir"}
	if got := f.examine(); got.Level != OK {
		t.Errorf("to be made: got %+v", got)
	}
	if _, err := os.Stat(filepath.Join(dir, "not")); err == nil {
		t.Error("the directory was made")
	}
	f.path = filepath.Join(file, "below")
	if got := f.examine(); got.Level != Fail || got.Mend == "" {
		t.Errorf("below a file: got %+v", got)
	}
	f.path, f.want = dir, size.GiB
	if got := f.judge(size.MiB); got.Level != Warn || got.Mend == "" {
		t.Errorf("full: got %+v", got)
	}
	f.path, f.sockets = "/"+strings.Repeat("x", 90), "/virt-grow-0000000000/gate.sock"
	if got := f.judge(size.TiB); got.Level != Fail {
		t.Errorf("too long for sockets: got %+v", got)
	}
}

// TestExamine examines the real host, without and with the appliance.
func TestExamine(t *testing.T) {
	kinds := []bool{true, false}
	if !level.At(level.Real) {
		kinds = kinds[:1] // without booting the appliance
	}
	for _, quick := range kinds {
		names := map[string]bool{}
		for _, f := range Examine(t.Context(), Options{StateDir: t.TempDir(), ScratchDir: t.TempDir(), Quick: quick}) {
			names[f.Name] = true
			if f.Level == Fail {
				t.Errorf("this host is to have everything, but: %+v", f)
			}
			t.Logf("%-4s %-19s %s  [%s]", f.Level, f.Name, f.Text, f.Mend)
		}
		for _, name := range []string{"KVM", "qemu-img", "qemu-storage-daemon", "kernel", "state directory", "scratch directory", "temporary directory", "appliance cache"} {
			if !names[name] {
				t.Errorf("quick %v: nothing about %s", quick, name)
			}
		}
		if names["NTFS"] == quick {
			t.Errorf("quick %v: NTFS %v", quick, names["NTFS"])
		}
	}
}
