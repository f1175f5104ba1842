package main

import (
	"context"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/virt-grow/virt-grow/guest/create"
	"github.com/virt-grow/virt-grow/guest/domain"
)

// diskCommands returns the group of the commands for data disks.
func diskCommands(p *program) group {
	return group{"disk", "list, create, attach, detach and convert disks",
		"A new image gets its name only when it is complete, and no existing file is\n   overwritten.",
		[]command{diskListCommand{p}, diskCreateCommand{p}, diskAddCommand{p}, diskAttachCommand{p}, diskDetachCommand{p}, diskConvertCommand{p}}}
}

// operands returns the operands of a command that takes more than one.
func operands(c *cli.Context, what ...string) ([]string, error) {
	given := c.Args().Slice()
	for i, name := range what {
		switch {
		case i >= len(given):
			return nil, usage("%s: %s is missing", nameOf(c), name)
		case given[i] == "":
			return nil, usage("%s: the %s is empty", nameOf(c), name)
		}
	}
	if len(given) > len(what) {
		return nil, usage("%s takes %d arguments, got %d", nameOf(c), len(what), len(given))
	}
	return given, nil
}

// honestName refuses a file name with the ending of another format: this program, like
// others, takes the format from the name.
func honestName(path, format string) error {
	ending := strings.ToLower(strings.TrimPrefix(filepath.Ext(path), "."))
	if slices.Contains(create.Formats, ending) && ending != format {
		return usage("%s will have the format %s: give it a name that does not end in .%s", path, format, ending)
	}
	return nil
}

// anyLibvirt connects to libvirt. It returns nil if there is none, and --connect names
// none.
func (p diskConvertCommand) anyLibvirt(ctx context.Context, c *cli.Context) (*domain.Conn, error) {
	conn, err := domain.Connect(p.connect)
	if err != nil && !c.IsSet("connect") {
		return nil, context.Cause(ctx)
	}
	return conn, err
}
