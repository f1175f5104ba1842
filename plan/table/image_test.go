package table_test

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"maps"
	"os"
	"slices"
	"testing"

	"github.com/virt-grow/virt-grow/plan/size"
	"github.com/virt-grow/virt-grow/plan/table"
)

// TestMain raises rapid's default of 100 cases, and the number of parallel tests,
// because sgdisk sleeps after writing. The command line has priority.
func TestMain(m *testing.M) {
	for name, value := range map[string]string{"rapid.checks": "1000", "test.parallel": "12"} {
		if err := flag.Set(name, value); err != nil {
			panic(err)
		}
	}
	flag.Parse()
	os.Exit(m.Run())
}

const pageSize = 4096

// image is a sparse disk in memory. Disks may have many TiB.
type image struct {
	size  int64
	pages map[int64][]byte
}

func newImage(size size.Bytes) *image { return &image{int64(size), map[int64][]byte{}} }

func (m *image) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off >= m.size {
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), m.size-off))
	for i := 0; i < n; {
		at := off + int64(i)
		chunk := int(min(int64(n-i), pageSize-at%pageSize))
		if page := m.pages[at/pageSize]; page != nil {
			copy(p[i:i+chunk], page[at%pageSize:])
		} else {
			clear(p[i : i+chunk])
		}
		i += chunk
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

var errOutside = errors.New("write outside the disk")

func (m *image) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off > m.size-int64(len(p)) {
		return 0, errOutside
	}
	for i := 0; i < len(p); {
		at := off + int64(i)
		page := m.pages[at/pageSize]
		if page == nil {
			page = make([]byte, pageSize)
			m.pages[at/pageSize] = page
		}
		i += copy(page[at%pageSize:], p[i:])
	}
	return len(p), nil
}

func (m *image) put(off size.Bytes, p []byte) {
	if _, err := m.WriteAt(p, int64(off)); err != nil {
		panic(err)
	}
}

func (m *image) get(off size.Bytes, n int) []byte {
	p := make([]byte, n)
	if _, err := m.ReadAt(p, int64(off)); err != nil {
		panic(err)
	}
	return p
}

// resized returns a copy with another size.
func (m *image) resized(size size.Bytes) *image {
	c := newImage(size)
	for at, page := range m.pages {
		c.pages[at] = bytes.Clone(page)
	}
	return c
}

// apply returns a copy with the size of the new disk, and with the writes applied.
func (m *image) apply(t fataler, newDisk size.Bytes, writes []table.Write) *image {
	t.Helper()
	c := m.resized(newDisk)
	for _, w := range writes {
		if _, err := c.WriteAt(w.Data, int64(w.Offset)); err != nil {
			t.Fatalf("%s: %d bytes at %d: %v", w.What, len(w.Data), w.Offset, err)
		}
	}
	return c
}

// differences returns the offsets of the bytes in which two images differ.
func differences(a, b *image) []size.Bytes {
	zero := make([]byte, pageSize)
	pages := map[int64]bool{}
	for at := range a.pages {
		pages[at] = true
	}
	for at := range b.pages {
		pages[at] = true
	}
	var offsets []size.Bytes
	for _, at := range slices.Sorted(maps.Keys(pages)) {
		x, y := a.pages[at], b.pages[at]
		if x == nil {
			x = zero
		}
		if y == nil {
			y = zero
		}
		if bytes.Equal(x, y) {
			continue
		}
		for i := range x {
			if x[i] != y[i] {
				offsets = append(offsets, size.Bytes(at*pageSize+int64(i)))
			}
		}
	}
	return offsets
}

// fataler is the common part of testing.T, testing.F and rapid.T.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// span is a range of bytes that may change.
type span struct{ from, to size.Bytes }

func checkAllowed(t fataler, before, after *image, allowed []span) {
	t.Helper()
	for _, at := range differences(before, after) {
		if !slices.ContainsFunc(allowed, func(s span) bool { return s.from <= at && at < s.to }) {
			t.Fatalf("byte %d (sector %d, byte %d in it) changed from %#x to %#x",
				at, at/512, at%512, before.get(at, 1)[0], after.get(at, 1)[0])
		}
	}
}

func mustRead(t fataler, m *image, sector size.Bytes) *table.Table {
	t.Helper()
	got, err := table.Read(m, size.Bytes(m.size), sector)
	if err != nil {
		t.Fatalf("read: %v", err)
	}
	return got
}

func mustGrow(t fataler, tab *table.Table, newDisk size.Bytes, changes ...table.Change) []table.Write {
	t.Helper()
	writes, err := tab.Grow(newDisk, changes)
	if err != nil {
		t.Fatalf("grow to %d, %v: %v", newDisk, changes, err)
	}
	return writes
}

func codes(tab *table.Table) []string {
	var list []string
	for _, p := range tab.Problems {
		list = append(list, string(p.Code))
	}
	return list
}
