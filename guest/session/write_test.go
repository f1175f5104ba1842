package session

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/virt-grow/virt-grow/guest/block"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
	"github.com/virt-grow/virt-grow/testimages/level"
)

// run runs a program, and returns what it prints.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		t.Fatalf("%s %q: %v", name, args, err)
	}
	return string(out)
}

// TestWriteFiles replaces files of a guest in an overlay, and refuses to if one of them is
// not as it was.
func TestWriteFiles(t *testing.T) {
	level.Need(t, level.Real)
	ctx, dir := context.Background(), shortDir(t)
	if err := os.MkdirAll(filepath.Join(dir, "root/etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"fstab", "crypttab", "other"} {
		if err := os.WriteFile(filepath.Join(dir, "root/etc", name), []byte("/dev/sda1\n"), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	const bytes = 64 * size.MiB
	image := filepath.Join(dir, "guest.raw")
	run(t, "mke2fs", "-q", "-t", "ext4", "-d", filepath.Join(dir, "root"), image, "64M")
	o := block.Overlay{Image: image, Format: "raw", Path: filepath.Join(dir, "guest.qcow2")}
	if err := o.Create(ctx, bytes); err != nil {
		t.Fatal(err)
	}
	s, err := Start(ctx, dir, []Drive{{Image: image, Size: bytes, Sector: 512}}, Options{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Attach(ctx, o.Path); err != nil {
		t.Fatal(err)
	}
	edit := func(path, before string) plan.FileEdit {
		return plan.FileEdit{Path: path, Before: []byte(before), After: []byte("UUID=1\n")}
	}
	e := s.Editor(o)
	err = e.WriteFiles(ctx, []plan.FileEdit{edit("/etc/other", "/dev/sda1\n"), edit("/etc/fstab", "/dev/sdb1\n")})
	if r, ok := plan.IsRefusal(err); !ok || r.Reason != plan.StalePlan || r.Subject != "/etc/fstab" {
		t.Errorf("a file that has changed: %v", err)
	}
	if err := e.WriteFiles(ctx, []plan.FileEdit{edit("/etc/fstab", "/dev/sda1\n"), edit("/etc/crypttab", "/dev/sda1\n")}); err != nil {
		t.Error(err)
	}
	if err := s.Detach(ctx); err != nil {
		t.Fatal(err)
	}
	after := filepath.Join(dir, "after.raw")
	run(t, "qemu-img", "convert", "-O", "raw", o.Path, after)
	run(t, "e2fsck", "-fn", after)
	for name, want := range map[string]string{"fstab": "UUID=1\n", "crypttab": "UUID=1\n", "other": "/dev/sda1\n"} {
		if got := run(t, "debugfs", "-R", "cat /etc/"+name, after); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if got := run(t, "debugfs", "-R", "cat /etc/fstab", image); got != "/dev/sda1\n" {
		t.Errorf("the image itself has %q", got)
	}
}
