// Package domain speaks with libvirt about one domain: what it is made of, how
// it is shut down and started, and how its disks are pointed at overlays and
// back.
//
// It never rebuilds a domain's XML: what was read as text is given back as
// text. It never touches a domain it was not asked about, and never opens a
// disk.
package domain
