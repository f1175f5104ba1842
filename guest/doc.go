// Package guest is a disk as the planner and the executor see it: it finds an
// image and judges it (Open), looks inside (Look), and grows it as a job that
// survives crashes (Grow, Resume, Rollback, Accept). It puts together what
// guest/block does on the host and guest/appliance inside.
package guest
