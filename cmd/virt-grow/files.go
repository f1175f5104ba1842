package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/virt-grow/virt-grow/guest/appliance"
	"github.com/virt-grow/virt-grow/guest/disk"
	"github.com/virt-grow/virt-grow/guest/files"
)

// inFiles are the commands that work on files inside a guest.
var inFiles = []string{"ls", "cat", "copy-out", "copy-in", "edit"}

// spotHelp explains TARGET:PATH.
const spotHelp = "In TARGET:PATH, the TARGET ends at the first :/ or, for Windows, at the first drive\n   letter (:C:). PATH is a path as the guest sees it and begins with / or a drive\n   letter; file systems that the guest's fstab mounts are included. If no operating\n   system is installed, / is the only file system; --mount selects one of several."

func fileFlags(more ...cli.Flag) []cli.Flag {
	return append(append(more,
		&cli.StringFlag{Name: "mount", Usage: "use only the file system on `DEVICE`, as /, and ignore the guest's fstab: vdb1, vg/data, UUID=… or LABEL=…"}),
		targetFlags()...)
}

// spot is a TARGET:PATH.
type spot struct{ target, path string }

// splitSpot splits a TARGET:PATH where the PATH begins: with a slash, or with a
// drive letter.
func splitSpot(text string) (spot, bool) {
	for i := 1; i < len(text); i++ {
		if text[i] == ':' && beginsPath(text[i+1:]) {
			return spot{text[:i], text[i+1:]}, true
		}
	}
	return spot{}, false
}

func beginsPath(text string) bool {
	if strings.HasPrefix(text, "/") {
		return true
	}
	letter, rest := appliance.SplitDrive(text)
	return letter != "" && rest[0] == '/'
}

// spots reads operands, which must all have the same TARGET.
func spots(c *cli.Context, words []string) (target string, paths []string, err error) {
	for _, word := range words {
		s, ok := splitSpot(word)
		switch {
		case !ok:
			return "", nil, usage("%s: %s is not TARGET:PATH, where PATH begins with / or a drive letter", c.Command.Name, word)
		case target != "" && target != s.target:
			return "", nil, usage("%s works on one TARGET at a time, not on %s and %s", c.Command.Name, target, s.target)
		}
		target, paths = s.target, append(paths, s.path)
	}
	return target, paths, nil
}

// spot reads the one TARGET:PATH of a command.
func (p *program) spot(c *cli.Context) (target, string, error) {
	word, err := operand(c, "TARGET:PATH")
	if err != nil {
		return target{}, "", err
	}
	name, paths, err := spots(c, []string{word})
	if err != nil {
		return target{}, "", err
	}
	t, err := p.fileTarget(c, name, paths)
	return t, paths[0], err
}

// fileTarget reads fileFlags.
func (p *program) fileTarget(c *cli.Context, name string, paths []string) (target, error) {
	t, err := p.targetOf(c, name)
	if err != nil {
		return t, err
	}
	p.path = paths[0]
	t.mount = c.String("mount")
	if t.path != "" && t.mount != "" && !strings.Contains(t.mount, "=") {
		t.mount = deviceName(t.mount)
	}
	t.keys, err = p.readKeys(c)
	return t, err
}

// disks opens all disks of the TARGET; the caller must call Set.Close.
func (t target) disks(ctx context.Context) (*disk.Set, error) {
	if t.domain == "" {
		return disk.OpenImageSet(ctx, t.path, t.open)
	}
	d, err := t.program.domainNamed(ctx, t.domain)
	if err != nil {
		return nil, err
	}
	g, err := disk.OpenDomainSet(ctx, d, t.open.Sector)
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return g, nil
}

// reading opens the file tree of the TARGET read-only, and runs work on it.
func (t target) reading(ctx context.Context, work func(*files.Tree) error) (err error) {
	g, err := t.disks(ctx)
	if err != nil {
		return err
	}
	defer g.Close()
	t.program.remark(g)
	stop := t.program.looking("inspecting " + g.Name)
	tree, err := files.Open(ctx, g, t.mount, t.program.session(t.keys))
	stop()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tree.Close()) }()
	return work(tree)
}

// remark prints notes about the disks that are read.
func (p *program) remark(g *disk.Set) {
	notes := slices.Clone(g.Notes)
	if g.Running {
		notes = append(notes, g.Name+" is running: its disks are read as they are at this moment, and may be inconsistent")
	}
	for _, note := range notes {
		fmt.Fprintln(p.err, "note: "+p.styleFor(p.errLive).Clean(note))
	}
}

// parentOf returns the directory of a path of a guest.
func parentOf(path string) string {
	i := strings.LastIndexAny(strings.TrimRight(path, `/\`), `/\`)
	if i < 0 {
		return path
	}
	return path[:i+1]
}

// catCommand is virt-grow cat.
type catCommand struct{ *program }

func (p catCommand) command() *cli.Command {
	return help(&cli.Command{
		Name: "cat", Usage: "print a file of a guest, running or not",
		ArgsUsage: "TARGET:PATH", Flags: fileFlags(), Action: p.action,
	}, "The disks are only read. The file is written to standard output unchanged.\n\n   "+spotHelp,
		"virt-grow cat dev7:/etc/fstab",
		"virt-grow cat web.qcow2:/var/log/syslog | tail",
		"virt-grow cat win7:C:/Windows/win.ini",
		"virt-grow cat data.qcow2:/list.txt --mount sda2")
}

func (p catCommand) action(c *cli.Context) error {
	t, path, err := p.spot(c)
	if err != nil {
		return err
	}
	err = t.reading(c.Context, func(f *files.Tree) error { return f.Read(c.Context, path, p.out) })
	if errors.Is(err, syscall.EPIPE) || errors.Is(err, io.ErrClosedPipe) {
		return nil // the reader has closed the pipe
	}
	return err
}
