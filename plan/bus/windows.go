package bus

import (
	"context"
	"fmt"
	"strings"
)

// Hive is a registry hive that is open for reading. Names are compared without regard to case.
type Hive interface {
	// Keys returns the names of the keys below a key; none if the key does not exist.
	Keys(ctx context.Context, path string) ([]string, error)
	// Has reports whether a key exists.
	Has(ctx context.Context, path string) (bool, error)
	// Number returns a value of the type REG_DWORD; nil if there is none.
	Number(ctx context.Context, path, value string) (*uint32, error)
}

// windowsDrivers are the drivers of disks, by the names of their services, with the PCI devices
// that they are for. IDs are without "VEN_"; of a class, only the class is known.
var windowsDrivers = []struct {
	name string
	ids  []string
	// exact are the keys that the drivers' INF files make, so that not all keys have to be
	// listed.
	exact []string
}{
	{"viostor", []string{"1AF4:1001", "1AF4:1042"}, []string{"SUBSYS_00021AF4&REV_00", "SUBSYS_11001AF4&REV_01"}},
	{"vioscsi", []string{"1AF4:1004", "1AF4:1048"}, []string{"SUBSYS_00081AF4&REV_00", "SUBSYS_11001AF4&REV_01"}},
	{"storahci", []string{"0106"}, nil},
	{"msahci", []string{"0106"}, nil},
	{"stornvme", []string{"0108"}, nil},
	{"intelide", nil, nil},
	{"atapi", nil, nil},
}

// idKey returns the beginning of the keys of a PCI device: VEN_1AF4&DEV_1001, CC_0106.
func idKey(id string) string {
	vendor, device, ok := strings.Cut(id, ":")
	if !ok {
		return "CC_" + id
	}
	return "VEN_" + vendor + "&DEV_" + device
}

// windowsLook looks at the hive SYSTEM. The first error ends it.
type windowsLook struct {
	ctx  context.Context
	hive Hive
	err  error
	// listed has the keys that were listed.
	listed map[string][]string
}

// LookAtWindows finds the drivers of disks of a Windows in its hive SYSTEM. hasFile reports
// whether System32\drivers has a file. unclear is why the next start is not known, if it is not.
func LookAtWindows(ctx context.Context, system Hive, hasFile func(name string) (bool, error)) (found *Windows, unclear string, err error) {
	w := &windowsLook{ctx: ctx, hive: system, listed: map[string][]string{}}
	current, def := w.number("Select", "Current"), w.number("Select", "Default")
	switch {
	case w.err != nil:
		return nil, "", w.err
	case current == nil:
		return nil, "the registry does not say which control set is current", nil
	}
	if def != nil && *def != *current {
		unclear = fmt.Sprintf("the registry names control set %d as current and %d for the next start: start Windows, and shut it down", *current, *def)
	}
	found = &Windows{ControlSet: fmt.Sprintf("ControlSet%03d", *current)}
	for _, d := range windowsDrivers {
		driver := WindowsDriver{Name: d.name}
		if driver.File, err = hasFile(d.name + ".sys"); err != nil {
			return nil, "", err
		}
		service := found.ControlSet + `\Services\` + d.name
		driver.Start = w.number(service, "Start")
		driver.Override = w.number(service+`\StartOverride`, "0")
		if driver.File && driver.Start != nil {
			for _, id := range d.ids {
				if w.knows(found.ControlSet, id, d.exact) {
					driver.Devices = append(driver.Devices, id)
				}
			}
		}
		found.Drivers = append(found.Drivers, driver)
	}
	return found, unclear, w.err
}

// knows reports whether Windows has an entry for a PCI device.
func (w *windowsLook) knows(controlSet, id string, exact []string) bool {
	const database = `DriverDatabase\DeviceIds\PCI`
	key := idKey(id)
	for _, suffix := range append([]string{""}, exact...) {
		if suffix != "" {
			suffix = "&" + suffix
		}
		if w.has(database + `\` + key + suffix) {
			return true
		}
	}
	return w.begins(database, key) || w.begins(controlSet+`\Control\CriticalDeviceDatabase`, "pci#"+key)
}

// begins reports whether a key has a key below whose name begins with prefix.
func (w *windowsLook) begins(key, prefix string) bool {
	names, done := w.listed[key]
	if !done && w.err == nil {
		names, w.err = w.hive.Keys(w.ctx, key)
		w.listed[key] = names
	}
	for _, name := range names {
		if len(name) >= len(prefix) && strings.EqualFold(name[:len(prefix)], prefix) {
			return true
		}
	}
	return false
}

func (w *windowsLook) has(key string) (ok bool) {
	if w.err == nil {
		ok, w.err = w.hive.Has(w.ctx, key)
	}
	return ok
}

func (w *windowsLook) number(key, value string) (n *uint32) {
	if w.err == nil {
		n, w.err = w.hive.Number(w.ctx, key, value)
	}
	return n
}
