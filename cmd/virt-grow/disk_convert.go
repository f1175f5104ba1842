package main

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/virt-grow/virt-grow/guest"
	"github.com/virt-grow/virt-grow/guest/create"
	"github.com/virt-grow/virt-grow/guest/job"
)

// diskConvertCommand is virt-grow disk convert.
type diskConvertCommand struct{ *program }

func (p diskConvertCommand) command() *cli.Command {
	return help(&cli.Command{
		Name: "convert", Usage: "copy an image into another format, and compare the copy",
		ArgsUsage: "SRC DST", Action: p.action,
		Flags: append(changeFlags(false),
			&cli.StringFlag{Name: "to", Usage: "the new image's `FORMAT`: " + strings.Join(create.Formats, ", ")},
			&cli.StringFlag{Name: "from", Usage: "the source's `FORMAT` (default: by the name's ending, .qcow2 or .raw; never by content)"}),
	}, "The source is only read, and must not be in use. The content of its backing files\n   becomes part of the copy. DST must not exist yet.",
		"virt-grow disk convert /img/web.raw /img/web.qcow2 --to qcow2",
		"virt-grow disk convert /img/web.qcow2 /img/web.vmdk --to vmdk",
		"virt-grow disk convert appliance.vmdk /img/app.qcow2 --from vmdk --to qcow2 --json")
}

func (p diskConvertCommand) action(c *cli.Context) error {
	given, err := operands(c, "SRC", "DST")
	if err != nil {
		return err
	}
	p.subject = given[0]
	q := create.ConvertOptions{From: c.String("from"), To: c.String("to")}
	if q.To == "" {
		return usage("%s: --to is missing (%s)", nameOf(c), strings.Join(create.Formats, ", "))
	}
	for name, word := range map[string]string{"to": q.To, "from": q.From} {
		if word != "" && !slices.Contains(create.Formats, word) {
			return usage("--%s %s: must be one of %s", name, word, strings.Join(create.Formats, ", "))
		}
	}
	if err := honestName(given[1], q.To); err != nil {
		return err
	}
	conn, err := p.anyLibvirt(c.Context, c)
	if err != nil {
		return err
	}
	if conn != nil {
		defer conn.Close()
		q.Libvirt = conn
	}
	var o job.Options
	return p.run(c, &o, func() (*guest.Outcome, error) { return create.Convert(c.Context, given[0], given[1], q, o) })
}
