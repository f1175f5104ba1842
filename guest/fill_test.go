package guest

import (
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/virt-grow/virt-grow/guest/disk"
	"github.com/virt-grow/virt-grow/guest/growth"
	"github.com/virt-grow/virt-grow/guest/image"
	"github.com/virt-grow/virt-grow/guest/session"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/journal"
	"github.com/virt-grow/virt-grow/plan/size"
	"github.com/virt-grow/virt-grow/testimages"
)

// TestFill grows into space that the disk already has: in a file that was enlarged by
// other means, and on a block device. A second run finds nothing to do.
func TestFill(t *testing.T) {
	zoo(t)
	made, _ := testimages.Find("gpt-backup-inside")
	ctx := context.Background()
	shared, err := session.Start(ctx, shortDir(t), []session.Drive{{Size: size.Bytes(made.Size), Sector: 512}}, session.Options{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = shared.Close() })
	for _, block := range []bool{false, true} {
		t.Run(map[bool]string{false: "file", true: "block device"}[block], func(t *testing.T) {
			x := newTrial(t, nil, made, "raw")
			x.options.Session.Reuse = shared
			path := x.path
			if block {
				path = loopDevice(t, x.path)
			}
			request := plan.Request{Size: plan.Amount{Mode: plan.Fill}}
			for run, changes := range []bool{true, false} {
				img, err := disk.OpenImage(ctx, path, image.Options{})
				if err != nil {
					t.Fatal(err)
				}
				if img.Block != block {
					t.Fatalf("block device: %v", img.Block)
				}
				out, err := growth.Grow(ctx, img, request, x.options)
				if err != nil {
					t.Fatal(err)
				}
				if out.Changed != changes {
					t.Errorf("run %d: %+v", run+1, out)
				}
				if changes && out.State != journal.Finished {
					t.Errorf("run %d ended %s", run+1, out.State)
				}
				x.checkFilled(t, out.Plan)
			}
		})
	}
}

func (x *trial) checkFilled(t *testing.T, p *plan.Plan) {
	t.Helper()
	parts := sfdisk(t, x.path, 512)
	end := size.Bytes(parts[0].Start+parts[0].Size) * 512
	if whole := size.Bytes(x.image.Size); end < whole-2*size.MiB {
		t.Errorf("the partition ends at %s of %s", end, whole)
	}
	if after, _ := p.After.Find("sda1"); after.End() != end {
		t.Errorf("planned was %s, sfdisk says %s", after.End(), end)
	}
	out, err := exec.Command("sgdisk", "-v", x.path).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "No problems found") {
		t.Errorf("sgdisk -v: %v\n%s", err, out)
	}
}

// loopDevice puts the file behind a loop device until the test ends.
func loopDevice(t *testing.T, path string) string {
	t.Helper()
	out, err := exec.Command("losetup", "--find", "--show", path).Output()
	if err != nil {
		t.Fatalf("losetup: %v (the test needs root and loop devices)", err)
	}
	device := strings.TrimSpace(string(out))
	t.Cleanup(func() {
		if out, err := exec.Command("losetup", "--detach", device).CombinedOutput(); err != nil {
			t.Errorf("losetup --detach: %v: %s", err, out)
		}
	})
	resolved, err := filepath.EvalSymlinks(device)
	if err != nil {
		t.Fatal(err)
	}
	return resolved
}
