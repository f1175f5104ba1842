package main

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/virt-grow/virt-grow/cmd/virt-grow/view"
	"github.com/virt-grow/virt-grow/guest/batch"
	guestusage "github.com/virt-grow/virt-grow/guest/usage"
)

// output is a file that a command writes. It replaces an older one of its kind, and nothing
// else without --force: the path may be that of a disk.
type output struct {
	// flag is the flag that names the file.
	flag, path string
	// kind is what may be replaced ("a plan"), and is reports whether a file is one.
	kind string
	is   func(path string) bool
	// forces reports whether --force was given, forcible whether the command has it.
	forces, forcible bool
	// inputs are what the command reads, by what they are ("the image"). They are never
	// replaced.
	inputs map[string][]string
}

// check refuses a file that may not be replaced.
func (o output) check() error {
	if o.path == "" || o.path == "-" {
		return nil
	}
	now, err := os.Lstat(o.path) // a link would be replaced, not the file that it is to
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return usage("%s: %v", o.flag, err)
	}
	for kind, paths := range o.inputs {
		if slices.ContainsFunc(paths, func(path string) bool {
			input, err := os.Stat(path)
			return err == nil && os.SameFile(now, input)
		}) {
			return usage("%s %s is %s itself", o.flag, o.path, kind)
		}
	}
	switch {
	case !now.Mode().IsRegular():
		return usage("%s %s exists and is not a regular file", o.flag, o.path)
	case unix.Access(o.path, unix.W_OK) != nil: // a rename would replace it nevertheless
		return usage("%s %s exists and is write-protected", o.flag, o.path)
	case o.forces || o.is(o.path):
		return nil
	case o.forcible:
		return usage("%s %s exists and is not %s; --force replaces it", o.flag, o.path, o.kind)
	}
	return usage("%s %s exists and is not %s", o.flag, o.path, o.kind)
}

// planOutput is the file of plan -o.
func planOutput(path, image string, force bool) output {
	return output{flag: "-o", path: path, kind: "a plan", forces: force, forcible: true,
		is:     func(path string) bool { _, err := readPlan(path); return err == nil },
		inputs: map[string][]string{"the image": {image}}}
}

// batchOutput is the file of batch plan -o.
func batchOutput(path, inventory string, force bool) output {
	return output{flag: "-o", path: path, kind: "a batch", forces: force, forcible: true,
		is:     func(path string) bool { _, err := batch.ReadFile(path); return err == nil },
		inputs: map[string][]string{"the inventory": {inventory}}}
}

// reportOutput is the file of report -o.
func reportOutput(path string, force bool, r view.Report) output {
	return output{flag: "-o", path: path, kind: "a report", forces: force, forcible: true,
		is:     func(path string) bool { return beginsWith(path, view.IsReport) },
		inputs: map[string][]string{"an image of the job": imagesOf(&r.Record)}}
}

// metricsOutput is the file of df --metrics.
func metricsOutput(path string) output {
	return output{flag: "--metrics", path: path, kind: "a file of virt-grow's metrics",
		is: func(path string) bool {
			return beginsWith(path, func(head []byte) bool {
				return len(head) == 0 || bytes.HasPrefix(head, []byte(guestusage.MetricsHead))
			})
		}}
}

// beginsWith reports whether the beginning of a file, a kibibyte, is what is accepts.
func beginsWith(path string, is func(head []byte) bool) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	head, err := io.ReadAll(io.LimitReader(f, 1<<10))
	return err == nil && is(head)
}
