package session

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"github.com/virt-grow/virt-grow/guest/block"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
)

// memoryDisk is a disk in memory that records where it is written to.
type memoryDisk struct {
	data   []byte
	writes []string
}

func (d *memoryDisk) Read(_ context.Context, n, at size.Bytes) ([]byte, error) {
	return bytes.Clone(d.data[at : at+n]), nil
}

func (d *memoryDisk) Write(_ context.Context, data []byte, at size.Bytes) error {
	copy(d.data[at:], data)
	d.writes = append(d.writes, fmt.Sprint(int64(at)))
	return nil
}

func (d *memoryDisk) CopyIn(_ context.Context, _ block.Overlay, n, from, to size.Bytes) error {
	copy(d.data[to:to+n], d.data[from:from+n])
	return nil
}

// TestMove checks that the boot sector of a moved NTFS, and the copy at its end, contain
// the new first sector, and that a volume with another value there is not changed.
func TestMove(t *testing.T) {
	const sector, from, to, length = 512, 8 * 512, 64 * 512, 16 * 512
	ntfs := func(hidden uint32) []byte {
		boot := make([]byte, sector)
		copy(boot[3:], "NTFS    ")
		binary.LittleEndian.PutUint16(boot[11:], sector)
		binary.LittleEndian.PutUint32(boot[28:], hidden)
		binary.LittleEndian.PutUint64(boot[40:], length/sector-1)
		boot[510], boot[511] = 0x55, 0xaa
		return boot
	}
	for name, c := range map[string]struct {
		hidden uint32
		writes []string
	}{
		"names its place":     {from / sector, []string{fmt.Sprint(to), fmt.Sprint(to + length - sector)}},
		"names another place": {1, nil},
	} {
		d := &memoryDisk{data: make([]byte, 128*512)}
		copy(d.data[from:], ntfs(c.hidden))
		copy(d.data[from+length-sector:], ntfs(c.hidden))
		e := &editor{drives: []edited{{disk: d, sector: sector}}}
		step := plan.Step{Kind: plan.StepMove, Bytes: length, From: from, To: to, Volumes: []plan.Volume{{Device: "sda2", From: from, To: to, Size: length}}}
		if err := e.Move(context.Background(), step); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(d.writes, c.writes) {
			t.Errorf("%s: written at %q, want %q", name, d.writes, c.writes)
		}
		if got := binary.LittleEndian.Uint32(d.data[to+28:]); c.writes != nil && got != to/sector {
			t.Errorf("%s: the boot sector names sector %d", name, got)
		}
	}
}
