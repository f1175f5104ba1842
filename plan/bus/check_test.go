package bus

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virt-grow/virt-grow/plan"
)

// on returns the findings of a guest with one disk.
func on(l *Linux) Findings { return Findings{System: "linux", Disks: oneDisk, Linux: l} }

func kernel(where string, drivers ...string) *Linux {
	k := Kernel{Version: "6.1", Initramfs: "/boot/initrd.img-6.1"}
	switch where {
	case "built in":
		k.Builtin = drivers
	case "installed":
		k.Installed = drivers
	case "no initramfs":
		k.Initramfs, k.Builtin = "", drivers
	default:
		k.Included = drivers
	}
	return &Linux{Loader: "/boot/grub/grub.cfg", Kernels: []Kernel{k}}
}

func TestCheckDrivers(t *testing.T) {
	all := []string{"virtio_pci", "virtio_blk", "virtio_scsi", "sd_mod", "ahci", "ata_generic"}
	unread := kernel("included", "sd_mod")
	unread.Kernels[0].Unclear = "it is damaged"
	unreadWith := kernel("included", all...)
	unreadWith.Kernels[0].Unclear = "it is damaged"
	two := kernel("included", all...)
	two.Loader = ""
	two.Kernels = append(two.Kernels, Kernel{Version: "5.10", Included: []string{"sd_mod"}})
	data := on(kernel("installed", all...))
	data.Disks = []Disk{{Target: "sda", Bus: SATA}, {Target: "sdb", Bus: SATA, Moves: true, Data: true}}
	both := data
	both.Disks = []Disk{{Target: "sda", Bus: SATA, Moves: true}, {Target: "sdb", Bus: SATA, Moves: true, Data: true}}
	for name, c := range map[string]struct {
		found  Findings
		to     string
		reason plan.Reason
		item   string
	}{
		"all, to virtio":             {on(kernel("included", all...)), Virtio, "", ""},
		"all, to scsi":               {on(kernel("included", all...)), SCSI, "", ""},
		"all, to sata":               {on(kernel("included", all...)), SATA, "", ""},
		"all, to ide":                {on(kernel("included", all...)), IDE, "", ""},
		"built in":                   {on(kernel("built in", all...)), Virtio, "", ""},
		"built in, no initramfs":     {on(kernel("no initramfs", all...)), Virtio, "", ""},
		"no initramfs":               {on(kernel("no initramfs", "sd_mod")), Virtio, plan.BusDriver, "virtio_pci"},
		"installed is too late":      {on(kernel("installed", all...)), Virtio, plan.BusDriver, "virtio_pci"},
		"installed, for a data disk": {data, Virtio, "", ""},
		"and also the system's disk": {both, Virtio, plan.BusDriver, "virtio_pci"},
		"no controller":              {on(kernel("included", "virtio_blk")), Virtio, plan.BusDriver, "virtio_pci"},
		"no disks of SCSI":           {on(kernel("included", "virtio_pci", "virtio_scsi")), SCSI, plan.BusDriver, "sd_mod"},
		"no IDE":                     {on(kernel("included", "sd_mod")), IDE, plan.BusDriver, "ata_piix"},
		"an unread initramfs":        {on(unread), Virtio, plan.BusUnclear, ""},
		"read as far as needed":      {on(unreadWith), Virtio, "", ""},
		"the weakest of several":     {on(two), Virtio, plan.BusDriver, "virtio_pci"},
		"no kernel":                  {on(&Linux{}), Virtio, plan.BusUnclear, ""},
		"no system":                  {Findings{}, Virtio, plan.BusUnclear, ""},
		"two systems":                {Findings{Unclear: "2 operating systems are installed"}, Virtio, plan.BusUnclear, ""},
		"BitLocker":                  {Findings{BitLocker: []string{"hda2"}, Unclear: "no system"}, Virtio, plan.BitLocker, ""},
	} {
		_, _, err := Check(c.found, SATA, c.to)
		refuses(t, name, err, c.reason, c.item)
	}
}

// refuses checks the reason and the item of a refusal.
func refuses(t *testing.T, name string, err error, reason plan.Reason, item string) {
	t.Helper()
	var r *plan.Refusal
	if !errors.As(err, &r) {
		r = &plan.Refusal{}
	}
	if r.Reason != reason || r.Item != item || reason == "" && err != nil {
		t.Errorf("%s: %q, %q (%v), want %q, %q", name, r.Reason, r.Item, err, reason, item)
	}
}

// TestCheckNames checks which names are replaced, reported and refused, for moves that change
// the names of disks and for such that do not.
func TestCheckNames(t *testing.T) {
	files := debian.with(tree{"/etc/fstab": "/dev/sda1 / ext4\n/dev/sda9 /x ext4 nofail\n"})
	for name, c := range map[string]struct {
		more     tree
		from, to string
		disks    []Disk
		edits    int
		warnings int
		reason   plan.Reason
	}{
		"to virtio":                          {nil, SATA, Virtio, oneDisk, 4, 2, ""},
		"SATA to SCSI: only by-id changes":   {nil, SATA, SCSI, oneDisk, 0, 1, ""},
		"SATA to SCSI: the order may change": {nil, SATA, SCSI, append(oneDisk, Disk{Target: "sdb", Bus: SATA}), 4, 2, ""},
		"a name that is needed":              {tree{"/etc/kernel/cmdline": "x=/dev/sda1"}, SATA, Virtio, oneDisk, 4, 2, plan.BusNames},
		"which does not change":              {tree{"/etc/kernel/cmdline": "x=/dev/sda1"}, SATA, SCSI, oneDisk, 0, 1, ""},
		"copied into the initramfs": {tree{"/etc/crypttab": "root /dev/sda2 none luks\n",
			"/boot/initrd.img-" + debianKernel: image(append(modules(debianKernel, allDrivers...), "cryptroot/crypttab")...)}, SATA, Virtio, oneDisk, 5, 2, plan.BusNames},
	} {
		devices := partitions("/dev/sda")
		devices[2].Type = "crypto_LUKS"
		l, err := LookAtLinux(t.Context(), files.with(c.more), devices)
		if err != nil {
			t.Fatal(err)
		}
		edits, warnings, err := Check(Findings{Disks: c.disks, Linux: l}, c.from, c.to)
		refuses(t, name, err, c.reason, "")
		if len(edits) != c.edits || len(warnings) != c.warnings {
			t.Errorf("%s: %d edits, warnings %q", name, len(edits), warnings)
		}
	}
}

// hive is a registry hive: numbers by the path of their key and their name; a key without
// values is there with the name "".
type hive map[string]map[string]uint32

func (h hive) Keys(_ context.Context, path string) (names []string, err error) {
	for key := range h {
		if rest, ok := strings.CutPrefix(key, path+`\`); ok {
			name, _, _ := strings.Cut(rest, `\`)
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

func (h hive) Has(_ context.Context, path string) (bool, error) {
	_, ok := h[path]
	return ok, nil
}

func (h hive) Number(_ context.Context, path, value string) (*uint32, error) {
	if n, ok := h[path][value]; ok {
		return &n, nil
	}
	return nil, nil
}

// windows returns the hive of a Windows with viostor.
func windows(current uint32, start uint32, device string) hive {
	return hive{
		"Select":                               {"Current": current, "Default": current},
		`ControlSet001\Services\viostor`:       {"Start": start, "ErrorControl": 1},
		`ControlSet001\Services\storahci`:      {"Start": 0},
		`DriverDatabase\DeviceIds\PCI\CC_0106`: {},
		device:                                 {},
	}
}

func TestWindows(t *testing.T) {
	const (
		database = `DriverDatabase\DeviceIds\PCI\VEN_1AF4&DEV_1001&SUBSYS_00021AF4&REV_00`
		vendor   = `DriverDatabase\DeviceIds\PCI\VEN_1AF4&DEV_1042&SUBSYS_12345678`
		critical = `ControlSet001\Control\CriticalDeviceDatabase\pci#ven_1af4&dev_1001&subsys_00021af4`
	)
	override := func(h hive, service string, n uint32) hive {
		h[`ControlSet001\Services\`+service+`\StartOverride`] = map[string]uint32{"0": n}
		return h
	}
	undecided := windows(1, 0, database)
	undecided["Select"]["Default"] = 2
	files := []string{"viostor.sys", "storahci.sys", "intelide.sys", "atapi.sys"}
	for name, c := range map[string]struct {
		hive   hive
		files  []string
		to     string
		reason plan.Reason
		item   string
	}{
		"Windows 10":                    {windows(1, 0, database), files, Virtio, "", ""},
		"a vendor's build":              {windows(1, 0, vendor), files, Virtio, "", ""},
		"Windows 7":                     {windows(1, 0, critical), files, Virtio, "", ""},
		"no file":                       {windows(1, 0, database), nil, Virtio, plan.BusDriver, "viostor"},
		"no device":                     {windows(1, 0, "x"), files, Virtio, plan.BusDriver, "viostor"},
		"on demand":                     {windows(1, 3, database), files, Virtio, plan.BusDisabled, "viostor"},
		"disabled":                      {windows(1, 4, database), files, Virtio, plan.BusDisabled, "viostor"},
		"overridden":                    {override(windows(1, 0, database), "viostor", 3), files, Virtio, plan.BusDisabled, "viostor"},
		"overridden with the same":      {override(windows(1, 0, database), "viostor", 0), files, Virtio, "", ""},
		"another control set":           {windows(2, 0, database), files, Virtio, plan.BusDriver, "viostor"},
		"another one for the next time": {undecided, files, Virtio, plan.BusUnclear, ""},
		"no control set":                {hive{}, files, Virtio, plan.BusUnclear, ""},
		"to scsi, with viostor":         {windows(1, 0, database), files, SCSI, plan.BusDriver, "vioscsi"},
		"to sata":                       {windows(1, 0, database), files, SATA, "", ""},
		"to sata, installed on IDE":     {override(windows(1, 0, database), "storahci", 3), files, SATA, plan.BusDisabled, "storahci"},
		"to ide":                        {windows(1, 0, database), files, IDE, plan.BusDriver, "intelide"},
	} {
		w, unclear, err := LookAtWindows(t.Context(), c.hive, func(name string) (bool, error) { return slices.Contains(c.files, name), nil })
		if err != nil {
			t.Fatal(err)
		}
		_, warnings, err := Check(Findings{Disks: oneDisk, Windows: w, Unclear: unclear}, IDE, c.to)
		refuses(t, name, err, c.reason, c.item)
		if err == nil && c.to == Virtio && len(warnings) != 1 {
			t.Errorf("%s: it knows one of two devices, but the warnings are %q", name, warnings)
		}
	}
}

// TestFindingsAreData checks that findings in a plan file lead to the same result.
func TestFindingsAreData(t *testing.T) {
	found := Findings{System: "linux", Disks: oneDisk, Linux: look(t, debian)}
	text, err := json.Marshal(found)
	if err != nil {
		t.Fatal(err)
	}
	var back Findings
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	edits, warnings, err := Check(found, SATA, Virtio)
	again, warningsAgain, errAgain := Check(back, SATA, Virtio)
	if diff := cmp.Diff(edits, again) + cmp.Diff(warnings, warningsAgain); diff != "" || err != nil || errAgain != nil || len(edits) == 0 {
		t.Errorf("%v, %v\n%s", err, errAgain, diff)
	}
}
