package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/virt-grow/virt-grow/testimages/lab"
	"github.com/virt-grow/virt-grow/testimages/level"
)

// guestfish runs libguestfs's own shell on images, read-only. It is the oracle for the
// contents.
func guestfish(t *testing.T, commands string, images ...string) string {
	t.Helper()
	return fish(t, "--ro", commands, images...)
}

func fish(t *testing.T, access, commands string, images ...string) string {
	t.Helper()
	args := []string{access}
	for _, image := range images {
		args = append(args, "--format="+strings.TrimPrefix(filepath.Ext(image), "."), "-a", image)
	}
	cmd := exec.Command("guestfish", args...)
	cmd.Env = append(os.Environ(), "LIBGUESTFS_BACKEND=direct", "LIBGUESTFS_BACKEND_SETTINGS=force_tcg")
	cmd.Stdin = strings.NewReader("run\n" + commands)
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("guestfish: %v\n%s", err, &complaints)
	}
	return string(out)
}

// statOf returns the attributes, as guestfish reports them, that an edit must not
// change.
func statOf(text string) map[string]string {
	kept := map[string]string{}
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		if slices.Contains([]string{"st_mode", "st_uid", "st_gid", "st_nlink"}, key) {
			kept[key] = value
		}
	}
	return kept
}

// TestEdit changes a file on LVM and XFS through a symbolic link, and replaces the
// content of a second file. guestfish finds both with their owners, modes and
// attributes, and no other change.
func TestEdit(t *testing.T) {
	level.Only(t, level.Real)
	c := newCrash(t, buildWithFaults(t), "gpt-os-lvm", "qcow2")
	code, out := c.run(t, "", "edit", c.image+":/etc/shadow", "-e", "s/^root:[^:]*/&edited/", "--mount", "vg_os/root")
	if code != 0 || !strings.Contains(out, "/etc/shadow is changed, on vg_os/root") {
		t.Fatalf("exit %d\n%s", code, out)
	}
	got := guestfish(t, "mount-ro /dev/vg_os/root /\ncat /etc/shadow\nlstatns /etc/shadow\nls /etc\n", c.image)
	if !strings.Contains(got, "edited:") {
		t.Errorf("guestfish does not see the edit:\n%s", got)
	}
	if at := statOf(got); at["st_mode"] != "33184" || at["st_uid"] != "0" || at["st_gid"] != "42" { // 33184 is 0100640
		t.Errorf("the file has %v", at)
	}
	if strings.Contains(got, ".virt-grow") {
		t.Errorf("left in the guest:\n%s", got)
	}
	c.checkClean(t)
}

// counted makes libguestfs start QEMU through a script that logs every appliance.
func counted(t *testing.T) (launches func() int) {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	script, log := filepath.Join(dir, "qemu"), filepath.Join(dir, "log")
	text := fmt.Sprintf("#!/bin/sh\ncase \" $* \" in *\" -kernel \"*) echo launch >> %s;; esac\nexec qemu-system-x86_64 \"$@\"\n", log)
	if err := os.WriteFile(script, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("LIBGUESTFS_HV", script)
	return func() int {
		data, _ := os.ReadFile(log)
		os.Remove(log)
		return bytes.Count(data, []byte("launch"))
	}
}

// usageDocument is the JSON document of df.
type usageDocument struct {
	Schema string
	Guests []struct {
		Target, UUID, Reason string
		Source, Unread       string
		Running              bool
		FileSystems          []usedFS
	}
}

type usedFS struct {
	Device, Type, UUID, Label string
	Size, Used, Free          int64
	Mounted, Disks            []string
	Forecast                  *struct {
		Outlook string
		Samples int
	}
}

// at returns the file system of a guest that is mounted there.
func (u usageDocument) at(t *testing.T, guest, mount string) usedFS {
	t.Helper()
	for _, g := range u.Guests {
		for _, fs := range g.FileSystems {
			if g.Target == guest && slices.Contains(fs.Mounted, mount) {
				return fs
			}
		}
	}
	t.Fatalf("%s has no %s: %+v", guest, mount, u)
	return usedFS{}
}

func (x *vm) df(t *testing.T, want int, args ...string) usageDocument {
	t.Helper()
	code, out := x.plainly(t, append([]string{"df", "--json", "--accel", "tcg"}, args...)...)
	var u usageDocument
	if err := json.Unmarshal([]byte(out), &u); err != nil || code != want || u.Schema != "virt-grow/df/v1" {
		t.Fatalf("df: exit %d, %v\n%s", code, err, out)
	}
	return u
}

// plainly runs the program, and returns its standard output alone.
func (x *vm) plainly(t *testing.T, args ...string) (int, string) {
	t.Helper()
	cmd := exec.Command(x.program, append([]string{"--state-dir", x.state, "--connect", x.URI()}, args...)...)
	var out, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaints
	_ = cmd.Run()
	if complaints.Len() > 0 {
		t.Logf("%v: %s", args, &complaints)
	}
	return cmd.ProcessState.ExitCode(), out.String()
}

// TestFilesOfDomain uses the guest's own paths with two disks, while the guest is off
// and while it runs.
func TestFilesOfDomain(t *testing.T) {
	level.Need(t, level.All)
	h := newEnv(t)
	x := h.start(t, "files", lab.Spec{}, true, labDisk{"lvm", "qcow2"}, labDisk{"ntfs-data", "raw"})
	other := h.start(t, "other", lab.Spec{}, true, labDisk{"xfs", "qcow2"})
	launches := counted(t)

	// The two disks of a guest need one launch, two guests need two.
	u := x.df(t, 0, "files")
	if n := launches(); n != 1 {
		t.Errorf("%d launches for one guest", n)
	}
	byDevice := map[string]string{}
	data := ""
	for _, fs := range u.Guests[0].FileSystems {
		byDevice[fs.Device] = fs.Type
		if fs.Device == "vdb1" {
			data = fs.UUID
		}
		if fs.Size <= 0 || fs.Used <= 0 || fs.Used+fs.Free > fs.Size {
			t.Errorf("%+v", fs)
		}
	}
	if byDevice["vdb1"] != "ntfs" || byDevice["vg/root"] != "ext4" {
		t.Errorf("file systems: %v", byDevice)
	}
	if u = x.df(t, 0, "files", "other"); len(u.Guests) != 2 || u.Guests[1].Target != "other" {
		t.Errorf("%+v", u)
	}
	if n := launches(); n != 2 {
		t.Errorf("%d launches for two guests", n)
	}
	if u = x.df(t, 1, "other", "nobody"); len(u.Guests) != 2 || u.Guests[1].Reason != "not-found" || len(u.Guests[0].FileSystems) == 0 {
		t.Errorf("one of two is missing: %+v", u)
	}
	launches()

	// The line for the data disk is added in one launch.
	args := []string{"edit", "files:/etc/fstab", "--accel", "tcg", "-e", "s|$|\\nUUID=" + data + " /data ntfs nofail 0 0|"}
	if code, out := x.run(t, "", args...); code != 0 {
		t.Fatalf("edit: exit %d\n%s", code, out)
	}
	if n := launches(); n != 1 {
		t.Errorf("%d launches for an edit", n)
	}
	if got := guestfish(t, "mount-ro /dev/vg/root /\ncat /etc/fstab\n", x.disks...); !strings.Contains(got, "UUID="+data+" /data ntfs nofail 0 0\n") {
		t.Errorf("guestfish finds\n%s", got)
	}
	x.checkKept(t)

	x.readsData(t)
	if err := x.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	x.beating(t, time.Time{})
	x.readsData(t)
	x.refusesRunning(t)
	u = x.df(t, 0, "files", "--mounts")
	mounted := map[string]string{}
	for _, fs := range u.Guests[0].FileSystems {
		mounted[fs.Device] = strings.Join(fs.Mounted, " ")
	}
	if !u.Guests[0].Running || mounted["vdb1"] != "/data" || mounted["vg/root"] != "/" {
		t.Errorf("%v, %+v", mounted, u)
	}
	x.leave(t)
	_ = other
}

// readsData reads files on the second disk by the guest's paths.
func (x *vm) readsData(t *testing.T) {
	t.Helper()
	code, out := x.plainly(t, "cat", "files:/data/folder/numbers.txt")
	if want := strings.Repeat("0123456789abcdef\r\n", 20000); code != 0 || out != want {
		t.Errorf("cat: exit %d, %d bytes", code, len(out))
	}
	code, out = x.plainly(t, "ls", "files:/data/folder", "--json")
	var doc struct {
		Schema  string
		Entries []struct {
			Name, Type string
			Size       int64
		}
	}
	if err := json.Unmarshal([]byte(out), &doc); err != nil || code != 0 || len(doc.Entries) != 2 || doc.Entries[1].Name != "numbers.txt" || doc.Entries[1].Size != 360000 || doc.Entries[0].Type != "dir" {
		t.Errorf("ls: exit %d, %v\n%s", code, err, out)
	}
}

// refusesRunning checks that no file of a running guest can be changed.
func (x *vm) refusesRunning(t *testing.T) {
	t.Helper()
	for _, args := range [][]string{
		{"edit", "files:/etc/fstab", "-e", "s/a/b/"},
		{"copy-in", "files_test.go", "files:/root"},
		{"edit", x.disks[0] + ":/etc/fstab", "-e", "s/a/b/"},
	} {
		if code, out := x.run(t, "", args...); code != 5 || !strings.Contains(out, "hint: shut the guest down first") {
			t.Errorf("%v: exit %d\n%s", args, code, out)
		}
	}
}

// TestFilesOfImages uses paths on Windows and on data disks, and checks refusals.
func TestFilesOfImages(t *testing.T) {
	level.Need(t, level.All)
	program := buildWithFaults(t)
	t.Run("windows", func(t *testing.T) {
		c := newCrash(t, program, "gpt-windows", "raw")
		code, out := c.run(t, "", "ls", "-l", c.image+`:c:\windows\SYSTEM32`)
		if code != 0 || !strings.Contains(out, "drivers") {
			t.Errorf("exit %d\n%s", code, out)
		}
		if code, out := c.run(t, "", "ls", c.image+":E:/"); code != 3 || !strings.Contains(out, "no drive E:") || !strings.Contains(out, "C:") {
			t.Errorf("exit %d\n%s", code, out)
		}
		ini := filepath.Join(c.dir, "New.ini")
		for _, text := range []string{"[a]\r\nb=1\r\n", "[a]\r\nb=2\r\n"} {
			if err := os.WriteFile(ini, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if code, out := c.run(t, "", "copy-in", ini, c.image+":C:/Windows"); code != 0 {
				t.Fatalf("copy-in: exit %d\n%s", code, out)
			}
		}
		if got := guestfish(t, "mount-ro /dev/sda3 /\ncat /Windows/New.ini\n", c.image); !strings.Contains(got, "b=2") {
			t.Errorf("guestfish finds %q", got)
		}
		c.checkClean(t)
	})
	t.Run("several", func(t *testing.T) {
		c := newCrash(t, program, "gpt-data-last", "raw")
		code, out := c.run(t, "", "ls", c.image+":/")
		if code != 3 || !strings.Contains(out, "sda1 (ext4), sda2 (ext4)") || !strings.Contains(out, "--mount DEVICE") {
			t.Errorf("exit %d\n%s", code, out)
		}
		if code, out := c.run(t, "", "cat", c.image+":/README", "--mount", "vda2"); code != 0 || !strings.Contains(out, "neighbour") {
			t.Errorf("exit %d\n%s", code, out)
		}
	})
	t.Run("attributes", func(t *testing.T) { keepsAttributes(t, newCrash(t, program, "none-xfs", "qcow2")) })
	t.Run("data", func(t *testing.T) { filesOfData(t, newCrash(t, program, "none-ext4", "raw")) })
	t.Run("locked", func(t *testing.T) {
		c := newCrash(t, program, "gpt-luks2-lvm-xfs", "qcow2")
		if code, out := c.run(t, "", "ls", c.image+":/"); code != 3 || !strings.Contains(out, "LUKS") {
			t.Errorf("exit %d\n%s", code, out)
		}
		key := filepath.Join(c.dir, "key")
		if err := os.WriteFile(key, []byte("open sesame\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		keys := "all:file:" + key
		if code, out := c.run(t, "", "edit", c.image+":/README.txt", "-e", "s/test/edited/", "--key", keys); code != 0 {
			t.Errorf("exit %d\n%s", code, out)
		}
		if code, out := c.run(t, "", "cat", c.image+":/README.txt", "--key", keys); code != 0 || !strings.Contains(out, "virt-grow edited data") {
			t.Errorf("exit %d\n%s", code, out)
		}
	})
}

// filesOfData checks copy-out, copy-in and edit on a disk with only an ext4.
func filesOfData(t *testing.T, c *crash) {
	before := keep(t, c.seen(t))
	dest := filepath.Join(c.dir, "dest")
	if code, out := c.run(t, "", "copy-out", c.image+":/", dest); code != 0 {
		t.Fatalf("copy-out: exit %d\n%s", code, out)
	}
	oracle := filepath.Join(c.dir, "oracle")
	if err := os.Mkdir(oracle, 0o700); err != nil {
		t.Fatal(err)
	}
	guestfish(t, "mount-ro /dev/sda /\ncopy-out / "+oracle+"\n", c.image)
	if out, err := exec.Command("diff", "-r", "--no-dereference", "--exclude=lost+found", oracle, dest).CombinedOutput(); err != nil {
		t.Errorf("copied out is not what guestfish copies: %s", out)
	}
	for _, r := range []struct {
		args []string
		exit int
		says string
	}{
		{[]string{"copy-out", c.image + ":/README.txt", dest + "/empty"}, 3, "already exists"},
		{[]string{"cat", c.image + ":/nothing"}, 3, "there is no /nothing"},
		{[]string{"cat", c.image + ":/README.txt/x"}, 3, "there is no"},
		{[]string{"cat", c.image + ":/empty dir"}, 3, "is a directory"},
		{[]string{"edit", c.image + ":/empty dir", "-e", "s/a/b/"}, 3, "is a directory"},
		{[]string{"copy-in", "files_test.go", c.image + ":/README.txt"}, 3, "is not a directory"},
		{[]string{"ls", c.image + ":C:/"}, 3, "not Windows"},
		{[]string{"ls", c.image + ":/", "--mount", "vda7"}, 3, "there are sda (ext4)"},
		{[]string{"edit", c.image + ":/README.txt", "-e", "s/nothing like it/b/"}, 0, "nothing was changed"},
	} {
		if code, out := c.run(t, "", r.args...); code != r.exit || !strings.Contains(out, r.says) {
			t.Errorf("%v: exit %d, want %d\n%s", r.args, code, r.exit, out)
		}
	}
	if !sameFile(t, before, c.seen(t)) {
		t.Error("the image has changed")
	}
	if left, _ := filepath.Glob(c.dir + "/.virt-grow-*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	c.checkClean(t)
}

// keepsAttributes checks that an edited file keeps its owner and attributes, and that
// links are resolved within the guest.
func keepsAttributes(t *testing.T, c *crash) {
	const label = "system_u:object_r:etc_t:s0"
	const list = "getxattrs /plain\nlstatns /plain\n"
	fish(t, "--rw", `mount /dev/sda /
write /plain "one\n"
chown 1000 1001 /plain
chmod 04711 /plain
setxattr security.selinux "`+label+`" 26 /plain
setxattr user.note "kept" 4 /plain
write /first "one\n"
ln /first /second
ln-s /plain /link
ln-s /etc/passwd /host
mkdir /etc
umount /
`, c.image)
	before := guestfish(t, "mount-ro /dev/sda /\n"+list, c.image)
	for _, name := range []string{"/link", "/second"} {
		if code, out := c.run(t, "", "edit", c.image+":"+name, "-e", "s/one/two/", "--mount", "sda"); code != 0 {
			t.Fatalf("exit %d\n%s", code, out)
		}
	}
	after := guestfish(t, "mount-ro /dev/sda /\n"+list, c.image)
	if fmt.Sprint(statOf(before)) != fmt.Sprint(statOf(after)) {
		t.Errorf("%v, was %v", statOf(after), statOf(before))
	}
	for _, want := range []string{label, "user.note", "kept"} {
		if strings.Count(after, want) != 1 || strings.Count(before, want) != 1 {
			t.Errorf("attributes %s\nwere %s", after, before)
		}
	}
	got := guestfish(t, "mount-ro /dev/sda /\ncat /plain\ncat /first\nreadlink /link\nls /\n", c.image)
	if strings.Count(got, "two\n") != 2 || !strings.Contains(got, "\n/plain\n") || strings.Contains(got, ".virt-grow") {
		t.Errorf("guestfish finds\n%s", got)
	}
	if code, out := c.run(t, "", "cat", c.image+":/host", "--mount", "sda"); code != 3 || !strings.Contains(out, "there is no /host") {
		t.Errorf("a link to /etc/passwd: exit %d\n%s", code, out)
	}
	if code, out := c.run(t, "", "copy-in", "files_test.go", c.image+":/etc", "--mount", "sda"); code != 0 {
		t.Errorf("copy-in: exit %d\n%s", code, out)
	}
	own, err := os.ReadFile("files_test.go")
	if err != nil {
		t.Fatal(err)
	}
	if got := guestfish(t, "mount-ro /dev/sda /\ncat /etc/files_test.go\n", c.image); strings.TrimSpace(got) != strings.TrimSpace(string(own)) {
		t.Errorf("copied in: %d bytes, not %d", len(got), len(own))
	}
	c.checkClean(t)
}

// TestEditOverDisks checks that a change of a file system on two disks is committed to
// both or to neither, also when the program is killed between the two commits.
func TestEditOverDisks(t *testing.T) {
	level.Need(t, level.All)
	h := newEnv(t)
	spec := lab.Spec{}
	var paths []string
	for _, target := range []string{"vda", "vdb"} {
		path := filepath.Join(h.dir, target+".raw")
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, 64<<20); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
		spec.Disks = append(spec.Disks, lab.Disk{Path: path, Format: "raw", Target: target})
	}
	fish(t, "--rw", `pvcreate /dev/sda
pvcreate /dev/sdb
vgcreate both "/dev/sda /dev/sdb"
lvcreate-free data both 100
mkfs ext4 /dev/both/data
mount /dev/both/data /
write /list "one\n"
umount /
`, paths...)
	x := h.start(t, "both", spec, true)
	before := sums(t, paths)
	for _, way := range []string{"rollback", "resume"} {
		if code, out := x.run(t, "commit:vda/after=kill", "edit", "both:/list", "-e", "s/one/two/"); code != -1 {
			t.Fatalf("not killed: exit %d\n%s", code, out)
		}
		id, _ := x.job(t)
		if sums(t, paths) == before {
			t.Error("nothing was committed yet")
		}
		if code, out := x.run(t, "", way, id); code != 0 {
			t.Fatalf("%s: exit %d\n%s", way, code, out)
		}
		if way == "rollback" && sums(t, paths) != before {
			t.Error("the disks are not as they were")
		}
		x.checkKept(t)
	}
	if got := guestfish(t, "mount-ro /dev/both/data /\ncat /list\n", paths...); !strings.Contains(got, "two") {
		t.Errorf("guestfish finds %q", got)
	}
}

func sums(t *testing.T, paths []string) string {
	t.Helper()
	out, err := exec.Command("sha256sum", paths...).Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
