package superblock

import (
	"testing"

	"github.com/virt-grow/virt-grow/plan/size"
)

// TestGrowsMounted checks that ext4 is left to the kernel only as far as descriptors are
// reserved, and only if the kernel would not refuse it or change it in another way.
func TestGrowsMounted(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Ext)
		to     size.Bytes
		want   bool
	}{
		"plain":                    {func(*Ext) {}, 20 * size.GiB, true},
		"to the last descriptor":   {func(e *Ext) { e.ReservedGDT = 1 }, 24 * size.GiB, true},
		"beyond it":                {func(e *Ext) { e.ReservedGDT = 1 }, 25 * size.GiB, false},
		"with errors":              {func(e *Ext) { e.Errors = true }, 20 * size.GiB, false},
		"without a journal":        {func(e *Ext) { e.Compat &^= extCompatHasJournal }, 20 * size.GiB, false},
		"without resize_inode":     {func(e *Ext) { e.Compat &^= extCompatResizeInode }, 20 * size.GiB, false},
		"meta_bg":                  {func(e *Ext) { e.Incompat |= extIncompatMetaBG }, 20 * size.GiB, false},
		"sparse_super2":            {func(e *Ext) { e.Compat |= extCompatSparseSuper2 }, 20 * size.GiB, false},
		"quota":                    {func(e *Ext) { e.ROCompat |= 0x100 }, 20 * size.GiB, false},
		"with a journal to replay": {func(e *Ext) { e.Incompat |= 0x4 }, 20 * size.GiB, true},
		"huge flex groups":         {func(e *Ext) { e.FlexGroups = 1 << 20 }, 20 * size.GiB, false},
	} {
		e := &Ext{Blocks: 10 << 18, BlockSize: 4096, BlocksPerGroup: 32768, InodesPerGroup: 8192, InodeSize: 256, DescSize: 64,
			ReservedGDT: 1024, FlexGroups: 16, Compat: 0x103c, Incompat: 0x2c2, ROCompat: 0x46b}
		c.change(e)
		if got := e.GrowsMounted(c.to); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
