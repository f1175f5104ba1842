// Package bus decides whether a guest starts when a disk of it moves to another bus, from
// what was found on its disks: the drivers that are there when the system starts, and the
// files that call the disk by a name that changes with the bus.
//
// LookAtLinux and LookAtWindows find these things through the interfaces Files and Hive, and
// Check judges them. The package changes nothing, and runs no program: what must be rewritten
// is returned as data.
package bus

import "github.com/virt-grow/virt-grow/plan"

// The buses, by libvirt's names. A disk on SCSI is on a virtio-scsi controller.
const (
	IDE    = "ide"
	SATA   = "sata"
	SCSI   = "scsi"
	Virtio = "virtio"
)

// Findings is what was found on a guest's disks.
type Findings struct {
	// System is "linux", "windows", or "" if no system was found, or several.
	System string `json:"system,omitempty"`
	// Product is the system's name and version.
	Product string `json:"product,omitempty"`
	// Disks are the guest's disks, in the order of its definition.
	Disks   []Disk   `json:"disks"`
	Linux   *Linux   `json:"linux,omitempty"`
	Windows *Windows `json:"windows,omitempty"`
	// BitLocker are the volumes that are encrypted with BitLocker.
	BitLocker []string `json:"bitlocker,omitempty"`
	// Unclear is why nothing, or not everything, could be found: one sentence.
	Unclear string `json:"unclear,omitempty"`
}

// Disk is a disk of the guest.
type Disk struct {
	// Target is the disk's target in the definition: "hda".
	Target string `json:"target"`
	// Bus is the disk's bus before the move.
	Bus string `json:"bus"`
	// Moves reports that the disk moves.
	Moves bool `json:"moves,omitempty"`
	// Data reports that the system starts without the disk: it has no part of /, /usr or /boot.
	Data bool `json:"data,omitempty"`
}

// Linux is what was found of a Linux.
type Linux struct {
	// Kernels are the kernels that the boot loader may start next. All have to find the disk.
	Kernels []Kernel `json:"kernels"`
	// Loader is the file that says which kernel the boot loader starts: "/boot/grub/grub.cfg".
	// There may be several, as "/boot/grub/grub.cfg, /boot/efi/EFI/debian/grub.cfg".
	// If it is empty, that could not be told, and Kernels has all kernels of the guest.
	Loader string `json:"loader,omitempty"`
	// Names are the places that call a disk by a name that changes with the bus.
	Names []Name `json:"names,omitempty"`
	// Edits replace the names that can be replaced.
	Edits []plan.FileEdit `json:"edits,omitempty"`
	// Copied are the files in Edits of which the initramfs has a copy, which stays as it is.
	Copied []string `json:"copied,omitempty"`
}

// Kernel is a kernel, with the drivers of disks that it has when it starts.
type Kernel struct {
	// Version is the kernel's release, as uname -r prints it: "6.1.0-18-amd64".
	Version string `json:"version"`
	// Image is the path of the kernel: "/boot/vmlinuz-6.1.0-18-amd64".
	Image string `json:"image"`
	// Initramfs is the path of the initramfs; it is empty if the kernel starts without one.
	Initramfs string `json:"initramfs,omitempty"`
	// Builtin are the drivers that are a part of the kernel.
	Builtin []string `json:"builtin,omitempty"`
	// Included are the drivers in the initramfs.
	Included []string `json:"included,omitempty"`
	// Installed are the drivers in the guest's /lib/modules, for this version.
	Installed []string `json:"installed,omitempty"`
	// Unclear is why the initramfs could not be read, if it could not.
	Unclear string `json:"unclear,omitempty"`
}

// Name is a place that calls a disk by a name that changes with the bus.
type Name struct {
	Path string `json:"path"`
	// Line is the line in the file, from 1.
	Line int `json:"line"`
	// Text is the name: "/dev/sda2".
	Text string `json:"name"`
	// Becomes is what replaces it: "UUID=…". If it is empty, the name cannot be replaced,
	// and Why says why.
	Becomes string `json:"becomes,omitempty"`
	Why     string `json:"why,omitempty"`
	// Harmless reports that the system also starts if the name is wrong.
	Harmless bool `json:"harmless,omitempty"`
}

// Windows is what was found of a Windows.
type Windows struct {
	// Version is for example "10.0.20348", Architecture for example "x86_64".
	Version      string `json:"version"`
	Architecture string `json:"architecture"`
	// ControlSet is the control set that is used at the next start: "ControlSet001".
	ControlSet string `json:"control_set"`
	// Drivers are the drivers of disks.
	Drivers []WindowsDriver `json:"drivers"`
}

// WindowsDriver is a driver of a Windows, by the name of its service.
type WindowsDriver struct {
	// Name is the service: "viostor", "vioscsi", "storahci", "msahci", "stornvme".
	Name string `json:"name"`
	// File reports that System32\drivers has the driver's file.
	File bool `json:"file"`
	// Start is the service's Start value; it is left out if there is no service.
	// Windows loads a driver for its own disk only with 0.
	Start *uint32 `json:"start,omitempty"`
	// Override is the value of StartOverride, which replaces Start; it is left out if there
	// is none.
	Override *uint32 `json:"start_override,omitempty"`
	// Devices are the PCI devices that Windows knows the driver for, by DriverDatabase, or
	// before Windows 8 by CriticalDeviceDatabase: "1AF4:1001", or "0106" for a class.
	Devices []string `json:"devices,omitempty"`
}
