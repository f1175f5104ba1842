package domain

import (
	"os"
	"path/filepath"
	"testing"

	"libvirt.org/go/libvirt"
)

// node is a host of libvirt's test driver, which is part of the client library and needs
// no daemon.
const node = `<node>
  <domain type='test'><name>dev7</name><uuid>` + uuid + `</uuid><memory>1024</memory><os><type>hvm</type></os>
    <devices>
      <disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/img/a.qcow2'/><target dev='vda' bus='virtio'/></disk>
      <disk type='volume' device='disk'><source pool='images' volume='b.img'/><target dev='vdb' bus='virtio'/></disk>
      <disk type='volume' device='disk'><source pool='none' volume='b.img'/><target dev='vdc' bus='virtio'/></disk>
      <disk type='volume' device='disk'><source pool='images' volume='none'/><target dev='vdd' bus='virtio'/></disk>
    </devices>
  </domain>
  <pool type='dir'><name>images</name><target><path>/images</path></target>
    <volume type='file'><name>b.img</name><capacity>1000000</capacity><target><path>/images/b.img</path></target></volume>
  </pool>
</node>
`

// testDriver returns the domain of the test driver.
func testDriver(t *testing.T) *Domain {
	t.Helper()
	path := filepath.Join(t.TempDir(), "node.xml")
	if err := os.WriteFile(path, []byte(node), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Connect("test://" + path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	d, err := c.Find(t.Context(), "dev7")
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestDrivers runs the same calls on libvirt's test driver and on the fake, which have
// to agree on the behaviour that the package relies on.
func TestDrivers(t *testing.T) {
	for name, open := range map[string]func(*testing.T) *Domain{
		"libvirt": testDriver,
		"fake":    func(t *testing.T) *Domain { d, _ := fake(t, nil); return d },
	} {
		t.Run(name, func(t *testing.T) {
			ctx, d := t.Context(), open(t)
			run := func() uint {
				t.Helper()
				id, err := d.run(ctx)
				if err != nil {
					t.Fatal(err)
				}
				return id
			}
			state := func(want State) {
				t.Helper()
				if got, err := d.State(ctx); got != want || err != nil {
					t.Errorf("%s %v, want %s", got, err, want)
				}
			}
			state(Running)
			first := run()
			if first == 0 || run() != first {
				t.Errorf("the run's ID is %d, then %d", first, run())
			}
			wants(t, d.Destroy(ctx), "")
			wants(t, d.Destroy(ctx), "") // the domain is off already
			state(Off)
			if run() != 0 {
				t.Error("a guest that is off has a run")
			}
			if err := d.call(ctx, func(l handle) error { return l.ShutdownFlags(libvirt.DOMAIN_SHUTDOWN_ACPI_POWER_BTN) }); err == nil && name == "libvirt" {
				t.Error("a guest that is off was shut down")
			}
			wants(t, d.Start(ctx), "")
			state(Running)
			if run() == first || run() == 0 {
				t.Error("a new run has the ID of the one before")
			}
			if byUUID, err := d.conn.Find(ctx, d.UUID); err != nil || byUUID.Name != "dev7" {
				t.Errorf("%+v %v", byUUID, err)
			}
			gone := &Domain{Name: "gone", UUID: "00000000-0000-4000-8000-000000000000", conn: d.conn}
			if _, err := gone.State(ctx); !isCode(err, libvirt.ERR_NO_DOMAIN) {
				t.Errorf("%v", err)
			}
			x, err := d.XML(ctx)
			if err != nil || d.Define(ctx, x) != nil {
				t.Fatal(err)
			}
			if again, err := d.XML(ctx); again != x || err != nil {
				t.Errorf("defined %s\nread back %s", x, again)
			}
			if users, err := d.conn.Users(ctx, ""); err != nil || len(users) == 0 || users[0].Domain != "dev7" || !users[0].Live {
				t.Errorf("%+v %v", users, err)
			}
			if users, err := d.Others(ctx); err != nil || len(users) != 0 {
				t.Errorf("%+v %v", users, err)
			}
			if version, n, err := d.conn.About(ctx); version == "" || n != 1 || err != nil {
				t.Errorf("%s %d %v", version, n, err)
			}
		})
	}
}

// TestVolumes checks disks that are named by pool and volume.
func TestVolumes(t *testing.T) {
	ctx, d := t.Context(), testDriver(t)
	def, err := d.Read(ctx)
	if err != nil || len(def.Disks) != 4 {
		t.Fatal(err, def.Disks)
	}
	for i, want := range []Disk{
		{Kind: "file", Source: "/img/a.qcow2"},
		{Kind: "file", Source: "/images/b.img"},
		{Kind: "volume", Why: "there is no storage pool none"},
		{Kind: "volume", Why: "storage pool images has no volume none"},
	} {
		if got := def.Disks[i]; got.Kind != want.Kind || got.Source != want.Source || got.Why != want.Why || got.Asleep {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	wants(t, d.RefreshPool(ctx, "images"), "")
	wants(t, d.RefreshPool(ctx, "none"), "no storage pool")
	// If a pool is not active, the path is known, but a guest cannot start with it.
	p, err := d.conn.live.connection.(libvirtConnection).LookupStoragePoolByName("images")
	if err != nil || p.Destroy() != nil {
		t.Fatal(err)
	}
	defer p.Free()
	if def, err = d.Live(ctx); err != nil {
		t.Fatal(err)
	}
	if got := def.Disks[1]; got.Kind != "volume" || got.Source != "/images/b.img" || !got.Asleep || got.Why != "storage pool images (type dir) is not active" {
		t.Errorf("%+v", got)
	}
}

// TestAdapters makes the calls that only the adapters implement.
func TestAdapters(t *testing.T) {
	ctx, d := t.Context(), testDriver(t)
	err := d.conn.do(ctx, func(l connection) error {
		h, err := l.DomainByUUID(d.UUID)
		if err != nil {
			return err
		}
		defer h.Free()
		stop, err := l.WatchRemovals(h, func(string, bool) {})
		if err != nil {
			return err
		}
		stop()
		return h.Snapshot("<domainsnapshot><name>s</name></domainsnapshot>", 0)
	})
	wants(t, err, "")
	s, err := d.Status(ctx, true)
	if err != nil || s.State != Running || !s.Persistent || s.Saved || s.Agent || len(s.Disks) != 4 || s.Snapshots != 1 || s.Checkpoints != 0 {
		t.Errorf("%+v %v", s, err)
	}
}
