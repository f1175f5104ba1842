package guest

import (
	"context"

	"github.com/virt-grow/virt-grow/guest/batch"
	"github.com/virt-grow/virt-grow/guest/create"
	"github.com/virt-grow/virt-grow/guest/device"
	"github.com/virt-grow/virt-grow/guest/files"
	"github.com/virt-grow/virt-grow/guest/growth"
	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/guest/online"
)

// kinds returns the registry of the kinds of job. The options are for a job that is taken up
// again.
func kinds(o Options) job.Kinds {
	grow := growth.Options{Options: o.Options, Session: o.Session, Cache: o.Cache}
	return job.Kinds{
		growth.Kind:           growth.Open(grow),
		growth.KindRehearsal:  growth.OpenRehearsal(grow),
		growth.KindBus:        growth.Open(grow),
		online.Kind:           online.Open,
		device.KindAttach:     device.OpenAttach(o.Session, o.Cache),
		device.KindDetach:     device.OpenDetach(o.Session),
		device.KindMedium:     device.OpenMedium,
		files.KindEdit:        files.OpenJob(o.Session),
		files.KindCopyIn:      files.OpenJob(o.Session),
		create.KindDisk:       create.OpenDisk(create.Tools{Session: o.Session, Cache: o.Cache}),
		create.KindConversion: create.OpenConversion,
		batch.Kind:            batch.Open(batch.Options{Options: o.Options, Jobs: &batch.Growths{Options: grow}}),
	}
}

// Engine returns the engine that runs jobs with these options.
func Engine(o Options) *job.Engine { return &job.Engine{Options: o.Options, Kinds: kinds(o)} }

// Resume finishes a job that was interrupted.
func Resume(ctx context.Context, name string, o Options) (*Outcome, error) {
	return Engine(o).Resume(ctx, name)
}

// Accept commits a job that waits for a decision, and closes one that cannot be
// undone any more.
func Accept(ctx context.Context, name string, o Options) (*Outcome, error) {
	return Engine(o).Accept(ctx, name)
}

// Rollback undoes what a job has done.
func Rollback(ctx context.Context, name string, o Options) (*Outcome, error) {
	return Engine(o).Rollback(ctx, name)
}

// Close ends a job as it is.
func Close(_ context.Context, name string, o Options) (*Outcome, error) {
	return Engine(o).Close(name)
}
