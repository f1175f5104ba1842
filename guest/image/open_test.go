package image

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/virt-grow/virt-grow/guest/block"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
)

// TestOpen opens real images, made by qemu-img.
func TestOpen(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	raw := write(t, filepath.Join(dir, "base.raw"), "")
	if err := os.Truncate(raw, int64(2*size.MiB)); err != nil {
		t.Fatal(err)
	}
	over := filepath.Join(dir, "over.qcow2")
	if err := (block.Overlay{Image: raw, Format: "raw", Path: over}).Create(ctx, 3*size.MiB); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		path   string
		o      Options
		size   size.Bytes
		sector size.Bytes
		below  int
		reason plan.Reason
	}{
		"raw":         {path: raw, size: 2 * size.MiB, sector: 512},
		"raw, 4K":     {path: raw, o: Options{Sector: 4096}, size: 2 * size.MiB, sector: 4096},
		"overlay":     {path: over, size: 3 * size.MiB, sector: 512, below: 1},
		"in use":      {path: over, o: Options{Access: block.Shared, KeepSize: true}, size: 3 * size.MiB, sector: 512, below: 1},
		"mismatch":    {path: over, o: Options{Format: "raw"}, reason: plan.FormatMismatch},
		"not there":   {path: filepath.Join(dir, "no.raw"), reason: plan.NotFound},
		"unsupported": {path: raw, o: Options{Format: "vdi"}, reason: plan.FormatUnsupported},
	} {
		img, err := Open(ctx, c.path, c.o)
		if reasonOf(err) != c.reason || (err == nil) != (c.reason == "") {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err == nil && (img.Size != c.size || img.SectorSize != c.sector || len(img.Backing) != c.below || img.Access != c.o.Access) {
			t.Errorf("%s: %+v", name, img)
		}
	}
	img, err := Open(ctx, over, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for to, reason := range map[size.Bytes]plan.Reason{size.MiB: "", 10 * size.MiB: "", 1 << 60: plan.ContainerLimit} {
		if err := img.CheckGrowth(ctx, to, ""); reasonOf(err) != reason || (err == nil) != (reason == "") {
			t.Errorf("grown to %s: %v", to, err)
		}
	}
	if err := img.CheckGrowth(ctx, 10*size.MiB, filepath.Join(dir, "no")); reasonOf(err) != plan.NotWritable {
		t.Errorf("a scratch directory that is not there: %v", err)
	}
}
