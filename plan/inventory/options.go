package inventory

import (
	"encoding"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
)

// option is one key of a treatment: how it is read, and the value with which it is written.
type option struct {
	key   string
	read  func(*reader, ast.Node, *Treatment) error
	value func(*Treatment) any
}

// options are the keys of a treatment, in the order in which they are written.
var options = []option{
	oneOf("accept", func(t *Treatment) *string { return &t.Accept }, "auto", "manual"),
	oneOf("check", func(t *Treatment) *plan.CheckMode { return &t.Check }, plan.CheckAuto, plan.CheckFull, plan.CheckQuick),
	oneOf("ntfs", func(t *Treatment) *plan.NTFSWay { return &t.NTFS }, plan.NTFSOffline, plan.NTFSGuest),
	yesNo("trial", func(t *Treatment) *bool { return &t.Trial }),
	yesNo("trial-boot", func(t *Treatment) *bool { return &t.TrialBoot }),
	oneOf("trial-disks", func(t *Treatment) *string { return &t.TrialDisks }, "all", "target"),
	yesNo("no-move", func(t *Treatment) *bool { return &t.NoMove }),
	yesNo("no-agent", func(t *Treatment) *bool { return &t.NoAgent }),
	yesNo("force-off", func(t *Treatment) *bool { return &t.ForceOff }),
	duration("shutdown-timeout", func(t *Treatment) *Duration { return &t.ShutdownTimeout }),
	duration("boot-timeout", func(t *Treatment) *Duration { return &t.BootTimeout }),
	duration("settle", func(t *Treatment) *Duration { return &t.Settle }),
	duration("max-outage", func(t *Treatment) *Duration { return &t.MaxOutage }),
	duration("check-timeout", func(t *Treatment) *Duration { return &t.CheckTimeout }),
	text("health-command", func(t *Treatment) *string { return &t.HealthCommand }),
	{"hooks", readHooks, func(t *Treatment) any { return t.Hooks }},
	{"scratch-dir", readScratchDir, func(t *Treatment) any { return t.ScratchDir }},
	{"sector-size", readSectorSize, func(t *Treatment) any { return int64(t.SectorSize) }},
	{"keys", readKeys, func(t *Treatment) any { return keyTexts(t.Keys) }},
}

func oneOf[T ~string](key string, field func(*Treatment) *T, words ...T) option {
	read := func(r *reader, n ast.Node, t *Treatment) error {
		var text string
		if err := r.text(n, &text); err != nil {
			return err
		}
		if !slices.Contains(words, T(text)) {
			var names []string
			for _, w := range words {
				names = append(names, string(w))
			}
			last := len(names) - 1
			return r.on(n, "must be %s or %s, not %s", strings.Join(names[:last], ", "), names[last], strconv.Quote(text))
		}
		*field(t) = T(text)
		return nil
	}
	return option{key, read, func(t *Treatment) any { return string(*field(t)) }}
}

func yesNo(key string, field func(*Treatment) *bool) option {
	read := func(r *reader, n ast.Node, t *Treatment) error {
		b, ok := n.(*ast.BoolNode)
		if !ok {
			return r.on(n, "must be true or false")
		}
		*field(t) = b.Value
		return nil
	}
	return option{key, read, func(t *Treatment) any { return *field(t) }}
}

func duration(key string, field func(*Treatment) *Duration) option {
	read := func(r *reader, n ast.Node, t *Treatment) error { return r.unmarshal(n, field(t)) }
	return option{key, read, func(t *Treatment) any { return field(t).String() }}
}

func text(key string, field func(*Treatment) *string) option {
	read := func(r *reader, n ast.Node, t *Treatment) error { return r.text(n, field(t)) }
	return option{key, read, func(t *Treatment) any { return *field(t) }}
}

// unmarshal reads text into a value that can do so itself.
func (r *reader) unmarshal(n ast.Node, to encoding.TextUnmarshaler) error {
	var text string
	if err := r.text(n, &text); err != nil {
		return err
	}
	if err := to.UnmarshalText([]byte(text)); err != nil {
		return r.on(n, "%v", err)
	}
	return nil
}

// readHooks leaves hooks that are not given as the defaults have them.
func readHooks(r *reader, n ast.Node, t *Treatment) error {
	return r.mapping(n, keys{
		"pre":        func(n ast.Node) error { return r.text(n, &t.Hooks.Pre) },
		"post":       func(n ast.Node) error { return r.text(n, &t.Hooks.Post) },
		"on-failure": func(n ast.Node) error { return r.text(n, &t.Hooks.OnFailure) },
	})
}

func readScratchDir(r *reader, n ast.Node, t *Treatment) error {
	if err := r.text(n, &t.ScratchDir); err != nil {
		return err
	}
	if t.ScratchDir != "" && !strings.HasPrefix(t.ScratchDir, "/") {
		return r.on(n, "the path must be absolute")
	}
	return nil
}

func readSectorSize(r *reader, n ast.Node, t *Treatment) error {
	var bytes int
	if err := r.number(n, 0, &bytes); err != nil {
		return err
	}
	if !slices.Contains([]int{0, 512, 4096}, bytes) {
		return r.on(n, "must be 512 or 4096")
	}
	t.SectorSize = size.Bytes(bytes)
	return nil
}

// readKeys replaces the keys of the defaults. Its errors do not show the line, which may
// contain a passphrase.
func readKeys(r *reader, n ast.Node, t *Treatment) error {
	hidden := reader{name: r.name}
	t.Keys = nil
	return hidden.list(n, func(n ast.Node) error {
		var k Key
		if err := hidden.unmarshal(n, &k); err != nil {
			return err
		}
		t.Keys = append(t.Keys, k)
		return nil
	})
}

func keyTexts(keys []Key) []string {
	texts := []string{}
	for _, k := range keys {
		texts = append(texts, k.String())
	}
	return texts
}
