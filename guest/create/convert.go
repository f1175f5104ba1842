package create

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/virt-grow/virt-grow/guest/block"
	"github.com/virt-grow/virt-grow/guest/disk"
	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/guest/image"
	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/apply"
	"github.com/virt-grow/virt-grow/plan/journal"
	"github.com/virt-grow/virt-grow/plan/size"
)

// KindConversion names the kind of job that converts an image.
const KindConversion = "disk-convert"

// Formats are those that an image can be converted from and to.
var Formats = []string{"raw", "qcow2", "vmdk", "vhdx", "vdi"}

// ConvertOptions are the options of a conversion.
type ConvertOptions struct {
	// From is the source's format; "" goes by its name, for qcow2 and raw alone.
	From string
	To   string
	// Libvirt is asked which domains run; nil where there is none.
	Libvirt Libvirt
}

// Libvirt lists the disks of all domains but one. *domain.Conn does.
type Libvirt interface {
	Users(ctx context.Context, but string) ([]domain.User, error)
}

// conversion is the data of a job that converts an image.
type conversion struct {
	Source string        `json:"source"`
	From   string        `json:"from"`
	Size   size.Bytes    `json:"size"`
	File   image.NewFile `json:"file"`
}

func (c *conversion) copy(j *job.Job) block.Copy {
	return block.Copy{Source: c.Source, From: c.From, Target: c.File.Temp(newDir(j, c.File.Path)), To: c.File.Format}
}

// Convert copies an image, including its backing files, into a new image of another format,
// and compares the two before the new image gets its name.
func Convert(ctx context.Context, source, target string, q ConvertOptions, o job.Options) (*job.Outcome, error) {
	img, err := openSource(ctx, source, q)
	if err != nil {
		return nil, err
	}
	path, err := image.CheckNewPath(target)
	if err != nil {
		return nil, err
	}
	c := conversion{Source: img.Path, From: img.Format, Size: img.Size, File: image.NewFile{Path: path, Format: q.To}}
	if err := c.checkRoom(ctx); err != nil {
		return nil, err
	}
	lock, err := c.File.Lock()
	if err != nil {
		return nil, err
	}
	e := job.Engine{Options: o}
	return e.Run(ctx, job.Spec{
		Kind: KindConversion, Locks: []string{img.Stamp.Identity(), lock}, Steps: c.steps(), Agreed: true,
		Target: plan.Target{Path: path, Format: q.To, SectorSize: newSector},
		Open: func(j *job.Job) (any, job.Work, error) {
			return &c, &converting{job: j, conversion: &c}, nil
		},
	})
}

// openSource opens the image, and refuses one that is in use.
func openSource(ctx context.Context, path string, q ConvertOptions) (*image.Image, error) {
	img, err := image.Locate(path)
	if err != nil {
		return nil, err
	}
	if err := setSourceFormat(img, q.From); err != nil {
		return nil, err
	}
	if err := checkNotRunning(ctx, img.Path, q.Libvirt); err != nil {
		return nil, err
	}
	if err := img.ReadChain(ctx); err != nil {
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

// setSourceFormat sets the format, which may also be one that is only converted:
// QEMU refuses a file that does not begin like it.
func setSourceFormat(img *image.Image, given string) error {
	if given == "" || given == "raw" || given == "qcow2" {
		return img.SetFormat(given)
	}
	img.Format = given
	return nil
}

// checkNotRunning refuses the disk of a domain that runs: QEMU's lock shows it as
// well, unless locking is turned off or the file system has none.
func checkNotRunning(ctx context.Context, path string, l Libvirt) error {
	if l == nil {
		return nil
	}
	users, err := l.Users(ctx, "")
	if err != nil {
		return err
	}
	return disk.CheckNotRunning(ctx, users, path)
}

// checkRoom refuses if there is not enough space for the copy.
func (c *conversion) checkRoom(ctx context.Context) error {
	need, err := block.Copy{Source: c.Source, From: c.From, To: c.File.Format}.Needs(ctx)
	if err != nil {
		return image.RefuseInUse(c.Source, err)
	}
	return image.CheckSpace(map[string]size.Bytes{filepath.Dir(c.File.Path): need + size.MiB})
}

func (c *conversion) steps() []plan.Step {
	return []plan.Step{
		{Kind: plan.StepCopy, Bytes: c.Size, Summary: "copy " + c.Source + " (" + c.From + ") as " + c.File.Format},
		{Kind: plan.StepCompare, Bytes: c.Size, Summary: "compare the copy with the source"},
		{Kind: plan.StepName, Summary: "rename the copy to " + c.File.Path},
	}
}

// converting is the work of a job that converts an image.
type converting struct {
	job.Stepwise
	job *job.Job
	*conversion
}

// OpenConversion opens a job of KindConversion.
func OpenConversion(j *job.Job) (job.Work, error) {
	w := &converting{job: j, conversion: &conversion{}}
	return w, j.Load(w.conversion)
}

// Handlers returns the handlers that copy, compare and rename.
func (w *converting) Handlers() map[plan.StepKind]apply.Handler {
	return map[plan.StepKind]apply.Handler{
		plan.StepCopy:    {Do: w.make, Undo: w.discard},
		plan.StepCompare: {Do: w.compare},
		plan.StepName:    {Do: w.publish, Undo: w.unpublish},
	}
}

// Failed reports that no existing file was changed.
func (w *converting) Failed(f *job.Failure, _ journal.Record) { f.Begun = false }

func (w *converting) dir() string { return newDir(w.job, w.File.Path) }

// make makes the copy from the beginning.
func (w *converting) make(ctx context.Context, s plan.Step) error {
	if err := w.File.Begin(w.dir()); err != nil {
		return err
	}
	return image.RefuseInUse(w.Source, w.copy(w.job).Make(ctx, watch(w.job, s)))
}

func (w *converting) discard(context.Context, plan.Step) error { return w.File.Discard(w.dir()) }

func (w *converting) compare(ctx context.Context, s plan.Step) error {
	return image.RefuseInUse(w.Source, w.copy(w.job).Compare(ctx, watch(w.job, s)))
}

func (w *converting) publish(context.Context, plan.Step) error {
	return w.File.Publish(w.dir(), func() error { return w.job.Save(w.conversion) })
}

func (w *converting) unpublish(ctx context.Context, _ plan.Step) error { return w.File.Unpublish(ctx) }

// Report describes the copy and its size.
func (w *converting) Report(out *job.Outcome) {
	out.Messages = []string{w.File.Path + " is a copy of " + w.Source + " as " + w.File.Format}
	if taken, err := block.Allocated(w.File.Path); err == nil {
		out.Messages = append(out.Messages, fmt.Sprintf("%s of disk, %s on this host; the copy equals the source", w.Size, taken))
	}
}
