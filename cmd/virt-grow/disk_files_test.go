package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/virt-grow/virt-grow/testimages/level"
)

// newFiles returns a directory with a source to convert, for the commands that create
// image files. Most of them need no appliance.
func newFiles(t *testing.T) *crash {
	t.Helper()
	level.Need(t, level.Real)
	dir, err := os.MkdirTemp("", "vg")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return &crash{program: buildWithFaults(t), dir: dir, state: filepath.Join(dir, "state")}
}

// source makes a raw image of 512 MiB with data in several places, as a real disk has
// it.
func (c *crash) source(t *testing.T, data int64) string {
	t.Helper()
	path := filepath.Join(c.dir, "source.raw")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	chance := rand.NewChaCha8([32]byte{1})
	for _, at := range []int64{0, 200 << 20, 511 << 20} {
		if _, err := f.Seek(at, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(f, chance, min(data, 512<<20-at)); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Truncate(512 << 20); err != nil {
		t.Fatal(err)
	}
	return path
}

// left returns the files in the directory, except the named ones and the state.
func (c *crash) left(t *testing.T, but ...string) []string {
	t.Helper()
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, e := range entries {
		known := e.Name() == "state"
		for _, path := range but {
			known = known || e.Name() == filepath.Base(path)
		}
		if !known {
			left = append(left, e.Name())
		}
	}
	return left
}

// open returns the name of the only job that has not ended.
func (c *crash) open(t *testing.T) string {
	t.Helper()
	_, out := c.run(t, "", "jobs", "--json")
	var list struct{ Jobs []struct{ ID, Next string } }
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		t.Fatalf("jobs: %v\n%s", err, out)
	}
	var open []string
	for _, j := range list.Jobs {
		if j.Next != "" {
			open = append(open, j.ID)
		}
	}
	if len(open) != 1 {
		t.Fatalf("open jobs: %v", open)
	}
	return open[0]
}

// ways ends a command line with SIGKILL at each point, and then tries both commands on
// each crashed state: resume ends with the whole file, rollback without a file.
func (c *crash) ways(t *testing.T, target string, points []string, whole func(*testing.T), args ...string) {
	t.Helper()
	was := c.left(t)
	for _, point := range points {
		for _, way := range []string{"resume", "rollback"} {
			t.Run(strings.NewReplacer("/", "-", ":", "-").Replace(point)+"-"+way, func(t *testing.T) {
				if code, out := c.run(t, point+"=kill", args...); code != -1 {
					t.Fatalf("not killed: exit %d\n%s", code, out)
				}
				// Another run is refused.
				if code, out := c.run(t, "", args...); code != 5 && code != 3 {
					t.Errorf("a second run: exit %d\n%s", code, out)
				}
				if _, err := os.Lstat(target); (err == nil) != (point == "name/after") {
					t.Errorf("%s: %v", target, err)
				}
				job := c.open(t)
				if code, out := c.run(t, "", "status", job); code != 0 || !strings.Contains(out, " "+way+" "+job) {
					t.Errorf("status: exit %d\n%s", code, out)
				}
				if code, out := c.run(t, "", way, job); code != 0 {
					t.Fatalf("%s: exit %d\n%s", way, code, out)
				}
				if way == "resume" {
					whole(t)
					if err := os.Remove(target); err != nil {
						t.Fatal(err)
					}
				}
				if left := c.left(t, was...); len(left) > 0 {
					t.Errorf("left behind: %v", left)
				}
				c.checkClean(t)
			})
		}
	}
}

// TestDiskCreateKilled creates an empty image.
func TestDiskCreateKilled(t *testing.T) {
	level.Only(t, level.Real)
	c := newFiles(t)
	target := filepath.Join(c.dir, "data.qcow2")
	c.ways(t, target, []string{"create/before", "create/after", "name/before", "name/after"},
		func(t *testing.T) { checkImage(t, target, "qcow2", 64<<20) }, "disk", "create", target, "--size", "64M")
}

// TestDiskCreateKilledInside creates an image with a file system.
func TestDiskCreateKilledInside(t *testing.T) {
	level.Need(t, level.All)
	c := newFiles(t)
	target := filepath.Join(c.dir, "data.raw")
	c.ways(t, target, []string{"format/before", "format/after"}, func(t *testing.T) {
		checkImage(t, target, "raw", 400<<20)
		checkFish(t, target, "/dev/vg/lv: ext4")
	}, "disk", "create", target, "--size", "400M", "--fs", "ext4", "--lvm", "vg/lv")
	for _, written := range []bool{false, true} {
		c.killIn(t, "format", written, "disk", "create", target, "--size", "400M", "--fs", "ext4", "--lvm", "vg/lv")
		if code, out := c.run(t, "", "resume", c.open(t)); code != 0 {
			t.Fatalf("resume: exit %d\n%s", code, out)
		}
		checkFish(t, target, "/dev/vg/lv: ext4")
		if err := os.Remove(target); err != nil {
			t.Fatal(err)
		}
		if left := c.left(t); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
}

// TestDiskCreatePrealloc checks the allocation on the host with stat(2).
func TestDiskCreatePrealloc(t *testing.T) {
	level.Only(t, level.Real)
	c := newFiles(t)
	for _, m := range []struct {
		format, how string
		least, most int64
	}{
		{"qcow2", "off", 0, 1 << 20}, {"qcow2", "metadata", 0, 2 << 20}, {"qcow2", "falloc", 64 << 20, 66 << 20}, {"qcow2", "full", 64 << 20, 66 << 20},
		{"raw", "off", 0, 1 << 20}, {"raw", "falloc", 64 << 20, 65 << 20}, {"raw", "full", 64 << 20, 65 << 20},
	} {
		target := filepath.Join(c.dir, m.how+"."+m.format)
		// The size is rounded up, and a message says so.
		code, out := c.run(t, "", "disk", "create", target, "--size", "65535K", "--prealloc", m.how)
		if code != 0 || !strings.Contains(out, "64 MiB (67108864 bytes)") {
			t.Fatalf("exit %d\n%s", code, out)
		}
		checkImage(t, target, m.format, 64<<20)
		info, err := os.Stat(target)
		if err != nil {
			t.Fatal(err)
		}
		if taken := info.Sys().(*syscall.Stat_t).Blocks * 512; taken < m.least || taken > m.most {
			t.Errorf("%s %s takes %d", m.format, m.how, taken)
		}
	}
}

// TestDiskCreateMeanwhile checks that a file that another program creates at the image's
// path between a crash and the next command is kept.
func TestDiskCreateMeanwhile(t *testing.T) {
	level.Only(t, level.Real)
	c := newFiles(t)
	target := filepath.Join(c.dir, "data.raw")
	args := []string{"disk", "create", target, "--size", "8M"}
	write := func(text string) {
		t.Helper()
		f, err := os.OpenFile(target, os.O_WRONLY|os.O_CREATE, 0o600)
		if err == nil {
			_, err = f.WriteString(text)
		}
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range []struct {
		name, point, way string
		act              func()
		exit             int
		says             string
	}{
		{"taken before resume", "name/before", "resume", func() { write("theirs") }, 3, "already exists"},
		{"taken before rollback", "name/before", "rollback", func() { write("theirs") }, 0, ""},
		{"used before rollback", "name/after", "rollback", func() { write("theirs") }, 8, "has been written to since it was created: it is not deleted"},
		{"used before resume", "", "resume", func() {}, 0, ""}, // by the same job
		{"replaced before rollback", "name/after", "rollback", func() {
			if err := os.Rename(target, target+".theirs"); err != nil {
				t.Fatal(err)
			}
			write("theirs")
			_ = os.Remove(target + ".theirs")
		}, 0, ""},
	} {
		t.Run(m.name, func(t *testing.T) {
			if m.point != "" {
				_ = os.Remove(target)
				if code, out := c.run(t, m.point+"=kill", args...); code != -1 {
					t.Fatalf("not killed: exit %d\n%s", code, out)
				}
			}
			m.act()
			if code, out := c.run(t, "", m.way, c.open(t)); code != m.exit || !strings.Contains(out, m.says) {
				t.Errorf("exit %d\n%s", code, out)
			}
			if data, err := os.ReadFile(target); err != nil || !bytes.HasPrefix(data, []byte("theirs")) {
				t.Errorf("%v, %d bytes", err, len(data))
			}
			if left := c.left(t, target); len(left) > 0 && m.exit != 8 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func checkImage(t *testing.T, path, format string, size int64) {
	t.Helper()
	out, err := exec.Command("qemu-img", "info", "--output=json", path).Output()
	var info struct {
		Format string
		Size   int64 `json:"virtual-size"`
	}
	if err == nil {
		err = json.Unmarshal(out, &info)
	}
	if err != nil || info.Format != format || info.Size != size {
		t.Errorf("%v: %+v", err, info)
	}
}

// checkFish checks the file systems that guestfish lists.
func checkFish(t *testing.T, path, want string) {
	t.Helper()
	cmd := exec.Command("guestfish", "--ro", "--format=raw", "-a", path, "run", ":", "list-filesystems")
	cmd.Env = append(os.Environ(), "LIBGUESTFS_BACKEND=direct", "LIBGUESTFS_BACKEND_SETTINGS=force_tcg")
	if out, err := cmd.CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != want {
		t.Errorf("%v: %s", err, out)
	}
}

// TestDiskConvertKilled ends a conversion at every step, and in the middle of the copy.
func TestDiskConvertKilled(t *testing.T) {
	level.Only(t, level.Real)
	c := newFiles(t)
	source, target := c.source(t, 1<<20), filepath.Join(c.dir, "copy.vmdk")
	args := []string{"disk", "convert", source, target, "--to", "vmdk"}
	same := func(t *testing.T) { checkCopy(t, source, "raw", target, "vmdk") }
	c.ways(t, target, []string{"copy/before", "copy/after", "compare/before", "compare/after", "name/before", "name/after"}, same, args...)

	source = c.source(t, 150<<20)
	for _, ending := range []struct {
		signal os.Signal
		exit   int
	}{{syscall.SIGKILL, -1}, {syscall.SIGINT, 130}, {syscall.SIGTERM, 130}} {
		t.Run(ending.signal.String(), func(t *testing.T) {
			code, out := c.midway(t, ending.signal, args...)
			if code != ending.exit {
				t.Fatalf("exit %d\n%s", code, out)
			}
			if _, err := os.Lstat(target); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("something is there under the final name: %v", err)
			}
			c.checkClean(t)
			if code == -1 {
				if code, out := c.run(t, "", "resume", c.open(t)); code != 0 {
					t.Fatalf("resume: exit %d\n%s", code, out)
				}
				same(t)
				if err := os.Remove(target); err != nil {
					t.Fatal(err)
				}
			}
			if left := c.left(t, source); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// midway runs a command line with --json, and sends the program a signal while its first
// step runs.
func (c *crash) midway(t *testing.T, signal os.Signal, args ...string) (int, string) {
	t.Helper()
	cmd := exec.Command(c.program, append([]string{"--json", "--state-dir", c.state}, args...)...)
	events, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	decoder, sent := json.NewDecoder(io.TeeReader(events, &out)), false
	for {
		var e struct {
			Phase   string
			Percent float64
		}
		if decoder.Decode(&e) != nil {
			break
		}
		if e.Phase == "progress" && e.Percent > 5 && e.Percent < 90 && !sent {
			sent = true
			_ = cmd.Process.Signal(signal)
		}
	}
	_ = cmd.Wait()
	if !sent {
		t.Errorf("there was no progress:\n%s", out.String())
	}
	if signal == syscall.SIGKILL {
		checkKilledIn(t, c.state, "copy")
	}
	return cmd.ProcessState.ExitCode(), out.String()
}

func checkCopy(t *testing.T, source, from, target, to string) {
	t.Helper()
	if out, err := exec.Command("qemu-img", "compare", "-f", from, "-F", to, source, target).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// TestDiskConvert converts to every format and back. The copies are sparse, and contain
// the data of backing files.
func TestDiskConvert(t *testing.T) {
	level.Only(t, level.Real)
	c := newFiles(t)
	source := c.source(t, 4<<20)
	top := filepath.Join(c.dir, "top.qcow2")
	for _, args := range [][]string{{"qemu-img", "create", "-q", "-f", "qcow2", "-b", source, "-F", "raw", top},
		{"qemu-io", "-f", "qcow2", "-c", "write -q -P 7 300M 2M", top}} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	path, format := top, "qcow2"
	for _, to := range []string{"vmdk", "vhdx", "vdi", "raw", "qcow2"} {
		target := filepath.Join(c.dir, "copy."+to)
		code, out := c.run(t, "", "disk", "convert", path, target, "--from", format, "--to", to)
		if code != 0 {
			t.Fatalf("%s: exit %d\n%s", to, code, out)
		}
		checkCopy(t, top, "qcow2", target, to)
		info, err := os.Stat(target)
		if err != nil || info.Sys().(*syscall.Stat_t).Blocks*512 > 40<<20 || info.Mode().Perm() != 0o644 {
			t.Errorf("%s: %v, %+v", to, err, info.Sys())
		}
		path, format = target, to
	}
	if name, err := os.ReadFile(filepath.Join(c.dir, "copy.vmdk")); err != nil || !bytes.Contains(name[:4096], []byte(`"copy.vmdk"`)) {
		t.Errorf("the vmdk does not name itself: %v", err)
	}
}

// TestDiskRefused checks that no file is overwritten, no format is guessed, and no image
// in use is converted.
func TestDiskRefused(t *testing.T) {
	level.Only(t, level.Real)
	c := newFiles(t)
	source := c.source(t, 1<<20)
	file := func(name string) string { return filepath.Join(c.dir, name) }
	qcow2 := imageIn(t, c.dir, "held.qcow2", "-f", "qcow2")
	orphan := imageIn(t, c.dir, "vague.qcow2", "-f", "qcow2", "-b", qcow2, "-F", "qcow2")
	forgetBackingFormat(t, orphan)
	for _, link := range []string{"dangling.qcow2", "loop.raw"} {
		if err := os.Symlink(file(map[string]string{"dangling.qcow2": "nowhere", "loop.raw": "loop.raw"}[link]), file(link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(file("folder.raw"), 0o755); err != nil {
		t.Fatal(err)
	}
	before := c.left(t)
	refused := func(line string, exit int, reason, says string) {
		t.Helper()
		words := strings.Fields(strings.NewReplacer("D/", c.dir+"/").Replace(line))
		code, out := c.run(t, "", append([]string{"--json"}, words...)...)
		lines := strings.Split(strings.TrimSpace(out), "\n")
		var e struct{ Schema, Event, Reason, Error, Hint string }
		for _, l := range lines {
			if json.Unmarshal([]byte(l), &e) == nil && e.Event == "result" {
				break
			}
		}
		if code != exit || e.Reason != reason || !strings.Contains(e.Error, says) || e.Hint == "" || e.Schema != "virt-grow/disk-"+words[1]+"/v1" {
			t.Errorf("%s: exit %d\n%s", line, code, out)
		}
	}
	refused("disk create D/held.qcow2 --size 1G", 3, "file-exists", "already exists")
	refused("disk create D/dangling.qcow2 --size 1G", 3, "file-exists", "already exists")
	refused("disk create D/loop.raw --size 1G", 3, "file-exists", "already exists")
	refused("disk create D/folder.raw --size 1G", 3, "file-exists", "already exists")
	refused("disk create D/no/a.raw --size 1G", 3, "not-found", "there is no directory")
	refused("disk create D/a.raw --size 301M --fs xfs", 3, "too-small", "xfs needs 300 MiB at least, and would get 299 MiB")
	refused("disk create D/a.raw --size 110M --fs btrfs --lvm a/b --table none", 3, "too-small", "would get 108 MiB")
	refused("disk create D/a.raw --size 1M --fs ntfs", 3, "too-small", "would get 0 B")
	refused("disk create D/a.raw --size 500M --fs xfs --label abcdefghijklm", 3, "bad-label", "13 bytes, and xfs allows 12")
	refused("disk create D/a.raw --size 500M --fs ext4 --label ääääääääa", 3, "bad-label", "17 bytes, and ext4 allows 16")
	refused("disk create D/a.raw --size 500M --fs ntfs --label äääääääääääääääääääääääääääääääää", 3, "bad-label", "33 characters, and ntfs allows 32")
	refused("disk create D/a.raw --size 3T --fs xfs --table mbr", 3, "mbr-limit", "is limited to 2 TiB")
	refused("disk create D/a.raw --size 17T --fs ntfs", 3, "too-large", "is limited to 16 TiB")
	refused("disk create D/a.raw --size 900T --prealloc falloc", 3, "no-space", "900 TiB will be written")
	refused("disk create D/a.raw --size 1G --fs ntfs --lvm a/b", 64, "usage", "Windows does not support LVM")
	refused("disk create D/a.raw --size 1G --lvm a/b", 64, "usage", "--lvm needs --fs")
	refused("disk create D/a.raw --size 1G --fs xfs --lvm a", 64, "usage", "vg/lv")
	refused("disk create D/a.raw --size 1G --fs xfs --lvm ../b", 64, "usage", "not a valid LVM name")
	refused("disk create D/a.raw --size 1G --fs vfat", 64, "usage", "one of xfs, ext4, btrfs, ntfs")
	refused("disk create D/a.raw --size 1G --prealloc metadata", 64, "usage", "a raw image has no metadata")
	refused("disk create D/a.raw --size 1024", 64, "usage", "needs a unit")
	refused("disk create D/a.raw", 64, "usage", "--size is missing")
	refused("disk create D/a.raw --size 1G --format qcow2", 64, "usage", "a name that does not end in .raw")
	refused("disk convert D/source.raw D/a.vdi --to qcow2", 64, "usage", "a name that does not end in .vdi")
	refused("disk convert D/held.qcow2 D/source.raw --to raw", 3, "file-exists", "already exists")
	refused("disk convert D/source.raw D/dangling.qcow2 --to qcow2", 3, "file-exists", "already exists")
	refused("disk convert D/none.raw D/a.qcow2 --to qcow2", 3, "not-found", "there is no image")
	refused("disk convert D/held.qcow2 D/a.raw --to raw --from raw", 3, "format-mismatch", "has the header of a qcow2 image")
	refused("disk convert D/source.raw D/b.raw --to raw --from qcow2", 3, "format-mismatch", "does not have the header of a qcow2 image")
	refused("disk convert D/vague.qcow2 D/a.raw --to raw", 3, "format-missing", "does not say which format its backing file")
	refused("disk convert D/source.raw D/a.qcow2", 64, "usage", "--to is missing")
	refused("disk convert D/source.raw --to qcow2", 64, "usage", "DST is missing")
	refused("disk convert D/source.raw D/a.x --to vhd", 64, "usage", "one of raw, qcow2")
	if err := os.Rename(source, file("source")); err != nil {
		t.Fatal(err)
	}
	refused("disk convert D/source D/a.qcow2 --to qcow2", 3, "format-missing", "never guessed from the content")
	if err := os.Rename(file("source"), source); err != nil {
		t.Fatal(err)
	}
	// qemu-io holds the lock until it ends.
	holder := exec.Command("qemu-io", "-f", "qcow2", qcow2)
	stdin, _ := holder.StdinPipe()
	stdout, _ := holder.StdoutPipe()
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := stdout.Read(make([]byte, 1)); err != nil { // wait for the prompt
		t.Fatal(err)
	}
	refused("disk convert D/held.qcow2 D/a.raw --to raw", 5, "in-use", "in use")
	_, _ = io.WriteString(stdin, "quit\n")
	if err := holder.Wait(); err != nil {
		t.Error(err)
	}
	if left := c.left(t, before...); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if jobs, _ := filepath.Glob(filepath.Join(c.state, "jobs", "2*")); len(jobs) > 0 {
		t.Errorf("jobs are left: %v", jobs)
	}
}
