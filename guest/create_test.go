package guest

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/virt-grow/virt-grow/guest/create"
	"github.com/virt-grow/virt-grow/guest/image"
	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/guest/session"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/journal"
	"github.com/virt-grow/virt-grow/plan/size"
	"github.com/virt-grow/virt-grow/testimages/level"
)

// newDisks returns every file system on every table, with and without LVM, in
// alternating formats. All disks have the size that one appliance serves. make test
// creates one of them; the long matrices create each file system on one of the tables in
// turn.
func newDisks() []plan.NewDisk {
	var all []plan.NewDisk
	for i, fs := range plan.NewFSNames {
		for j, kind := range []string{plan.TableNone, plan.TableGPT, plan.TableMBR} {
			if level.Current() == level.Long && i%3 != j {
				continue
			}
			for k, lvm := range []bool{false, true} {
				d := plan.NewDisk{FS: fs, Table: kind, Size: grownTo, Format: []string{"qcow2", "raw"}[(i+j+k)%2], Prealloc: "off"}
				name := fs + "-" + kind
				if lvm {
					name += "-lvm"
					d.Group, d.Volume = fmt.Sprintf("vg-%s-%s", fs, kind), "data"
				}
				d.Label = []string{"", fs + " dätä"}[(j+k)%2]
				d.Path = name + "." + d.Format
				if lvm && fs == "ntfs" || !level.At(level.Long) && name != "xfs-gpt-lvm" {
					continue
				}
				all = append(all, d)
			}
		}
	}
	return all
}

// TestCreateDisk compares the created disks with what sfdisk, sgdisk, qemu-img and
// another libguestfs read from them.
func TestCreateDisk(t *testing.T) {
	level.Need(t, level.Real)
	ctx := context.Background()
	s := newSessions(t)
	dir := shortDir(t)
	o := Options{Options: job.Options{Store: journal.Store{Dir: shortDir(t)}}}
	o.Session.Reuse, o.Cache = s.get(t, 512), session.OpenCache(o.Store.Dir)
	disks := newDisks()
	uuids := map[string]string{}
	for i := range disks {
		d := &disks[i]
		d.Path = filepath.Join(dir, d.Path)
		out, err := create.Disk(ctx, *d, o.Options, create.Tools{Session: o.Session, Cache: o.Cache})
		if err != nil {
			t.Fatalf("%s: %v", d.Path, err)
		}
		t.Logf("%s: %s", filepath.Base(d.Path), out.Took)
		_, uuids[d.Path], _ = strings.Cut(strings.Join(out.Messages, ", "), "UUID ")
		uuids[d.Path], _, _ = strings.Cut(uuids[d.Path], ",")
		checkTable(t, *d, dir)
		checkCached(t, *d, o.Cache)
	}
	if left, _ := filepath.Glob(dir + "/*virt-grow*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	checkInside(t, disks, uuids)
}

// checkTable reads the table of a raw copy with sfdisk, and verifies a GPT with sgdisk.
func checkTable(t *testing.T, d plan.NewDisk, dir string) {
	t.Helper()
	out, err := exec.Command("qemu-img", "info", "--output=json", d.Path).Output() // by content
	var info struct {
		Format string
		Size   int64 `json:"virtual-size"`
	}
	if err == nil {
		err = json.Unmarshal(out, &info)
	}
	if err != nil || info.Format != d.Format || info.Size != int64(d.Size) {
		t.Errorf("%s: %v, %+v", d.Path, err, info)
	}
	raw := filepath.Join(dir, "copy")
	defer os.Remove(raw)
	if out, err := exec.Command("qemu-img", "convert", "-f", d.Format, "-O", "raw", d.Path, raw).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	out, err = exec.Command("sfdisk", "-J", raw).Output()
	if d.Table == plan.TableNone && err != nil {
		return
	}
	var doc struct {
		Table struct {
			Label, ID  string
			Partitions []struct {
				Start, Size int64
				Type        string
			}
		} `json:"partitiontable"`
	}
	if err := json.Unmarshal(out, &doc); err != nil {
		t.Fatalf("%s: %v: %s", d.Path, err, out)
	}
	if d.Table == plan.TableNone {
		// The boot sector of an NTFS has the same signature as an MBR.
		if len(doc.Table.Partitions) > 0 {
			t.Errorf("%s has a table: %s", d.Path, out)
		}
		return
	}
	start, end := d.Partition()
	label, kind := "gpt", d.PartitionType()
	if d.Table == plan.TableMBR {
		label, kind = "dos", strings.TrimPrefix(kind, "0x")
		kind = strings.TrimLeft(kind, "0")
	}
	if got := doc.Table; got.Label != label || len(got.Partitions) != 1 || got.Partitions[0].Start*512 != int64(start) ||
		got.Partitions[0].Size*512 != int64(end-start) || got.Partitions[0].Type != kind || got.ID == "" || got.ID == "0x00000000" {
		t.Errorf("%s: %+v, want type %s", d.Path, got, kind)
	}
	if d.Table == plan.TableGPT {
		if out, err := exec.Command("sgdisk", "-v", raw).CombinedOutput(); err != nil || !strings.Contains(string(out), "No problems found") {
			t.Errorf("%s: %v: %s", d.Path, err, out)
		}
	}
}

func checkCached(t *testing.T, d plan.NewDisk, cache *session.Cache) {
	t.Helper()
	in := cache.Find(image.Stamps(d.Path, nil))
	if in == nil || !in.Current || len(in.Contents) == 0 || in.Contents[len(in.Contents)-1].Type != d.FS {
		t.Errorf("%s: cached %+v", d.Path, in)
	}
}

// checkInside reads all disks with one run of guestfish.
func checkInside(t *testing.T, disks []plan.NewDisk, uuids map[string]string) {
	t.Helper()
	var script strings.Builder
	for _, d := range disks {
		fmt.Fprintf(&script, "add %q format:%s readonly:true\n", d.Path, d.Format)
	}
	script.WriteString("run\n")
	for i, d := range disks {
		device := d.Group + "/" + d.Volume
		if d.Group == "" {
			device = fmt.Sprintf("sd%c", 'a'+i)
			if d.Table != plan.TableNone {
				device += "1"
			}
		}
		fmt.Fprintf(&script, "echo \"-- %s\"\nvfs-type /dev/%s\n", d.Path, device)
		fmt.Fprintf(&script, "vfs-label /dev/%s\nvfs-uuid /dev/%s\nmount-ro /dev/%s /\nls /\numount /\n", device, device, device)
	}
	cmd := exec.Command("guestfish")
	cmd.Stdin = strings.NewReader(script.String())
	cmd.Env = append(os.Environ(), "LIBGUESTFS_BACKEND=direct", "LIBGUESTFS_BACKEND_SETTINGS=force_tcg")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	blocks := strings.Split(string(out), "-- ")[1:]
	if len(blocks) != len(disks) {
		t.Fatalf("%d of %d:\n%s", len(blocks), len(disks), out)
	}
	for i, d := range disks {
		want := strings.Join([]string{d.Path, d.FS, d.Label, uuids[d.Path]}, "\n")
		if !strings.HasPrefix(blocks[i], want+"\n") || uuids[d.Path] == "" {
			t.Errorf("guestfish sees %q, want %q", blocks[i], want)
		}
	}
}

// TestSmallestDisks checks that the smallest disk that Check accepts can be created, and
// that one of 1 MiB less is refused. Only mkfs itself shows how much space it needs.
func TestSmallestDisks(t *testing.T) {
	level.Need(t, level.All)
	dir := shortDir(t)
	o := Options{Options: job.Options{Store: journal.Store{Dir: shortDir(t)}}}
	for _, fs := range plan.NewFSNames {
		d := plan.NewDisk{Path: filepath.Join(dir, fs+".raw"), Format: "raw", FS: fs, Table: plan.TableGPT, Size: size.MiB, Prealloc: "off"}
		for d.Check() != nil {
			d.Size += size.MiB
		}
		if _, err := create.Disk(context.Background(), d, o.Options, create.Tools{Session: o.Session, Cache: o.Cache}); err != nil {
			t.Errorf("%s of %s: %v", fs, d.Size, err)
		}
	}
}
