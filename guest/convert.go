package guest

import (
	"context"
	"errors"
	"path/filepath"
	"strings"

	"github.com/virt-grow/virt-grow/guest/block"
	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/apply"
	"github.com/virt-grow/virt-grow/plan/size"
)

// Formats are those that an image can be converted from and to.
var Formats = []string{"raw", "qcow2", "vmdk", "vhdx", "vdi"}

// ConvertOptions are a conversion's.
type ConvertOptions struct {
	// From is the source's format; "" goes by its name, for qcow2 and raw alone.
	From string
	To   string
	// Libvirt is asked which domains run; nil where there is none.
	Libvirt *domain.Conn
}

// conversion is what a job that converts an image has to know.
type conversion struct {
	Source string     `json:"source"`
	From   string     `json:"from"`
	Size   size.Bytes `json:"size"`
	File   newFile    `json:"file"`
}

func (c *conversion) copy(j *job) block.Copy {
	return block.Copy{Source: c.Source, From: c.From, Target: c.File.temp(j), To: c.File.Format}
}

// Convert copies an image, with what lies below it, into a new one of another
// format, and compares the two before the new one gets its name.
func Convert(ctx context.Context, source, target string, q ConvertOptions, o Options) (*Outcome, error) {
	img, err := openSource(ctx, source, q)
	if err != nil {
		return nil, err
	}
	path, err := openNew(target)
	if err != nil {
		return nil, err
	}
	c := conversion{Source: img.Path, From: img.Format, Size: img.Size, File: newFile{Path: path, Format: q.To}}
	if err := c.room(ctx); err != nil {
		return nil, err
	}
	lock, err := c.File.lock()
	if err != nil {
		return nil, err
	}
	t := plan.Target{Path: path, Format: q.To, SectorSize: newSector}
	j, err := openErrand(Facts{Kind: DiskConversion, Target: t, Steps: c.steps()}, []string{img.Stamp.Identity(), lock}, c, o)
	if err != nil {
		return nil, err
	}
	out, err := j.runErrand(ctx)
	return out, errors.Join(err, j.close())
}

// openSource finds the image, and refuses one that somebody writes to.
func openSource(ctx context.Context, path string, q ConvertOptions) (*Image, error) {
	img, err := locate(path)
	if err != nil {
		return nil, err
	}
	if img.Format, err = sourceFormat(img, path, q.From); err != nil {
		return nil, err
	}
	if err := notRunning(ctx, img.Path, q.Libvirt); err != nil {
		return nil, err
	}
	if err := img.readChain(ctx); err != nil {
		return nil, err
	}
	if img.Info.Corrupt {
		return nil, plan.Refuse(plan.ImageDamaged, img.Path, "%s is marked as corrupt by QEMU", img.Path)
	}
	if img.Info.Encrypted {
		return nil, plan.Refuse(plan.FormatUnsupported, img.Path, "%s is encrypted by qcow2 itself", img.Path)
	}
	return img, nil
}

// sourceFormat is format, with those that are only converted.
func sourceFormat(img *Image, path, given string) (string, error) {
	if given == "" || given == "raw" || given == "qcow2" {
		return format(img, path, given)
	}
	return given, nil // QEMU refuses what does not begin like it
}

// notRunning refuses the disk of a domain that runs: QEMU's lock says so as well,
// unless it is turned off, or the file system has none.
func notRunning(ctx context.Context, path string, c *domain.Conn) error {
	if c == nil {
		return nil
	}
	users, err := c.Users(ctx, "")
	if err != nil {
		return err
	}
	for _, u := range users {
		if u.Live && !u.Disk.Fixed && samePath(u.Disk.Source, path) {
			return plan.Refuse(plan.InUse, path, "%s is disk %s of domain %s, which runs", path, u.Target, u.Domain)
		}
	}
	return nil
}

// room refuses when the copy would not fit.
func (c *conversion) room(ctx context.Context) error {
	dir := filepath.Dir(c.File.Path)
	need, err := block.Copy{Source: c.Source, From: c.From, To: c.File.Format}.Needs(ctx)
	if err != nil {
		return imageError(c.Source, err)
	}
	free, err := block.Free(dir)
	if err == nil && free < need+size.MiB {
		err = plan.Refuse(plan.NoSpace, dir, "not enough space in %s: about %s will be written, %s are free", dir, need, free)
	}
	return err
}

func (c *conversion) steps() []plan.Step {
	return []plan.Step{
		{Kind: plan.StepCopy, Bytes: c.Size, Summary: "copy " + c.Source + " (" + c.From + ") as " + c.File.Format},
		{Kind: plan.StepCompare, Bytes: c.Size, Summary: "compare the two"},
		{Kind: plan.StepName, Summary: "give the copy its name: " + c.File.Path},
	}
}

func openConversionErrand(j *job) (errand, error) {
	var c conversion
	if err := j.told(&c); err != nil {
		return errand{}, err
	}
	keep := func() error { return j.tell(c) }
	return errand{apart: true, result: c.result, handlers: map[plan.StepKind]apply.Handler{
		plan.StepCopy: {
			Do:   func(ctx context.Context, s plan.Step) error { return c.make(ctx, j, s) },
			Undo: func(context.Context, plan.Step) error { return c.File.drop(j) },
		},
		plan.StepCompare: {
			Do: func(ctx context.Context, s plan.Step) error {
				return imageError(c.Source, c.copy(j).Compare(ctx, j.watch(s)))
			},
			Undo: func(context.Context, plan.Step) error { return nil }, // it has read
		},
		plan.StepName: {
			Do:   func(context.Context, plan.Step) error { return c.File.appear(j, keep) },
			Undo: func(ctx context.Context, _ plan.Step) error { return c.File.vanish(ctx) },
		},
	}}, nil
}

// make copies, from the beginning.
func (c *conversion) make(ctx context.Context, j *job, s plan.Step) error {
	if err := c.File.begin(j); err != nil {
		return err
	}
	return imageError(c.Source, c.copy(j).Make(ctx, j.watch(s)))
}

func (c *conversion) result(out *Outcome) {
	lines := []string{c.File.Path + " is a copy of " + c.Source + " as " + c.File.Format}
	if taken, err := block.Allocated(c.File.Path); err == nil {
		lines = append(lines, strings.Join([]string{c.Size.String(), "of disk,", taken.String(), "on this host; compared, and the same"}, " "))
	}
	out.Said = append(out.Said, lines...)
}
