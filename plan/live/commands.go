package live

import (
	"fmt"
	"strings"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
)

// Command is one program that a guest runs.
type Command struct {
	// What it does, for people: "partition", "pv", "lv", "fs".
	What string   `json:"what"`
	Argv []string `json:"argv"`
	// Input is its standard input.
	Input string `json:"input,omitempty"`
	// Nothing is the exit status with which it says that there was nothing to do.
	Nothing int `json:"nothing,omitempty"`
	// Asks says that it only asks: if its answer is 0, the one after it is not
	// needed.
	Asks bool `json:"asks,omitempty"`
	// MountOf is the UUID of the file system whose mount point is the last argument,
	// where only the guest knows it.
	MountOf string `json:"mount_of,omitempty"`
}

// Ran is a command that a guest has run.
type Ran struct {
	Line   string `json:"line"`
	Status int    `json:"status"`
	// Said is what it printed, cut to a few lines: the guest's word.
	Said string `json:"said,omitempty"`
}

// Line is the command for a person to paste into a root shell.
func (c Command) Line() string {
	words := make([]string, 0, len(c.Argv))
	for _, w := range c.Argv {
		words = append(words, quoted(w))
	}
	if c.MountOf != "" {
		words = append(words, `"$(findmnt -n -o TARGET --source UUID=`+quoted(c.MountOf)+`)"`)
	}
	line := strings.Join(words, " ")
	if c.Input != "" {
		line = "echo " + quoted(strings.TrimSuffix(c.Input, "\n")) + " | " + line
	}
	return line
}

// quoted makes a word safe to paste into a shell.
func quoted(word string) string {
	if word != "" && strings.Trim(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@%+=:,./_-") == "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// room is how much has to be free behind a partition for its growth to be worth it;
// growpart(1) has the same limit.
const room = size.MiB

// Slack is what of a disk's growth may not reach its last partition: the backup GPT,
// and what tools leave to align.
const Slack = 4 * size.MiB

// Commands are what grows a stack, when its disk has grown to that size. Those that
// would do nothing are left out, as far as that can be seen.
func (g Guest) Commands(stack []Device, disk size.Bytes) ([]Command, error) {
	var all []Command
	for i, d := range stack {
		switch {
		case d.Kind == "part" && disk-d.Start-d.Size > room:
			all = append(all, g.partition(d)...)
		case d.Kind == "lvm":
			vg, lv, ok := volume(d)
			if !ok {
				return nil, plan.Refuse(plan.UnsupportedLayout, d.Path, "%s in the guest is not named as a logical volume is", d.Path)
			}
			all = append(all,
				Command{What: "pv", Argv: []string{"pvresize", stack[i-1].Path}},
				Command{What: "lv", Asks: true, Argv: []string{"vgs", "--noheadings", "-o", "vg_free_count", vg}},
				Command{What: "lv", Argv: []string{"lvextend", "-l", "+100%FREE", vg + "/" + lv}})
		}
	}
	top := stack[len(stack)-1]
	grow, err := top.fileSystem()
	return append(all, grow...), err
}

// partition grows the last partition to the disk's end.
func (g Guest) partition(d Device) []Command {
	if g.Tools["growpart"] {
		return []Command{{What: "partition", Argv: []string{"growpart", d.Parent, d.Number()}, Nothing: 1}}
	}
	return []Command{
		{What: "partition", Argv: []string{"sfdisk", "--no-reread", "--force", "-N", d.Number(), d.Parent}, Input: ", +\n"},
		{What: "partition", Argv: []string{"partx", "--update", "--nr", d.Number(), d.Parent}},
	}
}

// fileSystem grows what is on the top of a stack.
func (d Device) fileSystem() ([]Command, error) {
	var argv []string
	byMount := true
	switch d.FS {
	case "ext2", "ext3", "ext4":
		argv, byMount = []string{"resize2fs", d.Path}, false
	case "xfs":
		argv = []string{"xfs_growfs"}
	case "btrfs":
		argv = []string{"btrfs", "filesystem", "resize", "max"}
	case "LVM2_member":
		return []Command{{What: "pv", Argv: []string{"pvresize", d.Path}}}, nil
	case "swap", "vfat", "":
		return nil, nil // what cannot grow, or is not there: the partition was all
	default:
		return nil, plan.Refuse(plan.UnsupportedLayout, d.Path, "%s in the guest: %s has to be grown by hand", d.Path, d.FS)
	}
	c := Command{What: "fs", Argv: argv}
	switch {
	case d.Mounted == "":
		return nil, plan.Refuse(plan.UnsupportedLayout, d.Path, "%s (%s) is not mounted in the guest: it grows only while it is", d.Path, d.FS)
	case byMount && d.Mounted == Unknown:
		c.MountOf = d.UUID
	case byMount:
		c.Argv = append(c.Argv, d.Mounted)
	}
	return []Command{c}, nil
}

// volume reads a logical volume's names off its device mapper's name.
func volume(d Device) (vg, lv string, ok bool) {
	name, ok := strings.CutPrefix(d.Path, "/dev/mapper/")
	if !ok {
		return "", "", false
	}
	for i := 1; i < len(name)-1; i++ {
		if name[i] != '-' {
			continue
		}
		if name[i+1] == '-' {
			i++ // a doubled one is part of a name
			continue
		}
		return strings.ReplaceAll(name[:i], "--", "-"), strings.ReplaceAll(name[i+1:], "--", "-"), true
	}
	return "", "", false
}

func doubled(name string) string { return strings.ReplaceAll(name, "-", "--") }

func cutPath(where string) (vg, lv string, ok bool) {
	vg, lv, ok = strings.Cut(strings.TrimPrefix(where, "/dev/"), "/")
	return vg, lv, ok && vg != "" && lv != "" && !strings.Contains(lv, "/")
}

// FromLayout is the guest as its image shows it, with its disk called as the kernel
// most likely does: that, and where things are mounted, only the guest knows.
func FromLayout(l *plan.Layout, disk string) Guest {
	g := Guest{Tools: map[string]bool{"growpart": true}}
	path := map[string]string{}
	for _, d := range l.Devices {
		at := "/dev/" + disk
		switch d.Kind {
		case plan.Partition:
			at = partitionPath("/dev/"+disk, d.Number)
		case plan.LV:
			vg, lv, _ := cutPath(d.Name)
			at = "/dev/mapper/" + doubled(vg) + "-" + doubled(lv)
		case plan.Crypt:
			at = "/dev/mapper/" + d.Name
		}
		path[d.Name] = at
	}
	kinds := map[plan.DeviceKind]string{plan.Disk: "disk", plan.Partition: "part", plan.LV: "lvm", plan.Crypt: "crypt"}
	for _, d := range l.Devices {
		if d.Extended {
			continue
		}
		to := Device{Path: path[d.Name], Parent: path[d.Parent], Kind: kinds[d.Kind], Start: d.Start, Size: d.Size,
			FS: d.Content.Type, UUID: d.Content.UUID, Mounted: Unknown}
		if d.Kind == plan.LV {
			for _, group := range l.Groups {
				if group.Name == d.Group && len(group.PVs) > 0 {
					to.Parent = path[group.PVs[len(group.PVs)-1]]
				}
			}
		}
		if d.Kind == plan.Disk {
			to.Parent = ""
		}
		g.Devices = append(g.Devices, to)
	}
	return g
}

// partitionPath is the kernel's name of a partition.
func partitionPath(disk string, number int) string {
	if strings.Trim(disk[len(disk)-1:], "0123456789") == "" {
		return fmt.Sprintf("%sp%d", disk, number)
	}
	return fmt.Sprintf("%s%d", disk, number)
}
