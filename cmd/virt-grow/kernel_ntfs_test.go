package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/virt-grow/virt-grow/testimages"
	"github.com/virt-grow/virt-grow/testimages/lab"
	"github.com/virt-grow/virt-grow/testimages/level"
)

// TestKernelNTFS reads every volume of Windows-like disks with the kernel's NTFS driver,
// which shares no code with ntfsresize and ntfs-3g, before and after C: was grown. The
// driver finds the same files, also on volumes that were moved.
func TestKernelNTFS(t *testing.T) {
	level.Need(t, level.All)
	ctx := context.Background()
	h := newEnv(t)
	root := filepath.Join(h.dir, "root.qcow2")
	if err := lab.Image(ctx, "xfs", "qcow2", root); err != nil {
		t.Fatal(err)
	}
	spec := lab.Spec{Cmdline: []string{"load=ntfs3"}, Disks: []lab.Disk{{Path: root, Format: "qcow2", Target: "vda"}}}
	x := &vm{env: h, state: filepath.Join(h.dir, "state")}
	names := []string{"gpt-windows-winre", "mbr-windows-data"}
	if level.At(level.All) {
		names = append(names, "gpt-windows", "gpt-windows-old", "mbr-windows", "mbr-windows-winre")
	}
	if _, err := testimages.Cache(ctx, names...); err != nil {
		t.Fatal(err)
	}
	for i, name := range names {
		for j, when := range []string{"before", "after"} {
			path := filepath.Join(h.dir, name+"-"+when+".qcow2")
			if err := testimages.Copy(name, path, "qcow2"); err != nil {
				t.Fatal(err)
			}
			if when == "after" {
				if code, out := x.run(t, "", "grow", path, "--size", "+300M", "--grow", "C:", "--yes"); code != 0 {
					t.Fatalf("%s: exit %d\n%s", name, code, out)
				}
			}
			spec.Disks = append(spec.Disks, lab.Disk{Path: path, Format: "qcow2", Target: fmt.Sprintf("vd%c", 'b'+2*i+j)})
		}
	}
	x = h.start(t, "reader", spec, false)
	x.inside(t, "umount /data; mkdir -p /mnt") // the guest mounts the first NTFS that it finds
	for i, name := range names {
		t.Run(name, func(t *testing.T) {
			before, after := x.volumes(t, 'b'+2*i), x.volumes(t, 'b'+2*i+1)
			if want := ntfsVolumes(t, name); len(before) != want || len(after) != want {
				t.Fatalf("%d volumes before and %d after, %d were made", len(before), len(after), want)
			}
			grown := 0
			for j := range before {
				if before[j].files != after[j].files || before[j].files == "" {
					t.Errorf("volume %d has\n%s\nit had\n%s", j+1, after[j].files, before[j].files)
				}
				if after[j].blocks > before[j].blocks {
					grown++
				}
			}
			if grown != 1 {
				t.Errorf("%d volumes have grown: %+v, were %+v", grown, after, before)
			}
		})
	}
}

// ntfsVolumes returns the number of NTFS volumes in a zoo image.
func ntfsVolumes(t *testing.T, name string) int {
	t.Helper()
	img, ok := testimages.Find(name)
	if !ok {
		t.Fatalf("no image %s", name)
	}
	n := 0
	for _, p := range img.Parts {
		if p.Kind == "ntfs" {
			n++
		}
	}
	return n
}

// ntfsVolume is a volume as the kernel reads it.
type ntfsVolume struct {
	blocks int64
	files  string // with their checksums
}

// volumes returns all NTFS volumes of a disk in the guest, in the order on the disk.
func (x *vm) volumes(t *testing.T, letter int) []ntfsVolume {
	t.Helper()
	out := x.inside(t, fmt.Sprintf(`for p in $(ls -v /dev/vd%c?*); do
mount -t ntfs3 -o ro $p /mnt 2> /dev/null || continue
echo "volume $(stat -f -c %%b /mnt)"
(cd /mnt && find . -type f -print0 | sort -z | xargs -0 md5sum) 2>&1
umount /mnt
done`, letter))
	var all []ntfsVolume
	for line := range strings.Lines(out) {
		var blocks int64
		if _, err := fmt.Sscanf(line, "volume %d", &blocks); err == nil {
			all = append(all, ntfsVolume{blocks: blocks})
		} else if len(all) > 0 {
			all[len(all)-1].files += line
		}
	}
	return all
}
