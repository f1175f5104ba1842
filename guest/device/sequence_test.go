package device

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/guest/files"
	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/guest/job/jobtest"
	"github.com/virt-grow/virt-grow/guest/session"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/apply"
	"github.com/virt-grow/virt-grow/plan/size"
)

// sequences are changes of a domain's devices, one in each line: the domain, and a
// script as in jobtest.Player. The trace has the steps and the calls to libvirt. The
// fake has these points of its own: "attach", "detach", "update" and "unplug" fail in
// libvirt; with "lost" before the name, only the reply is lost; "libvirt" breaks the
// connection; "held" makes the guest keep the disk. Before a job is continued, "off"
// shuts the guest down, "edited" edits the definition, "again" attaches the image to
// this domain ("linked": by another name), "shared" attaches it to another domain, and
// "line" adds a line to the guest's fstab.
var sequences = `
running: attach > +config define +live plug seen > done
running: attach-live > +live plug seen > done
running: attach-config > +config define > done
off: attach > +config define > done
off: attach-live > > domain-state, no job
mute: attach > +config define +live plug > done
running: attach define/before=error > -define > error, forgotten
running: attach define/after=error > +config -config -define > error, forgotten
running: attach attach=error > -define > error, forgotten
running: attach lost-attach=error > +config define +live plug seen > done
running: attach plug/before=error > +config define -plug -config -define > restored, rolled-back
running: attach plug/after=error > +config define +live -live -plug -config -define > restored, rolled-back
running: attach seen/before=error > +config define +live plug -live -plug -config -define > restored, rolled-back
running: attach seen/before=error held=error > +config define +live plug > unrestored, working: resume rollback ; rollback > -live -plug -config -define > rolled-back
running: attach seen/before=cancel > +config define +live plug -live -plug -config -define > restored, rolled-back
running: attach define/before=kill > > killed, working: resume rollback ; resume > +config define +live plug seen > done
running: attach define/after=kill > +config > killed, working: resume rollback ; resume > define +live plug seen > done
running: attach define/after=kill > +config > killed, working: resume rollback ; rollback > -config -define > rolled-back
running: attach plug/after=kill > +config define +live > killed, working: resume rollback ; resume > plug seen > done
running: attach plug/after=kill > +config define +live > killed, working: resume rollback ; rollback libvirt=error > > unrestored, working: resume rollback ; rollback > -live -plug -config -define > rolled-back
running: attach plug/after=kill > +config define +live > killed, working: resume rollback ; rollback off=error > -plug -config -define > rolled-back
running: attach plug/after=kill > +config define +live > killed, working: resume rollback ; rollback edited=error > -live -plug -config -define > rolled-back
running: attach-scsi > +config controller:config +config define +live controller:live +live plug seen > done
running: attach-scsi seen/before=error > +config controller:config +config define +live controller:live +live plug -live -plug -live -controller:live -config -define -controller:config > restored, rolled-back
running: attach-scsi plug/before=error lost-detach=error > +config controller:config +config define +live controller:live -plug -live -controller:live -config -define -controller:config > restored, rolled-back
running: attach-scsi plug/before=error kept=error > +config controller:config +config define +live controller:live -plug > unrestored, working: resume rollback ; rollback > -live -controller:live -config -define -controller:config > rolled-back
running: attach-scsi controller:live/after=kill > +config controller:config +config define +live > killed, working: resume rollback ; rollback off=error > -controller:live -config -define -controller:config > rolled-back
windows: attach-initialise > +config define +live plug seen powershell initialise > done
windows: attach-initialise exec=error > +config define +live plug seen -live -plug -config -define > restored, rolled-back
windows: attach-mount > > unsupported-layout, no job
mute: attach-mount > > no-agent, no job
running: attach-config-mount > > domain-state, no job
running: attach-sata > > no-hotplug, no job
running: attach-vda > > target-taken, no job
shared: attach > > disk-shared, no job

running: attach-mount > +config define +live plug seen fstab mount mount > done
running: attach-mount mount=error > +config define +live plug seen fstab -mount -fstab -live -plug -config -define > restored, rolled-back
running: attach-mount mount/after=error > +config define +live plug seen fstab mount umount -mount -fstab -live -plug -config -define > restored, rolled-back
running: attach-mount fstab/written=kill > +config define +live plug seen > killed, working: resume rollback ; resume > fstab mount mount > done
running: attach-mount fstab/moved=kill > +config define +live plug seen > killed, working: resume rollback ; resume > fstab mount mount > done
running: attach-mount fstab/moved=kill > +config define +live plug seen > killed, working: resume rollback ; rollback > -fstab -live -plug -config -define > rolled-back
running: attach-mount mount/after=kill > +config define +live plug seen fstab mount > killed, working: resume rollback ; rollback off=error > -mount > unrestored, working: resume rollback
running: attach-mount mount/before=kill > +config define +live plug seen fstab > killed, working: resume rollback ; rollback line=error > -mount -fstab -live -plug -config -define > rolled-back
mounted: detach-unmount unplug/before=kill > umount unmount fstab > killed, working: resume rollback ; rollback line=error > -unplug -fstab mount -unmount > rolled-back
mounted: detach-unmount unplug/before=kill > umount unmount fstab > killed, working: resume rollback ; rollback off=error > -unplug > unrestored, working: resume rollback

running: detach > -live unplug -config undefine > done
running: detach-live > -live unplug > done
off: detach > -config undefine > done
running: detach held=error > -unplug > not-released, forgotten
running: detach unplug=error > -unplug > error, forgotten
running: detach undefine/before=error > -live unplug -undefine +live -unplug > restored, rolled-back
running: detach undefine/after=error > -live unplug -config +config -undefine +live -unplug > restored, rolled-back
running: detach detach=error > -live unplug -undefine +live -unplug > restored, rolled-back
running: detach lost-detach=error > -live unplug -config undefine > done
running: detach unplug/after=kill > -live > killed, working: resume rollback ; resume > unplug -config undefine > done
running: detach unplug/after=kill > -live > killed, working: resume rollback ; rollback > +live -unplug > rolled-back
running: detach undefine/after=kill > -live unplug -config > killed, working: resume rollback ; rollback off=error > +config -undefine -unplug > rolled-back
running: detach undefine/after=kill > -live unplug -config > killed, working: resume rollback ; rollback libvirt=error > +config -undefine > unrestored, working: resume rollback ; rollback > +live -unplug > rolled-back
mute: detach > > no-agent, no job
mute: detach-anyway > -live unplug -config undefine > done
mounted: detach > > mounted, no job
mounted: detach-anyway > -live unplug -config undefine > done
mounted: detach-unmount > umount unmount fstab -live unplug -config undefine > done
mounted: detach-unmount unmount/after=error > umount mount -unmount > error, forgotten
mounted: detach-unmount held=error > umount unmount fstab -unplug -fstab mount -unmount > restored, rolled-back
mounted: detach-unmount undefine/after=error > umount unmount fstab -live unplug -config +config -undefine +live -unplug -fstab mount -unmount > restored, rolled-back
mounted: detach-unmount fstab/moved=kill > umount unmount > killed, working: resume rollback ; rollback > -fstab mount -unmount > rolled-back
mounted: detach-unmount fstab/moved=kill > umount unmount > killed, working: resume rollback ; resume > fstab -live unplug -config undefine > done
running: detach-vdz > > not-found, no job
running: detach-cdrom > > disk-unsupported, no job
running: detach-live-delete > > in-use, no job

running: detach-delete > -live unplug -config undefine delete > done
off: detach-delete > -config undefine delete > done
running: detach-delete delete/before=error > -live unplug -config undefine +config -undefine +live -unplug > restored, rolled-back
running: detach-delete delete/before=kill > -live unplug -config undefine > killed, working: resume rollback ; resume > delete > done
running: detach-delete delete/before=kill > -live unplug -config undefine > killed, working: resume rollback ; resume again=error > -undefine +live -unplug > restored, rolled-back
running: detach-delete delete/before=kill > -live unplug -config undefine > killed, working: resume rollback ; resume linked=error > +config -undefine +live -unplug > restored, rolled-back
running: detach-delete delete/before=kill > -live unplug -config undefine > killed, working: resume rollback ; resume shared=error > +config -undefine +live -unplug > restored, rolled-back
running: detach-delete delete/after=error > -live unplug -config undefine > forward, working: resume close ; rollback > > job-state, working: resume close ; resume > delete > done
running: detach-delete delete/after=kill > -live unplug -config undefine > killed, working: resume close ; accept > > closed

running: insert > =config medium:config =live medium:live > done
running: insert-live > =live medium:live > done
off: insert > =config medium:config > done
running: insert medium:live/before=error > =config medium:config -medium:live =config -medium:config > restored, rolled-back
running: insert medium:live/after=error > =config medium:config =live =live -medium:live =config -medium:config > restored, rolled-back
running: insert update=error > -medium:config > error, forgotten
running: insert lost-update=error > =config medium:config =live medium:live > done
running: insert medium:live/after=kill > =config medium:config =live > killed, working: resume rollback ; resume > medium:live > done
running: insert medium:live/after=kill > =config medium:config =live > killed, working: resume rollback ; rollback off=error > -medium:live =config -medium:config > rolled-back
running: insert medium:live/after=kill > =config medium:config =live > killed, working: resume rollback ; rollback libvirt=error > > unrestored, working: resume rollback ; rollback > =live -medium:live =config -medium:config > rolled-back
running: eject > > cancelled unchanged, no job
full: insert > > cancelled unchanged, no job
full: eject > =config medium:config =live medium:live > done
full: eject medium:live/after=error > =config medium:config =live =live -medium:live =config -medium:config > restored, rolled-back
locked: eject > =config medium:config -medium:live =config -medium:config > restored, rolled-back
locked: eject-force > =config medium:config =live medium:live > done
driveless: insert > +config define > done
driveless: insert define/after=error > +config -config -define > error, forgotten
driveless: insert-usb > +config define +live plug > done
driveless: insert-usb plug/after=kill > +config define +live > killed, working: resume rollback ; rollback > -live -plug -config -define > rolled-back
driveless: insert-both > > no-hotplug, no job
running: insert-sdz > > not-found, no job
`

func TestSequences(t *testing.T) {
	jobtest.Run(t, sequences, func(t *testing.T, line string) string {
		state, script, _ := strings.Cut(line, ": ")
		s := newStage(t, state)
		got := s.Play(script)
		if strings.HasSuffix(script, "rolled-back") {
			s.checkRestored(t, strings.Contains(script, "off="), strings.Contains(script, "edited="))
		}
		return state + ": " + got
	})
}

// checkRestored fails the test unless the definitions, the fstab and the mounts are as
// before, and later changes by others are kept.
func (s *stage) checkRestored(t *testing.T, off, edited bool) {
	t.Helper()
	want := s.before
	if edited {
		want = strings.Replace(want, "</name>", "</name><title>edited</title>", 1)
	}
	if got := s.definitions[domain.Config]; got != want && !s.theirs {
		t.Errorf("the definition is\n%s\nwas\n%s", got, want)
	}
	sorted := func(text string) string {
		all := elements.FindAllString(text, -1)
		slices.Sort(all)
		return strings.Join(all, "\n")
	}
	if got := s.definitions[domain.Live]; !off && sorted(got) != sorted(s.before) {
		t.Errorf("the guest runs with\n%s", got)
	}
	sortedLines := func(text string) string {
		return strings.Join(slices.Sorted(strings.Lines(text)), "")
	}
	if strings.Contains(s.fstab, theirLine) {
		s.fstabBefore = sortedLines(s.fstabBefore + theirLine)
		s.fstab = strings.ReplaceAll(sortedLines(s.fstab), "\t", " ")
	}
	if s.fstab != s.fstabBefore || s.mountedAt != s.mountedBefore && !off {
		t.Errorf("the fstab is %q, mounted at %q", s.fstab, s.mountedAt)
	}
	if _, err := os.Stat(s.image); err != nil {
		t.Error(err)
	}
}

// stage is a domain in memory, with its guest, and two images that are files.
type stage struct {
	*jobtest.Player
	state       domain.State
	definitions map[domain.Scope]string
	before      string // both definitions before the job
	image, iso  string
	mute        bool
	windows     bool
	locked      bool // the guest has locked the drive
	shared      bool // another domain uses the image
	theirs      bool // another program has attached the image to the domain

	fstab, fstabBefore       string
	mountedAt, mountedBefore string // mount points of the image's file system
	copies                   map[string]string
}

var elements = regexp.MustCompile(`(?s)<(disk|controller) .*?(</disk>|/>\n)`)

const vmXML = `<domain type='kvm'><name>vm</name><devices>
<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/nowhere/vda.qcow2'/><target dev='vda' bus='virtio'/></disk>
%s<controller type='sata' index='0'/>
</devices></domain>
`

func newStage(t *testing.T, state string) *stage {
	t.Helper()
	dir := t.TempDir()
	s := &stage{Player: jobtest.New(t, nil), state: domain.Running, image: filepath.Join(dir, "data.raw"), iso: filepath.Join(dir, "cd.iso"),
		fstab: "UUID=aaaa-1 / ext4 defaults 0 1\n", copies: map[string]string{}}
	descriptor := append(make([]byte, 32<<10), []byte("\x01CD001\x01")...)
	for path, text := range map[string][]byte{s.image: make([]byte, size.MiB), s.iso: append(descriptor, make([]byte, 4096)...)} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	medium := ""
	switch state {
	case "off":
		s.state = domain.Off
	case "mute":
		s.mute = true
	case "windows":
		s.windows = true
	case "shared":
		s.shared = true
	case "mounted":
		s.mountedAt = "/data"
		s.fstab += "UUID=bbbb-1 /data xfs defaults 0 2\n"
	case "full", "locked":
		medium, s.locked = "<source file='"+s.iso+"'/>", state == "locked"
	}
	devices := "<disk type='file' device='cdrom'><driver name='qemu' type='raw'/>" + medium + "<target dev='sda' bus='sata'/><readonly/></disk>\n"
	if state == "driveless" {
		devices = ""
	}
	s.before = fmt.Sprintf(vmXML, devices)
	s.fstabBefore, s.mountedBefore = s.fstab, s.mountedAt
	s.definitions = map[domain.Scope]string{domain.Config: s.before, domain.Live: s.before}
	s.Engine.Kinds = job.Kinds{
		KindAttach: s.reopened(OpenAttach(session.Options{}, nil)),
		KindDetach: s.reopened(OpenDetach(session.Options{})),
		KindMedium: s.reopened(OpenMedium),
	}
	s.Engine.Emit = s.emit
	s.Start = s.begin
	return s
}

func (s *stage) emit(e apply.Event) {
	switch e.Phase {
	case apply.Finished:
		s.Did(e.Step.ID())
	case apply.Undone:
		s.Did("-" + e.Step.ID())
	}
}

func (s *stage) vm() vm {
	return vm{libvirtDomain: s, Name: "vm", UUID: "6695eb01-f6a4-8304-79aa-97f2502e193f", patience: 1}
}

// reopened connects a job that is continued with the stage.
func (s *stage) reopened(kind job.Kind) job.Kind {
	return func(j *job.Job) (job.Work, error) {
		w, err := kind(j)
		switch w := w.(type) {
		case *attachJob:
			return &stagedAttach{w, s}, err
		case *detachJob:
			return &stagedDetach{w, s}, err
		}
		return &stagedMedium{w.(*mediumJob), s}, err
	}
}

type stagedAttach struct {
	*attachJob
	stage *stage
}

type stagedDetach struct {
	*detachJob
	stage *stage
}

type stagedMedium struct {
	*mediumJob
	stage *stage
}

func (w *stagedAttach) Connect(ctx context.Context) error { return w.stage.connect(ctx, &w.slot) }
func (w *stagedDetach) Connect(ctx context.Context) error { return w.stage.connect(ctx, &w.slot) }
func (w *stagedMedium) Connect(ctx context.Context) error { return w.stage.connect(ctx, &w.slot) }

// theirLine is the line that another program adds to the guest's fstab.
const theirLine = "tmpfs /tmp tmpfs defaults 0 0\n"

// connect first makes the changes of other programs.
func (s *stage) connect(ctx context.Context, to *slot) error {
	if s.Fault(ctx, "off") != nil {
		s.state = domain.Off
	}
	if s.Fault(ctx, "edited") != nil {
		s.definitions[domain.Config] = strings.Replace(s.definitions[domain.Config], "</name>", "</name><title>edited</title>", 1)
	}
	if s.Fault(ctx, "line") != nil {
		s.fstab += theirLine
	}
	if s.Fault(ctx, "shared") != nil {
		s.shared = true
	}
	if s.Fault(ctx, "linked") != nil {
		link := filepath.Join(filepath.Dir(s.image), "link.raw")
		if err := os.Symlink(s.image, link); err != nil {
			return err
		}
		s.theirs = true
		disk := domain.DiskSpec{Path: link, Format: "raw", Device: "disk", Target: "vdc", Bus: "virtio"}
		s.insert(domain.Config, disk.XML())
	}
	if s.Fault(ctx, "again") != nil {
		s.theirs = true
		disk := domain.DiskSpec{Path: s.image, Format: "raw", Device: "disk", Target: "vdb", Bus: "virtio"}
		s.insert(domain.Config, disk.XML())
	}
	to.domain, to.Machine = s.vm(), s
	return nil
}

// begin begins a job. The words of the command after the first are options.
func (s *stage) begin(ctx context.Context, command string) (*job.Outcome, error) {
	o := Options{Options: files.Options{Options: s.Engine.Options}}
	words := strings.Split(command, "-")
	has := func(word string) bool { return slices.Contains(words[1:], word) }
	where := Everywhere
	for _, w := range []Scope{OnlyRunning, OnlyDefined, Both} {
		if has(string(w)) {
			where = w
		}
	}
	switch words[0] {
	case "attach":
		r := AttachRequest{Path: s.image, Format: "raw", Scope: where, Serial: "new"}
		for _, bus := range []string{"scsi", "sata"} {
			if has(bus) {
				r.Bus = bus
			}
		}
		if has("vda") {
			r.Target = "vda"
		}
		if has("mount") {
			r.Mount = "/data"
		}
		if has("initialise") {
			r.Windows = &plan.WindowsDisk{}
		}
		return attach(ctx, s.vm(), r, o)
	case "detach":
		r := DetachRequest{Disk: "vdb", Scope: where, Delete: has("delete"), Unmount: has("unmount"), EvenMounted: has("anyway")}
		if has("vdz") {
			r.Disk = "vdz"
		}
		if has("cdrom") {
			r.Disk = "sda"
		}
		s.giveDisk()
		return detach(ctx, s.vm(), r, o)
	}
	r := MediaRequest{ISO: s.iso, Scope: where, Force: has("force")}
	if has("usb") {
		r.Bus = "usb"
	}
	if has("sdz") {
		r.Target = "sdz"
	}
	if words[0] == "eject" {
		return eject(ctx, s.vm(), r, o)
	}
	return insert(ctx, s.vm(), r, o)
}

// giveDisk attaches the image to the domain as vdb before the job begins.
func (s *stage) giveDisk() {
	disk := domain.DiskSpec{Path: s.image, Format: "raw", Device: "disk", Target: "vdb", Bus: "virtio", Serial: "new"}
	s.insert(domain.Config, disk.XML())
	s.insert(domain.Live, disk.XML())
	s.before = s.definitions[domain.Config]
}

func (s *stage) URI() string { return "test" }

var errLibvirt = errors.New("the connection is gone")

func (s *stage) State(ctx context.Context) (domain.State, error) {
	if s.Fault(ctx, "libvirt") != nil {
		return "", errLibvirt
	}
	return s.state, nil
}

func (s *stage) Status(ctx context.Context, agent bool) (domain.Status, error) {
	st := domain.Status{State: s.state, Persistent: true, Agent: agent && s.answers(), Exec: agent && s.answers()}
	devices, _, err := s.Devices(ctx, domain.Config)
	for _, d := range devices {
		st.Disks = append(st.Disks, d.Disk)
	}
	return st, err
}

func (s *stage) answers() bool { return s.state == domain.Running && !s.mute }

func (s *stage) Others(context.Context) ([]domain.User, error) {
	if !s.shared {
		return nil, nil
	}
	return []domain.User{{Domain: "other", Target: "vda", Disk: domain.Disk{Source: s.image, Format: "raw"}}}, nil
}

func (s *stage) XML(context.Context) (domain.DefinitionXML, error) {
	return domain.DefinitionXML(s.definitions[domain.Config]), nil
}

func (s *stage) Define(_ context.Context, x domain.DefinitionXML) error {
	s.definitions[domain.Config] = string(x)
	return nil
}

func (s *stage) Devices(_ context.Context, scope domain.Scope) (disks []domain.Device, controllers []string, err error) {
	for _, text := range elements.FindAllString(s.definitions[scope], -1) {
		text = strings.TrimSpace(text)
		var x struct {
			Type   string `xml:"type,attr"`
			Device string `xml:"device,attr"`
			Driver struct {
				Type string `xml:"type,attr"`
			} `xml:"driver"`
			Source struct {
				File string `xml:"file,attr"`
			} `xml:"source"`
			Target struct {
				Dev string `xml:"dev,attr"`
				Bus string `xml:"bus,attr"`
			} `xml:"target"`
			Serial string `xml:"serial"`
		}
		err = errors.Join(err, xml.Unmarshal([]byte(text), &x))
		if strings.HasPrefix(text, "<controller") {
			controllers = append(controllers, x.Type)
			continue
		}
		disks = append(disks, domain.Device{Text: text, Disk: domain.Disk{Device: x.Device, Target: x.Target.Dev, Bus: x.Target.Bus,
			Format: x.Driver.Type, Kind: x.Type, Source: x.Source.File, Serial: x.Serial}})
	}
	return disks, controllers, err
}

// change changes a definition. The script can make it fail before the change, or lose
// the reply.
func (s *stage) change(ctx context.Context, name, told string, change func()) error {
	if err := s.Fault(ctx, name); err != nil {
		return err
	}
	s.Did(told)
	change()
	return s.Fault(ctx, "lost-"+name)
}

func (s *stage) insert(scope domain.Scope, element string) {
	s.definitions[scope] = strings.Replace(s.definitions[scope], "</devices>", element+"\n</devices>", 1)
}

func (s *stage) Attach(ctx context.Context, element string, scope domain.Scope) error {
	return s.change(ctx, "attach", "+"+string(scope), func() { s.insert(scope, element) })
}

func (s *stage) Detach(ctx context.Context, element string, scope domain.Scope) error {
	if scope == domain.Live && s.Fault(ctx, "kept") != nil {
		return nil // libvirt only asks the guest
	}
	return s.change(ctx, "detach", "-"+string(scope), func() {
		s.definitions[scope] = strings.Replace(s.definitions[scope], element+"\n", "", 1)
	})
}

func (s *stage) Update(ctx context.Context, element string, scope domain.Scope, force bool) error {
	if scope == domain.Live && s.locked && !force {
		return errors.New("the tray is locked")
	}
	return s.change(ctx, "update", "="+string(scope), func() {
		devices, _, _ := s.Devices(ctx, scope)
		for _, d := range devices {
			if d.Device == "cdrom" {
				s.definitions[scope] = strings.Replace(s.definitions[scope], d.Text, element, 1)
			}
		}
	})
}

func (s *stage) Unplug(ctx context.Context, d domain.Device, _ time.Duration) error {
	if s.Fault(ctx, "held") != nil {
		return domain.ErrHeld
	}
	return s.change(ctx, "unplug", "-live", func() {
		s.definitions[domain.Live] = strings.Replace(s.definitions[domain.Live], d.Text+"\n", "", 1)
	})
}

// The methods below are the guest's agent.

func (s *stage) Ping(context.Context) error { return nil }

func (s *stage) OS(context.Context) string {
	if s.windows {
		return "mswindows"
	}
	return "debian"
}

func (s *stage) Exec(ctx context.Context, command []string) (string, error) {
	if err := s.Fault(ctx, "exec"); err != nil {
		return "", err
	}
	s.Did(strings.TrimSuffix(command[0], ".exe"))
	return "E", nil
}

func (s *stage) FileSystems(context.Context) ([]domain.FS, error) {
	all := []domain.FS{{MountPoint: "/"}}
	if s.mountedAt != "" {
		all = append(all, domain.FS{MountPoint: s.mountedAt})
	}
	return all, nil
}

func (s *stage) GuestDisks(ctx context.Context) ([]domain.GuestDisk, error) {
	devices, _, err := s.Devices(ctx, domain.Live)
	var disks []domain.GuestDisk
	for _, d := range devices {
		if d.Device == "disk" {
			g := domain.GuestDisk{Name: "/dev/" + d.Target}
			g.Serial = d.Serial
			disks = append(disks, g)
		}
	}
	return disks, err
}

func (s *stage) MountsOn(context.Context, domain.GuestDisk) ([]string, error) {
	if s.mountedAt == "" {
		return nil, nil
	}
	return []string{s.mountedAt}, nil
}

// Run runs the guest programs that package inside needs.
func (s *stage) Run(ctx context.Context, command []string, input string) (domain.ExecResult, error) {
	out := &bytes.Buffer{}
	last := command[len(command)-1]
	switch command[0] {
	case "cat":
		switch {
		case last == "/etc/fstab":
			out.WriteString(s.fstab)
		case strings.HasPrefix(last, "/proc/"):
			if s.mountedAt != "" {
				fmt.Fprintf(out, "/dev/vdb %s xfs rw 0 0\n", s.mountedAt)
			}
		default:
			out.WriteString(s.copies[last])
		}
	case "lsblk":
		fmt.Fprintf(out, "NAME=%q KNAME=%q PKNAME=\"\" TYPE=\"disk\" SIZE=\"1\" FSTYPE=\"xfs\" MOUNTPOINT=%q UUID=\"bbbb-1\" SERIAL=\"new\"\n", "/dev/vdb", "/dev/vdb", s.mountedAt)
	case "cp":
		s.copies[last] = s.fstab
	case "tee":
		s.copies[last] = input
	case "mv":
		s.fstab = s.copies[command[2]]
	case "test":
		if command[1] == "-L" {
			return domain.ExecResult{Status: 1}, nil
		}
	case "mount", "umount":
		if s.Fault(ctx, command[0]) != nil {
			return domain.ExecResult{Status: 32}, nil
		}
		s.Did(command[0])
		s.mountedAt = ""
		if command[0] == "mount" {
			s.mountedAt = "/data"
		}
	}
	return domain.ExecResult{Out: out.Bytes()}, nil
}

// TestMadeDisk checks that an image that the job has created is deleted when the job is
// undone, even if the guest has written to it.
func TestMadeDisk(t *testing.T) {
	for script, there := range map[string]bool{
		"add > create name +config define +live plug seen > done":                                                                         true,
		"add seen/before=error > create name +config define +live plug -live -plug -config -define -name -create > restored, rolled-back": false,
		"add name/after=kill > create > killed, working: resume rollback ; rollback > -name -create > rolled-back":                        false,
		"add create/after=kill > > killed, working: resume rollback ; resume > create name +config define +live plug seen > done":         true,
		"add plug/before=error > create name +config define -plug -config -define -name -create > restored, rolled-back":                  false,
	} {
		t.Run(script, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, "running")
			path := filepath.Join(filepath.Dir(s.image), "made.qcow2")
			s.Start = func(ctx context.Context, _ string) (*job.Outcome, error) {
				n := plan.NewDisk{Path: path, Format: "qcow2", Size: size.MiB}
				return add(ctx, s.vm(), n, AttachRequest{Serial: "new"}, Options{Options: files.Options{Options: s.Engine.Options}})
			}
			if got := s.Play(script); got != script {
				t.Errorf("got\n%s", got)
			}
			if _, err := os.Stat(path); (err == nil) != there {
				t.Errorf("the image is there: %v", err == nil)
			}
		})
	}
}
