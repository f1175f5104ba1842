// Package lab is a private libvirt and a small guest that really boots, for
// end-to-end tests, the demonstration and the benchmark.
//
// The libvirt (Start) is a libvirtd of its own in its own mount namespace: what
// it keeps in /run, /etc/libvirt and /var/*/libvirt is in directories below the one
// it was given, so a daemon that was killed finds its guests again. The guest
// (Image, Define) is a kernel of the host, and a root file system on the disk
// that is to grow. It says ten times a second on a serial port that it runs, how
// large its disk and its root file system are, and which of the lines that it
// wrote to the disk are safe there; told so on its kernel's command line, it
// misbehaves.
//
// Nothing is ever mounted outside that namespace, the host's own libvirt and its
// guests are left alone, and processes are ended by recorded pid, never by name.
// Cached images are never written to. It needs root, and imports nothing else of
// the project.
package lab
