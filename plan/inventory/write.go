package inventory

import (
	"bytes"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// YAML writes the inventory as Parse reads it. It leaves out what Parse would assume anyway.
//
// The text is written here, because the encoder of the YAML library does not keep all text
// of several lines ("\n" is read as "").
func (inv *Inventory) YAML() ([]byte, error) {
	var b bytes.Buffer
	b.WriteString("# virt-grow inventory v1\n")
	if inv.Connect != "" {
		fmt.Fprintf(&b, "connect: %s\n", quoted(inv.Connect))
	}
	if window := texts([][2]string{{"start", inv.Window.Start}, {"end", inv.Window.End}}); window != nil {
		fmt.Fprintf(&b, "window: %s\n", flow(window))
	}
	if len(inv.Canary.Names) > 0 {
		fmt.Fprintf(&b, "canary: %s\n", list(inv.Canary.Names))
	} else {
		fmt.Fprintf(&b, "canary: %d\n", inv.Canary.Count)
	}
	fmt.Fprintf(&b, "parallel: %d\nstop-after: %d\n", inv.Parallel, inv.StopAfter)
	usual := DefaultTreatment()
	if defaults := inv.Defaults.pairs(&usual); len(defaults) > 0 {
		b.WriteString("defaults:\n")
		writePairs(&b, "  ", defaults)
	}
	b.WriteString("guests:\n")
	for _, g := range inv.Guests {
		fmt.Fprintf(&b, "  - name: %s\n    disks:\n", quoted(g.Name))
		for _, d := range g.Disks {
			fmt.Fprintf(&b, "      - %s\n", flow(d.pairs()))
		}
		writePairs(&b, "    ", g.Treatment.pairs(&inv.Defaults))
	}
	return b.Bytes(), nil
}

// pair is a key with its value, as YAML.
type pair struct{ key, value string }

func writePairs(b *bytes.Buffer, indent string, pairs []pair) {
	for _, p := range pairs {
		fmt.Fprintf(b, "%s%s: %s\n", indent, p.key, p.value)
	}
}

func (d Disk) pairs() []pair {
	pairs := texts([][2]string{{"disk", d.Disk}, {"size", d.Size}})
	if len(d.Grow) > 0 {
		pairs = append(pairs, pair{"grow", list(d.Grow)})
	}
	return pairs
}

// pairs returns the keys whose values differ from those of another treatment.
func (t *Treatment) pairs(from *Treatment) (pairs []pair) {
	for _, o := range options {
		value := o.value(t)
		if reflect.DeepEqual(value, o.value(from)) {
			continue
		}
		var text string
		switch value := value.(type) {
		case string:
			text = quoted(value)
		case []string:
			text = list(value)
		case Hooks:
			text = flow(value.pairs(from.Hooks))
		default:
			text = fmt.Sprint(value)
		}
		pairs = append(pairs, pair{o.key, text})
	}
	return pairs
}

// pairs returns the hooks that differ, also those that are empty here.
func (h Hooks) pairs(from Hooks) (pairs []pair) {
	for _, hook := range [][3]string{{"pre", h.Pre, from.Pre}, {"post", h.Post, from.Post}, {"on-failure", h.OnFailure, from.OnFailure}} {
		if hook[1] != hook[2] {
			pairs = append(pairs, pair{hook[0], quoted(hook[1])})
		}
	}
	return pairs
}

// texts returns pairs of the texts that are not empty.
func texts(all [][2]string) (pairs []pair) {
	for _, t := range all {
		if t[1] != "" {
			pairs = append(pairs, pair{t[0], quoted(t[1])})
		}
	}
	return pairs
}

// flow writes a mapping on one line.
func flow(pairs []pair) string {
	var entries []string
	for _, p := range pairs {
		entries = append(entries, p.key+": "+p.value)
	}
	return "{" + strings.Join(entries, ", ") + "}"
}

// list writes a list on one line.
func list(texts []string) string {
	var entries []string
	for _, t := range texts {
		entries = append(entries, quoted(t))
	}
	return "[" + strings.Join(entries, ", ") + "]"
}

var (
	// plain matches text that no YAML reader takes for anything but text, except the
	// reserved words.
	plain = regexp.MustCompile(`^(?:[A-Za-z/][A-Za-z0-9/._+=:%-]*[A-Za-z0-9/._%-]|[A-Za-z/]|\+?[0-9]+(?:\.[0-9]+)?[KMGTP](?:iB)?|(?:[0-9.]+(?:h|m|s|ms))+)$`)
	// reserved are words that some version of YAML does not take for text.
	reserved = []string{"true", "false", "yes", "no", "on", "off", "y", "n", "null"}
)

// quoted writes text, with quotes if it needs them. All escapes of strconv.Quote are escapes
// of YAML, too.
func quoted(text string) string {
	if plain.MatchString(text) && !slices.Contains(reserved, strings.ToLower(text)) {
		return text
	}
	return strconv.Quote(text)
}
