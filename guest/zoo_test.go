package guest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/virt-grow/virt-grow/guest/block"
	"github.com/virt-grow/virt-grow/guest/disk"
	"github.com/virt-grow/virt-grow/guest/growth"
	"github.com/virt-grow/virt-grow/guest/image"
	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/guest/session"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/apply/applytest"
	"github.com/virt-grow/virt-grow/plan/journal"
	"github.com/virt-grow/virt-grow/plan/size"
	"github.com/virt-grow/virt-grow/plan/table"
	"github.com/virt-grow/virt-grow/testimages"
	"github.com/virt-grow/virt-grow/testimages/level"
	"github.com/virt-grow/virt-grow/testimages/private"
)

// grownTo is the size that every image of the matrix grows to, so that one appliance
// serves all of them.
const grownTo = size.GiB

// sessions are the running appliances of this test process, one for each sector size.
type sessions struct {
	t        *testing.T // the sessions are closed at its end
	bySector map[size.Bytes]*session.Session
}

func newSessions(t *testing.T) *sessions {
	return &sessions{t: t, bySector: map[size.Bytes]*session.Session{}}
}

func (s *sessions) get(t *testing.T, sector size.Bytes) *session.Session {
	t.Helper()
	if running, ok := s.bySector[sector]; ok {
		return running
	}
	dir := shortDir(s.t)
	started, err := session.Start(context.Background(), dir, []session.Drive{{Size: grownTo, Sector: sector}}, session.Options{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	s.bySector[sector] = started
	s.t.Cleanup(func() { _ = started.Close() })
	return started
}

// shortDir returns a temporary directory whose path leaves room for a socket's name.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "vg")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// quick are the images that every run grows: each table, each kind of stack, ext4, XFS
// and NTFS once. make test-all grows all images.
var quick = []string{"none-xfs", "gpt-luks2-lvm-xfs", "gpt-order", "mbr-logical-ext4", "gpt-windows-winre"}

// everyFormat are the images that the full matrix grows in each format.
var everyFormat = []string{"gpt-xfs", "mbr-ext4", "gpt-lvm-ext4", "gpt-windows"}

// zoo returns the images to test with, and the formats of each.
func zoo(t *testing.T) []testimages.Image {
	t.Helper()
	level.Need(t, level.Real)
	if _, err := testimages.Cache(context.Background()); err != nil {
		t.Fatal(err)
	}
	images := testimages.All()
	if level.At(level.Long) {
		return images
	}
	return slices.DeleteFunc(images, func(i testimages.Image) bool { return !slices.Contains(quick, i.Name) })
}

// formats returns the formats of the image with index i. The formats alternate, so that
// each is used with each table in a short run.
func formats(i int, image testimages.Image) []string {
	all := []string{"raw", "overlay", "qcow2v2", "qcow2"}
	if level.At(level.All) && slices.Contains(everyFormat, image.Name) {
		return all
	}
	return all[i%4 : i%4+1]
}

// expected returns the reason for which an image of the zoo is refused, "" if it can be
// grown.
func expected(i testimages.Image) plan.Reason {
	switch {
	case i.Name == "none-empty", i.Name == "gpt-vfat":
		return plan.UnknownContent
	case i.Name == "gpt-ext4-feature":
		return plan.NewerFeature
	}
	return plan.Reason(i.Expect)
}

func formatName(format string) string {
	if format == "raw" {
		return "raw"
	}
	return "qcow2"
}

// trial is one image that the matrix grows.
type trial struct {
	image   testimages.Image
	format  string
	path    string
	options growth.Options
	before  string // a raw copy from before the growth
}

// again returns the options to continue a job that was begun with o.
func again(o growth.Options) Options {
	return Options{Options: o.Options, Session: o.Session, Cache: o.Cache}
}

// newTrial prepares an image; without sessions it gets an appliance of its own.
func newTrial(t *testing.T, s *sessions, image testimages.Image, format string) *trial {
	t.Helper()
	dir := t.TempDir()
	x := &trial{image: image, format: format, path: filepath.Join(dir, "disk."+formatName(format)), before: filepath.Join(dir, "before.raw")}
	if err := testimages.Copy(image.Name, x.path, format); err != nil {
		t.Fatal(err)
	}
	if err := testimages.Copy(image.Name, x.before, "raw"); err != nil {
		t.Fatal(err)
	}
	x.options = growth.Options{Options: job.Options{Store: journal.Store{Dir: shortDir(t)}}}
	if s != nil {
		x.options.Session.Reuse = s.get(t, size.Bytes(image.Sector))
	}
	x.options.Session.Keys = func(string, string) ([]string, error) {
		if image.Key == "" {
			return nil, nil
		}
		return []string{image.Key}, nil
	}
	return x
}

func (x *trial) open(t *testing.T) (*disk.Disk, error) {
	t.Helper()
	return disk.OpenImage(context.Background(), x.path, image.Options{Sector: size.Bytes(x.image.Sector)})
}

func (x *trial) request() plan.Request {
	return plan.Request{
		Size: plan.Amount{Mode: plan.Absolute, Bytes: grownTo},
		Grow: []plan.GrowTarget{{Name: x.image.Target, Amount: plan.Amount{Mode: plan.Fill}}},
	}
}

// TestMatrix grows every image of the zoo in each format. The image does not change
// before the commit, only planned bytes change outside the grown partition, the oracles
// find no errors, and every file is unchanged.
func TestMatrix(t *testing.T) {
	images := zoo(t)
	s := newSessions(t)
	var done []*trial
	for i, image := range images {
		if expected(image) != "" || level.Current() == level.Long && slices.Contains(quick, image.Name) {
			continue // TestRefusals covers refused images; make test grows only the quick ones
		}
		for _, format := range formats(i, image) {
			t.Run(image.Name+"/"+format, func(t *testing.T) {
				x := newTrial(t, s, image, format)
				x.grow(t)
				done = append(done, x.keep(t))
			})
		}
	}
	t.Run("suite", func(t *testing.T) { realSuite(t, s) })
	t.Run("fstab", func(t *testing.T) { fstabAlone(t, s) })
	t.Run("files", func(t *testing.T) { sameFiles(t, done) })
}

// grow grows in two halves, as with --keep-overlay, and checks the image in between.
func (x *trial) grow(t *testing.T) {
	ctx := context.Background()
	img, err := x.open(t)
	if err != nil {
		t.Fatal(err)
	}
	sum := checksum(t, x.path)
	x.options.Keep = true
	out, err := growth.Grow(ctx, img, x.request(), x.options)
	if err != nil {
		t.Fatal(err)
	}
	if !out.Changed || out.State != journal.Waiting {
		t.Fatalf("outcome %+v", out)
	}
	if checksum(t, x.path) != sum {
		t.Error("the image changed before the commit")
	}
	accepted, err := Accept(ctx, out.Job, again(x.options))
	if err != nil {
		t.Fatal(err)
	}
	if accepted.State != journal.Finished {
		t.Errorf("accepted: %+v", accepted)
	}
	after := rawCopy(t, x.path, formatName(x.format))
	x.compareBytes(t, out.Plan, after)
	x.compareMoved(t, out.Plan, after)
	x.oracle(t, out.Plan, after)
	if left, _ := filepath.Glob(x.path + ".virt-grow-*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// keep moves the grown image to a directory that outlives the subtest.
func (x *trial) keep(t *testing.T) *trial {
	t.Helper()
	grown := filepath.Join(shortDirOf(t), x.image.Name+"-"+x.format+".raw")
	if err := os.Rename(rawCopy(t, x.path, formatName(x.format)), grown); err != nil {
		t.Fatal(err)
	}
	x.path = grown
	return x
}

var grownDir string

// shortDirOf returns one directory for the whole test process. TestMain removes it.
func shortDirOf(t *testing.T) string {
	t.Helper()
	if grownDir == "" {
		dir, err := os.MkdirTemp("", "vg-grown")
		if err != nil {
			t.Fatal(err)
		}
		grownDir = dir
	}
	return grownDir
}

func TestMain(m *testing.M) {
	code := private.Run(m)
	if grownDir != "" {
		os.RemoveAll(grownDir)
	}
	os.Exit(code)
}

func checksum(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// rawCopy returns the guest-visible content of the image as a sparse raw file.
func rawCopy(t *testing.T, path, format string) string {
	t.Helper()
	out := path + ".seen"
	if _, err := block.Run(context.Background(), "qemu-img", "convert", "-f", format, "-O", "raw", path, out); err != nil {
		t.Fatal(err)
	}
	return out
}

// compareBytes checks that outside the grown partition only the sectors differ that the
// table package reports as written.
func (x *trial) compareBytes(t *testing.T, p *plan.Plan, after string) {
	t.Helper()
	allowed := x.allowed(t, p)
	for _, at := range differences(t, x.before, after) {
		if !slices.ContainsFunc(allowed, func(e extent) bool { return e.from <= at && at < e.to }) {
			t.Errorf("byte %d (sector %d) changed, and was not to", at, at/512)
			return
		}
	}
}

// compareMoved checks that a moved partition has the same bytes as before, except for
// the number of its first sector in the boot sectors of FAT and NTFS, at offset 0x1c,
// and for the boot records of logical partitions inside an extended one, which are part
// of the table.
func (x *trial) compareMoved(t *testing.T, p *plan.Plan, after string) {
	t.Helper()
	for _, s := range p.Steps {
		if s.Kind != plan.StepMove {
			continue
		}
		was, now := readAt(t, x.before, s.From, s.Bytes), readAt(t, after, s.To, s.Bytes)
		sector := size.Bytes(x.image.Sector)
		for _, v := range s.Volumes {
			for _, at := range []size.Bytes{0, v.Size - sector, 6 * sector} {
				field := v.From - s.From + at + 0x1c
				if binary.LittleEndian.Uint32(was[field:]) == uint32(v.From/sector) {
					binary.LittleEndian.PutUint32(was[field:], uint32(v.To/sector))
				}
			}
		}
		if !bytes.Equal(was, now) {
			t.Errorf("%s is not the same at its new place", s.Device)
		}
	}
}

func readAt(t *testing.T, path string, at, n size.Bytes) []byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	data := make([]byte, n)
	if _, err := f.ReadAt(data, int64(at)); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	return data
}

type extent struct{ from, to size.Bytes }

func (x *trial) allowed(t *testing.T, p *plan.Plan) []extent {
	t.Helper()
	if p.Before.Table == nil {
		return []extent{{0, grownTo}}
	}
	var changes []table.Change
	var allowed []extent
	for _, s := range p.Steps {
		changes = append(changes, plan.Changes(s.Ends)...)
		for _, e := range s.Ends {
			part, _ := p.After.Find(fmt.Sprintf("sda%d", e.Number))
			allowed = append(allowed, extent{part.Start, part.End()})
		}
	}
	writes, err := p.Before.Table.Grow(p.NewSize, changes)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range writes {
		allowed = append(allowed, extent{w.Offset, w.Offset + size.Bytes(len(w.Data))})
	}
	return allowed
}

// differences returns one offset for each block of 512 bytes that differs. The shorter
// file counts as followed by zeros.
func differences(t *testing.T, a, b string) []size.Bytes {
	t.Helper()
	var readers [2]*os.File
	for i, path := range []string{a, b} {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		readers[i] = f
	}
	var found []size.Bytes
	const chunk = 1 << 20
	for off := int64(0); off < int64(grownTo); off += chunk {
		x, y := make([]byte, chunk), make([]byte, chunk)
		readers[0].ReadAt(x, off)
		readers[1].ReadAt(y, off)
		if bytes.Equal(x, y) {
			continue
		}
		for i := 0; i < chunk; i += 512 {
			if !bytes.Equal(x[i:i+512], y[i:i+512]) {
				found = append(found, size.Bytes(off+int64(i)))
			}
		}
	}
	return found
}

// oracle checks the table with sfdisk and sgdisk.
func (x *trial) oracle(t *testing.T, p *plan.Plan, after string) {
	t.Helper()
	if p.Before.Table == nil {
		return
	}
	was, now := sfdisk(t, x.before, x.image.Sector), sfdisk(t, after, x.image.Sector)
	if len(was) != len(now) {
		t.Fatalf("sfdisk sees %d partitions, and saw %d", len(now), len(was))
	}
	for i := range was {
		name := strings.TrimLeft(strings.TrimPrefix(now[i].Node, after), "p")
		d, ok := p.After.Find("sda" + name)
		if !ok {
			t.Errorf("sfdisk sees a partition %s that the plan does not know", now[i].Node)
			continue
		}
		if want := int64(d.Size) / int64(x.image.Sector); now[i].Size != want && !d.Extended {
			t.Errorf("sfdisk: %s has %d sectors, planned were %d", name, now[i].Size, want)
		}
		if want := int64(d.Start) / int64(x.image.Sector); now[i].Start != want {
			t.Errorf("sfdisk: %s begins at sector %d, planned was %d", name, now[i].Start, want)
		}
		was[i].Node, was[i].Start, was[i].Size = now[i].Node, now[i].Start, now[i].Size
		if was[i] != now[i] {
			t.Errorf("sfdisk: partition %s was %+v, is %+v", name, was[i], now[i])
		}
	}
	if p.Before.Table.Kind == table.GPT && x.image.Sector == 512 {
		out, err := exec.Command("sgdisk", "-v", after).CombinedOutput()
		hybrid := x.image.Name == "gpt-hybrid" // sgdisk reports its MBR before the growth as well
		if err != nil || !strings.Contains(string(out), "No problems found") && !hybrid {
			t.Errorf("sgdisk -v: %v\n%s", err, out)
		}
	}
}

type sfdiskPart struct {
	Node     string `json:"node"`
	Start    int64  `json:"start"`
	Size     int64  `json:"size"`
	Type     string `json:"type"`
	UUID     string `json:"uuid"`
	Name     string `json:"name"`
	Attrs    string `json:"attrs"`
	Bootable bool   `json:"bootable"`
}

func sfdisk(t *testing.T, path string, sector int) []sfdiskPart {
	t.Helper()
	if sector != 512 {
		return fdisk(t, path, sector)
	}
	out, err := exec.Command("sfdisk", "--json", path).Output()
	if err != nil {
		t.Fatalf("sfdisk: %v", err)
	}
	var dump struct {
		PartitionTable struct{ Partitions []sfdiskPart }
	}
	if err := json.Unmarshal(out, &dump); err != nil {
		t.Fatal(err)
	}
	return dump.PartitionTable.Partitions
}

// fdisk reads tables of other sector sizes, because sfdisk has no option for the sector
// size of a file.
func fdisk(t *testing.T, path string, sector int) []sfdiskPart {
	t.Helper()
	out, err := exec.Command("fdisk", "-b", fmt.Sprint(sector), "-l", "-o", "Device,Start,Sectors", path).Output()
	if err != nil {
		t.Fatalf("fdisk: %v", err)
	}
	var parts []sfdiskPart
	for line := range strings.Lines(string(out)) {
		var p sfdiskPart
		if n, _ := fmt.Sscan(line, &p.Node, &p.Start, &p.Size); n == 3 && strings.HasPrefix(p.Node, path) {
			parts = append(parts, p)
		}
	}
	if len(parts) == 0 {
		t.Fatalf("fdisk sees no partitions:\n%s", out)
	}
	return parts
}

// realSuite runs the suite of plan/apply's fake against the real appliance.
func realSuite(t *testing.T, s *sessions) {
	ctx := context.Background()
	image, _ := testimages.Find("gpt-luks2-lvm-xfs")
	x := newTrial(t, s, image, "raw")
	img, err := x.open(t)
	if err != nil {
		t.Fatal(err)
	}
	overlay := block.Overlay{Image: img.Path, Format: img.Format, Path: x.path + ".overlay"}
	if err := overlay.Create(ctx, grownTo); err != nil {
		t.Fatal(err)
	}
	running, err := session.Start(ctx, "", nil, x.options.Session, nil) // the shared appliance
	if err != nil {
		t.Fatal(err)
	}
	defer running.Close()
	if err := running.Attach(ctx, overlay.Path); err != nil {
		t.Fatal(err)
	}
	layout, err := running.Read(ctx, session.Always, img.Size)
	if err != nil {
		t.Fatal(err)
	}
	p, err := plan.Build(layout, img.Target, x.request())
	if err != nil {
		t.Fatal(err)
	}
	applytest.Suite(t, running.Editor(overlay), p)
}

// fstabAlone checks that what an fstab mounts by its offset is also found where
// inspection finds no operating system.
func fstabAlone(t *testing.T, s *sessions) {
	ctx := context.Background()
	path := filepath.Join(shortDir(t), "disk.raw")
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	line := "/dev/vda /old ext4 loop,offset=68157440 0 0\n"
	if err := os.WriteFile(filepath.Join(root, "etc", "fstab"), []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mkfs.ext4", "-q", "-d", root, path, "16M").CombinedOutput(); err != nil {
		t.Fatalf("mkfs.ext4: %v: %s", err, out)
	}
	img, err := disk.OpenImage(ctx, path, image.Options{Format: "raw", Sector: 512})
	if err != nil {
		t.Fatal(err)
	}
	overlay := block.Overlay{Image: img.Path, Format: img.Format, Path: path + ".overlay"}
	if err := overlay.Create(ctx, grownTo); err != nil {
		t.Fatal(err)
	}
	running := s.get(t, 512)
	if err := running.Attach(ctx, overlay.Path); err != nil {
		t.Fatal(err)
	}
	defer running.Detach(ctx)
	layout, err := running.Read(ctx, session.Always, img.Size)
	if err != nil {
		t.Fatal(err)
	}
	want := []plan.Offset{{MountPoint: "/old", At: 68157440}}
	if layout.OS != nil || !slices.Equal(layout.ByOffset, want) {
		t.Errorf("system %+v, mounted by offset %+v", layout.OS, layout.ByOffset)
	}
}

// sameFiles compares every file of every grown image with the zoo's record, in one
// appliance.
func sameFiles(t *testing.T, done []*trial) {
	var disks []testimages.Disk
	for _, x := range done {
		disks = append(disks, testimages.Disk{Path: x.path, Format: "raw", Sector: x.image.Sector, Image: x.image})
	}
	if len(disks) == 0 {
		t.Fatal("nothing was grown")
	}
	got, err := testimages.Inventory(context.Background(), disks)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := testimages.Cache(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range done {
		want, err := testimages.ReadManifest(dir, x.image.Name)
		if err != nil {
			t.Fatal(err)
		}
		if len(want) == 0 {
			t.Errorf("%s: the zoo has no record of its files", x.image.Name)
		}
		x.compareFiles(t, want, got[x.path])
	}
}

func (x *trial) compareFiles(t *testing.T, want, got testimages.Manifest) {
	t.Helper()
	for device, files := range want {
		for name, file := range files {
			a, _ := json.Marshal(file)
			b, _ := json.Marshal(got[device][name])
			if !bytes.Equal(a, b) {
				t.Errorf("%s/%s: %s on %s was %s, is %s", x.image.Name, x.format, name, device, a, b)
			}
		}
		if len(files) != len(got[device]) {
			t.Errorf("%s/%s: %s has %d files, had %d", x.image.Name, x.format, device, len(got[device]), len(files))
		}
	}
}

// TestNeighbours checks what happens to a partition behind the target, for each choice
// in the request.
func TestNeighbours(t *testing.T) {
	level.Need(t, level.Long)
	s := newSessions(t)
	open := func(t *testing.T, name string) (*trial, *disk.Disk) {
		image, _ := testimages.Find(name)
		x := newTrial(t, s, image, "qcow2")
		img, err := x.open(t)
		if err != nil {
			t.Fatal(err)
		}
		return x, img
	}
	ctx := context.Background()
	t.Run("stays", func(t *testing.T) {
		x, img := open(t, "gpt-windows-winre")
		sum := checksum(t, x.path)
		r := x.request()
		r.NoMove = true
		_, err := growth.Grow(ctx, img, r, x.options)
		if refusal, ok := plan.IsRefusal(err); !ok || refusal.Reason != plan.ImmovableNeighbor || refusal.Subject != "sda4" {
			t.Errorf("not refused: %v", err)
		}
		if checksum(t, x.path) != sum {
			t.Error("the image changed")
		}
	})
	t.Run("goes", func(t *testing.T) {
		x, img := open(t, "gpt-windows-winre")
		r := x.request()
		r.Delete = []string{"sda4"}
		x.options.Keep = true
		out, err := growth.Grow(ctx, img, r, x.options)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Rollback(ctx, out.Job, again(x.options)); err != nil {
			t.Fatal(err)
		}
		x.checkRestored(t)
		x.options.Keep = false
		if out, err = growth.Grow(ctx, img, r, x.options); err != nil {
			t.Fatal(err)
		}
		left := sfdisk(t, rawCopy(t, x.path, "qcow2"), 512)
		c, _ := out.Plan.After.Find("sda3")
		if len(left) != 3 || left[2].Size != int64(c.Size/512) || c.End() < grownTo-2*size.MiB {
			t.Errorf("left are %+v", left)
		}
	})
	t.Run("grows as well", func(t *testing.T) {
		x, img := open(t, "gpt-data-last")
		r := x.request()
		r.Grow = []plan.GrowTarget{
			{Name: "sda1", Amount: plan.Amount{Mode: plan.Relative, Bytes: 100 * size.MiB}},
			{Name: "sda2", Amount: plan.Amount{Mode: plan.Fill}},
		}
		out, err := growth.Grow(ctx, img, r, x.options)
		if err != nil {
			t.Fatal(err)
		}
		x.oracle(t, out.Plan, rawCopy(t, x.path, "qcow2"))
		sameFiles(t, []*trial{x.keep(t)})
	})
}

// TestRefusals checks that each image that cannot be grown is refused with its reason
// and is not changed.
func TestRefusals(t *testing.T) {
	level.Need(t, level.Real)
	if _, err := testimages.Cache(context.Background()); err != nil {
		t.Fatal(err)
	}
	s := newSessions(t)
	for i, image := range testimages.All() {
		reason := expected(image)
		if reason == "" && image.Key == "" || !level.At(level.Long) && i%2 == 1 && reason == plan.TableDamaged {
			continue
		}
		t.Run(image.Name, func(t *testing.T) {
			x := newTrial(t, s, image, "raw")
			if reason == "" { // LUKS, here without its key
				reason = plan.LUKSLocked
				x.options.Session.Keys = nil
			}
			sum := checksum(t, x.path)
			img, err := x.open(t)
			if err == nil {
				_, err = growth.Grow(context.Background(), img, x.request(), x.options)
			}
			r, ok := plan.IsRefusal(err)
			if !ok {
				t.Fatalf("not refused as %s: %v", reason, err)
			}
			if r.Reason != reason {
				t.Errorf("refused as %s: %s; want %s", r.Reason, r.Text, reason)
			}
			if checksum(t, x.path) != sum {
				t.Error("the image changed")
			}
			if jobs, _ := x.options.Store.List(); len(jobs) > 0 {
				t.Errorf("a refused run left a job: %+v", jobs)
			}
			if left, _ := filepath.Glob(x.path + ".virt-grow-*"); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}
