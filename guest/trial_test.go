package guest

import (
	"strings"
	"testing"
)

const original = `<domain>
  <memory>1</memory>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw'/>
      <source file='/a.raw'/>
      <target dev='vda' bus='virtio'/>
    </disk>
    <disk type='block' device='disk'>
      <driver name='qemu' type='raw'/>
      <source dev='/dev/x'/>
      <target dev='vdb' bus='virtio'/>
    </disk>
  </devices>
</domain>
`

// onTrial is what libvirt makes of the original for the trial.
func onTrial(text string) string {
	return strings.NewReplacer(
		"type='raw'/>\n      <source file='/a.raw'/>", "type='qcow2'/>\n      <source file='/a.raw.virt-grow.qcow2'/>",
		"type='block' device='disk'>\n      <driver name='qemu' type='raw'/>\n      <source dev='/dev/x'/>",
		"type='file' device='disk'>\n      <driver name='qemu' type='qcow2'/>\n      <source file='/s/x.qcow2'/>",
	).Replace(text)
}

func TestRestoreDisk(t *testing.T) {
	trial := onTrial(original)
	if strings.Count(trial, "qcow2'/>") != 4 {
		t.Fatal("the trial's definition is not one")
	}
	pivoted := strings.ReplaceAll(original, "<source file='/a.raw'/>", "<source file='/a.raw'/>\n      <backingStore/>")
	more := func(text string) string {
		return strings.Replace(text, "<memory>1</memory>", "<memory>2</memory>", 1)
	}
	for _, c := range []struct{ name, now, want string }{
		{"trial", trial, original},
		{"original", original, original},
		{"pivoted", pivoted, original},
		{"edited elsewhere", more(trial), more(original)},
		{"edited elsewhere after the pivot", more(pivoted), more(original)},
		{"block device called a file", strings.NewReplacer("type='block'", "type='file'", "<source dev='/dev/x'/>", "<source file='/dev/x'/>\n      <backingStore/>").Replace(pivoted), original},
		{"another image", strings.Replace(pivoted, "/a.raw", "/b.raw", 1), ""},
		{"disk edited", strings.Replace(trial, "type='qcow2'/>", "type='qcow2' cache='none'/>", 1), ""},
		{"disk gone", "<domain/>", ""},
	} {
		text := c.now
		var err error
		for _, disk := range [][2]string{{"vda", "/a.raw"}, {"vdb", "/dev/x"}} {
			if err == nil {
				text, err = restoreDisk(text, original, trial, disk[0], disk[1])
			}
		}
		if (err != nil) != (c.want == "") || err == nil && text != c.want {
			t.Errorf("%s: %v\n%s", c.name, err, text)
		}
	}
}
