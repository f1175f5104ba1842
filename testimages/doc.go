// Package testimages builds the zoo: small, sparse, deterministic disk images
// of the layouts virt-grow meets, sound and broken, for the tests of the other
// packages.
//
// The recipes (All) are data. Tables are written by this package's own code, so
// that they are an oracle independent of plan/table; file systems are made by
// the tools of the distribution, on plain files on the host where those tools
// take options libguestfs does not offer, and filled in one libguestfs
// appliance. Nothing is ever mounted on the host.
//
// Invariants: the same recipes give the same table bytes and the same file
// manifests; a cached image is complete or absent; cached images are never
// written to (use Copy). LVM and LUKS metadata, and anything else a tool takes
// from the clock or the random pool, may differ between builds.
//
// It imports nothing else of the project.
package testimages
