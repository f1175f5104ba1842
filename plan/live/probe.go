package live

import (
	"encoding/hex"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/virt-grow/virt-grow/plan/size"
	"github.com/virt-grow/virt-grow/plan/table"
)

// Probe returns the program that describes a Linux guest. It prints: the output of lsblk(8),
// from util-linux 2.23 or later; the offsets of partitions (which lsblk prints only from 2.38
// on); the devices that lie on several others; the mounts (without udev, lsblk knows no file
// systems); the addresses of the disks; the four entries of each disk's MBR, or udev's type
// of the table; the metadata of LVM, ext and btrfs; and which programs are installed. The
// program is constant: it contains no values.
func Probe() []string {
	return []string{"/bin/sh", "-c", `PATH=$PATH:/usr/sbin:/sbin; export PATH; LC_ALL=C; export LC_ALL
lsblk ` + strings.Join(lsblkOptions, " ") + ` || exit 1
for f in /sys/class/block/*/start; do read n < "$f" && echo "start $f $n"; done
for f in /sys/class/block/*/slaves/*; do if [ -e "$f" ]; then echo "slave $f"; fi; done
ls -l /sys/block
for f in /sys/block/*/queue/logical_block_size; do
  read n < "$f" && d=${f#/sys/block/} && d=${d%%/*} && echo "sector $d $n" || continue
  case "$d" in loop*|ram*|sr*|fd*|zram*|nbd*|dm-*|md*) continue;; esac
  echo "mbr $d" $(od -A n -v -t x1 -j 446 -N 66 "/dev/$d" 2> /dev/null)
done
lsblk -dnpr -o NAME,PTTYPE 2> /dev/null | sed 's/^/pttype /'
sed -n 's,^/dev/,mount &,p' /proc/self/mounts
while read -r d at fs rest; do case "$fs" in ext[234]) echo "ext $d" $(od -A n -v -t x1 -j 1024 -N 256 "$d" 2> /dev/null);; esac; done < /proc/self/mounts
btrfs filesystem show 2> /dev/null | sed -n -e 's/^.*Total devices \([0-9]*\).*/btrfs \1/p' -e 's/^[[:space:]]*devid/devid/p'
lvs --noheadings --separator '|' -o vg_name,lv_name,segtype,lv_attr 2> /dev/null | sed 's/^ */lvs /'
vgs --noheadings --separator '|' -o vg_name,vg_attr 2> /dev/null | sed 's/^ */vgs /'
pvs --noheadings --separator '|' -o pv_name,pv_attr 2> /dev/null | sed 's/^ */pvs /'
for t in ` + strings.Join(Tools, " ") + `; do command -v "$t" > /dev/null && echo "tool $t"; done; true`}
}

// SizeProbe returns the program that prints the size of a disk, in units of 512 bytes.
func (d Disk) SizeProbe() []string {
	return []string{"cat", "/sys/class/block/" + path.Base(d.Path) + "/size"}
}

// ReadProbe reads the output of Probe.
func ReadProbe(text string) (Guest, error) {
	r := newReader()
	for line := range strings.Lines(text) {
		if err := r.line(line); err != nil {
			return r.Guest, err
		}
	}
	err := r.finish()
	return r.Guest, err
}

// reader collects the information from the lines.
type reader struct {
	Guest
	// paths are the devices' paths by their kernel names: "/dev/mapper/vg-root" by
	// "/dev/dm-0".
	paths     map[string]string
	starts    map[string]size.Bytes
	mounts    map[string][]mountLine
	addresses map[string]string
	// links has the devices that lie on others: "/sys/class/block/dm-0/slaves/vdc1".
	links []string
	// devices is the number of devices of the btrfs in the current lines.
	devices int
}

func newReader() reader {
	return reader{
		Guest: Guest{Tools: map[string]bool{}, Tables: map[string]Table{}, Ext: map[string]Ext{}, Btrfs: map[string]Btrfs{},
			LVs: map[string]LV{}, VGs: map[string]string{}, PVs: map[string]string{}},
		paths: map[string]string{}, starts: map[string]size.Bytes{}, mounts: map[string][]mountLine{}, addresses: map[string]string{},
	}
}

// line reads one line, by its first word.
func (r *reader) line(line string) error {
	words := strings.Fields(line)
	switch {
	case len(words) == 2 && words[0] == "tool":
		r.Tools[words[1]] = true
	case len(words) > 4 && words[0] == "mount":
		r.mount(words[1:])
	case len(words) == 2 && words[0] == "slave":
		r.links = append(r.links, words[1])
	case len(words) == 3 && words[0] == "start":
		return r.start(words[1], words[2])
	case len(words) == 3 && words[0] == "sector":
		n, err := strconv.ParseInt(words[2], 10, 32)
		if err != nil || n < 512 {
			return fmt.Errorf("the guest reports that %q has sectors of %q bytes", words[1], words[2])
		}
		t := r.Tables["/dev/"+words[1]]
		t.Sector = size.Bytes(n)
		r.Tables["/dev/"+words[1]] = t
	case len(words) == 3 && words[0] == "pttype":
		r.pttype(words[1], words[2])
	case len(words) > 1 && words[0] == "mbr":
		r.mbr("/dev/"+words[1], words[2:])
	case len(words) > 1 && words[0] == "ext":
		r.ext(words[1], words[2:])
	case len(words) == 2 && (words[0] == "lvs" || words[0] == "vgs" || words[0] == "pvs"):
		r.lvm(words[0], strings.Split(words[1], "|"))
	case len(words) == 2 && words[0] == "btrfs":
		r.devices, _ = strconv.Atoi(words[1])
	case len(words) > 7 && words[0] == "devid":
		id, _ := strconv.Atoi(words[1])
		r.Btrfs[words[7]] = Btrfs{ID: id, Devices: r.devices}
	case len(words) > 3 && words[len(words)-2] == "->":
		link := words[len(words)-1]
		r.addresses["/dev/"+path.Base(link)] = address(link)
	case len(words) > 1 && words[0] != "total" && !slices.Contains(firstWords, words[0]):
		return r.device(line)
	}
	return nil
}

// firstWords begin lines that are ignored if they are too short.
var firstWords = []string{"mount", "slave", "pttype", "ext", "mbr", "lvs", "vgs", "pvs", "btrfs", "devid"}

// start reads the offset of a partition.
func (r *reader) start(file, sector string) error {
	sectors, err := strconv.ParseInt(sector, 10, 54)
	if err != nil || sectors < 0 {
		return fmt.Errorf("the guest reports that %q begins at sector %q", file, sector)
	}
	// The kernel's unit is 512 bytes for every sector size.
	r.starts[strings.TrimSuffix(strings.TrimPrefix(file, "/sys/class/block/"), "/start")] = size.Bytes(sectors) * 512
	return nil
}

// pttype reads udev's type of a disk's table (util-linux 2.31 or later), for agents that may
// not read the disk.
func (r *reader) pttype(disk, kind string) {
	t := r.Tables[disk]
	known := map[string]table.Kind{"gpt": table.GPT, "dos": table.MBR}[kind]
	if t.Kind == "" && known != "" {
		t.Kind = known
		r.Tables[disk] = t
	}
}

// mbr reads the four entries and the signature at byte 446 of a disk, in hexadecimal.
func (r *reader) mbr(disk string, words []string) {
	b, ok := hexBytes(words, 66)
	if !ok || b[64] != 0x55 || b[65] != 0xaa {
		return
	}
	t := r.Tables[disk]
	t.Kind = table.MBR
	for i := range 4 {
		switch b[16*i+4] {
		case 0xee:
			t.Kind = table.GPT
		case 0x05, 0x0f, 0x85:
			t.Extended = append(t.Extended, i+1)
		}
	}
	if t.Kind == table.GPT {
		t.Extended = nil
	}
	r.Tables[disk] = t
}

// ext reads the first 256 bytes of a superblock (ext4's fs/ext4/ext4.h: struct
// ext4_super_block), in hexadecimal.
func (r *reader) ext(device string, words []string) {
	b, ok := hexBytes(words, 256)
	if !ok || b[0x38] != 0x53 || b[0x39] != 0xef || b[0x18] > 6 {
		return
	}
	r.Ext[device] = Ext{Block: 1024 << b[0x18], Bits64: b[0x60]&0x80 != 0, Bigalloc: b[0x65]&0x02 != 0}
}

// hexBytes reads n bytes in the form that od(1) prints.
func hexBytes(words []string, n int) ([]byte, bool) {
	if len(words) != n {
		return nil, false
	}
	b, err := hex.DecodeString(strings.Join(words, ""))
	return b, err == nil && len(b) == n
}

// lvm reads a line of lvs, vgs or pvs.
func (r *reader) lvm(what string, fields []string) {
	switch {
	case what == "lvs" && len(fields) == 4:
		name := fields[0] + "/" + fields[1]
		r.LVs[name] = LV{Segments: append(r.LVs[name].Segments, fields[2]), Attr: fields[3]}
	case what == "vgs" && len(fields) == 2:
		r.VGs[fields[0]] = fields[1]
	case what == "pvs" && len(fields) == 2:
		r.PVs[fields[0]] = fields[1]
	}
}
