package guest

import (
	"github.com/virt-grow/virt-grow/guest/device"
	"github.com/virt-grow/virt-grow/guest/files"
	"github.com/virt-grow/virt-grow/guest/growth"
	"github.com/virt-grow/virt-grow/guest/job"
)

// Options are what every job command takes. A growth takes all of them.
type Options = growth.Options

// FileOptions are what a change of files takes of the options.
func FileOptions(o Options) files.Options {
	return files.Options{Options: o.Options, Session: o.Session, Scratch: o.Scratch}
}

// DeviceOptions are what a job on a domain's devices takes of the options.
func DeviceOptions(o Options) device.Options {
	return device.Options{Options: FileOptions(o), Cache: o.Cache}
}

// Outcome is how a job command ended, Failure one that did not reach its end.
type (
	Outcome = job.Outcome
	Failure = job.Failure
)
