package device

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/virt-grow/virt-grow/guest/create"
	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/guest/domainjob"
	"github.com/virt-grow/virt-grow/guest/files"
	"github.com/virt-grow/virt-grow/guest/image"
	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/guest/poll"
	"github.com/virt-grow/virt-grow/guest/session"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/apply"
	"github.com/virt-grow/virt-grow/plan/journal"
)

// attachJob is the work of a job that attaches a disk.
type attachJob struct {
	job.Stepwise
	slot
	*attachment
	// fileJob changes the fstab of a guest that is off; tools create a new image.
	fileJob *files.Job
	tools   create.Tools
}

func newAttach(base *domainjob.Job, d vm, a *attachment, o session.Options, prepared *session.Session, cache *session.Cache) *attachJob {
	return &attachJob{slot: slot{base, d, a.Disk.Target, a.Disk.Path}, attachment: a, fileJob: files.NewJob(base.Job, o, prepared), tools: create.Tools{Session: o, Cache: cache}}
}

// OpenAttach opens a job of KindAttach.
func OpenAttach(o session.Options, cache *session.Cache) job.Kind {
	return func(j *job.Job) (job.Work, error) {
		a := &attachment{}
		err := j.Load(a)
		return newAttach(domainjob.New(j, nil), vm{}, a, o, nil, cache), err
	}
}

// Handlers returns the handlers for the disk, and those of a new image and of a change of
// the fstab.
func (a *attachJob) Handlers() map[plan.StepKind]apply.Handler {
	handlers := map[plan.StepKind]apply.Handler{
		plan.StepController: {Do: a.addController, Undo: a.removeController},
		plan.StepDefine:     {Do: a.define, Undo: a.removeFromDefinition},
		plan.StepPlug:       {Do: a.plug, Undo: a.unplugDisk},
		plan.StepSeen:       {Do: a.awaitDisk},
		plan.StepInitialise: {Do: a.initialise},
	}
	if a.Made != nil {
		maps.Copy(handlers, a.Made.Handlers(a.Job.Job, a.tools, a.save))
		name := handlers[plan.StepName]
		name.Undo = a.unmake
		handlers[plan.StepName] = name
	}
	if a.Mount != nil {
		m := a.mountJob()
		handlers[plan.StepFstab] = apply.Handler{Do: m.addLine, Undo: m.removeLine}
		handlers[plan.StepMount] = apply.Handler{Do: m.mount, Undo: m.unmount}
	}
	if a.File != nil {
		maps.Copy(handlers, a.File.Handlers(a.fileJob))
	}
	return handlers
}

// Actions returns resume and rollback, until the undo file of the fstab is deleted.
func (a *attachJob) Actions(r journal.Record) []job.Action { return a.File.Actions(r) }

// Details returns the files that a change of the fstab may leave.
func (a *attachJob) Details() job.Details { return a.File.Details(a.fileJob) }

func (a *attachJob) save() error { return a.Save(a.attachment) }

func (a *attachJob) mountJob() *mountJob {
	m := &mountJob{Job: a.Job, mounting: a.Mount, save: a.save, file: a.File}
	m.device = func() string { return a.Name }
	m.content = func() []plan.Content {
		if a.Made == nil {
			return nil
		}
		return []plan.Content{a.Made.Content}
	}
	return m
}

// unmake deletes the image that the job has created, with all that the guest has written to it.
func (a *attachJob) unmake(ctx context.Context, _ plan.Step) error {
	now, err := image.StampOf(a.Made.File.Path)
	if err == nil && now.Identity() == a.Made.File.Made.Identity() {
		a.Made.File.Made = now
	}
	return a.Made.File.Unpublish(ctx)
}

func (a *attachJob) define(ctx context.Context, _ plan.Step) error {
	return a.put(ctx, a.Disk.XML(), domain.Config)
}

func (a *attachJob) removeFromDefinition(ctx context.Context, _ plan.Step) error {
	return errors.Join(a.undefine(ctx), a.RestoreDefinition(ctx))
}

func (a *attachJob) plug(ctx context.Context, _ plan.Step) error {
	return a.put(ctx, a.Disk.XML(), domain.Live)
}

func (a *attachJob) unplugDisk(ctx context.Context, _ plan.Step) error {
	return a.unplug(ctx, ReleaseLimit)
}

// ReleaseLimit is how long a guest may take to release a disk.
const ReleaseLimit = 30 * time.Second

func (a *attachJob) hasController(ctx context.Context, scope domain.Scope) (bool, error) {
	_, controllers, err := a.domain.Devices(ctx, scope)
	return slices.Contains(controllers, "scsi"), err
}

func (a *attachJob) addController(ctx context.Context, s plan.Step) error {
	scope := domain.Scope(s.Device)
	there, err := a.hasController(ctx, scope)
	if err != nil || there {
		return err
	}
	err = a.domain.Attach(ctx, domain.SCSIController, scope)
	if there, asked := a.hasController(ctx, scope); asked == nil && there {
		return nil
	}
	return err
}

// removeController undoes addController. A running guest has to release the controller.
func (a *attachJob) removeController(ctx context.Context, s plan.Step) error {
	scope := domain.Scope(s.Device)
	if scope == domain.Config {
		return a.RestoreDefinition(ctx)
	}
	if state, err := a.domain.State(ctx); err != nil || state == domain.Off {
		return err
	}
	there, err := a.hasController(ctx, scope)
	if err != nil || !there {
		return err
	}
	if err := a.domain.Detach(ctx, domain.SCSIController, scope); err != nil {
		if there, asked := a.hasController(ctx, scope); asked == nil && !there {
			return nil
		}
		return err
	}
	w := poll.Wait{For: "the guest to release the SCSI controller", Every: 200 * time.Millisecond, Limit: a.domain.patience}
	err = poll.Until(ctx, w, func() (bool, error) {
		there, err := a.hasController(ctx, scope)
		return !there, err
	})
	if errors.Is(err, poll.ErrTimeout) {
		return plan.Refuse(plan.NotReleased, a.target, "the guest has not released the SCSI controller within %s", a.domain.patience)
	}
	return err
}

// awaitDisk waits until the guest sees the disk.
func (a *attachJob) awaitDisk(ctx context.Context, _ plan.Step) error {
	live, there, err := a.find(ctx, domain.Live)
	if err != nil {
		return err
	}
	if !there {
		return plan.Refuse(plan.DomainChanged, a.ID(), "another user has removed %s from %s", a.target, a.domain.Name)
	}
	if a.Name, err = a.Inside().AwaitDisk(ctx, a.Before, live); err != nil {
		return err
	}
	return a.save()
}

// initialise runs the script of the job's step in Windows.
func (a *attachJob) initialise(ctx context.Context, s plan.Step) error {
	ctx, stop := context.WithTimeoutCause(ctx, 5*time.Minute, errors.New("no result from Windows within 5 minutes"))
	defer stop()
	letter, err := a.domain.Exec(ctx, plan.PowerShell(s.Script))
	if err != nil {
		return err
	}
	a.Letter = letter
	return a.save()
}

// Report says what the job has done.
func (a *attachJob) Report(out *job.Outcome) {
	say := func(format string, args ...any) { out.Messages = append(out.Messages, fmt.Sprintf(format, args...)) }
	say("%s has %s: %s", a.domain.Name, a.target, a.path)
	for _, s := range a.Steps() {
		if s.Kind == plan.StepController {
			say("a virtio-scsi controller was added as well (%s)", s.Device)
		}
	}
	switch {
	case a.Name != "":
		say("its name in the guest is %s", a.Name)
	case a.Guest().Running:
		say("without a guest agent, it is not known whether the guest sees the disk")
	default:
		say("the guest sees the disk at its next start")
	}
	a.reportInside(out)
}

// reportInside says what was done with the disk in the guest, or what the user has to do.
func (a *attachJob) reportInside(out *job.Outcome) {
	if a.Made != nil {
		out.Messages = append(out.Messages, a.Made.Messages()...)
	}
	switch {
	case a.Letter != "":
		out.Messages = append(out.Messages, "it is drive "+a.Letter+" of Windows")
	case a.Script != "":
		out.ManualSteps = append(out.ManualSteps, "in Windows, as administrator in PowerShell:\n"+a.Script)
	}
	if a.Mount == nil {
		return
	}
	out.Messages = append(out.Messages, "in the guest's fstab: "+a.Mount.Entry.String())
	if a.File == nil {
		out.Messages = append(out.Messages, "mounted at "+a.Mount.Path+"; the old fstab is "+a.Fstab().Backup())
	}
}
