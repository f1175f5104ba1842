package journal_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/virt-grow/virt-grow/plan/journal"
)

// line makes a line of a journal from any JSON.
func line(text string) string {
	return fmt.Sprintf("%08x %s\n", crc32.ChecksumIEEE([]byte(text)), text)
}

const (
	first = `{"seq":1,"schema":"virt-grow/job/v1","kind":"opened","data":{"a":1}}`
	newer = `{"seq":1,"schema":"virt-grow/job/v2","kind":"opened","data":{"a":1}}`
)

func TestSchemaIsInTheFirstEntryOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	write(t, path, sample())
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, _ := strings.Cut(string(data), "\n")
	if name := `"schema":"` + journal.Schema + `"`; !strings.Contains(head, name) || strings.Contains(rest, "schema") {
		t.Errorf("the journal is\n%s", data)
	}
}

// TestParse checks that invalid journals are refused, with an error for each kind.
func TestParse(t *testing.T) {
	const torn = "0"
	for name, c := range map[string]struct {
		text    string
		entries int
		damaged bool
		found   string // in a SchemaError
		foreign bool
	}{
		"empty":                                  {text: ""},
		"torn first line":                        {text: line(newer)[:20]},
		"one entry":                              {text: line(first), entries: 1},
		"fields of a later version":              {text: line(first) + line(`{"seq":2,"kind":"planned","why":{"x":[1]}}`), entries: 2},
		"a kind of a later version":              {text: line(first) + line(`{"seq":2,"kind":"paused"}`), entries: 2},
		"newer":                                  {text: line(newer), entries: 1, found: "virt-grow/job/v2", foreign: true},
		"newer, and the second line is damaged":  {text: line(newer) + torn + line(first) + line(first), entries: 1, found: "virt-grow/job/v2", foreign: true},
		"newer, and its fields have other types": {text: line(`{"seq":"a","schema":"virt-grow/job/v3"}`), found: "virt-grow/job/v3", foreign: true},
		"no schema":                              {text: line(`{"seq":1,"kind":"opened"}`), entries: 1, foreign: true},
		"a schema that is no text":               {text: line(`{"seq":1,"schema":7}`), foreign: true},
		"no object":                              {text: line(`[]`), foreign: true},
		"a damaged first line":                   {text: torn + line(newer) + line(first), damaged: true},
		"a number that does not follow":          {text: line(first) + line(first), entries: 1, damaged: true},
		"a whole last line that is no entry":     {text: line(first) + line(`{"seq":"a"}`), entries: 1, damaged: true},
	} {
		t.Run(name, func(t *testing.T) {
			entries, err := journal.Parse(strings.NewReader(c.text))
			var foreign *journal.SchemaError
			if errors.As(err, &foreign) != c.foreign || errors.Is(err, journal.ErrDamaged) != c.damaged || len(entries) != c.entries {
				t.Fatalf("%d entries, %v", len(entries), err)
			}
			if c.foreign && (foreign.Found != c.found || foreign.Known != journal.Schema) {
				t.Errorf("%+v", foreign)
			}
		})
	}
}

// TestOpenKeepsEntries checks that opening a journal keeps every byte of its complete
// lines, whatever fields they have, and only removes an incomplete last line.
func TestOpenKeepsEntries(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		whole := line(first)
		n := rapid.IntRange(0, 5).Draw(t, "entries")
		for i := range n {
			entry := map[string]any{"seq": i + 2, "kind": rapid.SampledFrom([]string{"begin", "done", "paused"}).Draw(t, "kind")}
			entry[rapid.StringMatching(`x[a-z]{0,8}`).Draw(t, "field")] = rapid.String().Draw(t, "value")
			text, err := json.Marshal(entry)
			if err != nil {
				t.Fatal(err)
			}
			whole += line(string(text))
		}
		next := line(fmt.Sprintf(`{"seq":%d,"kind":"planned"}`, n+2))
		torn := next[:rapid.IntRange(0, len(next)-1).Draw(t, "torn")]
		path := filepath.Join(dir, "journal")
		if err := os.WriteFile(path, []byte(whole+torn), 0o600); err != nil {
			t.Fatal(err)
		}
		log, err := journal.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer log.Close()
		if got, err := os.ReadFile(path); err != nil || string(got) != whole || len(log.Entries()) != n+1 {
			t.Fatalf("%v, %d entries are left:\n%s\nwant\n%s", err, len(log.Entries()), got, whole)
		}
	})
}

// tree returns everything in a directory: names, modes, times and contents.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		text := fmt.Sprint(info.Mode(), info.ModTime())
		if info.Mode().IsRegular() {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text += "\n" + string(data)
		}
		all[path] = text
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestStoreLeavesNewerJobs checks that no method of a Store changes a byte of a job with
// another schema, whether the job has a lock file or not.
func TestStoreLeavesNewerJobs(t *testing.T) {
	const id = "20260504-120000-abcd"
	for name, text := range map[string]string{
		"newer": line(newer), "newer, with a torn line": line(newer) + "0123", "no schema": line(`{"seq":1}`) + line(`{"seq":2}`),
	} {
		for _, locked := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, lock file: %v", name, locked), func(t *testing.T) {
				s := journal.Store{Dir: t.TempDir()}
				dir := filepath.Join(s.Dir, "jobs", id)
				if err := os.MkdirAll(dir, 0o700); err != nil {
					t.Fatal(err)
				}
				files := map[string]string{"journal": text, "plan.json": "{}"}
				if locked {
					files["lock"] = ""
				}
				for name, text := range files {
					if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				before := tree(t, s.Dir)
				for verb, do := range map[string]func() error{
					"Hold":     func() error { _, err := s.Hold(id); return err },
					"SetAside": func() error { _, _, err := s.SetAside(id); return err },
					"Read":     func() error { _, err := s.Read(id); return err },
					"List": func() error {
						jobs, err := s.List()
						if err != nil || len(jobs) != 1 || jobs[0].Running {
							t.Errorf("listed %+v, %v", jobs, err)
						}
						return jobs[0].Err
					},
					"Open": func() error { _, err := journal.Open(filepath.Join(dir, "journal")); return err },
				} {
					err := do()
					var foreign *journal.SchemaError
					if !errors.As(err, &foreign) || verb != "Open" && foreign.Job != id {
						t.Errorf("%s: %v", verb, err)
					}
					if d := cmp.Diff(before, tree(t, s.Dir)); d != "" {
						t.Fatalf("%s changed the job:\n%s", verb, d)
					}
				}
			})
		}
	}
}

func TestSchemaErrorText(t *testing.T) {
	for want, err := range map[string]*journal.SchemaError{
		`the journal has the schema "b"; this version of virt-grow reads "a"`:     {Found: "b", Known: "a"},
		`job x: the journal names no schema; this version of virt-grow reads "a"`: {Job: "x", Known: "a"},
	} {
		if err.Error() != want {
			t.Errorf("%q, want %q", err, want)
		}
	}
}

// FuzzOpen checks that an accepted journal keeps the bytes of its complete lines, and
// that a refused one is not changed.
func FuzzOpen(f *testing.F) {
	f.Add([]byte(line(first) + line(`{"seq":2,"kind":"planned","new":1}`)))
	f.Add([]byte(line(first) + "01"))
	f.Add([]byte(line(newer) + "01"))
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "journal")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		log, err := journal.Open(path)
		after, read := os.ReadFile(path)
		if read != nil {
			t.Fatal(read)
		}
		if err != nil {
			if !bytes.Equal(after, data) {
				t.Fatalf("refused with %v, and changed:\n%q\n%q", err, data, after)
			}
			return
		}
		defer log.Close()
		if !bytes.HasPrefix(data, after) || bytes.Count(after, []byte("\n")) != len(log.Entries()) {
			t.Fatalf("%d entries are left of\n%q\nin\n%q", len(log.Entries()), data, after)
		}
	})
}
