package files

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/virt-grow/virt-grow/guest/appliance"
	"github.com/virt-grow/virt-grow/guest/block"
	"github.com/virt-grow/virt-grow/guest/image"
	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/guest/overlay"
	"github.com/virt-grow/virt-grow/guest/session"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/apply"
	"github.com/virt-grow/virt-grow/plan/journal"
	"github.com/virt-grow/virt-grow/plan/size"
)

// Change is a change of files inside a guest that is off. It is all the work of a job of
// KindEdit or KindCopyIn, or a part of the work of other jobs. A Session prepares it without
// changing anything. It is stored in the data of its job.
//
// The job includes the steps and handlers of the change: they write the files into new overlays
// of the disks, save the bytes that the commit overwrites, commit disk by disk, and clean up.
// Until the clean-up, everything can be undone.
type Change struct {
	// Drives are all disks of the guest, so that devices keep their names.
	Drives []drive         `json:"drives"`
	Place  appliance.Place `json:"place"`
	Files  []File          `json:"files"`
	// Scratch is the directory for overlays; "" is the directory of each image. SessionDir
	// is the directory of the session that prepared the change, which a crash leaves.
	Scratch    string `json:"scratch,omitempty"`
	SessionDir string `json:"session_dir,omitempty"`
}

// File is the new content of a file: a text, or a file of the host.
type File struct {
	appliance.Change
	// Name is its path in the guest, as the user gave it.
	Name  string      `json:"name"`
	Text  []byte      `json:"text,omitempty"`
	From  string      `json:"from,omitempty"`
	Stamp image.Stamp `json:"stamp,omitzero"`
}

// editLimit is the largest size of a file that can be edited: the text is stored in the
// journal.
const editLimit = size.MiB

// EditText reads a file of the guest and calls change for its new text; it returns nil if the
// text does not change. Links in the path are followed within the guest. The appliance keeps
// running: the job that takes over the session uses it for the change.
func (s *Session) EditText(ctx context.Context, path string, change func([]byte) ([]byte, error)) (*Change, error) {
	place, e, err := s.tree.Locate(ctx, path)
	if err != nil {
		return nil, err
	}
	if err := s.disks.CheckWritable(ctx, place.Disks); err != nil {
		return nil, err
	}
	if e.IsFile() && e.Size > editLimit {
		return nil, plan.Refuse(plan.NotAFile, path, "%s has %s: only files of up to %s can be edited", path, e.Size, editLimit)
	}
	var old bytes.Buffer
	if err := s.tree.Read(ctx, path, &old); err != nil {
		return nil, err
	}
	text, err := change(bytes.Clone(old.Bytes()))
	if err != nil || bytes.Equal(text, old.Bytes()) {
		return nil, err
	}
	if size.Bytes(len(text)) > editLimit {
		return nil, plan.Refuse(plan.NotAFile, path, "%s would have %s: only files of up to %s can be edited", path, size.Bytes(len(text)), editLimit)
	}
	file := File{Change: appliance.Change{Path: place.Path, Was: appliance.Sum(old.Bytes()), Is: appliance.Sum(text)}, Name: path, Text: text}
	return &Change{Drives: s.drives(), Place: place, Files: []File{file}, SessionDir: s.Dir()}, nil
}

// SetText changes the new text of the file.
func (f *File) SetText(text []byte) { f.Text, f.Is = text, appliance.Sum(text) }

// Steps returns the steps of a job for the change.
func (c *Change) Steps() []plan.Step {
	var names []string
	for _, f := range c.Files {
		names = append(names, f.Name)
	}
	what := strings.Join(names, ", ")
	if len(names) > 3 {
		what = fmt.Sprintf("%d files", len(names))
	}
	steps := []plan.Step{{Kind: plan.StepWrite, Summary: fmt.Sprintf("write %s (on %s) into an overlay, and read it back", what, c.Place.Device)}}
	for _, i := range c.Place.Disks {
		steps = append(steps, plan.Step{Kind: plan.StepUndo, Device: c.Drives[i].Target, Summary: "save the bytes that the commit will overwrite in " + c.Drives[i].Path})
	}
	for _, i := range c.Place.Disks {
		steps = append(steps, plan.Step{Kind: plan.StepCommit, Device: c.Drives[i].Target, Summary: "commit the overlay into " + c.Drives[i].Path})
	}
	return append(steps, plan.Step{Kind: plan.StepClean, Summary: "delete the overlay and the saved bytes"})
}

// Job is the job of a change, and how it gets an appliance.
type Job struct {
	*job.Job
	// prepared is the session that the change was prepared in; nil if there is none.
	prepared editSession
	// boot starts an appliance on overlays, one for each drive; "" leaves a drive empty.
	boot func(ctx context.Context, c *Change, overlays []string) (editSession, error)
}

// NewJob returns the job of a change. The job uses the session that prepared the change, if it
// is not nil, and otherwise starts one.
func NewJob(j *job.Job, o session.Options, prepared *session.Session) *Job {
	made := &Job{Job: j}
	if prepared != nil {
		made.prepared = applianceSession{prepared}
	}
	made.boot = func(ctx context.Context, c *Change, overlays []string) (editSession, error) {
		return bootSession(ctx, j, o, c, overlays)
	}
	return made
}

// Handlers returns the handlers of these steps in a job. Each can run again after a crash in
// it.
func (c *Change) Handlers(j *Job) map[plan.StepKind]apply.Handler {
	images := c.disks(j).Images()
	h := images.Handlers()
	delete(h, plan.StepOverlay) // StepWrite creates the overlays
	save := h[plan.StepUndo].Do
	h[plan.StepUndo] = apply.Handler{
		Do: func(ctx context.Context, s plan.Step) error {
			if err := c.checkUnwritten(s); err != nil {
				return err
			}
			return save(ctx, s)
		},
		Undo: h[plan.StepUndo].Undo,
	}
	drop := func(ctx context.Context, s plan.Step) error {
		return errors.Join(images.CleanUp(ctx, s), c.dropOwn(j))
	}
	h[plan.StepWrite] = apply.Handler{
		Do:   func(ctx context.Context, _ plan.Step) error { return c.write(ctx, j) },
		Undo: drop,
	}
	h[plan.StepClean] = apply.Handler{Do: drop}
	return h
}

// Actions returns resume and rollback until the clean-up, which deletes the undo files. A job
// without a change of files can always be rolled back.
func (c *Change) Actions(r journal.Record) []job.Action {
	if c != nil && job.Begun(r, string(plan.StepClean)) {
		return []job.Action{job.Resume, job.Close}
	}
	return []job.Action{job.Resume, job.Rollback}
}

// Details returns the overlays and the saved bytes.
func (c *Change) Details(j *Job) job.Details {
	if c == nil {
		return job.Details{}
	}
	return job.Details{Files: c.disks(j).Paths()}
}

// disks returns the disks that contain the file system.
func (c *Change) disks(j *Job) overlay.Set {
	var disks overlay.Set
	for _, i := range c.Place.Disks {
		d := c.Drives[i]
		disks = append(disks, overlay.Disk{Target: d.Target, Files: c.overlay(j, d), Old: d.Size})
	}
	return disks
}

// overlay names a disk's overlay and undo file.
func (c *Change) overlay(j *Job, d drive) block.Overlay {
	near, ending := d.Path, ""
	if d.Block {
		near = filepath.Join(j.Dir(), filepath.Base(d.Path)) // files must not be created in /dev
	}
	if c.Scratch != "" {
		near = filepath.Join(c.Scratch, filepath.Base(d.Path))
	}
	if d.Target != "" {
		ending = "." + d.Target // two images may have the same name in different directories
	}
	return block.Overlay{Image: d.Path, Format: d.Format,
		Path: j.PathNextTo(near, ending+".qcow2"), Undo: j.PathNextTo(near, ending+".undo.qcow2")}
}

// write creates the overlays, also if an earlier run left some, and changes the files in them.
func (c *Change) write(ctx context.Context, j *Job) error {
	overlays := make([]string, len(c.Drives))
	var written size.Bytes
	for _, f := range c.Files {
		written += max(size.Bytes(len(f.Text)), size.Bytes(f.Stamp.Bytes))
	}
	for _, i := range c.Place.Disks {
		d := c.Drives[i]
		if err := overlay.CheckUnwritten(d.Path, d.Stamp, j.ID()); err != nil {
			return err
		}
		o := c.overlay(j, d)
		overlays[i] = o.Path
		if err := image.CheckSpace(map[string]size.Bytes{filepath.Dir(o.Path): spaceFor(written)}); err != nil {
			return err
		}
		if err := o.Create(ctx, d.Size); err != nil {
			return image.RefuseInUse(d.Path, err)
		}
		watched, stop := image.WatchSpace(ctx, filepath.Dir(o.Path))
		defer stop()
		ctx = watched
	}
	if err := j.writeInto(ctx, c, overlays); err != nil {
		return err
	}
	return c.disks(j).Sync()
}

// writeInto changes the files, in the appliance in which the change was prepared, or in a new
// one.
func (j *Job) writeInto(ctx context.Context, c *Change, overlays []string) error {
	s, err := j.attach(ctx, c, overlays)
	if err != nil {
		return err
	}
	texts, err := c.texts(j)
	if err == nil {
		err = s.Write(ctx, c.Place, c.changes(), func(f appliance.Change) string { return texts[f.Path] })
	}
	if err == nil {
		err = s.Detach(ctx)
	}
	return errors.Join(err, s.Close(), os.RemoveAll(c.textDir(j)))
}

// attach returns the session, with the overlays attached.
func (j *Job) attach(ctx context.Context, c *Change, overlays []string) (editSession, error) {
	s := j.prepared
	j.prepared = nil
	if s == nil || !s.Running() {
		j.Note("starting the appliance")
		return j.boot(ctx, c, overlays)
	}
	for _, p := range s.Processes() {
		j.Started(p)
	}
	err := s.Detach(ctx)
	if err == nil {
		err = s.Attach(ctx, overlays...)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (c *Change) changes() []appliance.Change {
	var all []appliance.Change
	for _, f := range c.Files {
		all = append(all, f.Change)
	}
	return all
}

func (c *Change) textDir(j *Job) string { return filepath.Join(j.Dir(), "texts") }

// texts writes every new content to a file that libguestfs can read, and returns the files by
// the path in the guest. It refuses a file of the host that has changed since the change was
// prepared.
func (c *Change) texts(j *Job) (map[string]string, error) {
	if err := os.MkdirAll(c.textDir(j), 0o700); err != nil {
		return nil, err
	}
	where := map[string]string{}
	for i, f := range c.Files {
		if f.From == "" {
			where[f.Path] = filepath.Join(c.textDir(j), fmt.Sprint(i))
			if err := os.WriteFile(where[f.Path], f.Text, 0o600); err != nil {
				return nil, err
			}
			continue
		}
		now, err := image.StampOf(f.From)
		if err != nil {
			return nil, err
		}
		if now != f.Stamp {
			return nil, plan.Refuse(plan.StalePlan, f.From, "%s has changed since the copy was prepared", f.From)
		}
		where[f.Path] = f.From
	}
	return where, nil
}

// checkUnwritten returns a refusal if the step's disk was written to since the change was
// prepared.
func (c *Change) checkUnwritten(s plan.Step) error {
	for _, i := range c.Place.Disks {
		d := c.Drives[i]
		if d.Target != s.Device {
			continue
		}
		now, err := image.StampOf(d.Path)
		if err == nil && now != d.Stamp {
			err = plan.Refuse(plan.ImageChanged, d.Path, "another program has written to %s since the change was prepared", d.Path)
		}
		return err
	}
	return nil
}

// dropOwn deletes the files of the change besides the overlays: texts, and the directories of
// sessions.
func (c *Change) dropOwn(j *Job) error {
	errs := []error{os.RemoveAll(c.textDir(j))}
	if c.SessionDir != "" {
		errs = append(errs, os.RemoveAll(c.SessionDir))
	}
	for i := range c.Drives {
		errs = append(errs, os.RemoveAll(filepath.Join(j.Dir(), fmt.Sprint(i))))
	}
	return errors.Join(errs...)
}

// Locks returns the locks of the disks that are changed.
func (c *Change) Locks() []string {
	var locks []string
	for _, i := range c.Place.Disks {
		locks = append(locks, c.Drives[i].Stamp.Identity())
	}
	return locks
}

// hashFile returns the SHA-256 of a file of the host.
func hashFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	s := sha256.New()
	if _, err := io.Copy(s, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(s.Sum(nil)), nil
}
