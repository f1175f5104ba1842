// Package journal is the durable log of a job: what was about to be done, and
// what was done. It is all that is left after a crash, so every entry is on
// disk before the work it announces begins.
//
// A journal is a text file, one entry a line: the CRC-32 of the JSON that
// follows, in eight hex digits, a space, and the JSON. A crash can tear only
// the last line; Parse leaves a torn last line out. Anything else that does
// not fit is an error: a damaged log is never half believed.
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

// Kind says what an entry is about.
type Kind string

// The kinds of entry.
const (
	// Opened is the first entry: the job's facts.
	Opened Kind = "opened"
	// Planned says that the plan is saved and agreed to.
	Planned Kind = "planned"
	// Process names a program that was started for the job.
	Process Kind = "process"
	// Begin and Done stand around a step's do, Undoing and Undone around its
	// undo. Failed says why a step did not get to its Done.
	Begin   Kind = "begin"
	Done    Kind = "done"
	Failed  Kind = "failed"
	Undoing Kind = "undoing"
	Undone  Kind = "undone"
	// State changes what the job as a whole is at.
	State Kind = "state"
)

// Entry is one line of the journal.
type Entry struct {
	Seq  int       `json:"seq"`
	Time time.Time `json:"time"`
	Kind Kind      `json:"kind"`
	// Step is the step's ID, for the kinds about steps.
	Step string `json:"step,omitempty"`
	// Text is the error of a Failed, the state of a State.
	Text string `json:"text,omitempty"`
	// Data is the facts of an Opened, the Proc of a Process.
	Data json.RawMessage `json:"data,omitempty"`
}

// ErrDamaged says that a journal holds what no run ever wrote.
var ErrDamaged = errors.New("journal is damaged")

// maxFile bounds what Parse takes; a job writes a few dozen short lines.
const maxFile = 16 << 20

// Parse reads a journal. With ErrDamaged it gives the entries before the
// damage, for people to see what the job was about; nothing is to be done by
// them.
func Parse(r io.Reader) ([]Entry, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("%w: larger than %d bytes", ErrDamaged, maxFile)
	}
	var entries []Entry
	for len(data) > 0 {
		line, rest, complete := bytes.Cut(data, []byte("\n"))
		if !complete {
			break // torn by a crash: it was never on disk as a whole
		}
		e, err := decode(line)
		if err == nil && e.Seq != len(entries)+1 {
			err = fmt.Errorf("entry %d where %d should be", e.Seq, len(entries)+1)
		}
		if err != nil {
			if len(rest) == 0 {
				break // the last line: torn in the middle by a crash
			}
			return entries, fmt.Errorf("%w: line %d: %w", ErrDamaged, len(entries)+1, err)
		}
		entries = append(entries, e)
		data = rest
	}
	return entries, nil
}

func decode(line []byte) (Entry, error) {
	var e Entry
	if len(line) < 10 || line[8] != ' ' {
		return e, errors.New("no checksum")
	}
	if sum := checksum(line[9:]); string(line[:8]) != sum {
		return e, errors.New("checksum does not match")
	}
	err := json.Unmarshal(line[9:], &e)
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

// Log is a journal open for writing, by several goroutines if need be.
type Log struct {
	mu      sync.Mutex
	file    *os.File
	entries []Entry
	// failed keeps the first error: after it nothing is written any more, so
	// that the file never has a hole.
	failed error
}

// Open opens the journal at path, creates it if there is none, and cuts a torn
// last line off.
func Open(path string) (*Log, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	l := &Log{file: f}
	if l.entries, err = Parse(f); err == nil {
		err = l.cutTail()
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return l, nil
}

func (l *Log) cutTail() error {
	var whole int64
	for _, e := range l.entries {
		line, err := encode(e)
		if err != nil {
			return err
		}
		whole += int64(len(line))
	}
	if err := l.file.Truncate(whole); err != nil {
		return err
	}
	_, err := l.file.Seek(whole, io.SeekStart)
	return err
}

// Append writes an entry and returns when it is on disk. Seq is set here.
func (l *Log) Append(e Entry) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed != nil {
		return l.failed
	}
	e.Seq = len(l.entries) + 1
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

// Entries are all entries so far.
func (l *Log) Entries() []Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.entries)
}

// Close closes the file; what was appended is on disk already.
func (l *Log) Close() error { return l.file.Close() }

// syncDir makes the folder's own entry for a new file durable.
func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
