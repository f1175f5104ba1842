package main

import (
	"github.com/urfave/cli/v2"

	"github.com/virt-grow/virt-grow/cmd/virt-grow/view"
	"github.com/virt-grow/virt-grow/guest/files"
)

// lsCommand is virt-grow ls.
type lsCommand struct{ *program }

func (p lsCommand) command() *cli.Command {
	long := &cli.BoolFlag{Name: "long", Aliases: []string{"l"}, Usage: "also show mode, owner, size and time", DisableDefaultText: true}
	return help(&cli.Command{
		Name: "ls", Usage: "list a directory of a guest, running or not",
		ArgsUsage: "TARGET:PATH", Flags: fileFlags(long), Action: p.action,
	}, "The disks are only read. Owners are shown as numbers.\n\n   "+spotHelp,
		"virt-grow ls dev7:/var/log",
		"virt-grow ls -l web.qcow2:/etc",
		`virt-grow ls 'win7:D:\backup' --json`,
		"virt-grow ls data.qcow2:/ --mount sda2")
}

func (p lsCommand) action(c *cli.Context) error {
	t, path, err := p.spot(c)
	if err != nil {
		return err
	}
	return t.reading(c.Context, func(f *files.Tree) error {
		entries, err := f.List(c.Context, path)
		if err != nil {
			return err
		}
		if p.json {
			return view.ListingJSON(p.out, p.subject, path, entries)
		}
		return view.Listing(p.out, p.style(), entries, c.Bool("long"))
	})
}
