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
	command  []string // "grow"; "disk", "create"
	flags    []string
	operands []string
}

func (l line) args() []string {
	args := append([]string{l.program}, l.globals...)
	if len(l.command) == 0 {
		return args
	}
	args = append(append(args, l.command...), l.flags...)
	if len(l.operands) > 0 {
		args = append(append(args, "--"), l.operands...)
	}
	return args
}

// arrange sorts a command line: the user may write global flags after the command, and
// flags after the TARGET. A flag that takes a value takes the next word, even if it
// begins with "-". Everything after "--" is an operand. Unknown flags go to the command,
// which refuses them.
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
			if !l.takes(app, word) {
				l.operands = append(l.operands, word)
				continue
			}
			l.command = append(l.command, word)
			if c := find(app, l.command); c != nil {
				own = valueFlags(append(slices.Clone(c.Flags), cli.HelpFlag))
			}
		default:
			rest = l.flag(word, rest, globals, own)
		}
	}
	return l
}

// name returns the command's name, "disk create".
func (l line) name() string { return strings.Join(l.command, " ") }

// hasGlobal reports whether a global flag is given, by one of its names.
func (l line) hasGlobal(names ...string) bool {
	return slices.ContainsFunc(l.globals, func(word string) bool {
		name, _, _ := strings.Cut(strings.TrimLeft(word, "-"), "=")
		return word != name && slices.Contains(names, name)
	})
}

// global returns the value of a global flag, by one of its names; "" if it is not given.
func (l line) global(names ...string) string {
	value, _ := l.cutGlobal(names...)
	return value
}

// cutGlobal also returns the other global flags.
func (l line) cutGlobal(names ...string) (value string, others []string) {
	for i := 0; i < len(l.globals); i++ {
		word := l.globals[i]
		name, inline, isInline := strings.Cut(strings.TrimLeft(word, "-"), "=")
		switch {
		case word[0] != '-' || !slices.Contains(names, name):
			others = append(others, word)
		case isInline:
			value = inline
		case i+1 < len(l.globals):
			i++
			value = l.globals[i]
		}
	}
	return value, others
}

// takes reports whether a word belongs to the command's name: the first one does, and the
// second one if it names a subcommand.
func (l line) takes(app *cli.App, word string) bool {
	if len(l.command) == 0 {
		return true
	}
	return len(l.operands) == 0 && find(app, append(slices.Clone(l.command), word)) != nil
}

// find returns the command with that name, of one or two words; nil if there is none.
func find(app *cli.App, words []string) *cli.Command {
	if len(words) == 0 {
		return nil
	}
	c := app.Command(words[0])
	for _, word := range words[1:] {
		if c == nil {
			return nil
		}
		c = c.Command(word)
	}
	return c
}

// flag stores one flag and its value, and returns the words that follow.
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
	if isGlobal || len(l.command) == 0 {
		l.globals = append(l.globals, words...)
	} else {
		l.flags = append(l.flags, words...)
	}
	return rest
}

// valueFlags returns for every name of the flags whether it takes a value.
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

// operand returns the one operand a command takes.
func operand(c *cli.Context, what string) (string, error) {
	switch args := c.Args().Slice(); len(args) {
	case 1:
		if args[0] == "" {
			return "", usage("%s: the %s is empty", nameOf(c), what)
		}
		return args[0], nil
	case 0:
		return "", usage("%s: %s is missing", nameOf(c), what)
	default:
		return "", usage("%s takes one %s, not %d: %s", nameOf(c), what, len(args), strings.Join(args, " "))
	}
}

// noOperand refuses operands of a command that takes none.
func noOperand(c *cli.Context) error {
	if c.Args().Present() {
		return usage("%s takes no argument: %s", nameOf(c), c.Args().First())
	}
	return nil
}

// nameOf returns the running command's name, "disk create".
func nameOf(c *cli.Context) string {
	return strings.TrimPrefix(c.Command.HelpName, c.App.HelpName+" ")
}
