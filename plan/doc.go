// Package plan computes how a disk grows: from a layout (what is on the disk)
// and a request (what should grow) to a plan (the steps, in order, with sizes).
//
// It is pure: it runs no program, opens no file, reads no clock. Probing is
// guest's work, executing is plan/apply's.
//
// Invariants of every plan that Build returns:
//   - no partition's start, number, type or identifier changes;
//   - nothing shrinks, and no two partitions overlap;
//   - a step's device is grown only after everything it lies on was grown.
package plan
