package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/virt-grow/virt-grow/cmd/virt-grow/view"
	"github.com/virt-grow/virt-grow/guest/disk"
	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/guest/files"
	guestusage "github.com/virt-grow/virt-grow/guest/usage"
)

// dfCommand is virt-grow df.
type dfCommand struct{ *program }

func (p dfCommand) command() *cli.Command {
	flags := []cli.Flag{
		&cli.BoolFlag{Name: "inspect", Usage: "without TARGET: read the disks of the guests whose agent does not answer, or that are off, in an appliance for each", DisableDefaultText: true},
		&cli.BoolFlag{Name: "mounts", Usage: "also show where the guest mounts what is read from its disks, which takes longer", DisableDefaultText: true},
		&cli.StringFlag{Name: "above", Usage: "show only file systems that are more than `PERCENT` full, for example 80%"},
		&cli.StringFlag{Name: "sort", Usage: "sort by `ORDER`: name, used (the fullest first), free (the least free space first) or full (the one that will be full first)"},
		&cli.BoolFlag{Name: "csv", Usage: "print CSV", DisableDefaultText: true},
		&cli.BoolFlag{Name: "forecast", Usage: "show when each will be full, at the rate of the samples that earlier calls have kept", DisableDefaultText: true},
		&cli.StringFlag{Name: "suggest", Usage: "print an inventory in which the file systems grow by `AMOUNT`, +30% or +10G (those above 80%, unless --above is given)"},
		&cli.Float64Flag{Name: "suggest-days", Usage: "print an inventory in which the file systems that will be full within `DAYS` grow so that they last so long", DefaultText: "none"},
		&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "write the inventory to `FILE`, which must not exist, and print the list as usual"},
		&cli.StringFlag{Name: "metrics", Usage: "write the figures, and those of the jobs, to `FILE` in Prometheus's text format"},
	}
	return help(&cli.Command{
		Name: "df", Usage: "show how full the guests' file systems are",
		ArgsUsage: "[TARGET...]", Flags: append(flags, targetFlags()...), Action: p.action,
	}, "Without TARGET, the agents of all running guests are asked, side by side. With TARGETs,\n   their disks are read, also those of running guests; the figures are then those of this\n   moment, and may be inconsistent. All disks of one domain are read in one appliance;\n   disks of two domains never share an appliance. Nothing in a guest is changed.\n\n   Each call keeps one sample a day of every file system in the state directory.",
		"virt-grow df",
		"virt-grow df --above 80% --sort full --forecast",
		"virt-grow df --suggest +30% -o window.yaml",
		"virt-grow df --metrics /var/lib/node_exporter/virt-grow.prom",
		"virt-grow df dev7 --mounts --json")
}

// dfOptions are the flags of df.
type dfOptions struct {
	names           []string
	targets         []target
	keys            keyring
	inspect, mounts bool
	// above is the share in percent above which file systems are shown; -1 for all.
	above         float64
	sort          guestusage.Order
	csv, forecast bool
	// suggest is nil if no inventory is wanted.
	suggest         *guestusage.Increase
	output, metrics string
	// fleet shows one table of all guests.
	fleet bool
}

func (p dfCommand) action(c *cli.Context) error {
	o, err := p.options(c)
	if err != nil {
		return err
	}
	guests, err := p.guests(c.Context, o)
	if err != nil {
		return err
	}
	at := now()
	if err := (guestusage.Store{Dir: p.state}).Keep(c.Context, at, guests); err != nil {
		fmt.Fprintln(p.err, "note: "+p.styleFor(p.errLive).Clean(sampleNote(err)))
	}
	if o.metrics != "" {
		// Before the guests are filtered: the file has all of them.
		if err := p.writeMetrics(o.metrics, at, guests); err != nil {
			return err
		}
	}
	if o.above >= 0 {
		guestusage.Above(guests, o.above)
	}
	if len(o.names) == 0 || c.IsSet("sort") {
		guestusage.Sort(guests, o.sort)
	}
	suggestion, err := p.suggest(o, guests)
	if err != nil {
		return err
	}
	if !o.forecast {
		guestusage.DropForecasts(guests)
	}
	if err := p.show(o, guests, suggestion); err != nil {
		return err
	}
	if slices.ContainsFunc(guests, func(g guestusage.Guest) bool { return g.Err != nil }) {
		return errShown
	}
	return nil
}

// sampleNote says that the samples were not kept, or that they begin anew.
func sampleNote(err error) string {
	if errors.As(err, new(*guestusage.DamagedError)) {
		return err.Error()
	}
	return fmt.Sprintf("the samples for the forecast were not kept: %v", err)
}

// options reads the flags.
func (p dfCommand) options(c *cli.Context) (o dfOptions, err error) {
	o = dfOptions{names: c.Args().Slice(), inspect: c.Bool("inspect"), mounts: c.Bool("mounts"), above: -1, sort: guestusage.Order(c.String("sort")),
		csv: c.Bool("csv"), output: c.String("output"), metrics: c.String("metrics")}
	if o.sort == "" {
		o.sort = guestusage.ByName
	}
	o.forecast = c.Bool("forecast") || o.sort == guestusage.ByFull
	o.fleet = len(o.names) == 0 || c.IsSet("above") || c.IsSet("sort") || o.forecast
	if err := p.checkOptions(c, o); err != nil {
		return o, err
	}
	if err := o.readSuggest(c); err != nil {
		return o, err
	}
	if text := c.String("above"); c.IsSet("above") {
		if o.above, err = guestusage.ParseShare(text); err != nil {
			return o, usage("--above %v", err)
		}
	}
	if o.keys, err = p.readKeys(c); err != nil {
		return o, err
	}
	for _, name := range o.names {
		t, err := p.targetOf(c, name)
		if err != nil {
			return o, err
		}
		t.keys = o.keys
		o.targets = append(o.targets, t)
	}
	return o, nil
}

// checkOptions refuses flags that cannot be used together.
func (p dfCommand) checkOptions(c *cli.Context, o dfOptions) error {
	suggests := c.IsSet("suggest") || c.IsSet("suggest-days")
	switch {
	case !slices.Contains(guestusage.Orders, string(o.sort)):
		return usage("--sort %s: must be name, used, free or full", o.sort)
	case o.csv && p.json:
		return usage("--csv and --json cannot be used together")
	case c.IsSet("suggest") && c.IsSet("suggest-days"):
		return usage("--suggest and --suggest-days cannot be used together")
	case o.output != "" && !suggests:
		return usage("--output is for the inventory of --suggest or --suggest-days")
	case suggests && (p.json || o.csv) && (o.output == "" || o.output == "-"):
		return usage("with --json or --csv, give a file for the inventory with --output")
	case len(o.names) > 0 && o.inspect:
		return usage("--inspect is for df without TARGET: the disks of a TARGET are always read")
	case len(o.names) == 0 && c.IsSet("format"):
		return usage("--format is only for images")
	case len(o.names) == 0 && !o.inspect && (o.mounts || c.IsSet("key")):
		return usage("--mounts and --key are for what is read from disks: give a TARGET or --inspect")
	}
	return nil
}

// readSuggest reads --suggest and --suggest-days.
func (o *dfOptions) readSuggest(c *cli.Context) error {
	switch days := c.Float64("suggest-days"); {
	case c.IsSet("suggest-days"):
		if !(days > 0 && days <= 3650) {
			return usage("--suggest-days %v: must be from 1 to 3650", days)
		}
		o.suggest = &guestusage.Increase{Days: days}
	case c.IsSet("suggest"):
		by, err := guestusage.ParseIncrease(c.String("suggest"))
		if err != nil {
			return usage("--suggest %v", err)
		}
		o.suggest, o.above = &by, 80
	}
	return nil
}

// guests reads how full the file systems are.
func (p dfCommand) guests(ctx context.Context, o dfOptions) ([]guestusage.Guest, error) {
	if len(o.targets) == 0 {
		return p.ask(ctx, o)
	}
	var guests []guestusage.Guest
	for _, t := range o.targets {
		found := p.read(ctx, t, o.mounts)
		if found.Err != nil && (len(o.targets) == 1 || ctx.Err() != nil) {
			return nil, found.Err
		}
		if found.Err != nil {
			// The other guests are shown all the same.
			p.complain(found.Err, p.trouble(found.Err))
		}
		if !slices.ContainsFunc(guests, func(g guestusage.Guest) bool { return g.UUID != "" && g.UUID == found.UUID }) {
			guests = append(guests, found)
		}
	}
	return guests, nil
}

// ask asks all domains of the libvirt.
func (p dfCommand) ask(ctx context.Context, o dfOptions) ([]guestusage.Guest, error) {
	conn, err := domain.Connect(p.connect)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	listed, err := conn.Domains(ctx)
	if err != nil {
		return nil, err
	}
	var asked []guestusage.Asked
	for _, d := range listed {
		asked = append(asked, guestusage.Asked{Name: d.Name, UUID: d.UUID, State: d.State, Agent: d.Domain})
	}
	stop := p.looking(fmt.Sprintf("asking %d domains", len(asked)))
	guests, err := guestusage.Ask(ctx, asked, guestusage.Limit, nil)
	stop()
	if err != nil || !o.inspect {
		return guests, err
	}
	return guests, p.inspect(ctx, o, guests)
}

// inspect reads the disks of the guests that were not asked.
func (p dfCommand) inspect(ctx context.Context, o dfOptions, guests []guestusage.Guest) error {
	for i, g := range guests {
		if g.Unread == "" {
			continue
		}
		found := p.read(ctx, target{program: p.program, domain: g.Name, keys: o.keys}, o.mounts)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if found.Err != nil {
			p.complain(found.Err, p.trouble(found.Err))
		}
		found.UUID = g.UUID
		guests[i] = found
	}
	return nil
}

// read reads how full one guest's file systems are from its disks.
func (p dfCommand) read(ctx context.Context, t target, where bool) guestusage.Guest {
	p.subject = t.name()
	u := guestusage.Guest{Name: p.subject}
	g, err := t.disks(ctx)
	if err != nil {
		u.Err = err
		return u
	}
	defer g.Close()
	u.UUID, u.Running, u.Notes = g.UUID, g.Running, g.Notes
	stop := p.looking(fmt.Sprintf("looking at %s", g.Name))
	found, err := files.Usage(ctx, g, where, p.session(t.keys))
	stop()
	if u.Err = err; err == nil {
		u.Source, u.FileSystems = guestusage.ByAppliance, guestusage.Inspected(found, targetsOf(g))
	}
	return u
}

func targetsOf(g *disk.Set) []string {
	var targets []string
	for _, d := range g.Disks {
		targets = append(targets, d.Def.Target)
	}
	return targets
}

// suggest returns the text of the inventory, or writes it to the file and returns nil.
func (p dfCommand) suggest(o dfOptions, guests []guestusage.Guest) ([]byte, error) {
	if o.suggest == nil {
		return nil, nil
	}
	s := guestusage.Suggest(guests, *o.suggest)
	if p.connect != domain.DefaultURI {
		s.Connect = p.connect
	}
	text, err := s.Text()
	if err != nil || o.output == "" || o.output == "-" {
		return text, err
	}
	return nil, writeNew(o.output, text)
}

// show prints the list, or the inventory instead.
func (p dfCommand) show(o dfOptions, guests []guestusage.Guest, inventory []byte) error {
	switch {
	case inventory != nil:
		_, err := p.out.Write(inventory)
		return err
	case o.csv:
		return view.UsageCSV(p.out, guests, o.sort)
	case !o.fleet && !p.json:
		return view.Usage(p.out, p.style(), p.shown(guests))
	case p.json:
		return view.UsageJSON(p.out, p.shown(guests))
	}
	return p.showFleet(o, guests)
}

func (p dfCommand) showFleet(o dfOptions, guests []guestusage.Guest) error {
	nothing := "no file system"
	if o.above >= 0 {
		nothing = fmt.Sprintf("no file system is more than %g%% full", o.above)
	}
	switch {
	case len(guests) == 0:
		nothing = "no domain"
	case !slices.ContainsFunc(guests, func(g guestusage.Guest) bool { return g.Source != "" }):
		nothing = "nothing is known of any guest"
	}
	var text bytes.Buffer
	if err := view.Fleet(&text, p.style(), guests, o.sort, nothing); err != nil {
		return err
	}
	if len(o.names) == 0 && !o.inspect && slices.ContainsFunc(guests, func(g guestusage.Guest) bool { return g.Unread != "" }) {
		text.WriteString("df --inspect reads their disks.\n")
	}
	_, err := p.out.Write(text.Bytes())
	return err
}

// shown returns the guests with their errors as they are shown.
func (p dfCommand) shown(guests []guestusage.Guest) []view.GuestUsage {
	all := []view.GuestUsage{}
	for _, g := range guests {
		shown := view.GuestUsage{Guest: g}
		if g.Err != nil {
			p.subject = g.Name
			trouble := p.trouble(g.Err)
			shown.Trouble = &trouble
		}
		all = append(all, shown)
	}
	return all
}

// name returns the TARGET as the user gave it.
func (t target) name() string {
	if t.domain != "" {
		return t.domain
	}
	return t.path
}
