package disk

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/virt-grow/virt-grow/guest/block"
	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/guest/image"
	"github.com/virt-grow/virt-grow/guest/session"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
	"github.com/virt-grow/virt-grow/testimages/private"
)

// TestMain runs the tests without access to the host's own jobs, domains and caches.
func TestMain(m *testing.M) { os.Exit(private.Run(m)) }

// vm is a domain of libvirt's test driver, which keeps definitions and states but runs
// no guest.
type vm struct {
	name  string
	off   bool
	saved bool
	disks string
}

func file(target, path, format, more string) string {
	driver := ""
	if format != "" {
		driver = "<driver name='qemu' type='" + format + "'/>"
	}
	return fmt.Sprintf("<disk type='file' device='disk'>%s<source file='%s'/><target dev='%s' bus='virtio'/>%s</disk>", driver, path, target, more)
}

// define starts a test driver with these domains, and returns the first one.
func define(t *testing.T, vms ...vm) *domain.Domain {
	t.Helper()
	var node strings.Builder
	for i, v := range vms {
		state := ""
		if v.off {
			state = "<test:runstate>5</test:runstate>"
		}
		if v.saved {
			state += "<test:hasmanagedsave/>"
		}
		fmt.Fprintf(&node, `<domain type='test' xmlns:test='http://libvirt.org/schemas/domain/test/1.0'><name>%s</name>
<uuid>6c3ea3f4-6f3a-4b9e-9c6a-2f7f0e5c%04d</uuid><memory>65536</memory><os><type>hvm</type></os><devices>%s</devices>%s</domain>`, v.name, i, v.disks, state)
	}
	path := filepath.Join(t.TempDir(), "node.xml")
	if err := os.WriteFile(path, []byte("<node>"+node.String()+"</node>"), 0o600); err != nil {
		t.Fatal(err)
	}
	conn, err := domain.Connect("test://" + path)
	if err != nil {
		t.Fatal(err)
	}
	d, err := conn.Find(context.Background(), vms[0].name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// raws makes empty raw images of 2 MiB.
func raws(t *testing.T, names ...string) func(string) string {
	t.Helper()
	at := files(t, names...)
	for _, name := range names {
		if err := os.Truncate(at(name), int64(2*size.MiB)); err != nil {
			t.Fatal(err)
		}
	}
	return at
}

func TestOpenWritable(t *testing.T) {
	ctx := context.Background()
	at := raws(t, "a.raw", "b.raw")
	for name, c := range map[string]struct {
		vm     vm
		reason plan.Reason
		access block.Access
	}{
		"off":      {vm: vm{off: true, disks: file("vda", at("a.raw"), "raw", "")}},
		"running":  {vm: vm{disks: file("vda", at("a.raw"), "raw", "")}, access: block.Shared},
		"readonly": {vm: vm{disks: file("vda", at("a.raw"), "raw", "<readonly/>")}, reason: plan.DiskReadOnly},
		"gone":     {vm: vm{disks: file("vda", at("no.raw"), "raw", "")}, reason: plan.NotFound},
	} {
		c.vm.name = "web"
		d := define(t, c.vm)
		status, err := d.Status(ctx, false)
		if err != nil {
			t.Fatal(err)
		}
		def, err := Choose(d.Name, status.Disks, "vda")
		if err != nil {
			t.Fatal(err)
		}
		opened, err := OpenWritable(ctx, d, status, def, 4096)
		if reasonOf(err) != c.reason || (err == nil) != (c.reason == "") {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil {
			continue
		}
		if opened.Access != c.access || opened.Size != 2*size.MiB || opened.SectorSize != 4096 {
			t.Errorf("%s: %+v", name, opened.Image)
		}
		if err := opened.CheckOthersNotHibernated(ctx, session.Options{}); err != nil {
			t.Errorf("%s, the only disk: %v", name, err)
		}
		if err := opened.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := (*Disk)(nil).Close(); err != nil {
		t.Error(err)
	}
}

func TestOpenDomainSet(t *testing.T) {
	ctx := context.Background()
	at := raws(t, "a.raw", "b.raw")
	cdrom := "<disk type='file' device='cdrom'><target dev='sda' bus='sata'/></disk>"
	remote := "<disk type='network' device='disk'><driver name='qemu' type='raw'/><source protocol='nbd' name='x'><host name='h' port='1'/></source><target dev='vdc' bus='virtio'/></disk>"
	web := file("vda", at("a.raw"), "raw", "") + file("vdb", at("b.raw"), "raw", "")
	for name, c := range map[string]struct {
		vm      vm
		targets []string
		notes   int
		opens   plan.Reason
		off     plan.Reason // of CheckOff
	}{
		"off":             {vm: vm{off: true, disks: web + cdrom}, targets: []string{"vda", "vdb"}},
		"running":         {vm: vm{disks: web}, targets: []string{"vda", "vdb"}, off: plan.InUse},
		"saved":           {vm: vm{off: true, saved: true, disks: web}, targets: []string{"vda", "vdb"}, off: plan.ManagedSave},
		"a remote disk":   {vm: vm{off: true, disks: web + remote}, targets: []string{"vda", "vdb"}, notes: 1},
		"only a remote":   {vm: vm{off: true, disks: remote}, opens: plan.NotFound},
		"nothing":         {vm: vm{off: true, disks: cdrom}, opens: plan.NotFound},
		"a format is not": {vm: vm{off: true, disks: web + file("vdc", at("a.raw"), "", "")}, opens: plan.FormatMissing},
	} {
		t.Run(name, func(t *testing.T) {
			c.vm.name = "web"
			s, err := OpenDomainSet(ctx, define(t, c.vm), 0)
			if reasonOf(err) != c.opens || (err == nil) != (c.opens == "") {
				t.Fatal(err)
			}
			if err != nil {
				return
			}
			var targets []string
			for _, d := range s.Disks {
				targets = append(targets, d.Def.Target)
			}
			if !slices.Equal(targets, c.targets) || len(s.Notes) != c.notes || s.Running == c.vm.off {
				t.Errorf("disks %q, notes %q, running %t", targets, s.Notes, s.Running)
			}
			if err := s.CheckOff(); reasonOf(err) != c.off {
				t.Error(err)
			}
			if err := s.CheckWritable(ctx, []int{0, 1}); err != nil {
				t.Error(err)
			}
			if target := s.Target(1); target.Path != at("b.raw") || target.Guest.Disk != "vdb" || target.Guest.Name != "web" {
				t.Errorf("%+v", target)
			}
		})
	}
	other := define(t, vm{name: "web", off: true, disks: web}, vm{name: "twin", off: true, disks: file("vda", at("b.raw"), "raw", "")})
	s, err := OpenDomainSet(ctx, other, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.CheckWritable(ctx, []int{1}); reasonOf(err) != plan.DiskShared {
		t.Errorf("another domain has it: %v", err)
	}
}

func TestOpenImageSet(t *testing.T) {
	ctx := context.Background()
	at := raws(t, "a.raw")
	s, err := OpenImageSet(ctx, at("a.raw"), image.Options{})
	if err != nil || s.Running || s.Name != at("a.raw") || s.Target(0).Guest != nil {
		t.Fatalf("%+v, %v", s, err)
	}
	if err := s.CheckWritable(ctx, []int{0}); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := OpenImageSet(ctx, at("no.raw"), image.Options{}); reasonOf(err) != plan.NotFound {
		t.Error(err)
	}
}

// TestList checks that the list shows cached contents, without an appliance.
func TestList(t *testing.T) {
	ctx := context.Background()
	at := raws(t, "a.raw", "b.raw")
	d := define(t, vm{name: "web", disks: file("vda", at("a.raw"), "raw", "") + file("vdb", at("b.raw"), "raw", "")},
		vm{name: "twin", off: true, disks: file("vda", at("b.raw"), "raw", "")})
	cache := session.OpenCache(t.TempDir())
	stamp, err := image.StampOf(at("a.raw"))
	if err != nil {
		t.Fatal(err)
	}
	cache.Save([]image.Stamp{stamp}, &plan.Layout{Devices: []plan.Device{{Name: "sda", Content: plan.Content{Type: "xfs"}}}}, stamp.Time)
	list, err := List(ctx, d, false, session.Options{}, cache)
	if err != nil {
		t.Fatal(err)
	}
	if len(list.Disks) != 2 || list.State != "running" || list.Disks[0].Inside == nil || list.Disks[1].Inside != nil || list.Disks[0].Size != 2*size.MiB {
		t.Errorf("%+v", list)
	}
	if got := warnings(list.Disks[1]); !slices.Equal(got, []string{"disk-shared twin"}) {
		t.Errorf("%q", got)
	}
}
