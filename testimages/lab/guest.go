package lab

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/virt-grow/virt-grow/testimages/kvm"
)

// Spec describes a guest.
type Spec struct {
	Name  string
	Disks []Disk // the one with the root file system first

	// Cmdline is added to the kernel's command line, for every boot. Words that make the
	// guest misbehave:
	//
	//	ignore-shutdown          accept requests by agent and ACPI, but do nothing
	//	slow-shutdown=SECONDS    do nothing for that time
	//	hibernate                shut down like Windows with fast startup: the NTFS at /data is left hibernated
	//	windows=KIND             run an agent of Windows, whose D: is the NTFS at /data: able,
	//	                         no-exec (runs no programs) or fails (extends no volume)
	//	load=MODULE,…            load modules, for other file systems than the root's
	//	disks=MODULE,…           load drivers of disks: ata_piix for IDE, ahci for SATA, and sd_mod
	//	without=MODULE,…         do not load drivers that are usually loaded: virtio_blk
	//	agent-without=COMMAND,…  the agent refuses these commands
	//	no-agent                 there is a channel for the agent, but no agent
	//	hang                     hang during the boot, before the first heartbeat and the agent
	//	was=BYTES bigger=WHAT    if the root disk is larger than BYTES: hang, panic or off
	Cmdline []string

	// Machine is the machine type; "" is pc.
	Machine string

	NoAgentChannel bool
	MemoryMiB      int // 0: enough
	// Drives are disks that libvirt does not know, with -drive on QEMU's command line, as
	// administrators did before libvirt used -blockdev. Their Target is the drive's alias.
	Drives []Disk
}

// Disk is a disk of a guest.
type Disk struct {
	Path, Format string
	// Target is vda, …; sda, … are on a virtio-scsi controller, hda, … on IDE, for which
	// the guest loads no driver by itself.
	Target string
	// Bus is another bus than that of the target: sata.
	Bus string
}

// Guest is a defined domain.
type Guest struct {
	Name    string
	libvirt *Libvirt
}

// Define defines a guest.
func (l *Libvirt) Define(ctx context.Context, s Spec) (*Guest, error) {
	if err := l.installBoot(ctx, s.initramfs()); err != nil {
		return nil, err
	}
	g := l.Guest(s.Name)
	for _, file := range []string{g.console(), g.heartbeatsFile()} {
		// libvirt has QEMU open these, with the guest's rights.
		if err := touch(file); err != nil {
			return nil, err
		}
	}
	xml, err := g.xml(s)
	if err != nil {
		return nil, err
	}
	file := l.path("tmp/" + s.Name + ".xml")
	if err := os.WriteFile(file, []byte(xml), 0o600); err != nil {
		return nil, err
	}
	defer os.Remove(file)
	if _, err := l.Virsh(ctx, "define", file); err != nil {
		return nil, err
	}
	return g, nil
}

// Guest returns an existing guest.
func (l *Libvirt) Guest(name string) *Guest { return &Guest{name, l} }

func (g *Guest) console() string        { return g.libvirt.path("serial/" + g.Name + ".console") }
func (g *Guest) heartbeatsFile() string { return g.libvirt.path("serial/" + g.Name + ".heartbeats") }

func touch(file string) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}

// Start starts the guest, and does not wait for its boot.
func (g *Guest) Start(ctx context.Context) error {
	_, err := g.libvirt.Virsh(ctx, "start", g.Name)
	return err
}

// State returns the output of virsh domstate: "running", "shut off", ….
func (g *Guest) State(ctx context.Context) (string, error) {
	out, err := g.libvirt.Virsh(ctx, "domstate", g.Name)
	return strings.TrimSpace(out), err
}

// WaitState waits until the guest is in a state.
func (g *Guest) WaitState(ctx context.Context, want string) error {
	return until(ctx, g.Name+" to be "+want, func() (bool, error) {
		state, err := g.State(ctx)
		return state == want, err
	})
}

// Agent sends one command to the guest agent.
func (g *Guest) Agent(ctx context.Context, command string) (string, error) {
	return g.libvirt.Virsh(ctx, "qemu-agent-command", "--timeout", "5", g.Name, command)
}

// WaitAgent waits until the guest agent answers.
func (g *Guest) WaitAgent(ctx context.Context) error {
	var last error
	err := until(ctx, "the agent of "+g.Name, func() (bool, error) {
		_, last = g.Agent(ctx, `{"execute":"guest-ping"}`)
		return last == nil, nil
	})
	if err != nil {
		return fmt.Errorf("%w: %w", err, last)
	}
	return nil
}

// Exec runs a program in the guest, through its agent, and returns its output.
func (g *Guest) Exec(ctx context.Context, path string, args ...string) (string, error) {
	command, err := json.Marshal(map[string]any{"execute": "guest-exec",
		"arguments": map[string]any{"path": path, "arg": args, "capture-output": true}})
	if err != nil {
		return "", err
	}
	var started struct{ Return struct{ Pid int } }
	if err := g.ask(ctx, string(command), &started); err != nil {
		return "", err
	}
	var status struct {
		Return struct {
			Exited   bool
			ExitCode int
			Out      []byte `json:"out-data"`
			Err      []byte `json:"err-data"`
		}
	}
	question := fmt.Sprintf(`{"execute":"guest-exec-status","arguments":{"pid":%d}}`, started.Return.Pid)
	err = until(ctx, path, func() (bool, error) {
		err := g.ask(ctx, question, &status)
		return status.Return.Exited, err
	})
	if r := status.Return; err == nil && r.ExitCode != 0 {
		err = fmt.Errorf("%s %s in %s: exit status %d: %s", path, strings.Join(args, " "), g.Name, r.ExitCode, r.Err)
	}
	return string(status.Return.Out), err
}

// ask sends the agent a command and reads its answer.
func (g *Guest) ask(ctx context.Context, command string, answer any) error {
	out, err := g.Agent(ctx, command)
	if err != nil {
		return err
	}
	return json.Unmarshal([]byte(out), answer)
}

// xml returns the domain's XML. It has as few devices as possible, because each device makes
// the boot longer.
func (g *Guest) xml(s Spec) (string, error) {
	if len(s.Disks) == 0 {
		return "", errors.New("a guest needs a disk")
	}
	kind, cpu := "qemu", ""
	if kvm.Works() {
		kind, cpu = "kvm", `<cpu mode="host-passthrough"/>`
	}
	devices := ""
	for _, d := range s.Disks {
		xml, err := d.xml()
		if err != nil {
			return "", err
		}
		devices += xml
	}
	for port, file := range []string{g.console(), g.heartbeatsFile()} {
		devices += fmt.Sprintf(`
    <serial type="file"><source path=%q append="on"/><target port="%d"/></serial>`, file, port)
	}
	devices += fmt.Sprintf(`
    <filesystem type="mount" accessmode="squash"><source dir=%q/><target dir="clock"/></filesystem>`, g.libvirt.path("clock"))
	if !s.NoAgentChannel {
		devices += `
    <channel type="unix"><target type="virtio" name="org.qemu.guest_agent.0"/></channel>`
	}
	memory := s.MemoryMiB
	if memory == 0 {
		memory = 384
	}
	return fmt.Sprintf(domainXML, kind, commandline(s.Drives), s.Name, memory, cmp.Or(s.Machine, "pc"), g.libvirt.path("boot/kernel"), g.libvirt.path("boot/"+s.initramfs()),
		strings.Join(append([]string{kernelCmdline}, s.Cmdline...), " "), cpu, devices), nil
}

// initramfs returns the name of the initramfs with the modules that the guest loads.
func (s Spec) initramfs() string {
	for _, word := range s.Cmdline {
		if modules, ok := strings.CutPrefix(word, "load="); ok && slices.Contains(strings.Split(modules, ","), ntfs3) {
			return ntfs3Initramfs
		}
	}
	return plainInitramfs
}

// commandline returns QEMU's arguments for drives. The caller must give QEMU access to their
// files.
func commandline(drives []Disk) string {
	if len(drives) == 0 {
		return ""
	}
	args := ""
	for i, d := range drives {
		// libvirt uses the low slots of the bus for its own devices.
		args += fmt.Sprintf(`<qemu:arg value="-drive"/><qemu:arg value="file=%s,format=%s,if=none,id=%s"/>
    <qemu:arg value="-device"/><qemu:arg value="virtio-blk-pci,drive=%s,addr=%#x"/>`, d.Path, d.Format, d.Target, d.Target, 16+i)
	}
	return "\n  <qemu:commandline>" + args + "</qemu:commandline>"
}

// Values must not need quoting in XML: they are paths and words of our own.
const domainXML = `<domain type=%q xmlns:qemu="http://libvirt.org/schemas/domain/qemu/1.0">%s
  <name>%s</name>
  <memory unit="MiB">%d</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch="x86_64" machine=%q>hvm</type>
    <kernel>%s</kernel>
    <initrd>%s</initrd>
    <cmdline>%s</cmdline>
  </os>
  <features><acpi/></features>
  %s
  <clock offset="utc"/>
  <devices>
    <controller type="usb" model="none"/>
    <memballoon model="none"/>%s
  </devices>
</domain>
`

// kernelCmdline keeps the kernel from looking for hardware that is missing. The clock is the
// ACPI timer: the rate of the TSC is measured at boot, wrongly on a busy host, and the guest's
// clock then runs at twice the speed.
const kernelCmdline = "console=ttyS0 quiet mitigations=off no_timer_check tsc=reliable clocksource=acpi_pm cryptomgr.notests " +
	"8250.nr_uarts=2 i8042.noaux i8042.nokbd"

func (d Disk) xml() (string, error) {
	path, err := filepath.Abs(d.Path)
	if err != nil {
		return "", err
	}
	st, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	bus, controller := "virtio", ""
	if d.Bus != "" {
		bus = d.Bus
	} else if strings.HasPrefix(d.Target, "sd") {
		bus, controller = "scsi", `
    <controller type="scsi" index="0" model="virtio-scsi"/>`
	}
	if strings.HasPrefix(d.Target, "hd") {
		bus = "ide"
	}
	kind, attribute := "file", "file"
	if st.Mode()&os.ModeDevice != 0 {
		kind, attribute = "block", "dev"
	}
	return controller + fmt.Sprintf(`
    <disk type=%q device="disk"><driver name="qemu" type=%q/><source %s=%q/><target dev=%q bus=%q/></disk>`,
		kind, d.Format, attribute, path, d.Target, bus), nil
}
