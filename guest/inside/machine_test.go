package inside

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/plan/fstab"
	"github.com/virt-grow/virt-grow/plan/live"
)

// machine is a running Linux guest in memory, with its agent. It implements the programs
// that this package runs, as far as needed.
type machine struct {
	files   map[string]string
	dirs    []string
	links   []string
	devices []live.Device
	mounted []mounted
	blkid   map[string]string
	// groups are the devices that appear when a volume group is activated.
	groups map[string][]live.Device
	// disks is the reply to guest-get-disks; nil for an older agent.
	disks []domain.GuestDisk
	// unseen are mount points that the agent does not list.
	unseen []string
	os     string
	silent int // number of pings that get no reply

	// failing are programs that fail: the beginning of their command line, and the error
	// of Run or else the exit status. before is called before each program.
	failing map[string]any
	before  func(line string)
	ran     []string
}

// mounted is a device at a mount point; live.Swap stands for swap in use.
type mounted struct{ device, at string }

// linux returns a machine with a root disk, an fstab, and an unmounted XFS on vdb.
func linux() *machine {
	return &machine{
		files: map[string]string{fstab.Path: oldFstab},
		dirs:  []string{"/", "/mnt", "/run/systemd/system"},
		devices: []live.Device{
			{Path: "/dev/vda", Kind: "disk"},
			{Path: "/dev/vda1", Parent: "/dev/vda", Kind: "part", FS: "ext4", UUID: "aaaa-1"},
			{Path: "/dev/vdb", Kind: "disk", FS: "xfs", UUID: "bbbb-1"},
		},
		mounted: []mounted{{"/dev/vda1", "/"}},
		failing: map[string]any{},
	}
}

const oldFstab = "# static\nUUID=aaaa-1  /  ext4\tdefaults 0 1\n"

// guest returns the machine as a Guest that does not wait.
func (m *machine) guest() *Guest {
	g := New("vm", m)
	g.waits = waits{every: time.Nanosecond, disk: time.Minute, content: time.Minute, mount: time.Minute}
	return g
}

// impatient returns a guest whose time limits are over at once.
func (m *machine) impatient() *Guest {
	g := New("vm", m)
	g.waits = waits{every: time.Nanosecond, disk: 1, content: 1, mount: 1}
	return g
}

// ranOf returns the command lines with that prefix.
func (m *machine) ranOf(prefix string) []string {
	return slices.DeleteFunc(slices.Clone(m.ran), func(line string) bool { return !strings.HasPrefix(line, prefix) })
}

func (m *machine) at(place string) string {
	for _, x := range m.mounted {
		if x.at == place {
			return x.device
		}
	}
	return ""
}

func (m *machine) Ping(context.Context) error {
	if m.silent > 0 {
		m.silent--
		return errSilent
	}
	return nil
}

func (m *machine) FileSystems(context.Context) ([]domain.FS, error) {
	var all []domain.FS
	for _, x := range m.mounted {
		if x.at != live.Swap && !slices.Contains(m.unseen, x.at) {
			all = append(all, domain.FS{Name: path.Base(x.device), MountPoint: x.at})
		}
	}
	return all, m.failure("guest-get-fsinfo")
}

func (m *machine) GuestDisks(context.Context) ([]domain.GuestDisk, error) {
	if m.disks == nil {
		return nil, errSilent
	}
	return m.disks, nil
}

func (m *machine) MountsOn(_ context.Context, d domain.GuestDisk) ([]string, error) {
	var all []string
	for _, x := range m.mounted {
		if strings.HasPrefix(x.device, d.Name) && x.at != live.Swap && !slices.Contains(m.unseen, x.at) {
			all = append(all, x.at)
		}
	}
	return all, m.failure("guest-get-fsinfo")
}

func (m *machine) OS(context.Context) string { return m.os }

// failure returns the error of a failing program.
func (m *machine) failure(line string) error {
	for prefix, how := range m.failing {
		if err, ok := how.(error); ok && strings.HasPrefix(line, prefix) {
			return err
		}
	}
	return nil
}

func (m *machine) Run(_ context.Context, command []string, input string) (domain.ExecResult, error) {
	line := strings.Join(command, " ")
	m.ran = append(m.ran, line)
	if m.before != nil {
		m.before(line)
	}
	if err := m.failure(line); err != nil {
		return domain.ExecResult{}, err
	}
	for prefix, how := range m.failing {
		if status, ok := how.(int); ok && strings.HasPrefix(line, prefix) {
			return domain.ExecResult{Status: status, Err: []byte("target is busy")}, nil
		}
	}
	out, ok := m.run(command, input)
	if !ok {
		return domain.ExecResult{Status: 1, Err: []byte("no such thing")}, nil
	}
	return domain.ExecResult{Out: []byte(out)}, nil
}

// run runs one program, and reports whether it succeeds.
func (m *machine) run(command []string, input string) (out string, ok bool) {
	last := command[len(command)-1]
	switch command[0] {
	case "cat":
		if last == live.Mounts {
			return m.mounts(), true
		}
		out, ok = m.files[last]
		return out, ok
	case "cp":
		text, there := m.files[command[2]]
		m.files[last] = text
		return "", there
	case "tee":
		m.files[last] = input
		return input, true
	case "mv":
		m.files[last] = m.files[command[2]]
		delete(m.files, command[2])
	case "rm":
		for _, name := range command[2:] {
			delete(m.files, name)
		}
	case "test":
		return "", command[1] == "-d" && slices.Contains(m.dirs, last) || command[1] == "-L" && slices.Contains(m.links, last)
	case "mkdir":
		for dir := last; !slices.Contains(m.dirs, dir); dir = path.Dir(dir) {
			m.dirs = append(m.dirs, dir)
		}
	case "rmdir":
		m.dirs = slices.DeleteFunc(m.dirs, func(d string) bool { return d == last })
	case "mount", "swapon":
		return "", m.mount(command)
	case "umount", "swapoff":
		before := len(m.mounted)
		m.mounted = slices.DeleteFunc(m.mounted, func(x mounted) bool { return x.at == last || x.device == last && x.at == live.Swap })
		return "", len(m.mounted) < before
	case "lsblk":
		return m.lsblk(last)
	case "blkid":
		out, ok = m.blkid[last]
		return out, ok
	case "lvm":
		return m.lvm(command[1:])
	case "sync", "systemctl":
	default:
		return "", false
	}
	return "", true
}

// mount mounts by the fstab or by UUID.
func (m *machine) mount(command []string) bool {
	spec, at := command[len(command)-2], command[len(command)-1]
	switch {
	case command[0] == "swapon":
		spec, at = "UUID="+at, live.Swap
	case len(command) == 2:
		for _, e := range fstab.Entries([]byte(m.files[fstab.Path])) {
			if e.Mount == at {
				spec = e.Spec
			}
		}
	}
	for _, d := range m.devices {
		if fstab.SameSpec("UUID="+d.UUID, spec) || d.Path == spec {
			m.mounted = append(m.mounted, mounted{d.Path, at})
			return true
		}
	}
	return false
}

func (m *machine) mounts() string {
	var b strings.Builder
	for _, x := range m.mounted {
		if x.at != live.Swap {
			fmt.Fprintf(&b, "%s %s auto rw 0 0\n", x.device, x.at)
		}
	}
	return b.String()
}

// lsblk prints all devices, or one and those on it.
func (m *machine) lsblk(device string) (string, bool) {
	var b strings.Builder
	on := map[string]bool{}
	for _, d := range m.devices {
		if strings.HasPrefix(device, "/dev/") && d.Path != device && !on[d.Parent] {
			continue
		}
		on[d.Path] = true
		swap := ""
		if slices.Contains(m.mounted, mounted{d.Path, live.Swap}) {
			swap = live.Swap
		}
		fmt.Fprintf(&b, "NAME=%q KNAME=%q PKNAME=%q TYPE=%q SIZE=\"1\" FSTYPE=%q MOUNTPOINT=%q UUID=%q SERIAL=%q\n",
			d.Path, d.Path, d.Parent, d.Kind, d.FS, swap, d.UUID, d.Serial)
	}
	return b.String(), b.Len() > 0
}

func (m *machine) lvm(command []string) (string, bool) {
	last := command[len(command)-1]
	switch line := strings.Join(command, " "); {
	case strings.HasPrefix(line, "pvs "):
		return "  vg\n", true
	case strings.HasPrefix(line, "vgchange --activate y"), strings.HasPrefix(line, "lvchange --activate y"):
		m.devices = append(m.devices, m.groups[last]...)
		delete(m.groups, last)
	case strings.HasPrefix(line, "lvchange --activate n"):
		m.devices = slices.DeleteFunc(m.devices, func(d live.Device) bool { return d.Path == last })
	}
	return "", true
}
