// Package plan computes how a disk grows: from a layout (what is on the disk)
// and a request (what should grow) to a plan (the steps, in order, with sizes).
//
// It is pure: it runs no program, opens no file, reads no clock. Probing belongs to
// package guest, executing to plan/apply.
//
// Invariants of every plan that Build returns:
//   - no partition's start, number, type or identifier changes;
//   - nothing shrinks, and no two partitions overlap;
//   - a device is grown only after all devices below it were grown.
package plan
