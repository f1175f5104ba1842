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

// lsblkOptions are the options of lsblk(8) for Lsblk and Probe: pairs of KEY="value" with
// sizes in bytes and paths instead of names. The pairs are the same from util-linux 2.23 to
// 2.41; JSON came with 2.27 and has numbers as strings before 2.33.
//
// lsblk fails if it does not know a column, so every column here exists in 2.23. PTTYPE
// (2.31), MOUNTPOINTS (2.37) and START (2.38) are newer; their values are read elsewhere.
// Columns with special characters in their names (FSUSE%, MAJ:MIN) are not used either:
// 2.37 printed them as FSUSE_PCT and MAJ_MIN.
var lsblkOptions = []string{"-bpP", "-o", "NAME,KNAME,PKNAME,TYPE,SIZE,FSTYPE,MOUNTPOINT,UUID,SERIAL"}

// Lsblk returns the command that lists the block devices of a Linux guest; with a device,
// that device and all on it. It requires util-linux 2.23 or later.
func Lsblk(device string) []string {
	command := append([]string{"lsblk"}, lsblkOptions...)
	if device != "" {
		command = append(command, device)
	}
	return command
}

// Mounts is the file with the mounts of a Linux guest. lsblk prints only one mount point of
// a device and, before util-linux 2.27, none of a device with others on it.
const Mounts = "/proc/self/mounts"

// ReadLsblk reads the output of Lsblk, and the guest's Mounts. A device on several others is
// listed once for each of them, except by util-linux 2.34, which lists it once.
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

// maxDevices limits the number of devices that are read from a guest.
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

// readPairs reads the pairs of one device. lsblk writes quotation marks, backslashes and
// characters that are not printable ASCII as \xHH; from 2.27 on also backquotes and dollar
// signs. It does not escape spaces. kernelName is the device's path in the form of PKNAME:
// "/dev/dm-0" for "/dev/mapper/vg-root".
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

// finish joins what different lines report of a device.
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

// complete adds to a device what other lines report of it.
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

// MountPoints returns all mount points of a device; Swap for swap in use.
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
