// Package domain reads and changes one domain through libvirt: its definition, its
// devices, whether it runs, and whether its disks are on images or on overlays. It also
// carries the commands for the guest's agent and for QEMU's monitor.
//
// It never writes a definition anew: texts are edited in place, and everything that is
// not edited stays byte for byte. It changes no other domain, and never opens a disk.
//
// libvirt stands behind the interfaces connection and handle. A call is repeated when
// libvirtd has been restarted, unless a second one could do harm.
package domain
