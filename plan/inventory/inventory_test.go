package inventory_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/inventory"
	"github.com/virt-grow/virt-grow/plan/size"
)

// whole has every key that an inventory may have.
const whole = `# virt-grow inventory v1
connect: qemu:///system
window: {start: "02:00", end: 04:00}
canary: [web, dev7]
parallel: 2
stop-after: 3
guests:
  - name: dev7
    disks:
      - {disk: vda, size: +10G, grow: [/, "/data=20G"]}
      - {disk: vdb, size: 50G}
    accept: manual
    hooks: {post: "", on-failure: page me}
  - name: 007
    disks: [{size: fill}]
    keys: ["all:file:/root/key"]
    boot-timeout: 10m
    force-off: false
  - name: web
    disks:
    - size: 1T
defaults:
  accept: auto
  check: full
  ntfs: offline
  trial: true
  trial-boot: true
  trial-disks: target
  no-move: true
  no-agent: false
  force-off: true
  shutdown-timeout: 90s
  boot-timeout: 5m
  settle: 1m
  max-outage: 10m
  check-timeout: 20m
  health-command: |
    curl -fs http://dev7/
  hooks: {pre: drain, post: undrain}
  scratch-dir: /scratch
  sector-size: 4096
  keys: ["sda3:file:/etc/keys/a:b"]
`

func TestParse(t *testing.T) {
	defaults := inventory.Treatment{
		Accept: "auto", Check: plan.CheckFull, NTFS: plan.NTFSOffline, Trial: true, TrialBoot: true, TrialDisks: "target",
		NoMove: true, ForceOff: true, ShutdownTimeout: inventory.Duration(90 * time.Second),
		BootTimeout: inventory.Duration(5 * time.Minute), Settle: inventory.Duration(time.Minute),
		MaxOutage: inventory.Duration(10 * time.Minute), CheckTimeout: inventory.Duration(20 * time.Minute), HealthCommand: "curl -fs http://dev7/\n",
		Hooks: inventory.Hooks{Pre: "drain", Post: "undrain"}, ScratchDir: "/scratch", SectorSize: 4096,
		Keys: []inventory.Key{{ID: "sda3", File: "/etc/keys/a:b"}},
	}
	dev7, other := defaults, defaults
	dev7.Accept, dev7.Hooks = "manual", inventory.Hooks{Pre: "drain", OnFailure: "page me"}
	other.Keys = []inventory.Key{{ID: "all", File: "/root/key"}}
	other.BootTimeout, other.ForceOff = inventory.Duration(10*time.Minute), false
	want := &inventory.Inventory{
		Connect: "qemu:///system", Window: inventory.Window{Start: "02:00", End: "04:00"},
		Canary: inventory.Canary{Names: []string{"web", "dev7"}}, Parallel: 2, StopAfter: 3, Defaults: defaults,
		Guests: []inventory.Guest{
			{Name: "dev7", Disks: []inventory.Disk{{Disk: "vda", Size: "+10G", Grow: []string{"/", "/data=20G"}}, {Disk: "vdb", Size: "50G"}}, Treatment: dev7},
			{Name: "007", Disks: []inventory.Disk{{Size: "fill"}}, Treatment: other},
			{Name: "web", Disks: []inventory.Disk{{Size: "1T"}}, Treatment: defaults},
		},
	}
	got, err := inventory.Parse("fleet.yaml", []byte(whole))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"dev7", "web"}, got.Canaries()); diff != "" {
		t.Error("canaries:", diff)
	}
	request, err := got.Guests[0].Request()
	if err != nil {
		t.Fatal(err)
	}
	amount := func(mode plan.Mode, n size.Bytes) plan.Amount { return plan.Amount{Mode: mode, Bytes: n} }
	wantRequest := plan.Request{
		Size: amount(plan.Relative, 10*size.GiB), More: []plan.DiskSize{{Disk: "vdb", Size: amount(plan.Absolute, 50*size.GiB)}},
		Grow:  []plan.GrowTarget{{Name: "/", Amount: plan.Amount{Mode: plan.Fill}}, {Name: "/data", Amount: amount(plan.Absolute, 20*size.GiB)}},
		Check: plan.CheckFull, NoMove: true,
	}
	if diff := cmp.Diff(wantRequest, request); diff != "" {
		t.Error("request:", diff)
	}
}

func TestParseDefaults(t *testing.T) {
	inv, err := inventory.Parse("fleet.yaml", []byte("guests: [{name: a, disks: [{size: 30G}]}, {name: b, disks: [{size: 30G}]}]"))
	if err != nil {
		t.Fatal(err)
	}
	if inv.Canary.Count != 1 || inv.Parallel != 1 || inv.StopAfter != 1 {
		t.Errorf("got %+v", inv)
	}
	for _, g := range inv.Guests {
		if diff := cmp.Diff(inventory.DefaultTreatment(), g.Treatment); diff != "" {
			t.Error(diff)
		}
	}
	if diff := cmp.Diff([]string{"a"}, inv.Canaries()); diff != "" {
		t.Error("canaries:", diff)
	}
}

// TestErrors has an inventory a line, with the place and the message of its error.
func TestErrors(t *testing.T) {
	const one = "{name: a, disks: [{size: 30G}]}"
	guest := func(keys string) string { return "guests:\n- name: a\n  disks: [{size: 30G}]\n  " + keys }
	disks := func(list string) string { return "guests:\n- name: a\n  disks: " + list }
	for _, test := range []struct{ text, want string }{
		{"", "f: an inventory has one YAML document, with the key guests"},
		{"# nothing\n", "f: an inventory has one YAML document, with the key guests"},
		{"guests: []\n---\nguests: []", "f: an inventory has one YAML document, with the key guests"},
		{"\xff", "f: the text is not UTF-8"},
		{"parallel: 2", "f:1:9: the inventory lists no guests: the key guests is missing"},
		{"guests: []", "f:1:9: the inventory lists no guests"},
		{"guests: x", "f:1:9: must be a list"},
		{"- a", "f:1:1: must have keys: canary, connect, defaults, guests, parallel, stop-after, window"},
		{"guests:\n- x", "f:2:3: must have keys: accept, boot-timeout, check, check-timeout, disks, force-off, "},
		{"guest: []", `f:1:1: unknown key "guest"; known are canary, connect, `},
		{"guests: [\n", "f:1:9: sequence end token ']' not found"},
		{guest("name: b"), `f:4:3: mapping key "name" already defined at [2:3]`},
		{guest("\"name\": b"), "f:4:3: "},
		{guest("nope: b"), `f:4:3: unknown key "nope"; known are accept, `},
		{"guests:\n- &a {name: a}\n- *a", "f:2:3: an inventory has no anchors, aliases or merges: use defaults"},
		{"guests:\n- name: !!str 5", "f:2:9: an inventory has no tags, directives or complex keys: "},
		{strings.Repeat("[", 100), "f:1:21: lists are nested too deep"},
		{strings.Repeat("- ", 100), "f:1:41: lists are nested too deep"},

		{"guests:\n- disks: [{size: 30G}]", "f:2:8: the guest has no name"},
		{"guests:\n- name: ~\n  disks: [{size: 30G}]", "f:2:9: must be text"},
		{"guests:\n- name: ''\n  disks: [{size: 30G}]", "f:2:9: must not be empty"},
		{"guests:\n- name: [a]", "f:2:9: must be text"},
		{"guests:\n- name: \"a\\tb\"", "f:2:9: must be one line, without tabs"},
		{"guests:\n- name: \"a\\x1b\"", "f:2:9: must not contain control characters"},
		{"guests:\n- name: ./a.qcow2\n  disks: [{size: 30G}]", "f:2:9: ./a.qcow2 is the path of an image: an inventory lists domains; grow and plan take images"},
		{"guests:\n- " + one + "\n- " + one, "f:3:10: guest a is listed twice"},
		{"guests:\n- name: a", "f:2:9: guest a has no disks"},
		{disks("[]"), "f:3:10: the guest has no disks"},
		{disks("[{disk: vda}]"), "f:3:11: the disk has no size (30G, +10G, or fill)"},
		{disks("[{size: 30}]"), `f:3:18: "30": a size needs a unit, for example 30M or 30G`},
		{disks("[{size: 60%}]"), `f:3:18: "60%": the size of a disk must not be a percentage`},
		{disks("[{size: -1G}]"), `f:3:18: "-1G": virt-grow only grows`},
		{disks("[{size: 30G, grow: /}]"), "f:3:29: must be a list"},
		{disks("[{size: 30G, grow: [/data=x]}]"), `f:3:30: "x" is not a size`},
		{disks("[{size: 30G, grow: [none=1G]}]"), `f:3:30: "none=1G": give the container's size with --size`},
		{disks("[{disk: vda, size: 30G}, {disk: vda, size: 30G}]"), "f:3:42: disk vda is listed twice"},
		{disks("[{disk: vda, size: 30G}, {size: 30G}]"), "of several disks, each needs its name, for example disk: vda"},
		{disks("[{size: 30G}, {disk: vda, size: 30G}]"), "of several disks, each needs its name, for example disk: vda"},
		{disks("[{size: 30G, grow: [/a=60%, /b=60%]}]"), "f:2:9: guest a: the percentages of grow are 120% together; 100% is all of the remaining space"},

		{"canary: -1\nguests: [" + one + "]", "f:1:9: must be at least 0"},
		{"canary: x\nguests: [" + one + "]", "f:1:9: must be a whole number"},
		{"canary: [b]\nguests: [" + one + "]", "f:1:10: the canary b is not one of the guests"},
		{"canary: [a, a]\nguests: [" + one + "]", "f:1:13: guest a is listed twice"},
		{"parallel: 0\nguests: [" + one + "]", "f:1:11: must be at least 1"},
		{"parallel: 1.5\nguests: [" + one + "]", "f:1:11: must be a whole number"},
		{"stop-after: 0\nguests: [" + one + "]", "f:1:13: must be at least 1"},
		{"window: {end: 4}\nguests: [" + one + "]", `f:1:15: "4" must be a time of day (04:00) or a time stamp (2026-01-31T04:00:00Z)`},
		{"window: {end: 24:00}\nguests: [" + one + "]", `f:1:15: "24:00" must be a time of day (04:00) or a time stamp (2026-01-31T04:00:00Z)`},
		{"window: {start: 04:00, end: 04:00}\nguests: [" + one + "]", "the window starts and ends at the same time"},
		{"window: {start: 2026-01-31T04:00:00Z, end: 2026-01-31T02:00:00Z}\nguests: [" + one + "]", "the window ends before it starts"},

		{guest("accept: yes"), `f:4:11: must be auto or manual, not "yes"`},
		{guest("check: none"), `f:4:10: must be auto, full or quick, not "none"`},
		{guest("force-off: yes"), "f:4:14: must be true or false"},
		{guest("boot-timeout: 5"), `f:4:17: "5" is not a length of time (examples: 90s, 5m, 1h30m)`},
		{guest("boot-timeout: -5m"), `f:4:17: "-5m" must not be negative`},
		{guest("scratch-dir: here"), "f:4:16: the path must be absolute"},
		{guest("sector-size: 1000"), "f:4:16: must be 512 or 4096"},
		{guest("hooks: {before: x}"), `f:4:11: unknown key "before"; known are on-failure, post, pre`},
		{guest("{trial: false}"), "f:4:"},
		{guest("trial: false\n  accept: manual"), "f:2:9: guest a: accept: manual needs the trial: it cannot be used with trial: false"},
		{guest("trial: false\n  trial-boot: true"), "f:2:9: guest a: trial-boot needs the trial: it cannot be used with trial: false"},
		{"guests:\n- name: a\n  ntfs: guest\n  disks: [{size: 30G, grow: [none]}]", "f:2:9: guest a: ntfs: guest cannot be used with grow: [none]"},
		{guest("keys: [sda3]"), "f:4:10: a key must be ID:file:PATH"},
		{guest("keys: [\"sda3:prompt\"]"), `f:4:10: the key for "sda3" must be sda3:file:PATH`},
		{guest("keys: [\"sda3:file:key\"]"), `f:4:10: the key for "sda3": the file's path must be absolute`},
		{guest("keys: [\"sda3:key:SECRET\"]"), `f:4:10: the key for "sda3" is a passphrase: an inventory must not contain passphrases; use sda3:file:PATH`},
		{guest("keys: SECRET"), "f:4:9: must be a list"},
		{guest("keys: [{sda3: SECRET}]"), "f:4:10: must be text"},
		{guest("key: [\"sda3:key:SECRET\"]"), `f:4:3: unknown key "key"`},
	} {
		_, err := inventory.Parse("f", []byte(test.text))
		if err == nil {
			t.Errorf("%s\nno error, want %s", test.text, test.want)
			continue
		}
		if !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s\ngot  %v\nwant %s", test.text, err, test.want)
		}
		if strings.Contains(err.Error(), "SECRET") {
			t.Errorf("the error shows the passphrase: %v", err)
		}
	}
}

func TestErrorShowsThePlace(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"guests:\r\n- name: dév\r\n  disks: []\r\n", "f:3:10: the guest has no disks\n    disks: []\n           ^"},
		{"guests: [{name: ä, disks: [{size: 30}]}]", "f:1:35: \"30\": a size needs a unit, for example 30M or 30G\n  guests: [{name: ä, disks: [{size: 30}]}]\n                                    ^"},
		{"guests:\n- name: x" + strings.Repeat("y", 300) + "/\n  disks: [{size: 30G}]",
			"\n  - name: x" + strings.Repeat("y", 91) + "\n          ^"},
	} {
		_, err := inventory.Parse("f", []byte(test.text))
		var place *inventory.Error
		if !errors.As(err, &place) {
			t.Fatalf("got %v", err)
		}
		if !strings.HasSuffix(err.Error(), test.want) {
			t.Errorf("got\n%s\nwant\n%s", err, test.want)
		}
	}
}

func TestWindow(t *testing.T) {
	zone := time.FixedZone("", 3600)
	at := func(text string) time.Time {
		got, err := time.ParseInLocation("2006-01-02 15:04", text, zone)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	for _, test := range []struct{ now, start, end, wantStart, wantEnd string }{
		{"2026-01-30 14:00", "02:00", "04:00", "2026-01-31 02:00", "2026-01-31 04:00"},
		{"2026-01-31 03:00", "02:00", "04:00", "2026-01-31 02:00", "2026-01-31 04:00"},
		{"2026-01-31 05:00", "02:00", "04:00", "2026-02-01 02:00", "2026-02-01 04:00"},
		{"2026-01-30 23:30", "23:00", "01:00", "2026-01-30 23:00", "2026-01-31 01:00"},
		{"2026-01-31 00:30", "23:00", "01:00", "2026-01-30 23:00", "2026-01-31 01:00"},
		{"2026-01-30 14:00", "", "04:00", "", "2026-01-31 04:00"},
		{"2026-01-30 14:00", "02:00", "", "2026-01-31 02:00", ""},
		{"2026-01-30 14:00", "", "", "", ""},
		{"2026-01-30 14:00", "2026-03-01T02:00:00+01:00", "2026-03-01T04:00:00+01:00", "2026-03-01 02:00", "2026-03-01 04:00"},
	} {
		start, end, err := inventory.Window{Start: test.start, End: test.end}.At(at(test.now))
		if err != nil {
			t.Fatal(err)
		}
		for _, each := range []struct {
			got  time.Time
			want string
		}{{start, test.wantStart}, {end, test.wantEnd}} {
			want := time.Time{}
			if each.want != "" {
				want = at(each.want)
			}
			if !each.got.Equal(want) {
				t.Errorf("%+v: got %v", test, each.got)
			}
		}
	}
}
