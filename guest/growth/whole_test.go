package growth

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/virt-grow/virt-grow/guest/block"
	"github.com/virt-grow/virt-grow/guest/disk"
	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/guest/image"
	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/guest/job/jobtest"
	"github.com/virt-grow/virt-grow/guest/overlay"
	"github.com/virt-grow/virt-grow/guest/session"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/apply"
	"github.com/virt-grow/virt-grow/plan/apply/applytest"
	"github.com/virt-grow/virt-grow/plan/journal"
	"github.com/virt-grow/virt-grow/plan/size"
)

// wholeSize is the size of the images that these tests grow with QEMU's tools.
const wholeSize = 4 * size.MiB

// realImage is an image on this host, edited in an appliance in memory.
type realImage struct {
	disk    *disk.Disk
	content plan.Content
}

func newRealImage(t *testing.T) *realImage {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a.raw")
	if err := os.WriteFile(path, make([]byte, wholeSize), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := disk.OpenImage(t.Context(), path, image.Options{Format: "raw"})
	if err != nil {
		t.Fatal(err)
	}
	return &realImage{disk: d, content: plan.Content{Type: "xfs", Size: wholeSize}}
}

func (r *realImage) start(context.Context) (editSession, error) {
	return &realSession{realImage: r}, nil
}

// realSession reads and edits the layout in memory, and writes into the overlay.
type realSession struct {
	stagedSession
	*realImage
}

func (s *realSession) ReadAtRest(ctx context.Context, inspect session.Inspection, sizes ...size.Bytes) (*plan.Layout, error) {
	return s.Read(ctx, inspect, sizes...)
}

func (s *realSession) Read(context.Context, session.Inspection, ...size.Bytes) (*plan.Layout, error) {
	return &plan.Layout{DiskLayout: plan.DiskLayout{Size: wholeSize, Sector: 512}, Devices: []plan.Device{{Name: "sda", Kind: plan.Disk, Size: wholeSize, Content: s.content}}}, nil
}

func (s *realSession) Editor(overlays ...block.Overlay) apply.Editor {
	l, _ := s.Read(context.Background(), nil)
	return &realEditor{applytest.NewEditor(l, 2*wholeSize), overlays[0]}
}

// realEditor also writes into the overlay.
type realEditor struct {
	*applytest.Editor
	overlay block.Overlay
}

func (e *realEditor) GrowFS(ctx context.Context, device, content string) error {
	return errors.Join(e.write(ctx), e.Editor.GrowFS(ctx, device, content))
}

func (e *realEditor) GrowMounted(ctx context.Context, device, content string, to size.Bytes) error {
	return errors.Join(e.write(ctx), e.Editor.GrowMounted(ctx, device, content, to))
}

func (e *realEditor) write(ctx context.Context) error {
	_, err := block.Run(ctx, "qemu-io", "-f", "qcow2", "-c", "write -P 0x68 1M 64k", e.overlay.Path)
	return err
}

// isEdited reports whether the image has the bytes that were written into the overlay.
func (r *realImage) isEdited(t *testing.T) bool {
	t.Helper()
	data, err := os.ReadFile(r.disk.Path)
	if err != nil {
		t.Fatal(err)
	}
	return data[size.MiB] == 0x68
}

func double() plan.Request {
	return plan.Request{Size: plan.Amount{Mode: plan.Relative, Bytes: wholeSize}}
}

func (r *realImage) options(t *testing.T) Options {
	o := Options{start: r.start}
	o.Options = jobtest.New(t, nil).Engine.Options
	return o
}

func reasonOf(err error) plan.Reason {
	if r, refused := plan.IsRefusal(err); refused {
		return r.Reason
	}
	return ""
}

// TestGrow runs a whole growth of an image. Only the appliance is a fake.
func TestGrow(t *testing.T) {
	t.Parallel()
	r := newRealImage(t)
	out, err := Grow(t.Context(), r.disk, double(), r.options(t))
	if err != nil || out.State != journal.Finished || out.Plan == nil || len(out.ManualSteps) > 0 {
		t.Fatalf("%+v, %v", out, err)
	}
	info, err := os.Stat(r.disk.Path)
	if err != nil || size.Bytes(info.Size()) != 2*wholeSize || !r.isEdited(t) {
		t.Errorf("%v, %v, edited %t", info, err, r.isEdited(t))
	}
	if left, _ := filepath.Glob(r.disk.Path + ".*"); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// TestGrowNothing checks that a plan without steps ends the job and leaves no files.
func TestGrowNothing(t *testing.T) {
	t.Parallel()
	r := newRealImage(t)
	o := r.options(t)
	o.Confirm = func(context.Context, *plan.Plan) error { return errors.New("it was asked for") }
	out, err := Grow(t.Context(), r.disk, plan.Request{Size: plan.Amount{Mode: plan.Fill}}, o)
	if err != nil || out.State != journal.Cancelled || out.Changed {
		t.Errorf("%+v, %v", out, err)
	}
	if left, _ := filepath.Glob(r.disk.Path + ".*"); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// TestRehearse checks that a rehearsal reports the duration of each step, and changes
// nothing.
func TestRehearse(t *testing.T) {
	t.Parallel()
	r := newRealImage(t)
	o := r.options(t)
	o.Confirm = func(context.Context, *plan.Plan) error { return errors.New("it was asked for") }
	var events int
	o.Emit = func(apply.Event) { events++ }
	out, err := Rehearse(t.Context(), r.disk, double(), o, RehearseOptions{})
	if err != nil || out.FromSnapshot || out.Took == 0 || len(out.LeftOut) > 0 || events == 0 {
		t.Fatalf("%+v, %v", out, err)
	}
	for _, s := range editSteps(out.Plan) {
		if s.Seconds <= 0 || s.Seconds > out.Took.Seconds() {
			t.Errorf("%s took %g s", s.ID(), s.Seconds)
		}
	}
	info, err := os.Stat(r.disk.Path)
	if err != nil || size.Bytes(info.Size()) != wholeSize || r.isEdited(t) {
		t.Errorf("%v, %v, edited %t", info, err, r.isEdited(t))
	}
	if left, _ := filepath.Glob(r.disk.Path + ".*"); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// smallClusters gives the disk a qcow2 image whose cluster size limits it to 128 GiB.
func smallClusters(t *testing.T) func(*disk.Disk, *Options) {
	return func(d *disk.Disk, _ *Options) {
		path := filepath.Join(t.TempDir(), "a.qcow2")
		if _, err := block.Run(t.Context(), "qemu-img", "create", "-f", "qcow2", "-o", "cluster_size=512", path, "4M"); err != nil {
			t.Fatal(err)
		}
		opened, err := disk.OpenImage(t.Context(), path, image.Options{Format: "qcow2"})
		if err != nil {
			t.Fatal(err)
		}
		*d = *opened
	}
}

// TestRefusedGrowths checks what is refused before an appliance is started.
func TestRefusedGrowths(t *testing.T) {
	t.Parallel()
	grow := func(ctx context.Context, d *disk.Disk, r plan.Request, o Options) error {
		_, err := Grow(ctx, d, r, o)
		return err
	}
	rehearse := func(ctx context.Context, d *disk.Disk, r plan.Request, o Options) error {
		_, err := Rehearse(ctx, d, r, o, RehearseOptions{Quiesce: "yes"})
		return err
	}
	makePlan := func(ctx context.Context, d *disk.Disk, r plan.Request, o Options) error {
		_, err := MakePlan(ctx, d, r, o)
		return err
	}
	shrink := plan.Request{Size: plan.Amount{Mode: plan.Absolute, Bytes: size.MiB}}
	huge := plan.Request{Size: plan.Amount{Mode: plan.Absolute, Bytes: size.TiB}}
	for name, c := range map[string]struct {
		do     func(context.Context, *disk.Disk, plan.Request, Options) error
		r      plan.Request
		change func(*disk.Disk, *Options)
		want   plan.Reason
	}{
		"shrink":            {do: grow, r: shrink, want: plan.Shrink},
		"shrink, rehearsal": {do: rehearse, r: shrink, want: plan.Shrink},
		"shrink, plan":      {do: makePlan, r: shrink, want: plan.Shrink},
		"huge":              {do: grow, r: huge, change: smallClusters(t), want: plan.ContainerLimit},
		"huge, rehearsal":   {do: rehearse, r: huge, change: smallClusters(t), want: plan.ContainerLimit},
		"huge, plan":        {do: makePlan, r: huge, change: smallClusters(t), want: plan.ContainerLimit},
		"no directory":      {do: grow, r: double(), change: func(_ *disk.Disk, o *Options) { o.Scratch = "/none/here" }, want: plan.NotWritable},
		"frozen, without agent": {do: rehearse, r: double(), change: func(d *disk.Disk, _ *Options) {
			d.Target.Guest = &plan.Guest{Name: "dev7", Running: true}
		}, want: plan.NoRehearsal},
	} {
		r := newRealImage(t)
		o := r.options(t)
		o.start = func(context.Context) (editSession, error) { return nil, errors.New("an appliance was started") }
		if c.change != nil {
			c.change(r.disk, &o)
		}
		if err := c.do(t.Context(), r.disk, c.r, o); reasonOf(err) != c.want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// define starts a libvirt test driver with domains of these names and disks. The first
// domain has this run state (0 is running) and more in its XML.
func define(t *testing.T, state int, more string, disks ...string) *domain.Domain {
	t.Helper()
	var node strings.Builder
	for i, d := range disks {
		if i > 0 {
			state, more = 5, ""
		}
		fmt.Fprintf(&node, `<domain type='test' xmlns:test='http://libvirt.org/schemas/domain/test/1.0'><name>vm%d</name><memory>65536</memory>
<os><type>hvm</type></os><devices>%s</devices>%s<test:runstate>%d</test:runstate></domain>`, i, d, more, max(1, state))
	}
	path := filepath.Join(t.TempDir(), "node.xml")
	if err := os.WriteFile(path, []byte("<node>"+node.String()+"</node>"), 0o600); err != nil {
		t.Fatal(err)
	}
	conn, err := domain.Connect("test://" + path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	d, err := conn.Find(t.Context(), "vm0")
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func diskXML(target, path, format, more string) string {
	return fmt.Sprintf("<disk type='file' device='disk'><driver name='qemu' type='%s'/><source file='%s'/><target dev='%s' bus='virtio'/>%s</disk>", format, path, target, more)
}

const off = 5 // VIR_DOMAIN_SHUTOFF

// TestOpenDomain checks how a domain's disk is treated, and what is refused.
func TestOpenDomain(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, name := range []string{"a.raw", "b.raw"} {
		if err := os.WriteFile(at(name), make([]byte, wholeSize), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	one := diskXML("vda", at("a.raw"), "raw", "")
	two := one + diskXML("vdb", at("b.raw"), "raw", "")
	for name, c := range map[string]struct {
		state   int
		more    string
		disks   []string
		options DomainOptions
		trial   []string // the disks with an overlay in the trial
		running bool
		reason  plan.Reason
	}{
		"running":                {disks: []string{one}, trial: []string{"vda"}, running: true},
		"running, without trial": {disks: []string{one}, options: DomainOptions{NoTrial: true}, running: true},
		"off":                    {state: off, disks: []string{one}},
		"off, with a trial":      {state: off, disks: []string{one}, options: DomainOptions{TrialBoot: true}, trial: []string{"vda"}},
		"two disks":              {disks: []string{two}, options: DomainOptions{Disk: "vdb"}, trial: []string{"vdb", "vda"}, running: true},
		"only the target":        {disks: []string{two}, options: DomainOptions{Disk: "vdb", OnlyTarget: true}, trial: []string{"vdb"}, running: true},
		"by its path":            {disks: []string{two}, options: DomainOptions{Disk: at("a.raw"), OnlyTarget: true}, trial: []string{"vda"}, running: true},
		"which of two":           {disks: []string{two}, reason: plan.AmbiguousDisk},
		"no such disk":           {disks: []string{one}, options: DomainOptions{Disk: "vdc"}, reason: plan.NotFound},
		"saved":                  {state: off, more: "<test:hasmanagedsave/>", disks: []string{one}, reason: plan.ManagedSave},
		"paused":                 {state: 3, disks: []string{one}, reason: plan.DomainState},
		"it starts again":        {more: "<on_poweroff>restart</on_poweroff>", disks: []string{one}, reason: plan.DomainState},
		"read-only":              {disks: []string{diskXML("vda", at("a.raw"), "raw", "<readonly/>")}, options: DomainOptions{Disk: "vda"}, reason: plan.DiskReadOnly},
		"another has it":         {disks: []string{one, one}, reason: plan.DiskShared},
		"another has the other disk": {disks: []string{two, diskXML("vda", at("b.raw"), "raw", "")}, options: DomainOptions{Disk: "vda"},
			reason: plan.DiskShared},
		"the other disk is gone": {disks: []string{one + diskXML("vdb", at("none.raw"), "raw", "")}, options: DomainOptions{Disk: "vda"}, reason: "any"},
	} {
		t.Run(name, func(t *testing.T) {
			opened, err := OpenDomain(t.Context(), define(t, c.state, c.more, c.disks...), c.options)
			if c.reason == "any" && err != nil {
				return
			}
			if reasonOf(err) != c.reason || (err == nil) != (c.reason == "") {
				t.Fatalf("%v, want %q", err, c.reason)
			}
			if err != nil {
				return
			}
			g := opened.Target.Guest
			var trial []string
			for _, d := range g.Disks {
				trial = append(trial, d.Target)
			}
			if g.Running != c.running || g.Trial != (len(c.trial) > 0) || !slices.Equal(trial, c.trial) || g.Name != "vm0" || g.UUID == "" {
				t.Errorf("%+v", g)
			}
			if hasHealth := g.Running || g.Trial; (len(g.Shutdown) > 0) != hasHealth {
				t.Errorf("shutdown %v", g.Shutdown)
			}
		})
	}
}

// TestOtherDisks checks that the other disks of a trial are locked as well, and that
// their overlays have the size of their images.
func TestOtherDisks(t *testing.T) {
	r := newRealImage(t)
	other := filepath.Join(t.TempDir(), "b.qcow2")
	if _, err := block.Run(t.Context(), "qemu-img", "create", "-f", "qcow2", other, "3M"); err != nil {
		t.Fatal(err)
	}
	r.disk.Target.Guest = &plan.Guest{Disk: "vda", Disks: []plan.TrialDisk{{Target: "vda", Path: r.disk.Path, Format: "raw"}, {Target: "vdb", Path: other, Format: "qcow2"}}}
	overlays, err := sideOverlays(t.Context(), r.disk)
	if err != nil || len(overlays) != 1 || overlays[0].Size != 3*size.MiB || overlays[0].Image != other {
		t.Fatalf("%+v, %v", overlays, err)
	}
	for scratch, dir := range map[string]string{"": filepath.Dir(other), "/scratch": "/scratch"} {
		placeSideOverlays(overlays, "JOB", scratch)
		if want := filepath.Join(dir, "b.qcow2.vdb.virt-grow-JOB.qcow2"); overlays[0].overlay().Path != want {
			t.Errorf("%q: %s, want %s", scratch, overlays[0].Path, want)
		}
	}
	locks, err := locksOf(r.disk)
	if err != nil || len(locks) != 2 || locks[0] == locks[1] {
		t.Errorf("%q, %v", locks, err)
	}
	hold(t, treatments("trial"), func(g *growth) {
		g.data.Overlays = overlays
		if d := g.Details(); !slices.Equal(d.Others, []string{overlays[0].Path}) {
			t.Errorf("%+v", d)
		}
		if disks := g.disks(); len(disks) != 2 || disks[1].Target != "vdb" || disks[1].Old != 3*size.MiB {
			t.Errorf("%+v", disks)
		}
	})
	if err := os.Remove(other); err != nil {
		t.Fatal(err)
	}
	if _, err := sideOverlays(t.Context(), r.disk); err == nil {
		t.Error("an image that is gone: no error")
	}
	if _, err := locksOf(r.disk); err == nil {
		t.Error("a lock of an image that is gone: no error")
	}
}

// offVM is a guest that is off, and whose disk vda has this source.
type offVM struct {
	trialDomain
	source string
}

func (v offVM) State(context.Context) (domain.State, error) { return domain.Off, nil }

func (v offVM) Read(context.Context) (domain.Definition, error) {
	return domain.Definition{Disks: []domain.Disk{{Target: "vda", Source: v.source}}}, nil
}

// TestPivotOff checks that the overlay of a guest that was shut down in its trial is
// committed offline, and not a second time after a crash.
func TestPivotOff(t *testing.T) {
	r := newRealImage(t)
	hold(t, treatments("trial"), func(g *growth) {
		files := block.Overlay{Image: r.disk.Path, Format: "raw", Path: r.disk.Path + ".qcow2", Undo: r.disk.Path + ".undo.qcow2"}
		g.edited = []editedDisk{{Disk: overlay.Disk{Files: files, Old: wholeSize}, grownDisk: &g.data.grownDisk}}
		g.data.OldSize, g.data.NewSize = wholeSize, 2*wholeSize
		g.steps.Overlays = g.disks().Images()
		if err := files.Create(t.Context(), 2*wholeSize); err != nil {
			t.Fatal(err)
		}
		if _, err := block.Run(t.Context(), "qemu-io", "-f", "qcow2", "-c", "write -P 0x68 1M 64k", files.Path); err != nil {
			t.Fatal(err)
		}
		// libvirt's definition names the image again, so nothing is left to commit.
		if err := (&hostGuest{g, offVM{source: r.disk.Path}}).Pivot(t.Context(), "vda"); err != nil || r.isEdited(t) {
			t.Errorf("%v, edited %t", err, r.isEdited(t))
		}
		if err := (&hostGuest{g, offVM{source: files.Path}}).Pivot(t.Context(), "vda"); err != nil || !r.isEdited(t) {
			t.Errorf("%v, edited %t", err, r.isEdited(t))
		}
	})
}

// socketVM creates sockets for snapshots, or fails to.
type socketVM struct {
	liveDomain
	dir string
}

func (v socketVM) PlaceSocket(name string) (string, error) {
	if v.dir == "" {
		return "", errors.New("injected")
	}
	return filepath.Join(v.dir, name), nil
}

// TestPlaceSnapshot checks in which directory QEMU may create the files of a snapshot.
func TestPlaceSnapshot(t *testing.T) {
	for name, c := range map[string]struct{ socket, overlay, wantSocket, wantScratch string }{
		"beside the image":   {"/run/vm", "/images/a.qcow2", "/run/vm/virt-grow-JOB.sock", "/images/a.qcow2.scratch"},
		"a block device":     {"/run/vm", "JOBDIR/a.qcow2", "/run/vm/virt-grow-JOB.sock", "/run/vm/virt-grow-JOB.scratch"},
		"no directory":       {"", "/images/a.qcow2", "DIR/view.sock", "/images/a.qcow2.scratch"},
		"neither of the two": {"", "JOBDIR/a.qcow2", "DIR/view.sock", "DIR/view.scratch"},
	} {
		hold(t, treatments("agent"), func(g *growth) {
			g.live = socketVM{dir: c.socket}
			g.data.Overlay = strings.ReplaceAll(c.overlay, "JOBDIR", g.Dir())
			if err := g.placeSnapshot(); err != nil {
				t.Fatal(err)
			}
			v := g.data.Snapshot
			names := strings.NewReplacer("JOB", g.ID(), "DIR", v.Dir)
			if v.Target != "vda" || v.Socket != names.Replace(c.wantSocket) || v.Scratch != names.Replace(c.wantScratch) || (v.Dir != "") != (c.socket == "") {
				t.Errorf("%s: %+v", name, v)
			}
			if v.Dir != "" {
				if err := os.Remove(v.Dir); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// TestRehearsalFailed checks that the image is never changed, and that files that are
// left are reported.
func TestRehearsalFailed(t *testing.T) {
	why, undo := errors.New("why"), errors.New("undo")
	for name, c := range map[string]struct {
		f       job.Failure
		trivial bool
		err     string
		undo    error
	}{
		"nothing is left":     {job.Failure{Err: why, Restored: true, Begun: true}, true, "why", nil},
		"in the clean-up":     {job.Failure{Err: why, Begun: true}, false, "not all files of the rehearsal could be removed", why},
		"and in the clean-up": {job.Failure{Err: why, Undo: undo}, false, "why\nnot all files of the rehearsal could be removed", undo},
	} {
		(&rehearsal{}).Failed(&c.f, journal.Record{})
		if c.f.Begun || c.f.Trivial != c.trivial || c.f.Err.Error() != c.err || !errors.Is(c.f.Undo, c.undo) {
			t.Errorf("%s: %+v", name, c.f)
		}
	}
	r := &rehearsal{}
	if active, idle := r.Describe(journal.Record{}, true), r.Describe(journal.Record{}, false); active == idle || !strings.Contains(idle, "rollback removes") {
		t.Errorf("%q, %q", active, idle)
	}
}

// TestDescribeDamaged checks that the instructions for a manual repair name the job's
// files.
func TestDescribeDamaged(t *testing.T) {
	text := DescribeDamaged("JOB", &plan.Plan{Target: plan.Target{Path: "/images/a.raw", Format: "raw", More: []plan.DiskTarget{{Disk: "vdb", Path: "/images/b.qcow2", Format: "qcow2"}}}})
	for _, want := range []string{"/images/a.raw.virt-grow-JOB.undo.qcow2", "/images/a.raw.virt-grow-JOB.qcow2", "rebase -u -b /images/a.raw -F raw",
		"/images/b.qcow2.vdb.virt-grow-JOB.undo.qcow2", "rebase -u -b /images/b.qcow2 -F qcow2"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in %s", want, text)
		}
	}
}

// TestWindowLimit checks that a rollback begins early enough to end within the window.
func TestWindowLimit(t *testing.T) {
	now := time.Date(2026, 5, 4, 3, 50, 0, 0, time.UTC)
	p := &plan.Plan{Target: plan.Target{Guest: &plan.Guest{Name: "dev7", Running: true}}, Steps: []plan.Step{{Kind: plan.StepShutdown, Seconds: 60}, {Kind: plan.StepStart, Seconds: 60}}}
	ctx, stop := Window{End: now.Add(time.Hour)}.limit(t.Context(), p, now)
	defer stop()
	if end, ok := ctx.Deadline(); !ok || !end.Equal(now.Add(time.Hour-p.Reserve())) {
		t.Errorf("%v, %t", end, ok)
	}
	for name, c := range map[string]struct {
		w       Window
		running bool
	}{"no window": {Window{}, true}, "a guest that is off": {Window{Max: time.Minute}, false}} {
		p.Target.Guest.Running = c.running
		ctx, stop := c.w.limit(t.Context(), p, now)
		if _, ok := ctx.Deadline(); ok {
			t.Errorf("%s: there is a limit", name)
		}
		stop()
	}
}
