package live

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"strconv"
	"strings"

	"github.com/virt-grow/virt-grow/plan/size"
)

// Probe is the program that says what a Linux guest has: lsblk(8), util-linux 2.23
// or later, where partitions begin (which lsblk tells only from 2.38 on), what is
// mounted (without udev, lsblk knows no file systems), what the disks are attached to,
// and what programs there are.
// Nothing is ever put into it.
func Probe() []string {
	return []string{"/bin/sh", "-c", `lsblk -bpP -o NAME,PKNAME,TYPE,SIZE,FSTYPE,MOUNTPOINT,UUID,SERIAL || exit 1
for f in /sys/class/block/*/start; do read n < "$f" && echo "start $f $n"; done
ls -l /sys/block
while read d at fs rest; do case "$d" in /dev/*) echo "mount $d $fs";; esac; done < /proc/self/mounts
for t in ` + strings.Join(Tools, " ") + `; do command -v "$t" > /dev/null && echo "tool $t"; done; true`}
}

// SizeProbe is the program that says how big a disk is, in units of 512 bytes.
func (d Disk) SizeProbe() []string {
	return []string{"cat", "/sys/class/block/" + path.Base(d.Path) + "/size"}
}

// maxDevices bounds what ReadProbe takes from a guest.
const maxDevices = 4096

// ReadProbe reads what Probe printed.
func ReadProbe(text string) (Guest, error) {
	g := Guest{Tools: map[string]bool{}}
	starts, mounts, addresses := map[string]size.Bytes{}, map[string]string{}, map[string]string{}
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		switch {
		case len(words) == 2 && words[0] == "tool":
			g.Tools[words[1]] = true
		case len(words) == 3 && words[0] == "mount":
			mounts[words[1]] = words[2]
		case len(words) == 3 && words[0] == "start":
			sectors, err := strconv.ParseInt(words[2], 10, 54)
			if err != nil || sectors < 0 {
				return g, fmt.Errorf("the guest says that %q begins at sector %q", words[1], words[2])
			}
			// The kernel counts these in 512 bytes, whatever the disk's sector.
			starts[strings.TrimSuffix(strings.TrimPrefix(words[1], "/sys/class/block/"), "/start")] = size.Bytes(sectors) * 512
		case len(words) > 3 && words[len(words)-2] == "->":
			link := words[len(words)-1]
			addresses["/dev/"+path.Base(link)] = address(link)
		case len(words) > 1 && words[0] != "total":
			d, err := readPairs(line)
			if err != nil {
				return g, err
			}
			g.Devices = append(g.Devices, d)
		}
		if len(g.Devices) > maxDevices {
			return g, fmt.Errorf("the guest names more than %d block devices", maxDevices)
		}
	}
	if len(g.Devices) == 0 {
		return g, errors.New("the guest names no block device")
	}
	for i := range g.Devices {
		d := &g.Devices[i]
		d.Start = starts[d.name()]
		d.Address = addresses[d.Path]
		if d.FS == "" {
			d.FS = mounts[d.Path]
		}
	}
	return g, nil
}

var (
	scsiPlace = regexp.MustCompile(`^[0-9]+:[0-9]+:([0-9]+):([0-9]+)$`)
	pciPlace  = regexp.MustCompile(`^[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$`)
)

// address reads off a link in /sys/block where a disk is attached, in the words of
// PCIAddress and SCSIAddress: the last of its folders that says so.
func address(link string) string {
	at := ""
	for _, name := range strings.Split(link, "/") {
		if m := scsiPlace.FindStringSubmatch(name); m != nil {
			at = "scsi " + m[1] + ":" + m[2]
		} else if pciPlace.MatchString(name) {
			at = "pci " + name
		}
	}
	return at
}

// PCIAddress and SCSIAddress are where libvirt attaches a disk, as Device.Address has
// it.
func PCIAddress(domain, bus, slot, function uint) string {
	return fmt.Sprintf("pci %04x:%02x:%02x.%x", domain, bus, slot, function)
}

// SCSIAddress leaves the controller out: its number in the guest is the guest's.
func SCSIAddress(target, unit uint) string { return fmt.Sprintf("scsi %d:%d", target, unit) }

// readPairs reads one line of lsblk -P: KEY="value", in which lsblk writes what
// could be misread as \xHH.
func readPairs(line string) (Device, error) {
	var d Device
	into := map[string]*string{"NAME": &d.Path, "PKNAME": &d.Parent, "TYPE": &d.Kind, "FSTYPE": &d.FS,
		"MOUNTPOINT": &d.Mounted, "UUID": &d.UUID, "SERIAL": &d.Serial}
	rest := strings.TrimSpace(line)
	for rest != "" {
		key, quoted, ok := strings.Cut(rest, `="`)
		value, after, closed := strings.Cut(quoted, `"`)
		if !ok || !closed {
			return d, fmt.Errorf("not what lsblk prints: %.100q", line)
		}
		value = unescape(value)
		if key == "SIZE" {
			n, err := strconv.ParseInt(value, 10, 64)
			if err != nil || n < 0 {
				return d, fmt.Errorf("the guest says that %s has %q bytes", d.Path, value)
			}
			d.Size = size.Bytes(n)
		} else if field := into[key]; field != nil {
			*field = value
		}
		rest = strings.TrimSpace(after)
	}
	if !strings.HasPrefix(d.Path, "/dev/") || d.Kind == "" {
		return d, fmt.Errorf("not what lsblk prints: %.100q", line)
	}
	return d, nil
}

// unescape takes \xHH back.
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
