package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/virt-grow/virt-grow/guest"
	"github.com/virt-grow/virt-grow/guest/disk"
	"github.com/virt-grow/virt-grow/guest/files"
)

// editCommand is virt-grow edit.
type editCommand struct{ *program }

func (p editCommand) command() *cli.Command {
	flags := append(fileFlags(
		&cli.StringSliceFlag{Name: "expr", Aliases: []string{"e"}, Usage: "apply `EXPR` to each line: s/REGEXP/REPLACEMENT/ with the flags g and i, repeatable; without it, $VISUAL or $EDITOR is started"},
		scratchFlag()), changeFlags(false)...)
	return help(&cli.Command{
		Name: "edit", Usage: "change a text file inside a guest that is off",
		ArgsUsage: "TARGET:PATH", Flags: flags, Action: p.action,
	}, "This is a job, like a growth: the file is changed in an overlay and read back, and\n   the file system is checked, before the image is written to. The file keeps its\n   owner, mode and label. If the text does not change, nothing is done.\n\n"+
		"   In EXPR, REGEXP has the syntax of Go's regexp package (RE2: like Perl's, without\n   look-around and back references). In REPLACEMENT, & is the whole match, \\1 to \\9\n   are its groups, \\n and \\t are a newline and a tab. Another character may replace /.\n\n   "+spotHelp,
		"virt-grow edit dev7:/etc/fstab",
		"virt-grow edit web.qcow2:/etc/default/grub -e 's/quiet/quiet nofail/'",
		`virt-grow edit dev7:/etc/fstab -e 's|^/dev/sd([a-z])|/dev/vd\1|'`,
		"virt-grow edit dev7:/etc/hosts --expr 's/10\\.0\\.0\\.1/10.0.0.2/g' --json")
}

func (p editCommand) action(c *cli.Context) error {
	word, err := operand(c, "TARGET:PATH")
	if err != nil {
		return err
	}
	name, paths, err := spots(c, []string{word})
	if err != nil {
		return err
	}
	change, err := p.changer(c, paths[0])
	if err != nil {
		return err
	}
	return p.changing(c, name, paths[0], func(g *disk.Set, t target, o files.Options) (*guest.Outcome, error) {
		return files.Edit(c.Context, g, paths[0], t.mount, change, o)
	})
}

// changer returns the function that makes the new text, with the expressions or an editor.
func (p editCommand) changer(c *cli.Context, path string) (func([]byte) ([]byte, error), error) {
	var all []substitution
	for _, text := range c.StringSlice("expr") {
		s, err := parseSubstitution(text)
		if err != nil {
			return nil, usage("--expr %s: %v", text, err)
		}
		all = append(all, s)
	}
	if len(all) > 0 {
		return func(text []byte) ([]byte, error) {
			for _, s := range all {
				text = s.apply(text)
			}
			return text, nil
		}, nil
	}
	if p.far != nil {
		return nil, usage("no editor can be started on another host: use --expr, or run virt-grow edit there")
	}
	if !p.asks {
		return nil, usage("standard input is not a terminal, so no editor can be started: use --expr")
	}
	editor, err := p.editor()
	return func(text []byte) ([]byte, error) { return p.inEditor(c.Context, editor, path, text) }, err
}

// editor returns the user's editor, as a shell command.
func (p editCommand) editor() (string, error) {
	for _, name := range []string{"VISUAL", "EDITOR"} {
		if editor := p.env(name); editor != "" {
			return editor, nil
		}
	}
	if _, err := exec.LookPath("vi"); err != nil {
		return "", usage("no editor: set $VISUAL or $EDITOR, or use --expr")
	}
	return "vi", nil
}

// inEditor starts the editor on a copy that only the user can read.
func (p editCommand) inEditor(ctx context.Context, editor, path string, text []byte) (_ []byte, err error) {
	p.hold()
	defer p.release()
	dir, err := os.MkdirTemp("", "virt-grow-edit-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	file := filepath.Join(dir, filepath.Base(strings.ReplaceAll(path, `\`, "/")))
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return nil, err
	}
	// $EDITOR may contain arguments; the file's name must stay one argument.
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", editor+` "$1"`, "sh", file)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = p.in, p.human(), p.err
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("the editor (%s) failed; nothing was changed: %w", editor, err)
	}
	return os.ReadFile(file)
}
