package domain

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestInfoBlock parses the output of the monitors of several QEMU versions.
func TestInfoBlock(t *testing.T) {
	for name, want := range map[string][]Drive{
		"qemu-0.11": {
			{Alias: "virtio0", File: "/dev/sdb-vol/win7", Format: "host_device"},
			{Alias: "ide0-cd0", File: "/shared/win7-eval.iso", Format: "raw"},
		},
		"qemu-1.0": {
			{Alias: "drive-virtio-disk0", File: "/var/lib/libvirt/images/dev7.img", Format: "raw"},
			{Alias: "drive-virtio-disk1", File: "/var/lib/libvirt/images/dev7-data.img", Format: "qcow2"},
		},
		"qemu-1.4": {
			{Alias: "ide0-hd0", File: "/images/new disk.qcow2", Format: "qcow2"},
			{Alias: "usb2.6", File: "/tmp/stg4.qcow2", Format: "qcow2", ReadOnly: true},
		},
		"qemu-2.0": {{Alias: "drive-virtio-disk0", File: "/var/lib/libvirt/images/web.qcow2", Format: "qcow2"}},
		"qemu-2.5": {{Alias: "ide0-hd0", Node: "#block121", File: "ubuntu1.qcow2", Format: "qcow2"}},
		"qemu-3.1-libvirt": {
			{Alias: "pflash0", Node: "#block167", File: "/usr/share/OVMF/OVMF_CODE.secboot.fd", Format: "raw", ReadOnly: true},
			{Alias: "pflash1", Node: "#block302", File: "/vmdisk/uefios.fd", Format: "raw"},
			{Alias: "drive-virtio-disk0", Node: "#block516", File: "/vmdisk/uefios.img", Format: "qcow2"},
			{Alias: "drive-sata0-0-0", Node: "#block1325", File: "/vmdisk/iso/Win10_1809_64.iso", Format: "raw", ReadOnly: true},
		},
		"qemu-6.2-libvirt": {{Node: "libvirt-1-format", File: "/home/guests/a-r3/vJunos (router) 23.2R1.15.qcow2", Format: "qcow2"}},
		"qemu-9": {
			{Alias: "null", Node: "null", File: `json:{"read-zeroes": true, "driver": "null-co"}`, Format: "null-co"},
			{Alias: "drive0", Node: "#block103", File: `json:{"driver": "qcow2", "file": {"driver": "file", "filename": "/images/t.qcow2"}}`, Format: "qcow2", ReadOnly: true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join("testdata", "infoblock", name+".txt"))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, infoBlock(string(text))); diff != "" {
				t.Error(diff)
			}
			// On a terminal, the monitor ends its lines with CR LF.
			if diff := cmp.Diff(want, infoBlock(strings.ReplaceAll(string(text), "\n", "\r\n"))); diff != "" {
				t.Errorf("with CRLF: %s", diff)
			}
		})
	}
	recorded, err := filepath.Glob("testdata/infoblock/*.txt")
	if err != nil || len(recorded) != 8 {
		t.Errorf("%d recorded outputs (%v): each wants a line above", len(recorded), err)
	}
}

func FuzzInfoBlock(f *testing.F) {
	recorded, _ := filepath.Glob("testdata/infoblock/*.txt")
	for _, name := range recorded {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, d := range infoBlock(text) {
			// An alias is used in a command line of the monitor, so it has to be one
			// word.
			if strings.ContainsAny(d.Alias, " \t\r\n") || d.Alias == "" && d.Node == "" || d.File == "" || d.Format == "" {
				t.Errorf("%+v", d)
			}
		}
	})
}
