package usage

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/gofrs/flock"
	"github.com/google/renameio/v2"
)

// Store keeps the samples, in files of the state directory. Several processes may use it at
// the same time.
type Store struct{ Dir string }

// The limits of the store.
const (
	// MaxDays is for how many days samples are kept, one a day.
	MaxDays = 100
	// MaxSeries is of how many file systems samples are kept. Beyond it, those that were
	// not seen for the longest time are forgotten.
	MaxSeries = 4096
	// maxFile is the size of the largest file that is read.
	maxFile = 64 << 20
)

// lockLimit is how long a call waits for another one that writes its samples.
const lockLimit = 5 * time.Second

// samplesSchema is the format of the file.
const samplesSchema = "virt-grow/samples/v1"

// document is the content of the file.
type document struct {
	Schema string    `json:"schema"`
	Series []*series `json:"series"`
}

// series has the samples of one file system.
type series struct {
	key
	// Samples are in the order of time, one a day.
	Samples []Sample `json:"samples"`
}

// key identifies a file system. It is known by where it is mounted, because the names of
// devices change from boot to boot, or else by its device. The figures of an agent and of an
// appliance differ a little, and have a series each.
type key struct {
	// Guest is the domain's UUID, or the path of an image.
	Guest  string `json:"guest"`
	FS     string `json:"filesystem"`
	Source Source `json:"source"`
}

func keyOf(g *Guest, f *FileSystem) key { return key{cmp.Or(g.UUID, g.Name), f.Where(), g.Source} }

// Keep adds today's samples of the guests to those of the store, and sets the forecast of
// each file system. A sample replaces an earlier one of the same day. An error means that
// the samples could not be kept; the forecasts are then made from those that could be
// read. A *DamagedError means that the store was damaged and has been replaced.
func (s Store) Keep(ctx context.Context, now time.Time, guests []Guest) error {
	unlock, err := s.lock(ctx)
	if err == nil {
		defer unlock()
	}
	kept, unread := s.read()
	kept.add(now, guests)
	kept.forecast(guests)
	newer := errors.As(unread, new(*newerError))
	if err != nil || newer || unread != nil && !errors.As(unread, new(*DamagedError)) {
		return cmp.Or(unread, err)
	}
	if err := s.write(kept); err != nil {
		return err
	}
	return unread
}

func (s Store) path() string { return filepath.Join(s.Dir, "samples.json") }

// lock keeps other processes from writing the file.
func (s Store) lock(ctx context.Context) (unlock func(), err error) {
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return nil, err
	}
	l := flock.New(filepath.Join(s.Dir, "samples.lock"))
	limited, stop := context.WithTimeout(ctx, lockLimit)
	defer stop()
	if _, err := l.TryLockContext(limited, 10*time.Millisecond); err != nil {
		if ctx.Err() == nil && limited.Err() != nil {
			err = fmt.Errorf("another process has held %s for %s", l.Path(), lockLimit)
		}
		return nil, err
	}
	return func() { _ = l.Close() }, nil
}

// DamagedError means that the file could not be read as one of samples.
type DamagedError struct {
	Path string
	Err  error
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("%s is damaged, and begins anew: %v", e.Path, e.Err)
}

// newerError means that the file was written by a newer version, and must stay.
type newerError struct{ path, schema string }

func (e *newerError) Error() string {
	return fmt.Sprintf("%s was written by another version of virt-grow (%q, not %q)", e.path, e.schema, samplesSchema)
}

// read reads the file. It always returns a document, which is empty after an error.
func (s Store) read() (*document, error) {
	empty := &document{Schema: samplesSchema}
	f, err := os.Open(s.path())
	if errors.Is(err, fs.ErrNotExist) {
		return empty, nil
	}
	if err != nil {
		return empty, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return empty, err
	}
	if len(data) > maxFile {
		return empty, &DamagedError{s.path(), fmt.Errorf("it has more than %d bytes", maxFile)}
	}
	d := &document{}
	invalid := json.Unmarshal(data, d)
	if invalid != nil {
		// Another version may have another structure, but it has a schema.
		var head struct{ Schema string }
		_ = json.Unmarshal(data, &head)
		d.Schema = head.Schema
	}
	switch {
	case d.Schema != samplesSchema && d.Schema != "":
		return empty, &newerError{s.path(), d.Schema}
	case invalid != nil:
		return empty, &DamagedError{s.path(), invalid}
	case d.Schema == "":
		return empty, &DamagedError{s.path(), errors.New("it has no schema")}
	}
	d.Series = slices.DeleteFunc(d.Series, func(s *series) bool { return s == nil })
	return d, nil
}

func (s Store) write(d *document) error {
	data, err := json.Marshal(d)
	if err != nil {
		return err
	}
	return renameio.WriteFile(s.path(), append(data, '\n'), 0o600)
}

// add adds a sample of each file system, and forgets what is beyond the limits.
func (d *document) add(now time.Time, guests []Guest) {
	known := d.byKey()
	for g := range guests {
		for f := range guests[g].FileSystems {
			fs := &guests[g].FileSystems[f]
			if _, ok := fs.Share(); !ok || len(fs.Where()) > maxName {
				continue
			}
			k := keyOf(&guests[g], fs)
			if known[k] == nil {
				known[k] = &series{key: k}
				d.Series = append(d.Series, known[k])
			}
			known[k].add(Sample{At: now.Unix(), Used: fs.Used, Usable: fs.Usable()})
		}
	}
	d.bound(now)
}

func (d *document) byKey() map[key]*series {
	known := map[key]*series{}
	for _, s := range d.Series {
		known[s.key] = s
	}
	return known
}

// add adds a sample, unless the series already has one of the same day: then it replaces it.
// Samples from the future were taken when the clock was wrong, and are dropped.
func (s *series) add(now Sample) {
	s.Samples = slices.DeleteFunc(s.Samples, func(old Sample) bool { return old.day() >= now.day() })
	s.Samples = append(s.Samples, now)
}

// bound forgets old samples and series, and what no version of the program has written.
func (d *document) bound(now time.Time) {
	today := Sample{At: now.Unix()}.day()
	for _, s := range d.Series {
		s.Samples = slices.DeleteFunc(s.Samples, func(old Sample) bool {
			return old.day() <= today-MaxDays || old.day() > today || old.Used < 0 || old.Usable < old.Used
		})
		slices.SortFunc(s.Samples, func(a, b Sample) int { return cmp.Compare(a.At, b.At) })
		s.Samples = slices.CompactFunc(s.Samples, func(a, b Sample) bool { return a.day() == b.day() })
	}
	d.Series = slices.DeleteFunc(d.Series, func(s *series) bool { return len(s.Samples) == 0 })
	if len(d.Series) > MaxSeries {
		slices.SortStableFunc(d.Series, func(a, b *series) int {
			return cmp.Or(cmp.Compare(b.lastDay(), a.lastDay()), cmp.Compare(len(b.Samples), len(a.Samples)))
		})
		d.Series = slices.Clip(d.Series[:MaxSeries])
	}
}

func (s *series) lastDay() int64 {
	if len(s.Samples) == 0 {
		return math.MinInt64
	}
	return s.Samples[len(s.Samples)-1].day()
}

// forecast sets the forecasts of the file systems.
func (d *document) forecast(guests []Guest) {
	known := d.byKey()
	for g := range guests {
		for f := range guests[g].FileSystems {
			fs := &guests[g].FileSystems[f]
			if s := known[keyOf(&guests[g], fs)]; s != nil {
				forecast := Predict(s.Samples)
				fs.Forecast = &forecast
			}
		}
	}
}
