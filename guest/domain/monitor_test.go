package domain

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virt-grow/virt-grow/plan/size"
)

const queryBlock = `{"return":[
 {"device":"","qdev":"/machine/peripheral/virtio-disk0/virtio-backend","inserted":{"node-name":"libvirt-1-format","file":"/img/a.qcow2","drv":"qcow2","ro":false,"image":{"virtual-size":1073741824}}},
 {"device":"drive-scsi0-0-0-1","qdev":"scsi0-0-0-1","inserted":{"node-name":"#block167","file":"/img/b.raw","drv":"raw","ro":true,"image":{"virtual-size":512}}},
 {"device":"cd0","qdev":"cd0"}]}`

func monitor(t *testing.T, answers map[string]string) (*Domain, *vm) {
	t.Helper()
	d, v := fake(t, nil)
	v.answers = answers
	return d, v
}

func TestDrives(t *testing.T) {
	d, _ := monitor(t, map[string]string{`{"execute":"query-block"}`: queryBlock, "info block": "drive0: /a.img (raw)\r\ncd0: [not inserted]\r\n"})
	drives, err := d.Drives(t.Context())
	want := []Drive{
		{Device: "/machine/peripheral/virtio-disk0/virtio-backend", Node: "libvirt-1-format", File: "/img/a.qcow2", Format: "qcow2", Size: size.GiB},
		{Alias: "drive-scsi0-0-0-1", Device: "scsi0-0-0-1", Node: "#block167", File: "/img/b.raw", Format: "raw", Size: 512, ReadOnly: true},
	}
	if diff := cmp.Diff(want, drives); diff != "" || err != nil {
		t.Error(err, diff)
	}
	listed, err := d.HMPDrives(t.Context())
	if diff := cmp.Diff([]Drive{{Alias: "drive0", File: "/a.img", Format: "raw"}}, listed); diff != "" || err != nil {
		t.Error(err, diff)
	}
}

func TestResize(t *testing.T) {
	qmp := Resize{Via: ViaQMP, Node: "libvirt-1-format", To: 2 * size.GiB}
	hmp := Resize{Via: ViaHMP, Node: "libvirt-1-format", Alias: "drive0", To: 2 * size.GiB}
	for _, c := range []struct {
		what   string
		resize Resize
		answer string
		err    string
	}{
		{"QMP", qmp, `{"return":{}}`, ""},
		{"QMP refuses", qmp, `{"error":{"class":"GenericError","desc":"Cannot grow device files"}}`, "Cannot grow device files"},
		{"QMP, no JSON", qmp, `?`, "QEMU's reply to block_resize"},
		{"HMP", hmp, "\r\n", ""},
		{"HMP refuses", hmp, "Error: Cannot find device\r\n", "QEMU refuses block_resize drive0 2147483648B: Error: Cannot find device"},
		{"HMP, no name", Resize{Via: ViaHMP}, "", ErrNoAlias.Error()},
		{"libvirt", Resize{Via: ViaLibvirt, Target: "vda", To: 2 * size.GiB}, "", ""},
		{"no channel", Resize{}, "", `no channel ""`},
	} {
		d, _ := monitor(t, map[string]string{c.resize.Sent(): c.answer})
		wants(t, d.Resize(t.Context(), c.resize), c.err)
		if c.resize.Via != "" && c.resize.Sent() == "" {
			t.Errorf("%s: nothing is said of what is sent", c.what)
		}
	}
}

func TestSizeSeen(t *testing.T) {
	d, v := monitor(t, map[string]string{`{"execute":"query-block"}`: queryBlock})
	for _, c := range []struct {
		resize Resize
		want   size.Bytes
		err    string
	}{
		{Resize{Via: ViaQMP, Node: "libvirt-1-format"}, size.GiB, ""},
		{Resize{Via: ViaHMP, Node: "none"}, 0, "no longer has the block node none"},
		{Resize{Via: ViaLibvirt, Target: "vda"}, size.MiB, ""},
	} {
		got, err := d.SizeSeen(t.Context(), c.resize)
		wants(t, err, c.err)
		if got != c.want {
			t.Errorf("%+v: %s", c.resize, got)
		}
	}
	v.hooks = map[string]hook{"monitor": noAgent, "block info": noAgent}
	for _, via := range []Channel{ViaQMP, ViaLibvirt} {
		_, err := d.SizeSeen(t.Context(), Resize{Via: via})
		wants(t, err, "not responding")
	}
}

func TestInconsistentBitmaps(t *testing.T) {
	dir := t.TempDir()
	path, link := filepath.Join(dir, "a.qcow2"), filepath.Join(dir, "b.qcow2")
	if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Symlink(path, link)); err != nil {
		t.Fatal(err)
	}
	d, _ := monitor(t, map[string]string{`{"execute":"query-named-block-nodes"}`: `{"return":[
	 {"file":"` + path + `","drv":"qcow2","dirty-bitmaps":[{"name":"good"},{"name":"bad","inconsistent":true}]},
	 {"file":"` + path + `","drv":"file"},
	 {"file":"/nowhere","drv":"qcow2","dirty-bitmaps":[{"name":"other","inconsistent":true}]}]}`})
	for file, want := range map[string][]string{link: {"bad"}, "/nowhere": {"other"}, "/elsewhere": nil} {
		if got, err := d.InconsistentBitmaps(t.Context(), file); !slices.Equal(got, want) || err != nil {
			t.Errorf("%s: %v %v", file, got, err)
		}
	}
}

// TestLongReply checks that the length of QEMU's reply is limited.
func TestLongReply(t *testing.T) {
	d, _ := monitor(t, map[string]string{"info block": strings.Repeat("x", maxMonitor+1)})
	_, err := d.HMPDrives(t.Context())
	wants(t, err, "8388609 bytes")
}
