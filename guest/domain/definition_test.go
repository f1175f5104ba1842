package domain

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
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

// onTrial returns the definition that libvirt makes of the original for the trial.
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
	const decoy = "<disk type='file'><source file='/b.raw'/><target dev='vda'/></disk>"
	hidden := func(text string) string {
		return strings.NewReplacer("<memory>", "<!-- "+decoy+" --><metadata><![CDATA["+decoy+"]]><x:disk xmlns:x='u'>"+decoy+"</x:disk>"+decoy+"</metadata><memory>").Replace(text)
	}
	for _, c := range []struct{ name, now, want string }{
		{"trial", trial, original},
		{"original", original, original},
		{"pivoted", pivoted, original},
		{"edited elsewhere", more(trial), more(original)},
		{"edited elsewhere after the pivot", more(pivoted), more(original)},
		{"disks that are none", hidden(trial), hidden(original)},
		{"block device called a file", strings.NewReplacer("type='block'", "type='file'", "<source dev='/dev/x'/>", "<source file='/dev/x'/>\n      <backingStore/>").Replace(pivoted), original},
		{"another image", strings.Replace(pivoted, "/a.raw", "/b.raw", 1), ""},
		{"another image, this one in a comment", strings.Replace(pivoted, "<source file='/a.raw'/>", "<source file='/b.raw'/><!-- file='/a.raw' -->", 1), ""},
		{"another device after the pivot", strings.Replace(pivoted, "device='disk'", "device='lun'", 1), ""},
		{"disk edited", strings.Replace(trial, "type='qcow2'/>", "type='qcow2' cache='none'/>", 1), ""},
		{"disk gone", "<domain/>", ""},
		{"disk only in a comment", strings.Replace(trial, "<disk type='file' device='disk'>", "<!-- <disk type='file' device='disk'>", 1) + "-->", ""},
		{"broken", trial[:len(trial)-4], ""},
		{"document type", "<!DOCTYPE domain [<!ENTITY a 'b'>]>" + trial, ""},
		{"two documents", trial + trial, ""},
		{"too long", trial + strings.Repeat(" ", maxXML), ""},
	} {
		text := DefinitionXML(c.now)
		var err error
		for _, disk := range [][2]string{{"vda", "/a.raw"}, {"vdb", "/dev/x"}} {
			if err == nil {
				text, err = text.RestoreDisk(original, DefinitionXML(trial), disk[0], disk[1])
			}
		}
		if (err != nil) != (c.want == "") || err == nil && string(text) != c.want {
			t.Errorf("%s: %v\n%s", c.name, err, text)
		}
	}
}

// TestRestoreWithoutTrial restores after a crash before the trial's definition was
// saved.
func TestRestoreWithoutTrial(t *testing.T) {
	text, err := DefinitionXML(onTrial(original)).RestoreDisk(original, "", "vda", "/a.raw")
	if err != nil || !strings.Contains(string(text), "<source file='/a.raw'/>") || strings.Contains(string(text), "<source dev='/dev/x'/>") {
		t.Errorf("%v\n%s", err, text)
	}
}

func TestSaveDefinition(t *testing.T) {
	path := filepath.Join(t.TempDir(), "domain.xml")
	if err := DefinitionXML(original).Save(path); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	if got, err := LoadDefinition(path); got != original || err != nil {
		t.Errorf("%v\n%s", err, got)
	}
}

// writer writes random definitions.
type writer struct{ *rand.Rand }

func (w writer) pick(texts ...string) string { return texts[w.IntN(len(texts))] }

// noise returns random text that may stand between two elements. None of it defines a
// disk.
func (w writer) noise(n int) string {
	decoy := fmt.Sprintf("<disk type='file'><source file='/decoy'/><target dev='%s' bus='virtio'/></disk>", target(w.IntN(3)))
	var b strings.Builder
	for range w.IntN(n + 1) {
		b.WriteString(w.pick("\n  ", " ", "\t", "\r\n",
			"<!-- "+decoy+" -->", "<![CDATA["+decoy+"]]>", "<?vendor "+decoy+"?>",
			"<app:disk xmlns:app=\"urn:app\" type='file'>"+decoy+"</app:disk>",
			"<disk xmlns=\"urn:app\"><target dev='vda'/></disk>",
			`<vendor type="'">`+decoy+"&amp;&#60;</vendor>"))
	}
	return b.String()
}

// tag writes a start tag or an empty element, with its attributes in any order and
// quotes.
func (w writer) tag(name, end string, attrs ...[2]string) string {
	w.Shuffle(len(attrs), func(i, j int) { attrs[i], attrs[j] = attrs[j], attrs[i] })
	text := "<" + name
	for _, a := range attrs {
		quote := w.pick("'", `"`)
		text += w.pick(" ", "\n   ", "\t") + a[0] + w.pick("=", " = ") + quote + a[1] + quote
	}
	return text + w.pick("", " ") + end
}

// pieces are the text of a disk: before its source, between the source and the target,
// and after the target.
type pieces struct{ kind, source, before, between, after string }

func (p pieces) String() string { return p.kind + p.before + p.source + p.between + p.after }

func target(n int) string { return "vd" + string(rune('a'+n)) }

func image(n int) string { return fmt.Sprintf("/img/%d &amp; &lt;disk&gt; '&quot;.qcow2", n) }

func (w writer) disk(n int) pieces {
	value := [2]string{"file", strings.ReplaceAll(image(n), "'", "&apos;")}
	return pieces{
		kind:    w.tag("disk", ">", [2]string{"device", "disk"}, [2]string{"type", "file"}, [2]string{"x", "a=b type=c"}),
		before:  w.noise(2) + w.tag("driver", "/>", [2]string{"name", "qemu"}, [2]string{"type", "raw"}) + w.noise(2),
		source:  w.tag("source", "/>", value),
		between: w.noise(2),
		after:   w.tag("target", "/>", [2]string{"dev", target(n)}, [2]string{"bus", "virtio"}) + w.noise(2) + "</disk>",
	}
}

// TestEditsAreExact checks that an edit changes only the bytes of the edited disk.
func TestEditsAreExact(t *testing.T) {
	for seed := range uint64(60) {
		w := writer{rand.New(rand.NewPCG(seed, 14))}
		head := "<domain xmlns:qemu='urn:q' type='kvm'>" + w.noise(4) + "<metadata>" + w.noise(4) + "</metadata><devices>"
		tail := w.noise(4) + "</devices>" + w.noise(4) + "<qemu:commandline><qemu:arg value='-disk'/></qemu:commandline></domain>"
		n := w.IntN(3)
		var before, after string
		for i := range 3 {
			text := w.noise(3) + w.disk(i).String()
			if i < n {
				before += text
			} else if i > n {
				after += text
			}
		}
		before, after = head+before+w.noise(3), after+tail
		disk := w.disk(n)
		overlaid := disk
		overlaid.source = "<source file='/img/overlay'/>"
		was, trial := DefinitionXML(before+disk.String()+after), DefinitionXML(before+overlaid.String()+after)
		if got, err := trial.RestoreDisk(was, trial, target(n), ""); err != nil || got != was {
			t.Fatalf("seed %d: %v\n%s\nwant\n%s", seed, err, got, was)
		}
		pivoted := disk
		pivoted.source = w.tag("source", "/>", [2]string{"dev", "/img/real"}) + "<backingStore/>"
		now := DefinitionXML(before + w.noise(3) + pivoted.String() + after)
		want := strings.Replace(string(now), pivoted.String(), disk.String(), 1)
		if got, err := now.RestoreDisk(was, trial, target(n), "/img/real"); err != nil || string(got) != want {
			t.Fatalf("seed %d: %v\n%s\nwant\n%s", seed, err, got, want)
		}
		if _, err := now.RestoreDisk(was, trial, target(n), "/img/other"); err == nil {
			t.Fatalf("seed %d: another image is taken for the disk's", seed)
		}
		wantMedium := disk.kind + disk.before + disk.between + "<source file='/new'/>" + disk.after
		if got, err := WithMedium(disk.String(), "/new"); err != nil || got != wantMedium {
			t.Fatalf("seed %d: %v\n%s\nwant\n%s", seed, err, got, wantMedium)
		}
	}
}

func TestAttrValue(t *testing.T) {
	for tag, want := range map[string]string{
		`<disk type='file'>`: "file", `<disk device="disk" type = "a'b"/>`: "a'b", `<disk x:type='no' type='yes'>`: "yes",
		"<disk\n\ttype\n=\n'file'\n>": "file", `<disk a="type='no'" type=''>`: "", `<disk>`: "-", `<disk a='b'/>`: "-",
		`<disk type>`: "-", `<disk type=`: "-", `<disk type='`: "-", `<disk a='b`: "-", ``: "-",
	} {
		got := "-"
		if from, to, ok := attrValue(tag, "type"); ok {
			got = tag[from:to]
		}
		if got != want {
			t.Errorf("%s: %q, want %q", tag, got, want)
		}
	}
}

// FuzzDefinition checks that no definition causes a panic, or grows without limit.
func FuzzDefinition(f *testing.F) {
	for _, text := range []string{original, onTrial(original), definition, "<domain><devices><disk/></devices></domain>",
		"<!DOCTYPE d [<!ENTITY a '&a;&a;'>]><domain><devices><disk type='&a;'><target dev='vda'/></disk></devices></domain>"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		x := DefinitionXML(text)
		if got, err := x.RestoreDisk(x, x, "vda", "/a"); err == nil && got != x {
			t.Errorf("a disk that is as it was is changed:\n%s", got)
		}
		all, err := find(text, "domain", "devices", "disk")
		if err != nil {
			return
		}
		end := 0
		for _, e := range all {
			if e.from < end {
				t.Errorf("elements overlap: %+v", all)
			}
			end = e.to
			if e.from >= e.tag || e.tag > e.to || text[e.from] != '<' || text[e.to-1] != '>' {
				t.Errorf("%+v is no element", e)
			}
			now, err := WithMedium(e.in(text), "/new")
			if err != nil {
				continue
			}
			if len(now) > len(e.in(text))+len("<source file='/new'/>file") {
				t.Errorf("%s\nbecomes\n%s", e.in(text), now)
			}
			if sources, err := find(now, "disk", "source"); err != nil || len(sources) != 1 || sources[0].attr("file") != "/new" {
				t.Errorf("%v\n%s", err, now)
			}
		}
		_, _, _ = parseDevices(text)
		_ = x.Alike(original)
	})
}
