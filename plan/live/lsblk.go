package live

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/virt-grow/virt-grow/plan/size"
)

// lsblkOptions are lsblk(8)'s for Lsblk and Probe: pairs of KEY="value" with sizes in
// bytes and paths in place of names. The pairs are the same from util-linux 2.23 to
// 2.41; JSON came with 2.27 and writes numbers as strings before 2.33.
//
// lsblk fails at a column that it does not know, so every column here is one that 2.23
// has. PTTYPE (2.31), MOUNTPOINTS (2.37) and START (2.38) are younger; what they tell
// comes from other places. Columns whose names are no plain words (FSUSE%, MAJ:MIN)
// stay out as well: 2.37 printed them as FSUSE_PCT and MAJ_MIN.
var lsblkOptions = []string{"-bpP", "-o", "NAME,KNAME,PKNAME,TYPE,SIZE,FSTYPE,MOUNTPOINT,UUID,SERIAL"}

// Lsblk returns the command that lists the block devices of a Linux guest; with a
// device, that one and all that lie on it. It takes util-linux 2.23 or later.
func Lsblk(device string) []string {
	command := append([]string{"lsblk"}, lsblkOptions...)
	if device != "" {
		command = append(command, device)
	}
	return command
}

// Mounts is the file that lists what is mounted in a Linux guest. lsblk names one mount
// point of a device, and before util-linux 2.27 none of a device with others on it.
const Mounts = "/proc/self/mounts"

// ReadLsblk reads what Lsblk printed, and the guest's Mounts. A device that lies on
// several others is listed once for each, but for util-linux 2.34, which lists it once.
func ReadLsblk(text, mounts string) ([]Device, error) {
	r := newReader()
	for line := range strings.Lines(mounts) {
		r.mount(strings.Fields(line))
	}
	for line := range strings.Lines(text) {
		if err := r.device(line); err != nil {
			return nil, err
		}
	}
	err := r.finish()
	return r.Devices, err
}

// maxDevices bounds what is taken from a guest.
const maxDevices = 4096

// device reads one line of lsblk.
func (r *reader) device(line string) error {
	d, kernelName, err := readPairs(line)
	if err != nil {
		return err
	}
	if len(r.Devices) == maxDevices {
		return fmt.Errorf("the guest lists more than %d block devices", maxDevices)
	}
	r.Devices = append(r.Devices, d)
	if kernelName != "" {
		r.paths[kernelName] = d.Path
	}
	return nil
}

// readPairs reads the pairs of one device. lsblk writes as \xHH what is not printable
// in ASCII, the quotation mark and the backslash; from 2.27 on the backquote and the
// dollar sign as well. A space stays as it is. The kernel's name of the device is its
// path as PKNAME has it: "/dev/dm-0" for "/dev/mapper/vg-root".
func readPairs(line string) (d Device, kernelName string, err error) {
	into := map[string]*string{"NAME": &d.Path, "KNAME": &kernelName, "PKNAME": &d.Parent, "TYPE": &d.Kind,
		"FSTYPE": &d.FS, "MOUNTPOINT": &d.Mounted, "UUID": &d.UUID, "SERIAL": &d.Serial}
	rest := strings.TrimSpace(line)
	for rest != "" {
		key, quoted, ok := strings.Cut(rest, `="`)
		value, after, closed := strings.Cut(quoted, `"`)
		if !ok || !closed {
			return d, "", fmt.Errorf("unexpected output of lsblk: %.100q", line)
		}
		value = unescape(value)
		if key == "SIZE" {
			n, err := strconv.ParseInt(value, 10, 64)
			if err != nil || n < 0 {
				return d, "", fmt.Errorf("the guest reports an invalid size of %s: %q bytes", d.Path, value)
			}
			d.Size = size.Bytes(n)
		} else if field := into[key]; field != nil {
			*field = value
		}
		rest = strings.TrimSpace(after)
	}
	if !strings.HasPrefix(d.Path, "/dev/") || d.Kind == "" {
		return d, "", fmt.Errorf("unexpected output of lsblk: %.100q", line)
	}
	return d, kernelName, nil
}

// unescape decodes \xHH.
func unescape(s string) string {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(s, `\x`)
		b.WriteString(before)
		if !found {
			return b.String()
		}
		if len(after) >= 2 {
			if n, err := strconv.ParseUint(after[:2], 16, 8); err == nil {
				b.WriteByte(byte(n))
				s = after[2:]
				continue
			}
		}
		b.WriteString(`\x`)
		s = after
	}
}

// mountLine is a line of Mounts.
type mountLine struct {
	at, fs   string
	readOnly bool
}

// mount reads the words of a line of Mounts.
func (r *reader) mount(words []string) {
	if len(words) < 4 || !strings.HasPrefix(words[0], "/dev/") {
		return
	}
	options := strings.Split(words[3], ",")
	r.mounts[words[0]] = append(r.mounts[words[0]], mountLine{octal(words[1]), words[2], slices.Contains(options, "ro")})
}

// finish joins what different lines say of a device.
func (r *reader) finish() error {
	if len(r.Devices) == 0 {
		return errors.New("the guest lists no block device")
	}
	for i, d := range r.Devices {
		if name, ok := r.paths[d.Parent]; ok {
			r.Devices[i].Parent = name
		}
	}
	r.addParents()
	for i := range r.Devices {
		r.complete(&r.Devices[i])
	}
	return nil
}

// complete adds to a device what other lines say of it.
func (r *reader) complete(d *Device) {
	d.Start, d.Address = r.starts[d.name()], r.addresses[d.Path]
	mounts := r.mounts[d.Path]
	d.ReadOnly = len(mounts) > 0
	for _, m := range mounts {
		d.Mounts = append(d.Mounts, m.at)
		d.ReadOnly = d.ReadOnly && m.readOnly
	}
	if d.FS == "" && d.Mounted == Swap {
		d.FS = "swap"
	}
	if len(mounts) == 0 {
		return
	}
	if d.FS == "" {
		d.FS = mounts[0].fs
	}
	if d.Mounted == "" {
		d.Mounted = mounts[0].at
	}
}

// octal decodes the kernel's \ooo in a mount point.
func octal(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// MountPoints returns all places where a device is mounted; Swap for swap in use.
func (d Device) MountPoints() []string {
	all := slices.Clone(d.Mounts)
	if d.Mounted != "" && !slices.Contains(all, d.Mounted) {
		all = append(all, d.Mounted)
	}
	return all
}

// addParents lists a device again for each parent that lsblk left out.
func (r *reader) addParents() {
	for _, link := range r.links {
		dir, parent := path.Split(link)
		child := path.Base(path.Dir(path.Dir(dir)))
		childPath, parentPath := r.paths["/dev/"+child], r.paths["/dev/"+parent]
		i := slices.IndexFunc(r.Devices, func(d Device) bool { return d.Path == childPath })
		listed := slices.ContainsFunc(r.Devices, func(d Device) bool { return d.Path == childPath && d.Parent == parentPath })
		if i < 0 || parentPath == "" || listed || len(r.Devices) == maxDevices {
			continue
		}
		again := r.Devices[i]
		again.Parent = parentPath
		r.Devices = append(r.Devices, again)
	}
}
