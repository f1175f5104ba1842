package online

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/virt-grow/virt-grow/guest/block"
	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/guest/domainjob"
	"github.com/virt-grow/virt-grow/guest/inside"
	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/guest/poll"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/apply"
	"github.com/virt-grow/virt-grow/plan/journal"
	"github.com/virt-grow/virt-grow/plan/live"
	"github.com/virt-grow/virt-grow/plan/size"
)

// data is the data of a job that grows a running guest's disk.
type data struct {
	Plan *Plan `json:"plan"`
	// Commands are the commands that the guest has run, the last one perhaps without
	// success; Left are those that it has not.
	Commands []live.CommandResult `json:"ran,omitempty"`
	Left     []live.Command       `json:"left,omitempty"`
	// Top is the file system that grew, Total its new size according to the guest.
	Top   live.Device `json:"top,omitzero"`
	Total size.Bytes  `json:"total,omitempty"`
}

// Grow carries a plan out as a job. The job can only go forward, because a running disk cannot
// be shrunk.
func Grow(ctx context.Context, p *Plan, o job.Options) (*job.Outcome, error) {
	e := job.Engine{Options: o}
	return e.Run(ctx, job.Spec{
		Kind: Kind, Target: p.Target, Locks: []string{p.image.Stamp.Identity()}, Steps: p.Steps(), Agreed: true,
		Open: func(j *job.Job) (any, job.Work, error) {
			w := newWork(j, p)
			return w.data, w, nil
		},
	})
}

// Steps returns the steps of the job.
func (p *Plan) Steps() []plan.Step {
	g := p.Target.Guest
	var steps []plan.Step
	if p.Sent != "" {
		steps = append(steps, plan.Step{Kind: plan.StepContainer, From: p.From, To: p.To,
			Summary: fmt.Sprintf("grow %s of %s %s → %s, through %s", g.Disk, g.Name, p.From, p.To, p.Resize.Via)})
	}
	if p.InGuest == ByAgent {
		steps = append(steps, plan.Step{Kind: plan.StepInside, Summary: "grow the content in the guest: " + p.summary()})
	}
	return steps
}

func (p *Plan) summary() string {
	var programs []string
	for _, c := range p.Commands {
		if !c.Asks {
			programs = append(programs, c.Argv[0])
		}
	}
	if len(programs) == 0 {
		return "the layers that need it"
	}
	return strings.Join(slices.Compact(programs), ", ")
}

// work is the work of a job that grows a running guest's disk.
type work struct {
	job.Stepwise
	*domainjob.Job
	data
	// qemu is the domain, once the job is connected.
	qemu guestDomain
	// fresh reports that the plan was made by this process.
	fresh bool
}

func newWork(j *job.Job, p *Plan) *work {
	return &work{
		Job: domainjob.New(j, p.domain.domain), qemu: p.domain,
		data: data{Plan: p, Left: p.Commands}, fresh: true,
	}
}

// Connect connects a job that is continued.
func (o *work) Connect(ctx context.Context) error {
	err := o.Job.Connect(ctx)
	o.qemu = o.Domain
	return err
}

// Open opens a job of the kind.
func Open(j *job.Job) (job.Work, error) {
	w := &work{Job: domainjob.New(j, nil)}
	err := j.Load(&w.data)
	if err == nil && w.Plan == nil {
		err = errors.New("its journal holds no plan")
	}
	return w, err
}

// Handlers returns the handlers that grow the disk and its content.
func (o *work) Handlers() map[plan.StepKind]apply.Handler {
	return map[plan.StepKind]apply.Handler{
		plan.StepContainer: {Do: o.growContainer},
		plan.StepInside:    {Do: o.growInside},
	}
}

// Actions returns resume, and rollback only while the disk has its old size: the journal cannot
// know whether an interrupted request has reached QEMU.
func (o *work) Actions(r journal.Record) []job.Action {
	grown := r.Done[string(plan.StepContainer)] || job.Begun(r, string(plan.StepInside))
	if grown || r.Running == string(plan.StepContainer) && !o.hasOldSize() {
		return []job.Action{job.Resume, job.Close}
	}
	return []job.Action{job.Resume, job.Rollback}
}

// hasOldSize reports whether the image has the size from before the job.
func (o *work) hasOldSize() bool {
	info, err := block.Inspect(context.Background(), o.Target().Path, o.Target().Format, block.Shared)
	return err == nil && info.VirtualSize == o.Plan.From
}

// WhyNot says why the job cannot be rolled back.
func (o *work) WhyNot(a job.Action, _ journal.Record) string {
	if a != job.Rollback {
		return ""
	}
	return fmt.Sprintf("job %s cannot be rolled back: %s has grown, and a running disk cannot be shrunk", o.ID(), o.Guest().Disk)
}

// Details returns the sizes, and the commands that the guest has not run yet, as a person
// would type them.
func (o *work) Details() job.Details {
	left := *o.Plan
	left.Commands = o.Left
	return job.Details{OldSize: o.Plan.From, NewSize: o.Plan.To, Inside: left.Lines()}
}

// growContainer grows the disk. It first reads the size again, under the job's lock, because no
// channel refuses a smaller size.
func (o *work) growContainer(ctx context.Context, _ plan.Step) error {
	if err := o.runs(ctx); err != nil {
		return err
	}
	now, err := o.qemu.SizeSeen(ctx, o.Plan.Resize)
	if err != nil || now == o.Plan.To {
		return err // a crash came right after it
	}
	if now > o.Plan.To {
		return plan.Refuse(plan.Shrink, o.Guest().Name, "%s has grown to %s (%d bytes) in the meantime, and virt-grow never shrinks a disk", o.Guest().Disk, now, int64(now))
	}
	// The call is waited for, even after an interrupt: a later growth could not be undone.
	if err := o.qemu.Resize(context.WithoutCancel(ctx), o.Plan.Resize); err != nil {
		return err
	}
	return o.containerHasSize(ctx)
}

// containerHasSize compares the sizes in QEMU and in the image with the plan.
func (o *work) containerHasSize(ctx context.Context) error {
	now, err := o.qemu.SizeSeen(ctx, o.Plan.Resize)
	if err != nil {
		return err
	}
	info, err := block.Inspect(ctx, o.Target().Path, o.Target().Format, block.Shared)
	if err != nil {
		return err
	}
	if now != o.Plan.To || info.VirtualSize != o.Plan.To {
		return fmt.Errorf("%s should have %d bytes, but has %d in QEMU and %d in the image", o.Guest().Disk, int64(o.Plan.To), int64(now), int64(info.VirtualSize))
	}
	return nil
}

// runs returns an error if the guest is not running.
func (o *work) runs(ctx context.Context) error {
	state, err := o.qemu.State(ctx)
	if err == nil && state != domain.Running {
		err = fmt.Errorf("%s is %s: the remaining commands can be run when it is running again", o.Guest().Name, state)
	}
	return err
}

// growInside makes the guest run the remaining commands, and checks the result.
func (o *work) growInside(ctx context.Context, _ plan.Step) error {
	if err := o.agentReady(ctx); err != nil {
		return err
	}
	if !o.Plan.Windows {
		if err := o.needed(ctx); err != nil {
			return err
		}
	}
	for len(o.Left) > 0 {
		if err := o.next(ctx); err != nil {
			return err
		}
		if err := o.save(); err != nil {
			return err
		}
	}
	return o.seen(ctx)
}

// next runs the first remaining command. A command that only checks determines whether the
// command after it is needed.
func (o *work) next(ctx context.Context) error {
	c := o.Left[0]
	said, err := o.exec(ctx, c)
	if err != nil {
		return err
	}
	o.Left = o.Left[1:]
	if c.Asks && strings.TrimSpace(said) == "0" {
		o.Left = o.Left[1:]
	}
	return nil
}

// agentReady waits for the agent, which does not run yet in a guest that was just started.
func (o *work) agentReady(ctx context.Context) error {
	ctx, stop := context.WithTimeoutCause(ctx, agentPatience, fmt.Errorf("the guest agent of %s does not answer", o.Guest().Name))
	defer stop()
	return inside.New(o.Guest().Name, o.qemu).Await(ctx, o.runs)
}

// agentPatience is how long to wait for the agent.
const agentPatience = 30 * time.Second

// needed waits until the guest sees its disk's new size, and computes the commands.
func (o *work) needed(ctx context.Context) error {
	if o.knows(ctx) {
		o.Top = o.Plan.Top
		return nil
	}
	var last live.Guest
	w := poll.Wait{For: "the guest to see its disk's new size", Every: 200 * time.Millisecond, Limit: agentPatience}
	err := poll.Until(ctx, w, func() (grown bool, err error) {
		if last, err = inside.New(o.Guest().Name, o.qemu).Probe(ctx); err != nil {
			return false, err
		}
		return o.plannedFor(last)
	})
	if errors.Is(err, poll.ErrTimeout) {
		return fmt.Errorf("the guest sees no disk that has grown to %d bytes, as QEMU has it: it has %s", int64(o.Plan.To), disksOf(last))
	}
	return err
}

// plannedFor plans what the guest has to run, if the guest sees the disk's new size.
func (o *work) plannedFor(g live.Guest) (grown bool, err error) {
	disk, ok := g.Grown(o.Plan.Seen, o.Plan.From, o.Plan.To, o.Plan.Disk)
	if !ok {
		return false, nil
	}
	stack, err := g.Stack(disk.Path, o.Plan.Grow)
	if err != nil {
		return false, err
	}
	o.Top = stack[len(stack)-1]
	o.Left, err = g.Commands(stack, o.Plan.To)
	return true, err
}

// knows reports whether this process made the plan and its disk has grown in the guest: then
// the guest is not probed again.
func (o *work) knows(ctx context.Context) bool {
	if !o.fresh || o.Plan.Disk.Path == "" || len(o.Left) == 0 {
		return false
	}
	ran, err := o.qemu.Run(ctx, o.Plan.Disk.SizeProbe(), "")
	return err == nil && strings.TrimSpace(string(ran.Out)) == strconv.FormatInt(int64(o.Plan.To/512), 10)
}

func disksOf(g live.Guest) string {
	var all []string
	for _, d := range g.Devices {
		if d.Kind == "disk" {
			all = append(all, fmt.Sprintf("%s of %d bytes", d.Path, int64(d.Size)))
		}
	}
	return strings.Join(all, ", ")
}

// exec runs one command in the guest, and saves the result.
func (o *work) exec(ctx context.Context, c live.Command) (string, error) {
	limit := plan.Seconds(o.Plan.Seconds)
	ctx, stop := context.WithTimeoutCause(ctx, limit, fmt.Errorf("%s in the guest did not finish within %s; it may still be running", c.Argv[0], limit))
	defer stop()
	switch {
	case o.Plan.Windows:
		o.Note("in the guest: PowerShell")
	case !c.Asks:
		o.Note("in the guest: %s", c.Line())
	}
	ran, err := o.qemu.Run(ctx, c.Argv, c.Input)
	if err != nil {
		if state := o.runs(context.WithoutCancel(ctx)); state != nil {
			return "", state
		}
		return "", fmt.Errorf("%s in the guest: %w", c.Argv[0], err)
	}
	done := live.CommandResult{Line: c.Line(), Status: ran.Status, Output: domain.Lines(8, ran.Out, ran.Err)}
	o.Commands = append(o.Commands, done)
	if ran.Status != 0 && ran.Status != c.Nothing {
		_ = o.save()
		return "", &domain.ExecError{Program: c.Argv[0], Status: ran.Status, Output: strings.ReplaceAll(done.Output, "\n", "; ")}
	}
	return string(ran.Out), nil
}

// seenLimit is how long the agent may take to see the new size.
const seenLimit = 20 * time.Second

// seen asks the agent for the new size of the file system. It refuses a size above that of the
// disk, if the file system is only on this disk.
func (o *work) seen(ctx context.Context) error {
	var why error
	w := poll.Wait{For: "the guest agent to see the new size", Every: 200 * time.Millisecond, Limit: seenLimit}
	err := poll.Until(ctx, w, func() (bool, error) {
		all, err := o.qemu.FileSystems(ctx)
		if err == nil {
			err = o.grew(all)
		}
		if why = err; why == nil {
			return true, nil
		}
		return false, o.runs(ctx)
	})
	if errors.Is(err, poll.ErrTimeout) {
		return why
	}
	if err != nil {
		return err
	}
	return o.save()
}

// grew compares the agent's new sizes with the old ones and with the disk.
func (o *work) grew(after []domain.FS) error {
	at := o.Top.Mounted
	if o.Plan.Windows {
		at = driveThatGrew(o.Plan.Before, after)
	}
	now, ok := mounted(after, at)
	if !ok && (at != "" || o.Plan.Windows) {
		return fmt.Errorf("the guest agent does not list the file system that grew (%s)", at)
	}
	if !ok || now.Total == 0 {
		return nil // no file system, or an agent before QEMU 3.0
	}
	o.Total, o.Top.Mounted = now.Total, at
	if o.onDiskAlone() && now.Total > o.Plan.To {
		return fmt.Errorf("the guest agent says that %s has %d bytes, on a disk of %d", at, int64(now.Total), int64(o.Plan.To))
	}
	// The metadata of the file system grows as well.
	was, _ := mounted(o.Plan.Before, at)
	if want := was.Total + o.gain()*3/4; now.Total < want {
		return fmt.Errorf("the guest agent says that %s has %s, at least %s were expected", at, now.Total, want)
	}
	return nil
}

// onDiskAlone reports whether the file system can only be as large as the disk: a
// volume has extents of its group's other disks as well.
func (o *work) onDiskAlone() bool {
	return o.Top.Kind != "lvm" && !slices.ContainsFunc(o.Plan.Commands, func(c live.Command) bool { return c.What == "lv" }) &&
		!slices.ContainsFunc(o.Commands, func(r live.CommandResult) bool { return strings.HasPrefix(r.Line, "lvextend ") })
}

// gain returns how much the file system must have grown.
func (o *work) gain() size.Bytes {
	if len(o.Plan.Before) == 0 || o.Plan.From == o.Plan.To {
		return 0
	}
	return o.Plan.To - o.Plan.From - live.Slack
}

// driveThatGrew returns the drive of a Windows whose size has changed.
func driveThatGrew(before, after []domain.FS) string {
	for _, f := range after {
		if was, ok := mounted(before, f.MountPoint); ok && f.Total > was.Total {
			return f.MountPoint
		}
	}
	return ""
}

// save writes the commands that the guest has run to the journal.
func (o *work) save() error { return o.Save(o.data) }

// Report describes the result.
func (o *work) Report(out *job.Outcome) {
	g, p := o.Guest(), o.Plan
	if p.Sent != "" {
		out.Messages = append(out.Messages, fmt.Sprintf("%s %s is grown: %s → %s", g.Name, g.Disk, p.From, p.To))
	} else {
		out.Messages = append(out.Messages, fmt.Sprintf("%s %s has %s", g.Name, g.Disk, p.To))
	}
	if was, ok := mounted(o.Plan.Before, o.Top.Mounted); ok && o.Total > 0 {
		out.Messages = append(out.Messages, fmt.Sprintf("%s (%s) in the guest: %s → %s", was.MountPoint, was.Type, was.Total, o.Total))
	}
	if p.InGuest == ByPerson {
		out.ManualSteps = p.ByHand()
	}
	out.Commands = o.Commands
}

// Lines returns the commands as a person would type them.
func (p *Plan) Lines() []string {
	if p.Windows && len(p.Commands) > 0 {
		return strings.Split(live.WindowsScript(p.To, p.Letter), "\n")
	}
	var lines []string
	for _, c := range p.Commands {
		if !c.Asks {
			lines = append(lines, c.Line())
		}
	}
	return lines
}

// ByHand returns what a person does in the guest.
func (p *Plan) ByHand() []string {
	if g := p.Target.Guest; p.afterRestart() {
		return []string{fmt.Sprintf("a guest notices the new size of a disk on %s only when it starts. After a restart: virt-grow online %s --disk %s --size fill. Or everything in one outage: virt-grow grow %s --disk %s --size fill", g.Bus, g.Name, g.Disk, g.Name, g.Disk)}
	}
	lines := p.Lines()
	if len(lines) == 0 {
		return nil
	}
	where := "in the guest, as root"
	switch {
	case p.Windows:
		where = "in Windows, as administrator in PowerShell"
	case p.Top.Mounted == live.Unknown:
		where += fmt.Sprintf(" (lsblk shows whether it calls the disk %s)", p.Target.Guest.Disk)
	}
	return []string{where + ":\n" + strings.Join(lines, "\n")}
}
