package live

import (
	"fmt"
	"strings"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
)

// Command is one program that a guest runs.
type Command struct {
	// What is the kind of change: "partition", "pv", "lv", "fs".
	What string   `json:"what"`
	Argv []string `json:"argv"`
	// Input is its standard input.
	Input string `json:"input,omitempty"`
	// Nothing is the exit status that means that there was nothing to do.
	Nothing int `json:"nothing,omitempty"`
	// Asks reports that the command only checks: if its exit status is 0, the command
	// after it is not needed.
	Asks bool `json:"asks,omitempty"`
	// MountOf is the UUID of the file system whose mount point is the last argument, if
	// only the guest knows the mount point.
	MountOf string `json:"mount_of,omitempty"`
}

// CommandResult is the result of a command that a guest has run.
type CommandResult struct {
	Line string `json:"line"`
	// Status is the exit status.
	Status int `json:"status"`
	// Output is the first lines of the output, which is not trusted.
	Output string `json:"said,omitempty"`
}

// Line returns the command line for a root shell.
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

// room is the smallest free space behind a partition for which it is grown; growpart(1) has
// the same limit.
const room = size.MiB

// Slack is the part of a disk's growth that its last partition may not get: the backup GPT,
// and what tools leave for alignment.
const Slack = 4 * size.MiB

// Commands returns the commands that grow a stack after its disk has grown to a size,
// without those that would do nothing, as far as that is known. It returns none if a layer
// cannot be grown.
func (g Guest) Commands(stack []Device, disk size.Bytes) ([]Command, error) {
	if err := g.growable(stack, disk); err != nil {
		return nil, err
	}
	var all []Command
	for i, d := range stack {
		switch {
		case d.Kind == "part" && disk-d.Start-d.Size > room:
			all = append(all, g.partition(d)...)
		case d.Kind == "lvm":
			vg, lv, _ := volume(d)
			all = append(all,
				Command{What: "pv", Argv: []string{"pvresize", stack[i-1].Path}},
				Command{What: "lv", Asks: true, Argv: []string{"vgs", "--noheadings", "-o", "vg_free_count", vg}},
				Command{What: "lv", Argv: []string{"lvextend", "-l", "+100%FREE", vg + "/" + lv}})
		}
	}
	all = append(all, g.content(stack[len(stack)-1]))
	if err := g.hasTools(all); err != nil {
		return nil, err
	}
	return all, nil
}

// partition grows the last partition to the disk's end.
func (g Guest) partition(d Device) []Command {
	// growpart(1) is a script around one of the two.
	if g.Tools == nil || g.Tools["growpart"] && (g.Tools["sfdisk"] || g.Tools["sgdisk"]) {
		return []Command{{What: "partition", Argv: []string{"growpart", d.Parent, d.Number()}, Nothing: 1}}
	}
	return []Command{
		{What: "partition", Argv: []string{"sfdisk", "--no-reread", "--force", "-N", d.Number(), d.Parent}, Input: ", +\n"},
		{What: "partition", Argv: []string{"partx", "--update", "--nr", d.Number(), d.Parent}},
	}
}

// content grows the content of the top device of a stack.
func (g Guest) content(d Device) Command {
	c := Command{What: "fs"}
	switch d.FS {
	case "ext2", "ext3", "ext4":
		c.Argv = []string{"resize2fs", d.Path}
		return c
	case "xfs":
		c.Argv = []string{"xfs_growfs"}
	case "btrfs":
		size := "max"
		if id := g.Btrfs[d.Path].ID; id > 1 {
			size = fmt.Sprintf("%d:max", id) // without a number it is device 1
		}
		c.Argv = []string{"btrfs", "filesystem", "resize", size}
	default: // growable refuses everything else
		return Command{What: "pv", Argv: []string{"pvresize", d.Path}}
	}
	if d.Mounted == Unknown {
		c.MountOf = d.UUID
	} else {
		c.Argv = append(c.Argv, d.Mounted)
	}
	return c
}

// hasTools refuses commands whose program the guest does not have.
func (g Guest) hasTools(commands []Command) error {
	for _, c := range commands {
		if tool := c.Argv[0]; g.Tools != nil && !g.Tools[tool] {
			return plan.Refuse(plan.ToolMissing, tool, "the guest has no program %s", tool)
		}
	}
	return nil
}

// volume returns the names in the device-mapper name of a logical volume.
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
			i++ // a doubled hyphen is part of a name
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
