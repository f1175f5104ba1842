// Package block works with disk images on the host through QEMU's own tools:
// qemu-img for what exists as a file, qemu-storage-daemon for the gate.
//
// It never guesses a format, never writes to an image but through qemu-img
// commit, and leaves no process behind: what it starts can be found again by
// pid and start time after a crash.
package block
