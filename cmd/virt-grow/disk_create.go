package main

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/virt-grow/virt-grow/guest"
	"github.com/virt-grow/virt-grow/guest/create"
	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
)

// diskCreateCommand is virt-grow disk create.
type diskCreateCommand struct{ *program }

func (p diskCreateCommand) command() *cli.Command {
	return help(&cli.Command{
		Name: "create", Usage: "create an image, and a file system inside if asked",
		ArgsUsage: "PATH", Flags: append(newDiskFlags(), changeFlags(false)...), Action: p.action,
	}, "The file system is created in the appliance, on a partition that spans the disk,\n   or on an LVM volume in that partition. PATH must not exist yet.",
		"virt-grow disk create /img/data.qcow2 --size 20G",
		"virt-grow disk create /img/data.qcow2 --size 20G --fs xfs --label data",
		"virt-grow disk create /img/data.raw --size 20G --fs ext4 --lvm vg0/data",
		"virt-grow disk create /img/win-d.qcow2 --size 80G --fs ntfs --label Data",
		"virt-grow disk create /img/db.raw --size 100G --prealloc falloc")
}

// newDiskFlags returns the flags that describe a new disk.
func newDiskFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "size", Usage: "the disk's `SIZE`, for example 20G; rounded up to 1 MiB"},
		&cli.StringFlag{Name: "format", Usage: "the image's `FORMAT`: qcow2 or raw (default: raw if the name ends in .raw, else qcow2)"},
		&cli.StringFlag{Name: "fs", Usage: "create a file system of `TYPE`: " + strings.Join(plan.NewFSNames, ", ")},
		&cli.StringFlag{Name: "table", Usage: "the partition `TABLE` to put it in: gpt, mbr or none (default: gpt)"},
		&cli.StringFlag{Name: "lvm", Usage: "put it on the volume `VG/LV` of a new volume group"},
		&cli.StringFlag{Name: "label", Usage: "the file system's `LABEL`"},
		&cli.StringFlag{Name: "prealloc", Value: "off", Usage: "allocate space in advance: `HOW` is off, metadata (qcow2), falloc or full"},
	}
}

func (p diskCreateCommand) action(c *cli.Context) error {
	path, err := operand(c, "PATH")
	if err != nil {
		return err
	}
	p.subject = path
	d, err := newDisk(c, path)
	if err != nil {
		return err
	}
	var o job.Options
	tools := create.Tools{Session: p.session(keyring{}), Cache: p.cache()}
	return p.run(c, &o, func() (*guest.Outcome, error) { return create.Disk(c.Context, d, o, tools) })
}

// newDisk reads newDiskFlags.
func newDisk(c *cli.Context, path string) (plan.NewDisk, error) {
	d := plan.NewDisk{Path: path, Format: c.String("format"), FS: c.String("fs"), Table: c.String("table"),
		Label: c.String("label"), Prealloc: c.String("prealloc")}
	if d.Format == "" {
		d.Format = map[bool]string{true: "raw", false: "qcow2"}[strings.EqualFold(filepath.Ext(path), ".raw")]
	}
	text := c.String("size")
	if text == "" {
		return d, usage("%s: --size is missing (for example 20G)", nameOf(c))
	}
	var err error
	if d.Size, err = size.Parse(text); err != nil {
		return d, usage("--size: %v", err)
	}
	if d.Size = d.Size.Up(size.MiB); d.Size <= 0 {
		return d, usage("--size %s: a disk cannot have this size", text)
	}
	if err := chosen(c, d); err != nil {
		return d, err
	}
	if err := honestName(path, d.Format); err != nil {
		return d, err
	}
	if c.String("lvm") != "" {
		if d.Group, d.Volume, err = plan.ParseVolume(c.String("lvm")); err != nil {
			return d, usage("--lvm: %v", err)
		}
	}
	if d.FS != "" && d.Table == "" {
		d.Table = plan.TableGPT
	}
	return d, nil
}

// chosen refuses unknown values, and flags that cannot be used together.
func chosen(c *cli.Context, d plan.NewDisk) error {
	for _, flag := range []struct {
		name  string
		words []string
	}{
		{"format", []string{"qcow2", "raw"}}, {"fs", plan.NewFSNames},
		{"table", []string{plan.TableNone, plan.TableGPT, plan.TableMBR}}, {"prealloc", []string{"off", "metadata", "falloc", "full"}},
	} {
		if given := c.String(flag.name); given != "" && !slices.Contains(flag.words, given) {
			return usage("--%s %s: must be one of %s", flag.name, given, strings.Join(flag.words, ", "))
		}
	}
	switch {
	case d.Format == "raw" && d.Prealloc == "metadata":
		return usage("--prealloc metadata is only for qcow2: a raw image has no metadata")
	case d.FS == "":
		return noneOf(c, []string{"table", "lvm", "label"}, "needs --fs: without a file system the disk stays empty")
	case d.FS == "ntfs" && c.IsSet("lvm"):
		return usage("--fs ntfs and --lvm cannot be used together: Windows does not support LVM")
	}
	return nil
}
