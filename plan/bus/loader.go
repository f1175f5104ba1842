package bus

import (
	"path"
	"regexp"
	"strconv"
	"strings"
)

// entry is an entry of a boot loader's menu that starts a Linux.
type entry struct {
	// names are its title, its ID and its place in the menu, each with those of the submenus
	// above it: "Advanced options>Debian, with Linux 6.1", "1>0".
	names  []string
	kernel string
	// initramfs has the paths that the loader puts together.
	initramfs []string
}

var (
	menuLine    = regexp.MustCompile(`^\s*(menuentry|submenu)\s+(?:'([^']*)'|"([^"]*)"|(\S+))`)
	menuID      = regexp.MustCompile(`(?:\$\{?menuentry_id_option\}?|--id)[\s=]+(?:'([^']*)'|"([^"]*)"|(\S+))`)
	grubDefault = regexp.MustCompile(`^\s*set\s+default=(?:"([^"]*)"|'([^']*)'|(\S+))`)
	grubKernel  = regexp.MustCompile(`^\s*(linux|linux16|linuxefi|initrd|initrd16|initrdefi)\s+(.+)`)
)

// level is one level of GRUB's menu.
type level struct {
	names []string // of the submenu, with those above it
	next  int      // how many items it has
}

// grub is what a grub.cfg says.
type grub struct {
	entries []entry
	// defaults are the values of the variable default, in their order.
	defaults []string
	// blscfg reports that GRUB adds the entries of /boot/loader/entries.
	blscfg bool
}

// parseGrub reads a grub.cfg as grub-mkconfig writes it. It does not interpret the language:
// of several definitions it returns all.
func parseGrub(text string) grub {
	var g grub
	levels := []level{{names: []string{""}}}
	var blocks []string
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		trimmed := strings.TrimSpace(line)
		if m := menuLine.FindStringSubmatch(line); m != nil {
			names := levels[len(levels)-1].item(m[2]+m[3]+m[4], menuID.FindStringSubmatch(line))
			blocks = append(blocks, m[1])
			if m[1] == "submenu" {
				levels = append(levels, level{names: names})
			} else {
				g.entries = append(g.entries, entry{names: names})
			}
			continue
		}
		switch {
		case trimmed == "}" && len(blocks) > 0:
			if blocks[len(blocks)-1] == "submenu" {
				levels = levels[:len(levels)-1]
			}
			blocks = blocks[:len(blocks)-1]
		case strings.HasPrefix(trimmed, "function ") && strings.HasSuffix(trimmed, "{"):
			blocks = append(blocks, "function")
		case trimmed == "blscfg":
			g.blscfg = true
		}
		if m := grubDefault.FindStringSubmatch(line); m != nil {
			g.defaults = append(g.defaults, m[1]+m[2]+m[3])
		}
		if m := grubKernel.FindStringSubmatch(line); m != nil && len(g.entries) > 0 && len(blocks) > 0 && blocks[len(blocks)-1] == "menuentry" {
			g.entries[len(g.entries)-1].load(m[1], strings.Fields(m[2]))
		}
	}
	return g
}

// item returns the names of the next item of a level.
func (l *level) item(title string, id []string) (names []string) {
	own := []string{title, strconv.Itoa(l.next)}
	if id != nil {
		own = append(own, id[1]+id[2]+id[3])
	}
	l.next++
	for _, above := range l.names {
		for _, name := range own {
			if above != "" {
				name = above + ">" + name
			}
			names = append(names, name)
		}
	}
	return names
}

// load notes the arguments of a line linux or initrd.
func (e *entry) load(command string, args []string) {
	if strings.HasPrefix(command, "linux") {
		e.kernel = args[0]
		return
	}
	e.initramfs = append(e.initramfs, args...)
}

// parseGrubenv reads GRUB's environment block.
func parseGrubenv(text string) map[string]string {
	env := map[string]string{}
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(strings.TrimRight(line, "\n"), "="); ok && !strings.HasPrefix(line, "#") {
			env[key] = value
		}
	}
	return env
}

// start returns the entries that GRUB starts next, and from then on; ok is false if that cannot
// be told.
func (g grub) start(env map[string]string, bls []entry) (chosen []entry, ok bool) {
	values := map[string]bool{}
	last := "0"
	for _, value := range g.defaults {
		switch {
		case strings.Contains(value, "next_entry"):
			if next := env["next_entry"]; next != "" {
				values[next] = true
			}
		case strings.Contains(value, "saved_entry"):
			last = env["saved_entry"]
			if last == "" {
				last = "0"
			}
		case !strings.Contains(value, "$"):
			last = value
		default:
			return nil, false
		}
	}
	values[last] = true
	for value := range values {
		e, found := g.named(value, bls)
		if !found {
			return nil, false
		}
		chosen = append(chosen, e)
	}
	return chosen, true
}

// named returns the entry that a value of the variable default means. The order of the entries
// of /boot/loader/entries is not known here, so these have no numbers.
func (g grub) named(value string, bls []entry) (entry, bool) {
	all := bls
	if !g.blscfg {
		all = g.entries
	}
	for _, e := range all {
		for _, name := range e.names {
			if name == value && e.kernel != "" {
				return e, true
			}
		}
	}
	return entry{}, false
}

// parseBLS reads an entry of the Boot Loader Specification.
func parseBLS(file, text string) entry {
	e := entry{names: []string{strings.TrimSuffix(path.Base(file), ".conf")}}
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		args := strings.Fields(value)
		switch {
		case len(args) == 0:
		case key == "title":
			e.names = append(e.names, strings.TrimSpace(value))
		case key == "linux":
			e.kernel = args[0]
		case key == "initrd":
			e.initramfs = append(e.initramfs, args...)
		}
	}
	return e
}

// parseExtlinux reads the configuration of EXTLINUX and SYSLINUX, and returns the entry that it
// starts.
func parseExtlinux(text string) (chosen entry, ok bool) {
	var all []entry
	def := ""
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		key := strings.ToUpper(fields[0])
		if key == "DEFAULT" {
			def = fields[1]
		}
		if key == "LABEL" {
			all = append(all, entry{names: fields[1:2]})
		}
		if len(all) == 0 {
			continue
		}
		e := &all[len(all)-1]
		switch {
		case key == "MENU" && strings.EqualFold(fields[1], "default"):
			def = e.names[0]
		case key == "LINUX" || key == "KERNEL":
			e.kernel = fields[1]
		case key == "INITRD":
			e.initramfs = strings.Split(fields[1], ",")
		case key == "APPEND":
			for _, f := range fields[1:] {
				if paths, is := strings.CutPrefix(f, "initrd="); is {
					e.initramfs = strings.Split(paths, ",")
				}
			}
		}
	}
	for _, e := range all {
		if e.kernel != "" && (e.names[0] == def || def == "" || len(all) == 1) {
			return e, true
		}
	}
	return entry{}, false
}
