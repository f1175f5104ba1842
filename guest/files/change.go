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

// Change is a change of files inside a guest that is off. It is the whole of a job of
// KindEdit or KindCopyIn, and a part of other jobs. It is prepared by a Session, while
// nothing is changed yet, and is data of its job.
//
// The job has steps among its own and handlers among its own: they write the files
// into fresh overlays of the disks concerned, save what the commit overwrites, commit
// disk by disk, and clean up. Until the clean-up everything can be taken back.
type Change struct {
	// Drives are all disks of the guest, so that devices have the same names again.
	Drives []drive         `json:"drives"`
	Place  appliance.Place `json:"place"`
	Files  []File          `json:"files"`
	// Scratch is the directory for overlays; "" is each image's own. SessionDir is that
	// of the session that the change was prepared in: a crash leaves it behind.
	Scratch    string `json:"scratch,omitempty"`
	SessionDir string `json:"session_dir,omitempty"`
}

// File is a file's content to be: a text, or a file of the host.
type File struct {
	appliance.Change
	// Name is its path in the guest, as it was given.
	Name  string      `json:"name"`
	Text  []byte      `json:"text,omitempty"`
	From  string      `json:"from,omitempty"`
	Stamp image.Stamp `json:"stamp,omitzero"`
}

// editLimit is how large a file can be to be edited: it becomes a part of the
// journal.
const editLimit = size.MiB

// EditText reads a file of the guest and has change make the text that it is to get;
// nil when that is the same. A path's links are followed within the guest. The
// appliance stays: a job that takes the session over carries the change out without
// booting another one.
func (s *Session) EditText(ctx context.Context, path string, change func([]byte) ([]byte, error)) (*Change, error) {
	place, e, err := s.tree.Locate(ctx, path)
	if err != nil {
		return nil, err
	}
	if err := s.disks.CheckWritable(ctx, place.Disks); err != nil {
		return nil, err
	}
	if e.IsFile() && e.Size > editLimit {
		return nil, plan.Refuse(plan.NotAFile, path, "%s has %s: up to %s can be edited", path, e.Size, editLimit)
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
		return nil, plan.Refuse(plan.NotAFile, path, "%s would have %s: up to %s can be edited", path, size.Bytes(len(text)), editLimit)
	}
	file := File{Change: appliance.Change{Path: place.Path, Was: sum(old.Bytes()), Is: sum(text)}, Name: path, Text: text}
	return &Change{Drives: s.drives(), Place: place, Files: []File{file}, SessionDir: s.Dir()}, nil
}

// SetText changes the text that the file is to have.
func (f *File) SetText(text []byte) { f.Text, f.Is = text, sum(text) }

func sum(text []byte) string {
	s := sha256.Sum256(text)
	return hex.EncodeToString(s[:])
}

// Steps returns what a job does for the change, in order.
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
		steps = append(steps, plan.Step{Kind: plan.StepUndo, Device: c.Drives[i].Target, Summary: "save what the commit will overwrite in " + c.Drives[i].Path})
	}
	for _, i := range c.Place.Disks {
		steps = append(steps, plan.Step{Kind: plan.StepCommit, Device: c.Drives[i].Target, Summary: "write the overlay into " + c.Drives[i].Path})
	}
	return append(steps, plan.Step{Kind: plan.StepClean, Summary: "delete the overlay and the saved bytes"})
}

// Job is the job that a change is a part of, and how it gets an appliance.
type Job struct {
	*job.Job
	// prepared is the session that the change was prepared in; nil if there is none.
	prepared editSession
	// boot boots an appliance on overlays, one for each drive; "" leaves a drive empty.
	boot func(ctx context.Context, c *Change, overlays []string) (editSession, error)
}

// NewJob has a job use the session that its change was prepared in, if that is not nil,
// and otherwise start one.
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

// Handlers returns what these steps mean in a job. Each can be run again after a crash in
// its middle.
func (c *Change) Handlers(j *Job) map[plan.StepKind]apply.Handler {
	images := c.disks(j).Images()
	h := images.Handlers()
	delete(h, plan.StepOverlay) // StepWrite makes the overlays
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

// Actions are both ways until the clean-up, which deletes what the way back needs. A job
// without a change of files can always go back.
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

// disks returns the disks that the file system lies on.
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
		near = filepath.Join(j.Dir(), filepath.Base(d.Path)) // /dev is no place for files
	}
	if c.Scratch != "" {
		near = filepath.Join(c.Scratch, filepath.Base(d.Path))
	}
	if d.Target != "" {
		ending = "." + d.Target // two disks may have one name, in two folders
	}
	return block.Overlay{Image: d.Path, Format: d.Format,
		Path: j.PathNextTo(near, ending+".qcow2"), Undo: j.PathNextTo(near, ending+".undo.qcow2")}
}

// write makes the overlays, whatever is left of others, and changes the files in
// them.
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

// writeInto changes the files in the appliance the change was prepared in, or in one
// of its own.
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

// texts puts every new content where the appliance's library can read it, by its
// path in the guest. A file of the host has to be the one that was copied from first.
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
			return nil, plan.Refuse(plan.StalePlan, f.From, "%s has changed since it was to be copied", f.From)
		}
		where[f.Path] = f.From
	}
	return where, nil
}

// checkUnwritten returns a refusal if somebody wrote to the step's disk since the change
// was prepared.
func (c *Change) checkUnwritten(s plan.Step) error {
	for _, i := range c.Place.Disks {
		d := c.Drives[i]
		if d.Target != s.Device {
			continue
		}
		now, err := image.StampOf(d.Path)
		if err == nil && now != d.Stamp {
			err = plan.Refuse(plan.ImageChanged, d.Path, "somebody else wrote to %s since the change was prepared", d.Path)
		}
		return err
	}
	return nil
}

// dropOwn deletes what the change needs besides the overlays: texts, and the directories
// of sessions.
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

// Locks name the disks that are changed.
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
