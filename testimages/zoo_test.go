package testimages

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/virt-grow/virt-grow/testimages/level"
)

// zoo builds the cache, or skips the test under -short.
func zoo(t *testing.T) (dir string) {
	t.Helper()
	level.Need(t, level.Real)
	dir, err := Cache(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// output runs a tool and returns its output and exit status. The test fails if the tool
// is missing.
func output(t *testing.T, name string, args ...string) (string, int) {
	t.Helper()
	var status *exec.ExitError
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil && !errors.As(err, &status) {
		t.Fatal(err)
	}
	if status != nil {
		return string(out), status.ExitCode()
	}
	return string(out), 0
}

// partitionFile cuts the target's partition out of an image.
func partitionFile(t *testing.T, dir string, img Image) string {
	t.Helper()
	src, err := os.Open(rawPath(dir, img.Name))
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	dst, err := os.Create(filepath.Join(t.TempDir(), "part"))
	if err != nil {
		t.Fatal(err)
	}
	defer dst.Close()
	p := img.targetPart()
	if err := errors.Join(dst.Truncate(p.Size), sparseCopy(dst, 0, src, p.Start, p.Size)); err != nil {
		t.Fatal(err)
	}
	return dst.Name()
}

func find(t *testing.T, name string) Image {
	t.Helper()
	img, ok := Find(name)
	if !ok {
		t.Fatalf("no image %s", name)
	}
	return img
}

func TestRecipes(t *testing.T) {
	all := All()
	seen := map[string]bool{}
	for _, img := range all {
		if seen[img.Name] {
			t.Errorf("%s: twice", img.Name)
		}
		seen[img.Name] = true
		if img.Target != "sda" && img.Stack == "" {
			t.Errorf("%s: there is no target %s", img.Name, img.Target)
		}
		if img.Table != "none" && img.Expect == "" {
			checkParts(t, img)
		}
	}
	if again := All(); len(again) != len(all) || !reflect.DeepEqual(again[7].Parts, all[7].Parts) {
		t.Error("All is not pure")
	}
}

func checkParts(t *testing.T, img Image) {
	end := int64(0)
	for _, p := range img.Parts {
		if p.Num > 4 && img.Table == "mbr" {
			continue
		}
		if p.Start < end || p.Start%mib != 0 || p.Size <= 0 || p.Size%int64(img.Sector) != 0 {
			t.Errorf("%s: partition %d at %d+%d", img.Name, p.Num, p.Start, p.Size)
		}
		end = p.Start + p.Size
	}
	if end > img.Size {
		t.Errorf("%s: partitions end at %d of %d", img.Name, end, img.Size)
	}
}

func TestNamed(t *testing.T) {
	names := func(imgs []Image) (names []string) {
		for _, img := range imgs {
			names = append(names, img.Name)
		}
		return names
	}
	for _, test := range []struct{ ask, want []string }{
		{nil, names(All())},
		{[]string{"gpt-xfs", "none-random"}, []string{"none-random", "gpt-xfs"}},
		{[]string{"gpt-xfs", "gpt-xfs"}, []string{"gpt-xfs"}},
		{[]string{"mbr-nosig"}, []string{"mbr-ext4", "mbr-nosig"}},
	} {
		if got, err := named(test.ask); err != nil || !slices.Equal(names(got), test.want) {
			t.Errorf("%q: %q, %v; want %q", test.ask, names(got), err, test.want)
		}
	}
	if got, err := named([]string{"gpt-nothing"}); err == nil {
		t.Errorf("an unknown name gives %q", names(got))
	}
}

// TestCacheOne checks that only the requested image is built.
func TestCacheOne(t *testing.T) {
	t.Setenv("VIRT_GROW_TEST_CACHE", t.TempDir())
	dir, err := Cache(t.Context(), "none-random")
	if err != nil {
		t.Fatal(err)
	}
	for _, img := range All() {
		_, err := os.Stat(rawPath(dir, img.Name))
		if (err == nil) != (img.Name == "none-random") {
			t.Errorf("%s: %v", img.Name, err)
		}
	}
}

func TestZoo(t *testing.T) {
	dir := zoo(t)
	for _, img := range All() {
		st, err := os.Stat(rawPath(dir, img.Name))
		if err != nil {
			t.Error(err)
			continue
		}
		// QEMU rounds the size of a raw file up to whole sectors.
		if (st.Size()+511)/512*512 != img.Size {
			t.Errorf("%s: %d bytes, want %d", img.Name, st.Size(), img.Size)
		}
	}
	if imgs := missing(dir, All()); len(imgs) > 0 {
		t.Errorf("%d images are missing", len(imgs))
	}
}

// TestZooTables checks that the tables have exactly the bytes of the recipe, in every
// build.
func TestZooTables(t *testing.T) {
	dir := zoo(t)
	for _, img := range All() {
		if img.change != nil || img.Table == "none" || img.Name == "gpt-truncated" {
			continue
		}
		want := &memory{}
		if err := writeTable(want, img); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(rawPath(dir, img.Name))
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range want.chunks {
			got := make([]byte, len(c.data))
			if _, err := f.ReadAt(got, c.off); err != nil || !bytes.Equal(got, c.data) {
				t.Errorf("%s: table at byte %d is not as written: %v", img.Name, c.off, err)
			}
		}
		f.Close()
	}
}

type memory struct{ chunks []chunk }

func (m *memory) WriteAt(b []byte, off int64) (int, error) {
	m.chunks = append(m.chunks, chunk{off, bytes.Clone(b)})
	return len(b), nil
}

// TestZooSfdisk checks that sfdisk reads the recipe's partitions from the tables of
// images that can grow.
func TestZooSfdisk(t *testing.T) {
	dir := zoo(t)
	for _, img := range All() {
		if img.Table == "none" || img.Expect != "" || img.Sector != 512 {
			continue
		}
		out, err := exec.CommandContext(t.Context(), "sfdisk", "--json", rawPath(dir, img.Name)).Output()
		if err != nil {
			t.Fatalf("%s: sfdisk: %v", img.Name, err)
		}
		checkSfdisk(t, img, out)
	}
}

func checkSfdisk(t *testing.T, img Image, out []byte) {
	t.Helper()
	var got struct {
		Table struct {
			Label, ID  string
			Partitions []struct {
				Node, Type, UUID, Name string
				Start, Size            int64
				Bootable               bool
			}
		} `json:"partitiontable"`
	}
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("%s: %v", img.Name, err)
	}
	id := map[string]string{"gpt": img.DiskGUID, "mbr": "0x" + strings.ToLower(img.DiskGUID)}[img.Table]
	if got.Table.ID != id {
		t.Errorf("%s: disk id %s, want %s", img.Name, got.Table.ID, id)
	}
	if len(got.Table.Partitions) != len(img.Parts) {
		t.Errorf("%s: %d partitions, want %d", img.Name, len(got.Table.Partitions), len(img.Parts))
	}
	for _, g := range got.Table.Partitions {
		num, _ := strconv.Atoi(g.Node[strings.LastIndex(g.Node, ".raw")+4:])
		i := slices.IndexFunc(img.Parts, func(p Part) bool { return p.Num == num })
		if i < 0 {
			t.Errorf("%s: sfdisk sees a partition %d", img.Name, num)
			continue
		}
		p := img.Parts[i]
		if img.Table == "mbr" {
			g.Type = fmt.Sprintf("0x%02s", g.Type)
		} else {
			g.Bootable = p.Active
		}
		if g.Start*512 != p.Start || g.Size*512 != p.Size || g.Type != p.Type || g.UUID != p.GUID ||
			img.Table == "gpt" && g.Name != p.Name || g.Bootable != p.Active {
			t.Errorf("%s: sfdisk sees %+v, want %+v", img.Name, g, p)
		}
	}
}

func TestZooSgdisk(t *testing.T) {
	dir := zoo(t)
	problems := map[string]string{
		"gpt-overlap":           "overlap",
		"gpt-backup-inside":     "The secondary header's self-pointer indicates that it doesn't reside",
		"gpt-xfs-backup-inside": "The secondary header's self-pointer indicates that it doesn't reside",
		"gpt-bad-backup":        "invalid backup GPT header",
		"gpt-bad-primary":       "invalid main GPT header",
		"gpt-bad-both":          "",
		"gpt-truncated":         "Disk size is smaller than the main header indicates",
	}
	for _, img := range All() {
		if img.Table != "gpt" || img.Sector != 512 {
			continue
		}
		want, odd := problems[img.Name]
		if !odd {
			want = "No problems found"
		}
		if out, _ := output(t, "sgdisk", "-v", rawPath(dir, img.Name)); !strings.Contains(out, want) {
			t.Errorf("%s: sgdisk does not say %q:\n%s", img.Name, want, out)
		}
	}
}

// TestZooSectors4K uses fdisk, because sfdisk 2.38 and sgdisk assume sectors of 512
// bytes in files.
func TestZooSectors4K(t *testing.T) {
	dir := zoo(t)
	for _, img := range All() {
		if img.Sector != 4096 {
			continue
		}
		out, _ := output(t, "fdisk", "-b", "4096", "-l", "-o", "Device,Start,Sectors", rawPath(dir, img.Name))
		p := img.Parts[0]
		want := []string{rawPath(dir, img.Name) + "1", fmt.Sprint(p.Start / 4096), fmt.Sprint(p.Size / 4096)}
		lines := strings.Split(strings.TrimSpace(out), "\n")
		if got := strings.Fields(lines[len(lines)-1]); !slices.Equal(got, want) || strings.Contains(out, "corrupt") {
			t.Errorf("%s: fdisk sees %q, want %q:\n%s", img.Name, got, want, out)
		}
	}
}

// TestZooContents checks what the host's tools report about file systems without a
// mount.
func TestZooContents(t *testing.T) {
	dir := zoo(t)
	types := map[string]string{"luks1": "crypto_LUKS", "luks2": "crypto_LUKS"}
	for _, img := range All() {
		if img.Expect != "" {
			continue
		}
		maker := img // its name is in the UUIDs
		if img.from != "" {
			maker = find(t, img.from)
		}
		for _, v := range img.direct() {
			if v.Kind == "" || v.Kind == "pv" {
				continue
			}
			out, _ := output(t, "blkid", "-p", "-o", "export", "-O", fmt.Sprint(v.start), "-S", fmt.Sprint(v.size), rawPath(dir, img.Name))
			typ := types[v.Kind]
			if typ == "" {
				typ = v.Kind
			}
			for _, want := range []string{"TYPE=" + typ + "\n", "UUID=" + maker.uuid(v) + "\n"} {
				if !strings.Contains(out, want) {
					t.Errorf("%s: %s: blkid does not say %q:\n%s", img.Name, v.Name, want, out)
				}
			}
		}
	}
}

// TestZooBroken checks that the tools used for growing refuse damaged and special
// images.
func TestZooBroken(t *testing.T) {
	dir := zoo(t)
	for _, c := range []struct {
		image  string
		tool   []string // the partition's file is appended
		status int
		says   string
	}{
		{"gpt-ext4", []string{"e2fsck", "-f", "-n"}, 0, ""},
		{"gpt-ext4-damaged", []string{"e2fsck", "-f", "-p"}, 4, "UNEXPECTED INCONSISTENCY"},
		{"gpt-ext4-feature", []string{"e2fsck", "-f", "-p"}, 8, "unsupported feature"},
		{"gpt-ext4-dirty", []string{"dumpe2fs", "-h"}, 0, "needs_recovery"},
		{"gpt-xfs", []string{"xfs_repair", "-n", "-f"}, 0, ""},
		{"gpt-xfs-damaged", []string{"xfs_repair", "-n", "-f"}, 1, "bad magic # 0x64616d61 for agf 1"},
		{"gpt-xfs-dirty", []string{"xfs_logprint", "-t"}, 0, "<DIRTY>"},
		{"gpt-xfs-v4", []string{"xfs_db", "-r", "-f", "-c", "version"}, 0, "V4"},
		{"gpt-windows", []string{"ntfs-3g.probe", "--readwrite"}, 0, ""},
		{"gpt-windows", []string{"ntfsresize", "--info"}, 0, ""},
		{"gpt-ntfs-dirty", []string{"ntfsresize", "--info"}, 1, "scheduled for check"},
		{"gpt-ntfs-hibernated", []string{"ntfs-3g.probe", "--readwrite"}, 14, "hibernated"},
		{"gpt-bitlocker", []string{"blkid", "-p"}, 0, `TYPE="BitLocker"`},
		{"gpt-unknown", []string{"blkid", "-p"}, 2, ""},
	} {
		t.Run(c.image+" "+c.tool[0], func(t *testing.T) {
			file := partitionFile(t, dir, find(t, c.image))
			out, status := output(t, c.tool[0], append(c.tool[1:], file)...)
			if status != c.status || !strings.Contains(out, c.says) {
				t.Errorf("%q: exit status %d, want %d and %q:\n%s", c.tool, status, c.status, c.says, out)
			}
		})
	}
}

func TestZooInventory(t *testing.T) {
	level.Need(t, level.Long) // the matrix of package guest reads the same images
	dir := zoo(t)
	var disks []Disk
	want := map[string]Manifest{}
	for i, img := range All() {
		if i%4 != 0 {
			continue // the matrix of package guest covers all images that grow
		}
		m, err := ReadManifest(dir, img.Name)
		if err != nil {
			t.Fatal(err)
		}
		if len(m) == 0 {
			if img.sound() && img.Table != "none" {
				t.Errorf("%s: no manifest", img.Name)
			}
			continue
		}
		path := rawPath(dir, img.Name)
		disks = append(disks, Disk{Path: path, Format: "raw", Image: img})
		want[path] = m
	}
	got, err := Inventory(t.Context(), disks)
	if err != nil {
		t.Fatal(err)
	}
	for path, m := range want {
		for _, d := range m.Diff(got[path]) {
			t.Errorf("%s: %s", filepath.Base(path), d)
		}
	}
}

// TestZooManifest checks that the manifest has the recipe's files, on a file system that
// supports all of them.
func TestZooManifest(t *testing.T) {
	dir := zoo(t)
	for _, name := range []string{"gpt-ext4", "gpt-xfs", "gpt-btrfs", "gpt-ext4-dirty", "gpt-xfs-dirty"} {
		img := find(t, name)
		m, err := ReadManifest(dir, name)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range img.files(img.filesystems()[0]) {
			f, ok := m["sda1"][strings.TrimSuffix(e.path, "/")]
			if !ok || f.UID != e.uid || f.GID != e.gid || f.Link != e.link || e.mode != 0 && f.Mode != e.mode || len(f.XAttrs) != len(e.xattrs) {
				t.Errorf("%s: %s is %+v", name, e.path, f)
			}
			for k, v := range e.xattrs {
				if f.XAttrs[k] != v {
					t.Errorf("%s: %s: %s is %q", name, e.path, k, f.XAttrs[k])
				}
			}
		}
	}
}

// TestZooInspection checks that libguestfs inspects the OS images as the imitated
// systems.
func TestZooInspection(t *testing.T) {
	level.Need(t, level.Long) // the matrix of package guest reads the same images
	dir := zoo(t)
	imgs := []Image{find(t, "gpt-order"), find(t, "gpt-os-lvm"), find(t, "gpt-windows-winre"), find(t, "mbr-windows")}
	var drives []drive
	for _, img := range imgs {
		drives = append(drives, drive{rawPath(dir, img.Name), "raw", img.Sector, true})
	}
	a, err := launch(t.Context(), t.TempDir(), drives)
	if err != nil {
		t.Fatal(err)
	}
	defer a.close()
	if _, err := a.Inspect_os(); err != nil {
		t.Fatal(err)
	}
	for i, c := range []struct{ root, typ, product string }{
		{"/dev/sda1", "linux", "12.5"}, // libguestfs only reads debian_version
		{"/dev/vg_os/root", "linux", "Fedora Linux 40 (Server Edition)"},
		{"/dev/sdc3", "windows", "Windows Server 2022 Standard"},
		{"/dev/sdd2", "windows", "Windows Server 2022 Standard"},
	} {
		typ, err := a.Inspect_get_type(c.root)
		if err != nil || typ != c.typ || typ != imgs[i].OS {
			t.Errorf("%s: type %q: %v", imgs[i].Name, typ, err)
			continue
		}
		if product, err := a.Inspect_get_product_name(c.root); err != nil || product != c.product {
			t.Errorf("%s: product %q: %v", imgs[i].Name, product, err)
		}
		if arch, err := a.Inspect_get_arch(c.root); err != nil || arch != "x86_64" {
			t.Errorf("%s: architecture %q: %v", imgs[i].Name, arch, err)
		}
		if typ != "windows" {
			continue
		}
		if m, err := a.Inspect_get_drive_mappings(c.root); err != nil || m["C"] != c.root {
			t.Errorf("%s: drive letters %v: %v", imgs[i].Name, m, err)
		}
	}
}

func TestZooCopy(t *testing.T) {
	dir := zoo(t)
	const name = "gpt-lvm-ext4"
	for format, want := range map[string]string{"raw": "raw", "qcow2": "qcow2", "qcow2v2": "qcow2", "overlay": "qcow2"} {
		t.Run(format, func(t *testing.T) {
			dst := filepath.Join(t.TempDir(), "disk")
			if err := Copy(name, dst, format); err != nil {
				t.Fatal(err)
			}
			if f, err := os.OpenFile(dst, os.O_RDWR, 0); err != nil {
				t.Error(err)
			} else {
				f.Close()
			}
			out, status := output(t, "qemu-img", "compare", "-f", "raw", "-F", want, rawPath(dir, name), dst)
			if status != 0 {
				t.Errorf("copy differs: %s", out)
			}
			if st, err := os.Stat(dst); err != nil || format == "raw" && sparseSize(t, dst) > st.Size()/4 {
				t.Errorf("%d bytes allocated: %v", sparseSize(t, dst), err)
			}
		})
	}
	if err := Copy(name, filepath.Join(t.TempDir(), "disk"), "vmdk"); err == nil {
		t.Error("copied to an unknown format")
	}
}

func sparseSize(t *testing.T, path string) int64 {
	t.Helper()
	out, _ := output(t, "du", "-B1", path)
	n, err := strconv.ParseInt(strings.Fields(out)[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestSparseCopy(t *testing.T) {
	src := filepath.Join(t.TempDir(), "src")
	r := newRandom(t.Name())
	f, err := os.Create(src)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	err = errors.Join(f.Truncate(3*mib+77), writeAll(f, chunk{5000, r.bytes(10)}, chunk{mib - 1, r.bytes(9000)}, chunk{3*mib + 70, r.bytes(7)}))
	if err != nil {
		t.Fatal(err)
	}
	dst := src + ".copy"
	if err := sparseFile(dst, src); err != nil {
		t.Fatal(err)
	}
	a, _ := os.ReadFile(src)
	b, _ := os.ReadFile(dst)
	if !bytes.Equal(a, b) {
		t.Error("the copy differs")
	}
	part := &memory{}
	if err := sparseCopy(part, 0, f, 4999, 20); err != nil || len(part.chunks) != 1 || !bytes.Equal(part.chunks[0].data, a[4999:5019]) {
		t.Errorf("window: %v: %v", part.chunks, err)
	}
}

func TestCacheCancelled(t *testing.T) {
	t.Setenv("VIRT_GROW_TEST_CACHE", t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir, err := Cache(ctx)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Cache with a cancelled context: %q, %v", dir, err)
	}
}
