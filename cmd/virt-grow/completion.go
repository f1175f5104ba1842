package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/virt-grow/virt-grow/cmd/virt-grow/remote"
	"github.com/virt-grow/virt-grow/guest/batch"
	"github.com/virt-grow/virt-grow/guest/create"
	"github.com/virt-grow/virt-grow/guest/job"
	guestusage "github.com/virt-grow/virt-grow/guest/usage"
	"github.com/virt-grow/virt-grow/plan"
)

// completionCommand is virt-grow completion.
type completionCommand struct{ *program }

func (p completionCommand) command() *cli.Command {
	return help(&cli.Command{
		Name: "completion", Usage: "print the completion script of a shell",
		ArgsUsage: "bash|zsh|fish", Action: p.action,
	}, "The script completes commands, flags, flag values and job names.",
		"source <(virt-grow completion bash)",
		"virt-grow completion zsh > \"${fpath[1]}/_virt-grow\"",
		"virt-grow completion fish > ~/.config/fish/completions/virt-grow.fish")
}

func (p completionCommand) action(c *cli.Context) error {
	shell, err := operand(c, "shell")
	if err != nil {
		return err
	}
	script, ok := scripts[shell]
	if !ok {
		return usage("completion: %s is not bash, zsh or fish", shell)
	}
	fmt.Fprint(p.out, script)
	return nil
}

// The scripts pass the words unchanged: the shell evaluates nothing that was typed.
var scripts = map[string]string{
	"bash": `_virt_grow() {
	local IFS=$'\n'
	COMPREPLY=($(virt-grow __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _virt_grow virt-grow
`,
	"zsh": `#compdef virt-grow
_virt_grow() {
	local -a found
	found=("${(@f)$(virt-grow __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
	if [[ -n "${found[1]}" ]]; then
		compadd -- "${found[@]}"
	else
		_files
	fi
}
compdef _virt_grow virt-grow
# Loaded from fpath, as _virt-grow: it has to complete at once.
if [[ "${funcstack[1]}" == _virt-grow ]]; then
	_virt_grow "$@"
fi
`,
	"fish": `complete -c virt-grow -a '(set -l words (commandline -opc) (commandline -ct); virt-grow __complete $words[2..-1] 2>/dev/null)'
`,
}

// completing reports whether a shell asks for words; the last one is the one
// being typed.
func completing(args []string) ([]string, bool) {
	if len(args) < 2 || args[1] != "__complete" {
		return nil, false
	}
	words := args[2:]
	if len(words) == 0 {
		words = []string{""}
	}
	return words, true
}

// complete prints the words that fit; none if the shell is to complete a file's name.
func (p *program) complete(app *cli.App, words []string) {
	typed, before := words[len(words)-1], words[:len(words)-1]
	for _, word := range p.candidates(app, before, typed) {
		if strings.HasPrefix(word, typed) {
			fmt.Fprintln(p.out, word)
		}
	}
}

// values are the possible values of flags, by the flag's name, or by a command's and the
// flag's name.
var values = map[string][]string{
	"accept": {"auto", "manual"}, "trial-disks": {"all", "target"},
	"accel": {"auto", "kvm", "tcg"}, "check": {"auto", "full", "quick"}, "quiesce": {"auto", "no", "yes"}, "format": {"qcow2", "raw"}, "report format": {"html", "json", "md"}, "sector-size": {"512", "4096"},
	"fs": plan.NewFSNames, "table": {"gpt", "mbr", "none"}, "prealloc": {"off", "metadata", "falloc", "full"},
	"bus": {"virtio", "scsi", "sata", "ide", "usb"}, "cache": caches, "discard": {"ignore", "unmap"}, "initialise": {"ntfs"},
	"sort": guestusage.Orders,
	"from": create.Formats, "to": create.Formats, "bus to": buses,
}

func (p *program) candidates(app *cli.App, before []string, typed string) []string {
	l := arrange(app, append([]string{app.Name}, before...))
	command := find(app, l.command)
	flags := app.Flags
	if command != nil {
		flags = append(slices.Clone(command.Flags), app.Flags...)
	}
	if n := len(before); n > 0 && strings.HasPrefix(before[n-1], "-") {
		name := strings.TrimLeft(before[n-1], "-")
		if valueFlags(flags)[name] {
			if own, ok := values[l.name()+" "+name]; ok {
				return own
			}
			return values[name]
		}
	}
	switch {
	case strings.HasPrefix(typed, "-"):
		return flagWords(flags)
	case len(l.command) == 0:
		return commandWords(app.VisibleCommands())
	case command != nil && len(command.Subcommands) > 0:
		return commandWords(command.VisibleCommands())
	case len(l.operands) > 0:
		return nil
	case l.name() == "completion":
		return []string{"bash", "fish", "zsh"}
	}
	return p.jobWords(l)
}

func flagWords(flags []cli.Flag) []string {
	var words []string
	for _, f := range flags {
		for _, name := range f.Names() {
			if len(name) > 1 {
				words = append(words, "--"+name)
			}
		}
	}
	slices.Sort(words)
	return slices.Compact(words)
}

func commandWords(commands []*cli.Command) []string {
	var words []string
	for _, c := range commands {
		words = append(words, c.Name)
	}
	return words
}

// jobWords returns the jobs that the command accepts.
func (p *program) jobWords(l line) []string {
	command, ofBatch := strings.CutPrefix(l.name(), "batch ")
	if !slices.Contains([]string{"status", "report", "resume", "accept", "rollback"}, command) {
		return nil
	}
	if uri := l.global("connect", "c"); remote.IsURI(uri) || uri == "" && remote.IsURI(p.env("LIBVIRT_DEFAULT_URI")) {
		return nil // the jobs are on another host
	}
	p.state = l.global("state-dir")
	if p.state == "" {
		p.state = p.defaultState()
	}
	all, _ := p.engine().List()
	var words []string
	for _, j := range all {
		if ofBatch && j.Header.Kind != batch.Kind {
			continue
		}
		fits := func(a job.Action) bool { return commandOf[a].name == command }
		if command == "status" || command == "report" || slices.ContainsFunc(j.Actions, fits) {
			words = append(words, j.ID)
		}
	}
	return words
}
