package superblock

import (
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/virt-grow/virt-grow/plan/size"
)

func made(t *testing.T, bytes int64, program string, args ...string) (path string, head []byte) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "fs")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	truncate(t, path, bytes)
	if out, err := exec.Command(program, append(args, path)...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", program, err, out)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	head = make([]byte, 128<<10)
	if _, err := f.ReadAt(head, 0); err != nil {
		t.Fatal(err)
	}
	return path, head
}

// TestXFSReal reads what mkfs.xfs writes: sizes, checksum, features, and counts that
// equal the sum of those in the groups' headers.
func TestXFSReal(t *testing.T) {
	path, head := made(t, 320<<20, "mkfs.xfs", "-q")
	x, err := ReadXFS(head)
	if err != nil || x.Size() != 320*size.MiB || x.Groups != 4 || x.ExternalLog() || x.Realtime() || x.NeedsRepair() {
		t.Fatalf("%+v, %v", x, err)
	}
	if !x.Sound(head) || len(x.Unknown("6.1.0-40-amd64")) != 0 {
		t.Errorf("sound %t, unknown %v", x.Sound(head), x.Unknown("6.1.0"))
	}
	var sum XFSCounts
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for g := range x.Groups {
		headers := make([]byte, 4*x.SectorSize)
		if _, err := f.ReadAt(headers, g*int64(x.GroupSize())); err != nil || !sum.Add(x, g, headers) {
			t.Fatalf("group %d: %v", g, err)
		}
	}
	if sum != x.Counts() {
		t.Errorf("the groups have %+v, the superblock %+v", sum, x.Counts())
	}
	wrong := x.WithCounts(head[:x.SectorSize], XFSCounts{1, 2, 3})
	if y, err := ReadXFS(wrong); err != nil || y.Counts() != (XFSCounts{1, 2, 3}) || !y.Sound(wrong) {
		t.Errorf("%+v, %v", y, err)
	}
	binary.BigEndian.PutUint32(head[216:], 0xcb)
	if y, _ := ReadXFS(head); y.Sound(head) || len(y.Unknown("6.1")) != 1 ||
		y.Unknown("6.1")[0].String() != "exchange-range, parent pointers (incompatible features 0xc0)" || len(y.Unknown("6.12.0")) != 0 {
		t.Errorf("%v", y.Unknown("6.1"))
	}
}

// TestBtrfsReal reads what mkfs.btrfs writes.
func TestBtrfsReal(t *testing.T) {
	_, head := made(t, 300<<20, "mkfs.btrfs", "-q")
	s, err := ReadBtrfs(head[BtrfsAt:])
	if err != nil || s.Size != 300*size.MiB || s.DeviceSize != s.Size || s.DeviceID != 1 || s.Devices != 1 || s.Sector != 4096 || !s.Sound() || s.Seeding() {
		t.Errorf("%+v, %v", s, err)
	}
	if u := s.Unknown("6.1.0"); len(u) != 0 {
		t.Errorf("unknown: %v", u)
	}
}

// TestExtReal checks the checksum, and features that e2fsprogs may not support.
func TestExtReal(t *testing.T) {
	_, head := made(t, 40<<20, "mkfs.ext4", "-q", "-F", "-O", "bigalloc,orphan_file")
	e, err := ReadExt(head[ExtAt:])
	if err != nil || !e.Sound(head[ExtAt:]) {
		t.Fatalf("%+v, %v", e, err)
	}
	if feature, _ := e.CannotGrow(); feature != "bigalloc" {
		t.Errorf("cannot grow because of %q", feature)
	}
	if u := e.Newer(); len(u) != 1 || u[0].Names[0] != "orphan_file" {
		t.Errorf("newer: %v", u)
	}
}

func TestGrownXFS(t *testing.T) {
	const block, group = 4096, 20480 * 4096
	for device, want := range map[size.Bytes]size.Bytes{
		4 * group: 4 * group, 4*group + 63*block + 511: 4 * group, 4*group + 64*block + 511: 4*group + 64*block, 5*group - 1: 5*group - block,
	} {
		if got := GrownXFS(device, block, group); got != want {
			t.Errorf("%d: %d, want %d", device, got, want)
		}
	}
}

// FuzzRead passes any bytes to every reader.
func FuzzRead(f *testing.F) {
	b := make([]byte, BtrfsLen)
	f.Add(b)
	copy(b, "XFSB")
	f.Add(b)
	b = make([]byte, BtrfsLen)
	copy(b[0x40:], "_BHRfS_M")
	f.Add(b)
	b = make([]byte, ExtLen)
	binary.LittleEndian.PutUint16(b[0x38:], 0xef53)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		if e, err := ReadExt(b); err == nil {
			n, m := e.Grown(e.Size()+size.GiB), size.Bytes(0)
			if m, _ = e.Max(); n < e.Size() || m <= 0 {
				t.Errorf("%+v becomes %d of %d", e, n, m)
			}
			e.Newer()
			e.Sound(b)
			e.CannotGrow()
		}
		if x, err := ReadXFS(b); err == nil {
			if n := GrownXFS(size.GiB, size.Bytes(x.BlockSize), x.GroupSize()); n < 0 || n > size.GiB {
				t.Errorf("%+v becomes %d", x, n)
			}
			x.Sound(b)
			x.Unknown("6.1")
			var c XFSCounts
			c.Add(x, 0, b)
		}
		if s, err := ReadBtrfs(b); err == nil {
			s.Unknown("6.1")
		}
	})
}
