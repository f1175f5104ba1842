package view

import (
	"io"
	"strings"

	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/guest/online"
	"github.com/virt-grow/virt-grow/plan/size"
)

// Online is the plan for a running guest's disk.
type Online struct {
	Guest string `json:"domain"`
	// Disk is the disk's target in the domain, "vda", or its alias in QEMU.
	Disk   string     `json:"disk"`
	Path   string     `json:"path"`
	Format string     `json:"format"`
	From   size.Bytes `json:"old_size"`
	To     size.Bytes `json:"new_size"`
	// Via is the channel to QEMU.
	Via domain.Channel `json:"via"`
	// Sent is the command for QEMU; it is left out if the disk has its new size already.
	Sent    string         `json:"sent,omitempty"`
	InGuest online.InGuest `json:"in_guest"`
	// Commands are the commands that the guest's agent will run, as far as they are known.
	Commands []string `json:"commands,omitempty"`
	// ManualSteps lists what the user has to do.
	ManualSteps []string `json:"todo,omitempty"`
	Notes       []string `json:"notes,omitempty"`
}

// OnlinePlan prints the plan.
func OnlinePlan(w io.Writer, s Style, o Online) error {
	p := &page{Style: s}
	p.head("%s %s (%s, %s): %s", o.Guest, o.Disk, o.Path, o.Format, change(o.From, o.To))
	if o.Sent != "" {
		p.line("to QEMU, through %s:", o.Via)
		p.verbatim(o.Sent)
	} else {
		p.line("In QEMU the disk has this size already.")
	}
	if o.InGuest == online.ByAgent {
		p.line("in the guest, through its agent:")
		if len(o.Commands) == 0 {
			p.line("    the commands that the disk needs once it has grown")
		}
		for _, c := range o.Commands {
			p.verbatim(c)
		}
	}
	p.later(o.ManualSteps)
	for _, note := range o.Notes {
		p.paragraph("", "%s", strings.ToUpper(note[:1])+note[1:]+".")
	}
	if o.Sent != "" {
		p.paragraph("", "A running disk that has grown cannot be shrunk again: there is no rollback.")
	}
	_, err := io.WriteString(w, p.b.String())
	return err
}

// later prints what the user has to do once the disk has grown.
func (p *page) later(list []string) {
	for _, text := range list {
		what, commands, _ := strings.Cut(text, "\n")
		p.paragraph("", "then, %s", what)
		p.verbatim(commands)
	}
}
