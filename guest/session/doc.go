// Package session runs one appliance on the disks of one guest, each behind a gate.
// A gate is an export that begins as an empty disk and is pointed at an overlay
// later, so that the appliance boots while the real disk is still in use. Images
// are only read: everything is written to overlays. What an inspection found is
// kept in a Cache.
package session
