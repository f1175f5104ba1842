package journal_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/virt-grow/virt-grow/plan/journal"
)

var noon = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

func sample() []journal.Entry {
	return []journal.Entry{
		{Kind: journal.Opened, Data: json.RawMessage(`{"a":1}`)},
		{Kind: journal.Begin, Step: "overlay"}, {Kind: journal.Done, Step: "overlay"},
		{Kind: journal.Process, Data: json.RawMessage(`{"role":"gate","pid":7,"start":9,"boot":"b"}`)},
		{Kind: journal.Planned}, {Kind: journal.State, Text: string(journal.Editing)},
		{Kind: journal.Begin, Step: "fs:sda1"}, {Kind: journal.Failed, Step: "fs:sda1", Text: "no\nspace"},
	}
}

func write(t *testing.T, path string, entries []journal.Entry) {
	t.Helper()
	log, err := journal.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		e.Time = noon
		if err := log.Append(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestReplay(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	write(t, path, sample())
	log, err := journal.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	r := journal.Replay(log.Entries())
	if r.State != journal.Editing || !r.Planned || !r.Done["overlay"] || r.Running != "fs:sda1" ||
		r.Error != "no\nspace" || len(r.Processes) != 1 || r.Processes[0].Pid != 7 || !r.Started.Equal(noon) {
		t.Errorf("replayed %+v", r)
	}
}

// TestTornTail cuts the file at every byte: what was whole before the cut is
// read, never more, and the journal can be written on.
// TestReplayUndoing: a step whose undo was cut off is neither done nor undone.
func TestReplayUndoing(t *testing.T) {
	entries := []journal.Entry{{Kind: journal.Begin, Step: "a"}, {Kind: journal.Done, Step: "a"}, {Kind: journal.Undoing, Step: "a"}}
	if r := journal.Replay(entries); r.Done["a"] || r.Running != "a" {
		t.Errorf("in the middle: %+v", r)
	}
	if r := journal.Replay(append(entries, journal.Entry{Kind: journal.Undone, Step: "a"})); r.Done["a"] || r.Running != "" {
		t.Errorf("afterwards: %+v", r)
	}
}

func TestTornTail(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "journal")
	write(t, path, sample())
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := range len(whole) + 1 {
		lines := bytes.Count(whole[:cut], []byte("\n"))
		torn := filepath.Join(dir, "torn")
		if err := os.WriteFile(torn, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		log, err := journal.Open(torn)
		if err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		if len(log.Entries()) != lines {
			t.Fatalf("cut at %d: %d entries, want %d", cut, len(log.Entries()), lines)
		}
		if err := log.Append(journal.Entry{Time: noon, Kind: journal.State, Text: "x"}); err != nil {
			t.Fatal(err)
		}
		log.Close()
		f, _ := os.Open(torn)
		again, err := journal.Parse(f)
		f.Close()
		if err != nil || len(again) != lines+1 {
			t.Fatalf("cut at %d and written on: %d entries, %v", cut, len(again), err)
		}
	}
}

// TestDamage flips every byte, and checks that no damaged entry is accepted.
func TestDamage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	write(t, path, sample())
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	good, err := journal.Parse(bytes.NewReader(whole))
	if err != nil {
		t.Fatal(err)
	}
	for i := range whole {
		bad := bytes.Clone(whole)
		bad[i] ^= 0x20
		got, err := journal.Parse(bytes.NewReader(bad))
		if err != nil {
			if !errors.Is(err, journal.ErrDamaged) {
				t.Fatalf("byte %d: %v", i, err)
			}
			continue
		}
		// Only the last line may be taken for incomplete; a damaged line end joins the
		// last two lines.
		if len(got) < len(good)-2 || len(got) == len(good) {
			t.Fatalf("byte %d: %d entries were believed", i, len(got))
		}
	}
}

func TestUnwritable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	log, err := journal.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	log.Close()
	first := log.Append(journal.Entry{Kind: journal.Planned})
	if first == nil || log.Append(journal.Entry{Kind: journal.Planned}) == nil || len(log.Entries()) != 0 {
		t.Error("an entry that is not on disk was taken for written")
	}
}

func TestStore(t *testing.T) {
	s := journal.Store{Dir: filepath.Join(t.TempDir(), "state")}
	if jobs, err := s.List(); err != nil || len(jobs) != 0 {
		t.Fatalf("an empty store: %v, %v", jobs, err)
	}
	job, err := s.Create(noon)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(job.ID, "20260504-120000-") {
		t.Errorf("job is called %s", job.ID)
	}
	if info, _ := os.Stat(job.Dir); info.Mode().Perm() != 0o700 {
		t.Errorf("the job's folder has mode %v", info.Mode())
	}
	if _, err := s.Hold(job.ID); !errors.Is(err, journal.ErrBusy) {
		t.Errorf("held twice: %v", err)
	}
	if l, err := s.Read(job.ID[9:]); err == nil && (!l.Running || l.ID != job.ID) {
		t.Errorf("a held job is listed as %+v", l)
	}
	if err := job.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := s.Hold(job.ID[len(job.ID)-4:])
	if err != nil {
		t.Fatalf("by the end of its name: %v", err)
	}
	again.Close()
	if l, err := s.Read(job.ID); err != nil || l.Running {
		t.Errorf("%+v, %v", l, err)
	}
	for _, name := range []string{"", "x", "../jobs", "20"} {
		if name == "20" {
			continue
		}
		if _, err := s.Hold(name); !errors.Is(err, journal.ErrNoJob) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestLockDisk(t *testing.T) {
	s := journal.Store{Dir: t.TempDir()}
	release, err := s.LockDisk("disk-1-2")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.LockDisk("disk-1-2"); !errors.Is(err, journal.ErrBusy) {
		t.Errorf("locked twice: %v", err)
	}
	if other, err := s.LockDisk("disk-1-3"); err != nil {
		t.Error(err)
	} else {
		other()
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	if again, err := s.LockDisk("disk-1-2"); err != nil {
		t.Error(err)
	} else {
		again()
	}
}

// FuzzParse checks that any damaged journal is parsed without a crash, and that the
// accepted entries can be replayed.
func FuzzParse(f *testing.F) {
	path := filepath.Join(f.TempDir(), "journal")
	log, err := journal.Open(path)
	if err != nil {
		f.Fatal(err)
	}
	for _, e := range sample() {
		if err := log.Append(e); err != nil {
			f.Fatal(err)
		}
	}
	log.Close()
	whole, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(whole[:len(whole)-3])
	f.Add([]byte("00000000 {}\n"))
	f.Add([]byte(line(newer) + line(first)))
	f.Fuzz(func(t *testing.T, data []byte) {
		entries, err := journal.Parse(bytes.NewReader(data))
		if err != nil && !errors.Is(err, journal.ErrDamaged) && !errors.As(err, new(*journal.SchemaError)) {
			t.Fatal(err)
		}
		if len(entries) > bytes.Count(data, []byte("\n")) {
			t.Fatalf("%d entries out of fewer lines", len(entries))
		}
		for i, e := range entries {
			if e.Seq != i+1 {
				t.Fatalf("entry %d has number %d", i, e.Seq)
			}
		}
		journal.Replay(entries)
	})
}

// TestReplayParts: the last entry of a part counts, and changes nothing else.
func TestReplayParts(t *testing.T) {
	part := func(name, text string) journal.Entry {
		return journal.Entry{Kind: journal.Part, Step: name, Data: json.RawMessage(text)}
	}
	r := journal.Replay([]journal.Entry{{Kind: journal.Begin, Step: "a"}, part("x", "1"), part("y", "2"), part("x", "3")})
	if string(r.Parts["x"]) != "3" || string(r.Parts["y"]) != "2" || len(r.Parts) != 2 || r.Running != "a" {
		t.Errorf("%+v", r)
	}
}
