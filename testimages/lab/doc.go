// Package lab provides a private libvirt and a small guest that really boots, for end-to-end
// tests, the demonstration and the benchmarks.
//
// The libvirt (Start) is a libvirtd in its own mount namespace. Its files in /run,
// /etc/libvirt and /var/*/libvirt are in directories below the given one, so a daemon finds
// its guests again after it was killed. The guest (Image, Define) is a kernel of the host
// with a root file system on the disk that grows. Ten times a second, it writes to a serial
// port the sizes of its disk and root file system, and the number of the last line that is
// safe on the disk. Options on the kernel's command line make it misbehave.
//
// Nothing is mounted outside that namespace, the host's own libvirt and its guests are not
// touched, and processes are ended by recorded pid, never by name. Cached images are never
// written to. The package needs root, and imports no other package of the project.
package lab
