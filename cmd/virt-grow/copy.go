package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"github.com/virt-grow/virt-grow/cmd/virt-grow/view"
	"github.com/virt-grow/virt-grow/guest"
	"github.com/virt-grow/virt-grow/guest/disk"
	"github.com/virt-grow/virt-grow/guest/files"
)

// copyOutCommand is virt-grow copy-out.
type copyOutCommand struct{ *program }

func (p copyOutCommand) command() *cli.Command {
	return help(&cli.Command{
		Name: "copy-out", Usage: "copy files and directories out of a guest, running or not",
		ArgsUsage: "TARGET:PATH... DEST", Flags: fileFlags(), Action: p.action,
	}, "The disks are only read, and nothing on this host is overwritten. DEST is a\n   directory, or the new name of a single PATH. You own the copies; devices, sockets\n   and pipes are left out.\n\n   "+spotHelp,
		"virt-grow copy-out dev7:/etc/fstab .",
		"virt-grow copy-out web.qcow2:/var/log web.qcow2:/etc/nginx /tmp/web",
		"virt-grow copy-out 'win7:C:/Users/ann/Documents' /backup/ann")
}

func (p copyOutCommand) action(c *cli.Context) error {
	words := c.Args().Slice()
	if len(words) < 2 {
		return usage("copy-out: TARGET:PATH or DEST is missing")
	}
	dest, err := filepath.Abs(words[len(words)-1])
	if err != nil {
		return err
	}
	name, paths, err := spots(c, words[:len(words)-1])
	if err != nil {
		return err
	}
	if len(paths) > 1 && !isDirectory(dest) {
		return usage("copy-out: %s is not a directory, and %d PATHs need one", dest, len(paths))
	}
	if !isDirectory(filepath.Dir(dest)) {
		return usage("copy-out: %s is not a directory", filepath.Dir(dest))
	}
	t, err := p.fileTarget(c, name, paths)
	if err != nil {
		return err
	}
	return t.reading(c.Context, func(f *files.Tree) error {
		var all []files.Copied
		for _, path := range paths {
			p.path = path
			stop := p.looking("copying " + path)
			copied, err := f.CopyOut(c.Context, path, dest)
			stop()
			if err != nil {
				return err
			}
			all = append(all, copied)
		}
		if p.json {
			return view.CopiedJSON(p.out, p.subject, all)
		}
		return view.CopiedOut(p.out, p.style(), all)
	})
}

// copyInCommand is virt-grow copy-in.
type copyInCommand struct{ *program }

func (p copyInCommand) command() *cli.Command {
	return help(&cli.Command{
		Name: "copy-in", Usage: "copy files into a guest that is off",
		ArgsUsage: "FILE... TARGET:DIR", Flags: append(fileFlags(scratchFlag()), changeFlags(false)...), Action: p.action,
	}, "This is a job, like a growth: the files are written into an overlay and read back,\n   and the file system is checked, before the image is written to. An existing file\n   gets the new content and keeps its owner, mode and label; root owns a new file.\n\n   "+spotHelp,
		"virt-grow copy-in authorized_keys dev7:/root/.ssh",
		"virt-grow copy-in a.conf b.conf web.qcow2:/etc/nginx/conf.d",
		"virt-grow copy-in netkvm.inf win7:C:/drivers")
}

func (p copyInCommand) action(c *cli.Context) error {
	words := c.Args().Slice()
	if len(words) < 2 {
		return usage("copy-in: FILE or TARGET:DIR is missing")
	}
	sources, into := words[:len(words)-1], words[len(words)-1]
	seen := map[string]bool{}
	for _, file := range sources {
		switch {
		case isDirectory(file):
			return usage("copy-in: %s is a directory; only files are copied", file)
		case seen[filepath.Base(file)]:
			return usage("copy-in: two files have the name %s", filepath.Base(file))
		}
		if _, err := os.Stat(file); err != nil {
			return usage("copy-in: %v", err)
		}
		seen[filepath.Base(file)] = true
	}
	name, paths, err := spots(c, []string{into})
	if err != nil {
		return err
	}
	return p.changing(c, name, paths[0], func(g *disk.Set, t target, o files.Options) (*guest.Outcome, error) {
		return files.CopyIn(c.Context, g, sources, paths[0], t.mount, o)
	})
}

// changing runs work, which changes files of a guest that is off, as a job.
func (p *program) changing(c *cli.Context, name, path string, work func(*disk.Set, target, files.Options) (*guest.Outcome, error)) error {
	t, err := p.fileTarget(c, name, []string{path})
	if err != nil {
		return err
	}
	var o files.Options
	if o.Scratch, err = scratchDir(c); err != nil {
		return err
	}
	g, err := t.disks(c.Context)
	if err != nil {
		return err
	}
	defer g.Close()
	if err := g.CheckOff(); err != nil {
		return err
	}
	for _, note := range g.Notes {
		fmt.Fprintln(p.err, "note: "+p.styleFor(p.errLive).Clean(note))
	}
	o.Session = p.session(t.keys)
	return p.run(c, &o.Options, func() (*guest.Outcome, error) { return work(g, t, o) })
}
