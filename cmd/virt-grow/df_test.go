package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/virt-grow/virt-grow/plan/inventory"
	"github.com/virt-grow/virt-grow/testimages/lab"
	"github.com/virt-grow/virt-grow/testimages/level"
)

// TestDfAll asks all guests of a libvirt: one that runs, with a partition and a volume that
// fill up, and one that is off.
func TestDfAll(t *testing.T) {
	level.Need(t, level.Long)
	h := newEnv(t)
	h.start(t, "off", lab.Spec{}, true, labDisk{"xfs", "raw"})
	x := h.startWithDisks(t, lab.Spec{Name: "fills"}, false, mountedDisks[1], mountedDisks[2])
	x.inside(t, "touch /run/enough; sleep 1; dd if=/dev/zero of=/mnt/part/fill bs=64k 2> /dev/null; sync")

	u := x.df(t, 0)
	if len(u.Guests) != 2 || u.Guests[0].Target != "fills" || u.Guests[0].Source != "agent" || u.Guests[1].Unread != "off" || u.Guests[1].Running {
		t.Fatalf("%+v", u)
	}
	for at, disk := range map[string]string{"/mnt/part": "vdb", "/mnt/lvm": "vdc"} {
		fs := u.at(t, "fills", at)
		// The guest's own statvfs(2).
		want := x.inside(t, "stat -f -c '%S %b %f %a' "+at)
		var unit, blocks, free, avail int64
		if _, err := fmt.Sscan(want, &unit, &blocks, &free, &avail); err != nil {
			t.Fatal(err)
		}
		if fs.Used != unit*(blocks-free) || fs.Free != unit*avail || fs.Forecast != nil || !slices.Equal(fs.Disks, []string{disk}) {
			t.Errorf("%s: %+v; the guest has %s", at, fs, want)
		}
	}
	x.checkFull(t)
	x.checkForecast(t, u.Guests[0].UUID, u.at(t, "fills", "/mnt/lvm"))
	x.checkMetrics(t)

	u = x.df(t, 0, "--inspect")
	if off := u.Guests[1]; off.Source != "appliance" || off.Unread != "" || len(off.FileSystems) == 0 || !slices.Equal(off.FileSystems[0].Disks, []string{"vda"}) {
		t.Errorf("the guest that is off: %+v", off)
	}
}

// checkFull checks that the full file system is listed, and suggested to grow.
func (x *vm) checkFull(t *testing.T) {
	t.Helper()
	code, out := x.plainly(t, "df", "--above", "95%", "--sort", "used", "--forecast")
	if code != 0 || !strings.Contains(out, "/mnt/part") || !strings.Contains(out, "full now") || strings.Contains(out, "/mnt/lvm") || !strings.Contains(out, "it is off") {
		t.Errorf("exit %d\n%s", code, out)
	}
	code, out = x.plainly(t, "df", "--above", "95%", "--csv")
	if code != 0 || strings.Count(out, "\n") != 3 || !strings.Contains(out, ",/mnt/part,") {
		t.Errorf("exit %d\n%s", code, out)
	}
	if got := x.suggested(t, "--suggest", "+30%", "--above", "95%"); got != "fills vdb [/mnt/part]" {
		t.Errorf("suggested is %s", got)
	}
}

// suggested returns the guest, the disk and what grows of an inventory with one disk.
func (x *vm) suggested(t *testing.T, args ...string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "inventory.yaml")
	if code, out := x.run(t, "", append(append([]string{"df"}, args...), "-o", file)...); code != 0 {
		t.Fatalf("df: exit %d\n%s", code, out)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	inv, err := inventory.Parse(file, text)
	if err != nil || len(inv.Guests) != 1 || len(inv.Guests[0].Disks) != 1 {
		t.Fatalf("%v\n%s", err, text)
	}
	if code, out := x.run(t, "", append(append([]string{"df"}, args...), "-o", file)...); code != 64 || !strings.Contains(out, "the file exists") {
		t.Errorf("the inventory is overwritten: exit %d\n%s", code, out)
	}
	d := inv.Guests[0].Disks[0]
	return fmt.Sprint(inv.Guests[0].Name, " ", d.Disk, " ", d.Grow)
}

// checkForecast adds samples of earlier days on which less of a volume was in use, and checks
// what is made of them.
func (x *vm) checkForecast(t *testing.T, uuid string, volume usedFS) {
	t.Helper()
	var samples []map[string]int64
	for day := range int64(3) {
		samples = append(samples, map[string]int64{"at": time.Now().Unix() - (3-day)*86400, "used": volume.Used - (3-day)<<20, "of": volume.Used + volume.Free})
	}
	text, err := json.Marshal(map[string]any{"schema": "virt-grow/samples/v1",
		"series": []any{map[string]any{"guest": uuid, "filesystem": "/mnt/lvm", "source": "agent", "samples": samples}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(x.state, "samples.json"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	if f := x.df(t, 0, "--forecast").at(t, "fills", "/mnt/lvm").Forecast; f == nil || f.Outlook != "filling" || f.Samples != 4 {
		t.Errorf("%+v", f)
	}
	if got := x.suggested(t, "--suggest-days", "3650"); got != "fills vdc [/mnt/lvm]" {
		t.Errorf("suggested is %s", got)
	}
}

// checkMetrics checks that the file of metrics is replaced, and nothing else.
func (x *vm) checkMetrics(t *testing.T) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "virt-grow.prom")
	for range 2 {
		if code, out := x.run(t, "", "df", "--metrics", file); code != 0 {
			t.Fatalf("df: exit %d\n%s", code, out)
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`virt_grow_guest_readable{domain="off"`, `mountpoint="/mnt/part"`, `virt_grow_filesystem_full_in_seconds{domain="fills"`, `virt_grow_jobs{state="done"} 0`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	if code, out := x.run(t, "", "df", "--metrics", x.disks[0]); code != 64 || !strings.Contains(out, "is not a file of virt-grow's metrics") {
		t.Errorf("a disk is replaced: exit %d\n%s", code, out)
	}
}

// TestDfOfTestDriver lists the domain of libvirt's test driver, which runs in this process and
// has no agent. A store that cannot be written to, or that is damaged, is reported once.
func TestDfOfTestDriver(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	damaged := t.TempDir()
	if err := os.WriteFile(filepath.Join(damaged, "samples.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ state, line, out, err string }{
		{t.TempDir(), "df", "nothing is known of any guest\n\nNOT ASKED  WHY\ntest       its definition has no channel for a guest agent\n", ""},
		{t.TempDir(), "df --json", `"unread": "no-agent"`, ""},
		{t.TempDir(), "df --csv", ",,no-agent,", ""},
		{t.TempDir(), "df --suggest-days 30", "# Nothing has to grow", ""},
		{filepath.Join(file, "state"), "df", "NOT ASKED", "note: the samples for the forecast were not kept: "},
		{damaged, "df", "NOT ASKED", "note: " + filepath.Join(damaged, "samples.json") + " is damaged, and begins anew: "},
		{damaged, "df", "NOT ASKED", ""}, // it was replaced
	} {
		got := try(t, c.state, append(strings.Fields(c.line), "--connect", "test:///default")...)
		if got.exit != 0 || !strings.Contains(got.out, c.out) || (got.err == "") != (c.err == "") || !strings.Contains(got.err, c.err) || strings.Count(got.err, "note:") > 1 {
			t.Errorf("%s: exit %d, says %q\n%s", c.line, got.exit, got.err, got.out)
		}
		if c.line == "df --json" {
			checkJSON(t, got.out)
		}
	}
}

// TestWriteNew checks that an inventory that exists is not overwritten.
func TestWriteNew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.yaml")
	if err := writeNew(path, []byte("a")); err != nil {
		t.Fatal(err)
	}
	if err := writeNew(path, []byte("b")); exitCode(err) != exitUsage {
		t.Errorf("%v", err)
	}
	if text, _ := os.ReadFile(path); string(text) != "a" {
		t.Errorf("%q", text)
	}
}
