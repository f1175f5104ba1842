package inventory

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"github.com/virt-grow/virt-grow/plan"
)

// maxFile limits the size of an inventory. One of a thousand guests has about 200 KiB.
const maxFile = 1 << 20

// Parse reads an inventory. name is the file's name, for errors.
func Parse(name string, text []byte) (*Inventory, error) {
	if len(text) > maxFile {
		return nil, fmt.Errorf("%s: an inventory has at most %d bytes", name, maxFile)
	}
	if !utf8.Valid(text) {
		return nil, fmt.Errorf("%s: the text is not UTF-8", name)
	}
	r := &reader{name: name, lines: strings.Split(string(text), "\n")}
	if err := r.checkTokens(lexer.Tokenize(string(text))); err != nil {
		return nil, err
	}
	file, err := parser.ParseBytes(text, 0)
	if err != nil {
		return nil, r.syntax(err)
	}
	if len(file.Docs) != 1 || file.Docs[0].Body == nil {
		return nil, fmt.Errorf("%s: an inventory has one YAML document, with the key guests", name)
	}
	return r.inventory(file.Docs[0].Body)
}

// reader reads the nodes of one file.
type reader struct {
	name  string
	lines []string
}

// maxDepth limits how deep lists and mappings are nested: the parser's time grows with the
// square of it.
const maxDepth = 20

// checkTokens refuses what an inventory does not need of YAML: anchors and merges have the
// defaults instead, and a tag could only change the type of a value.
func (r *reader) checkTokens(tokens token.Tokens) error {
	depth, entries, line := 0, 0, 0
	for _, t := range tokens {
		if t.Position.Line != line {
			entries, line = 0, t.Position.Line
		}
		switch t.Type {
		case token.AnchorType, token.AliasType, token.MergeKeyType:
			return r.at(t, "an inventory has no anchors, aliases or merges: use defaults")
		case token.TagType, token.DirectiveType, token.MappingKeyType:
			return r.at(t, "an inventory has no tags, directives or complex keys: put quotes around text that begins with this character")
		case token.SequenceStartType, token.MappingStartType:
			depth++
		case token.SequenceEndType, token.MappingEndType:
			depth--
		case token.SequenceEntryType:
			entries++
		}
		if depth > maxDepth || entries > maxDepth {
			return r.at(t, "lists are nested too deep")
		}
	}
	return nil
}

// syntax turns an error of the parser into one of this package.
func (r *reader) syntax(err error) error {
	var known yaml.Error
	if errors.As(err, &known) && known.GetToken() != nil {
		return r.at(known.GetToken(), "%s", known.GetMessage())
	}
	return fmt.Errorf("%s: %w", r.name, err)
}

// inventory reads the whole document. The guests are read last, because they need the
// defaults.
func (r *reader) inventory(body ast.Node) (*Inventory, error) {
	inv := &Inventory{Canary: Canary{Count: DefaultCanary}, Parallel: DefaultParallel, StopAfter: DefaultStopAfter, Defaults: DefaultTreatment()}
	var window, canary, guests ast.Node
	err := r.mapping(body, keys{
		"connect":    func(n ast.Node) error { return r.text(n, &inv.Connect) },
		"window":     func(n ast.Node) error { window = n; return r.window(n, &inv.Window) },
		"canary":     func(n ast.Node) error { canary = n; return r.canary(n, &inv.Canary) },
		"parallel":   func(n ast.Node) error { return r.number(n, 1, &inv.Parallel) },
		"stop-after": func(n ast.Node) error { return r.number(n, 1, &inv.StopAfter) },
		"defaults":   func(n ast.Node) error { return r.mapping(n, r.treatment(&inv.Defaults)) },
		"guests":     func(n ast.Node) error { guests = n; return nil },
	})
	if err != nil {
		return nil, err
	}
	if guests == nil {
		return nil, r.on(body, "the inventory lists no guests: the key guests is missing")
	}
	if inv.Guests, err = r.guests(guests, inv.Defaults); err != nil {
		return nil, err
	}
	if err := r.checkWindow(window, inv.Window); err != nil {
		return nil, err
	}
	return inv, r.checkCanary(canary, inv)
}

func (r *reader) window(n ast.Node, w *Window) error {
	read := func(to *string) func(ast.Node) error {
		return func(n ast.Node) error {
			if err := r.text(n, to); err != nil {
				return err
			}
			if _, err := At(*to, time.Time{}); err != nil {
				return r.on(n, "%v", err)
			}
			return nil
		}
	}
	return r.mapping(n, keys{"start": read(&w.Start), "end": read(&w.End)})
}

// checkWindow refuses a window that ends when or before it starts.
func (r *reader) checkWindow(n ast.Node, w Window) error {
	if w.Start == "" || w.End == "" {
		return nil
	}
	if w.Start == w.End {
		return r.on(n, "the window starts and ends at the same time")
	}
	start, err := time.Parse(time.RFC3339, w.Start)
	if err != nil {
		return nil
	}
	if end, err := time.Parse(time.RFC3339, w.End); err == nil && !start.Before(end) {
		return r.on(n, "the window ends before it starts")
	}
	return nil
}

// canary reads a number or a list of names.
func (r *reader) canary(n ast.Node, c *Canary) error {
	if _, isList := n.(*ast.SequenceNode); !isList {
		return r.number(n, 0, &c.Count)
	}
	c.Count = 0
	return r.list(n, func(n ast.Node) error {
		var name string
		if err := r.text(n, &name); err != nil {
			return err
		}
		if slices.Contains(c.Names, name) {
			return r.on(n, "guest %s is listed twice", name)
		}
		c.Names = append(c.Names, name)
		return nil
	})
}

// checkCanary refuses a canary that is not one of the guests.
func (r *reader) checkCanary(n ast.Node, inv *Inventory) error {
	for i, name := range inv.Canary.Names {
		known := slices.ContainsFunc(inv.Guests, func(g Guest) bool { return g.Name == name })
		if !known {
			return r.on(n.(*ast.SequenceNode).Values[i], "the canary %s is not one of the guests", name)
		}
	}
	return nil
}

func (r *reader) guests(n ast.Node, defaults Treatment) ([]Guest, error) {
	var guests []Guest
	seen := map[string]bool{}
	err := r.list(n, func(n ast.Node) error {
		g := Guest{Treatment: defaults}
		g.Keys = slices.Clone(defaults.Keys)
		name, err := r.guest(n, &g)
		if err != nil {
			return err
		}
		if seen[g.Name] {
			return r.on(name, "guest %s is listed twice", g.Name)
		}
		seen[g.Name] = true
		guests = append(guests, g)
		return nil
	})
	if err == nil && len(guests) == 0 {
		err = r.on(n, "the inventory lists no guests")
	}
	return guests, err
}

// guest reads one guest, and returns the node of its name.
func (r *reader) guest(n ast.Node, g *Guest) (name ast.Node, err error) {
	var disks ast.Node
	known := r.treatment(&g.Treatment)
	known["name"] = func(n ast.Node) error { name = n; return r.word(n, &g.Name) }
	known["disks"] = func(n ast.Node) error { disks = n; return r.disks(n, g) }
	if err := r.mapping(n, known); err != nil {
		return nil, err
	}
	switch {
	case name == nil:
		return nil, r.on(n, "the guest has no name")
	case strings.Contains(g.Name, "/"):
		return nil, r.on(name, "%s is the path of an image: an inventory lists domains; grow and plan take images", g.Name)
	case disks == nil:
		return nil, r.on(name, "guest %s has no disks", g.Name)
	}
	return name, r.checkGuest(name, g)
}

// checkGuest refuses options that cannot be used together. They may come from the defaults,
// so the error is shown at the guest's name.
func (r *reader) checkGuest(name ast.Node, g *Guest) error {
	request, err := g.Request()
	if err != nil {
		return r.on(name, "guest %s: %v", g.Name, err)
	}
	percent := 0
	for _, w := range request.Grow {
		percent += w.Amount.Percent
	}
	switch {
	case !g.Trial && g.TrialBoot:
		return r.on(name, "guest %s: trial-boot needs the trial: it cannot be used with trial: false", g.Name)
	case !g.Trial && g.Accept == "manual":
		return r.on(name, "guest %s: accept: manual needs the trial: it cannot be used with trial: false", g.Name)
	case percent > 100:
		return r.on(name, "guest %s: the percentages of grow are %d%% together; 100%% is all of the remaining space", g.Name, percent)
	case request.NTFS == plan.NTFSGuest && request.ContainerOnly():
		return r.on(name, "guest %s: ntfs: guest cannot be used with grow: [none]", g.Name)
	}
	return nil
}

func (r *reader) disks(n ast.Node, g *Guest) error {
	seen := map[string]bool{}
	err := r.list(n, func(n ast.Node) error {
		var d Disk
		place, err := r.disk(n, &d)
		if err != nil {
			return err
		}
		switch {
		case len(g.Disks) > 0 && (d.Disk == "" || seen[""]):
			return r.on(n, "of several disks, each needs its name, for example disk: vda")
		case seen[d.Disk]:
			return r.on(place, "disk %s is listed twice", d.Disk)
		}
		seen[d.Disk] = true
		g.Disks = append(g.Disks, d)
		return nil
	})
	if err == nil && len(g.Disks) == 0 {
		err = r.on(n, "the guest has no disks")
	}
	return err
}

// disk reads one disk, and returns the node of its name.
func (r *reader) disk(n ast.Node, d *Disk) (name ast.Node, err error) {
	name = n
	err = r.mapping(n, keys{
		"disk": func(n ast.Node) error { name = n; return r.word(n, &d.Disk) },
		"size": func(n ast.Node) error {
			if err := r.word(n, &d.Size); err != nil {
				return err
			}
			if _, err := diskSize(d.Size); err != nil {
				return r.on(n, "%v", err)
			}
			return nil
		},
		"grow": func(n ast.Node) error {
			return r.list(n, func(n ast.Node) error {
				var where string
				if err := r.word(n, &where); err != nil {
					return err
				}
				if _, err := plan.ParseGrowTarget(where); err != nil {
					return r.on(n, "%v", err)
				}
				d.Grow = append(d.Grow, where)
				return nil
			})
		},
	})
	if err == nil && d.Size == "" {
		err = r.on(n, "the disk has no size (30G, +10G, or fill)")
	}
	return name, err
}

// treatment returns the keys of a treatment.
func (r *reader) treatment(t *Treatment) keys {
	known := keys{}
	for _, o := range options {
		known[o.key] = func(n ast.Node) error { return o.read(r, n, t) }
	}
	return known
}

// keys has a function for each key that a mapping may have.
type keys map[string]func(ast.Node) error

// mapping reads a mapping of known keys.
func (r *reader) mapping(n ast.Node, known keys) error {
	m, ok := n.(*ast.MappingNode)
	if !ok {
		return r.on(n, "must have keys: %s", strings.Join(known.names(), ", "))
	}
	seen := map[string]bool{}
	for _, entry := range m.Values {
		key, _ := scalar(entry.Key)
		read := known[key]
		switch {
		case read == nil:
			return r.on(entry.Key, "unknown key %s; known are %s", strconv.Quote(key), strings.Join(known.names(), ", "))
		case seen[key]:
			return r.on(entry.Key, "the key %s is given twice", key)
		}
		seen[key] = true
		if err := read(entry.Value); err != nil {
			return err
		}
	}
	return nil
}

func (k keys) names() []string {
	var names []string
	for name := range k {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// list calls read for each entry of a list.
func (r *reader) list(n ast.Node, read func(ast.Node) error) error {
	l, ok := n.(*ast.SequenceNode)
	if !ok {
		return r.on(n, "must be a list")
	}
	for _, entry := range l.Values {
		if err := read(entry); err != nil {
			return err
		}
	}
	return nil
}

// text reads text as it is written: a domain may have the name 007.
func (r *reader) text(n ast.Node, to *string) error {
	text, ok := scalar(n)
	if !ok {
		return r.on(n, "must be text")
	}
	if strings.ContainsFunc(text, func(c rune) bool { return unicode.IsControl(c) && c != '\n' && c != '\t' }) {
		return r.on(n, "must not contain control characters")
	}
	*to = text
	return nil
}

// word reads text of one line that is not empty.
func (r *reader) word(n ast.Node, to *string) error {
	if err := r.text(n, to); err != nil {
		return err
	}
	switch {
	case strings.TrimSpace(*to) == "":
		return r.on(n, "must not be empty")
	case strings.ContainsAny(*to, "\n\t"):
		return r.on(n, "must be one line, without tabs")
	}
	return nil
}

// number reads a whole number that is not less than least.
func (r *reader) number(n ast.Node, least int, to *int) error {
	text, _ := scalar(n)
	number, err := strconv.Atoi(text)
	switch {
	case err != nil:
		return r.on(n, "must be a whole number")
	case number < least:
		return r.on(n, "must be at least %d", least)
	}
	*to = number
	return nil
}

// scalar returns the text of a value, as it is written; false for null, lists and mappings.
func scalar(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, true
	}
	return "", false
}
