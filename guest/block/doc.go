// Package block works with disk images on the host through QEMU's tools: qemu-img for
// files, qemu-storage-daemon for the gate.
//
// It never guesses a format, and writes to an existing image only by qemu-img commit. The
// processes that it starts can be found by pid and start time after a crash.
package block
