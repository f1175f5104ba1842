package main

import "github.com/urfave/cli/v2"

func (p *program) diskListCommand() *cli.Command {
	return help(&cli.Command{
		Name: "list", Usage: "list a domain's disks, and what is wrong with them",
		ArgsUsage: "DOMAIN", Action: p.diskList,
	}, "Nothing is changed.", "virt-grow disk list dev7")
}

func (p *program) diskList(c *cli.Context) error {
	_, err := operand(c, "DOMAIN")
	return err
}
