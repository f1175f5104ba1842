package main

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// line is a command line in the order urfave/cli can read: it wants global
// flags before the command, and stops reading flags at the first argument.
type line struct {
	program  string
	globals  []string
	command  string
	flags    []string
	operands []string
}

func (l line) args() []string {
	args := append([]string{l.program}, l.globals...)
	if l.command == "" {
		return args
	}
	args = append(append(args, l.command), l.flags...)
	if len(l.operands) > 0 {
		args = append(append(args, "--"), l.operands...)
	}
	return args
}

// arrange sorts a command line as people type it: global flags may stand
// behind the command, and flags behind the TARGET. A flag that takes a value
// takes the next word, whatever it looks like. Everything behind "--" is an
// operand. Flags that nobody knows stay where the command will complain about
// them.
func arrange(app *cli.App, args []string) line {
	l := line{program: args[0]}
	globals := valueFlags(app.Flags)
	own := map[string]bool{}
	rest := args[1:]
	for len(rest) > 0 {
		word := rest[0]
		rest = rest[1:]
		switch {
		case word == "--":
			l.operands = append(l.operands, rest...)
			rest = nil
		case len(word) < 2 || word[0] != '-':
			if l.command != "" {
				l.operands = append(l.operands, word)
				continue
			}
			l.command = word
			if c := app.Command(word); c != nil {
				own = valueFlags(append(slices.Clone(c.Flags), cli.HelpFlag))
			}
		default:
			rest = l.flag(word, rest, globals, own)
		}
	}
	return l
}

// flag puts one flag, and its value, where it belongs. It gives what is left.
func (l *line) flag(word string, rest []string, globals, own map[string]bool) []string {
	name, _, inline := strings.Cut(strings.TrimLeft(word, "-"), "=")
	takes, isOwn := own[name]
	isGlobal := false
	if !isOwn {
		takes, isGlobal = globals[name]
	}
	words := []string{word}
	if takes && !inline && len(rest) > 0 {
		words, rest = append(words, rest[0]), rest[1:]
	}
	if isGlobal || l.command == "" {
		l.globals = append(l.globals, words...)
	} else {
		l.flags = append(l.flags, words...)
	}
	return rest
}

// valueFlags gives for every name of the flags whether it takes a value.
func valueFlags(flags []cli.Flag) map[string]bool {
	takes := map[string]bool{}
	for _, f := range flags {
		_, isBool := f.(*cli.BoolFlag)
		for _, name := range f.Names() {
			takes[name] = !isBool
		}
	}
	return takes
}

// operand gives the one operand a command takes.
func operand(c *cli.Context, what string) (string, error) {
	switch args := c.Args().Slice(); len(args) {
	case 1:
		if args[0] == "" {
			return "", usage("%s: the %s is empty", c.Command.Name, what)
		}
		return args[0], nil
	case 0:
		return "", usage("%s: %s is missing", c.Command.Name, what)
	default:
		return "", usage("%s takes one %s, not %d: %s", c.Command.Name, what, len(args), strings.Join(args, " "))
	}
}

// noOperand refuses operands of a command that takes none.
func noOperand(c *cli.Context) error {
	if c.Args().Present() {
		return usage("%s takes no argument: %s", c.Command.Name, c.Args().First())
	}
	return nil
}
