package testimages

import (
	"fmt"
	"io"
)

// DriverState is how far a Windows is prepared for a disk on virtio.
type DriverState string

// The states.
const (
	DriverAbsent   DriverState = "absent"
	DriverBoots    DriverState = "boot-start"
	DriverDisabled DriverState = "disabled"
	// DriverOtherSet: the driver is disabled in control set 1, and loaded in set 2, which is
	// current.
	DriverOtherSet DriverState = "other control set"
)

// WindowsSystem is a system drive of a Windows with viostor in some state. Its hives have only
// the keys that inspection and a move to another bus look at.
type WindowsSystem struct {
	// Product is the name in the registry: Windows 11 calls itself Windows 10 there.
	Product      string
	Major, Minor uint32
	Build        string
	State        DriverState
}

// Version returns the version as Windows prints it.
func (w WindowsSystem) Version() string {
	return fmt.Sprintf("%d.%d.%s", w.Major, w.Minor, w.Build)
}

// WindowsSystems are all versions in all states.
func WindowsSystems() (all []WindowsSystem) {
	for _, w := range []WindowsSystem{
		{Product: "Windows 7 Professional", Major: 6, Minor: 1, Build: "7601"},
		{Product: "Windows 10 Pro", Major: 10, Build: "19045"},
		{Product: "Windows 10 Pro", Major: 10, Build: "22631"}, // Windows 11
		{Product: "Windows Server 2016 Standard", Major: 10, Build: "14393"},
		{Product: "Windows Server 2022 Standard", Major: 10, Build: "20348"},
	} {
		for _, w.State = range []DriverState{DriverAbsent, DriverBoots, DriverDisabled, DriverOtherSet} {
			all = append(all, w)
		}
	}
	return all
}

const config = "Windows/System32/config/"

// Hives returns the content of the registry's hives, by their paths.
func (w WindowsSystem) Hives() map[string][]byte {
	return map[string][]byte{config + "SOFTWARE": writeHive(w.software()), config + "SYSTEM": writeHive(w.system())}
}

// WriteTar writes the files of the system drive as a tar stream.
func (w WindowsSystem) WriteTar(to io.Writer) error {
	es := []entry{{path: "Windows/"}, {path: "Windows/System32/"}, {path: config}, {path: "Windows/System32/drivers/"},
		{path: "Program Files/"}, {path: "Users/"},
		{path: "Windows/System32/cmd.exe", data: peFile(make([]byte, 1000))},
		{path: "Windows/System32/ntoskrnl.exe", data: peFile(make([]byte, 1000))}}
	for path, data := range w.Hives() {
		es = append(es, entry{path: path, data: data})
	}
	if w.State != DriverAbsent {
		es = append(es, entry{path: "Windows/System32/drivers/VioStor.sys", data: peFile(make([]byte, 1000))})
	}
	return writeTar(to, es)
}

func (w WindowsSystem) software() *regKey {
	root := &regKey{name: "ROOT"}
	key := root.at(`Microsoft\Windows NT\CurrentVersion`)
	key.set(regString("ProductName", w.Product), regString("CurrentVersion", "6.3"), regString("CurrentBuild", w.Build),
		regString("CurrentBuildNumber", w.Build), regString("SystemRoot", `C:\Windows`))
	if w.Major < 10 {
		key.values[1] = regString("CurrentVersion", fmt.Sprintf("%d.%d", w.Major, w.Minor))
	} else {
		key.set(regNumber("CurrentMajorVersionNumber", w.Major), regNumber("CurrentMinorVersionNumber", w.Minor))
	}
	root.at(`Microsoft\Windows\CurrentVersion\Uninstall`)
	return root
}

func (w WindowsSystem) system() *regKey {
	root := &regKey{name: "ROOT"}
	current := "ControlSet001"
	n := uint32(1)
	if w.State == DriverOtherSet {
		current, n = "ControlSet002", 2
		root.at(`ControlSet001\Services\viostor`).set(regNumber("Start", 4), regNumber("Type", 1))
	}
	root.at("Select").set(regNumber("Current", n), regNumber("Default", n), regNumber("Failed", 0), regNumber("LastKnownGood", n))
	root.at(current + `\Services\Tcpip\Parameters`).set(regString("Hostname", "WIN-BUS"))
	root.at("MountedDevices")
	if w.State == DriverAbsent {
		return root
	}
	start := uint32(0)
	if w.State == DriverDisabled {
		start = 4
	}
	root.at(current+`\Services\viostor`).set(regNumber("Start", start), regNumber("Type", 1), regNumber("ErrorControl", 1),
		regString("Group", "SCSI miniport"), regString("ImagePath", `System32\drivers\viostor.sys`))
	if w.Major < 10 {
		for _, id := range []string{"pci#ven_1af4&dev_1001&subsys_00021af4&rev_00", "pci#ven_1af4&dev_1042&subsys_11001af4&rev_01"} {
			root.at(current+`\Control\CriticalDeviceDatabase\`+id).set(regString("Service", "viostor"),
				regString("ClassGUID", "{4D36E97B-E325-11CE-BFC1-08002BE10318}"))
		}
		return root
	}
	for _, id := range []string{"VEN_1AF4&DEV_1001&SUBSYS_00021AF4&REV_00", "VEN_1AF4&DEV_1042&SUBSYS_11001AF4&REV_01"} {
		root.at(`DriverDatabase\DeviceIds\PCI\` + id).set(regValue{"oem3.inf", regBinary, []byte{1, 0xff, 0, 0}})
	}
	return root
}
