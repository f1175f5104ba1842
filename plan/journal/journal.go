// Package journal is the durable log of a job: it records what will be done, and what was
// done. After a crash, nothing else is known of the job, so every entry is on disk before
// the work that it announces begins.
//
// A journal is a text file with one entry per line: the CRC-32 of the JSON in eight hex
// digits, a space, and the JSON. The first entry names the schema; a journal with another
// schema is refused and not changed. A crash can tear only the last line; Parse ignores a
// torn last line. Anything else that is wrong is an error: a damaged journal is never acted
// on.
package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// Kind is the kind of an entry.
type Kind string

// The kinds of entry.
const (
	// Opened is the first entry, with the job's header.
	Opened Kind = "opened"
	// Planned reports that the plan is confirmed and saved.
	Planned Kind = "planned"
	// Process names a program that was started for the job.
	Process Kind = "process"
	// Begin and Done are written before and after a step's do, Undoing and Undone before
	// and after its undo. Failed has the error of a step.
	Begin   Kind = "begin"
	Done    Kind = "done"
	Failed  Kind = "failed"
	Undoing Kind = "undoing"
	Undone  Kind = "undone"
	// State changes the state of the job.
	State Kind = "state"
	// Run and Ended are written when a process begins and ends its work on the job, Note
	// with each message for people. Nothing is decided by these three: they are for the
	// record of the job.
	Run   Kind = "run"
	Ended Kind = "ended"
	Note  Kind = "note"
	// Part says how far a part of the job has come. Step names the part, Data has what the
	// kind of job records of it. The last entry of a part counts.
	Part Kind = "part"
)

// Schema names the format of the entries and of their data. Fields may be added within a
// schema: a reader ignores fields that it does not know.
const Schema = "virt-grow/job/v1"

// Entry is one line of the journal.
type Entry struct {
	Seq int `json:"seq"`
	// Schema is set in the first entry only.
	Schema string `json:"schema,omitempty"`

	Time time.Time `json:"time"`
	Kind Kind      `json:"kind"`
	// Step is the step's ID, for the kinds about steps, or the name of the part.
	Step string `json:"step,omitempty"`
	// Text is the error in a Failed or Ended entry, the state in a State entry, the message
	// in a Note.
	Text string `json:"text,omitempty"`
	// Data is the header in an Opened entry, the Proc in a Process entry, and what the kind
	// of job records in a Part; in Run and Ended entries, what guest/job writes.
	Data json.RawMessage `json:"data,omitempty"`
}

// ErrDamaged reports that a journal is not as virt-grow wrote it.
var ErrDamaged = errors.New("journal is damaged")

// SchemaError reports that a journal was written by a version of the program that
// uses another schema.
type SchemaError struct {
	// Job is the job's ID, if the journal was opened through a Store.
	Job string
	// Found is the journal's schema, "" if it names none; Known is the schema of this
	// version.
	Found, Known string
}

func (e *SchemaError) Error() string {
	found := "names no schema"
	if e.Found != "" {
		found = fmt.Sprintf("has the schema %q", e.Found)
	}
	text := fmt.Sprintf("the journal %s; this version of virt-grow reads %q", found, e.Known)
	if e.Job != "" {
		return "job " + e.Job + ": " + text
	}
	return text
}

// maxFile limits the size of a journal; a job writes a few dozen short lines.
const maxFile = 16 << 20

// Parse reads a journal. With ErrDamaged and a SchemaError it also returns the entries that
// it could read, but only to show them to people: the program must not act on them.
func Parse(r io.Reader) ([]Entry, error) {
	entries, _, err := parse(r)
	return entries, err
}

// parse also returns the offset at which the last complete entry ends.
func parse(r io.Reader) (entries []Entry, end int64, err error) {
	data, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return nil, 0, err
	}
	wrong := checkSchema(data)
	if len(data) > maxFile {
		err = fmt.Errorf("%w: larger than %d bytes", ErrDamaged, maxFile)
	} else {
		entries, end, err = parseLines(data)
	}
	if wrong != nil {
		return entries, end, wrong
	}
	return entries, end, err
}

func parseLines(data []byte) (entries []Entry, end int64, err error) {
	for len(data) > 0 {
		line, rest, complete := bytes.Cut(data, []byte("\n"))
		if !complete {
			break // torn by a crash: it was never on disk as a whole
		}
		e, err := decode(line)
		if errors.Is(err, errTorn) && len(rest) == 0 {
			break // the last line: torn in the middle by a crash
		}
		if err == nil && e.Seq != len(entries)+1 {
			err = fmt.Errorf("entry %d where %d should be", e.Seq, len(entries)+1)
		}
		if err != nil {
			return entries, end, fmt.Errorf("%w: line %d: %w", ErrDamaged, len(entries)+1, err)
		}
		entries, data = append(entries, e), rest
		end += int64(len(line)) + 1
	}
	return entries, end, nil
}

// checkSchema returns a SchemaError if the first line is complete and names another schema.
// It reads nothing else of the line, because in another schema the other fields may have
// another meaning.
func checkSchema(data []byte) error {
	line, _, complete := bytes.Cut(data, []byte("\n"))
	text, err := unwrap(line)
	if !complete || err != nil {
		return nil // torn or damaged; parseLines tells these two apart
	}
	var first struct {
		Schema string `json:"schema"`
	}
	if err := json.Unmarshal(text, &first); err != nil || first.Schema != Schema {
		return &SchemaError{Found: first.Schema, Known: Schema}
	}
	return nil
}

// errTorn reports that a line does not match its checksum.
var errTorn = errors.New("checksum does not match")

// unwrap returns the JSON of a line whose checksum matches.
func unwrap(line []byte) ([]byte, error) {
	if len(line) < 10 || line[8] != ' ' || string(line[:8]) != checksum(line[9:]) {
		return nil, errTorn
	}
	return line[9:], nil
}

func decode(line []byte) (Entry, error) {
	var e Entry
	text, err := unwrap(line)
	if err == nil {
		err = json.Unmarshal(text, &e)
	}
	return e, err
}

func encode(e Entry) ([]byte, error) {
	data, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "%s %s\n", checksum(data), data), nil
}

func checksum(data []byte) string {
	return fmt.Sprintf("%08x", crc32.ChecksumIEEE(data))
}

// Log is a journal that is open for writing. Several goroutines may use it.
type Log struct {
	mu      sync.Mutex
	file    *os.File
	entries []Entry
	// failed is the first error. After an error nothing more is written, so that no entry
	// is ever missing in the middle.
	failed error
}

// Open opens the journal at path, creates it if there is none, and removes a torn last
// line. It does not change a journal for which Parse returns an error.
func Open(path string) (*Log, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	l := &Log{file: f}
	var end int64
	if l.entries, end, err = parse(f); err == nil {
		err = l.cutTail(end)
	}
	if err == nil {
		err = SyncDir(filepath.Dir(path))
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return l, nil
}

// cutTail truncates the file at end, where the next entry will be written.
func (l *Log) cutTail(end int64) error {
	if err := l.file.Truncate(end); err != nil {
		return err
	}
	_, err := l.file.Seek(end, io.SeekStart)
	return err
}

// Append writes an entry and returns when it is on disk. It sets Seq and Schema.
func (l *Log) Append(e Entry) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed != nil {
		return l.failed
	}
	e.Seq, e.Schema = len(l.entries)+1, ""
	if e.Seq == 1 {
		e.Schema = Schema
	}
	line, err := encode(e)
	if err != nil {
		return err
	}
	if _, err = l.file.Write(line); err == nil {
		err = l.file.Sync()
	}
	if err != nil {
		l.failed = fmt.Errorf("cannot write the journal: %w", err)
		return l.failed
	}
	l.entries = append(l.entries, e)
	return nil
}

// Entries returns all entries so far.
func (l *Log) Entries() []Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.entries)
}

// Close closes the file. All entries are on disk already.
func (l *Log) Close() error { return l.file.Close() }

// SyncDir makes the names in a directory durable.
func SyncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
