package journal

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/gofrs/flock"
	"github.com/google/renameio/v2"
)

// Store is the directory with all jobs, each in its own directory.
type Store struct{ Dir string }

// The files in a job's directory.
const (
	logFile  = "journal"
	lockFile = "lock"
	planFile = "plan.json"
)

// Errors of a Store.
var (
	// ErrNoJob reports that there is no job of that name.
	ErrNoJob = errors.New("no such job")
	// ErrBusy reports that another process holds the job or the disk.
	ErrBusy = errors.New("held by another process")
)

// Job is a job that this process holds. No other process can work on it before
// Close.
type Job struct {
	ID  string
	Dir string
	Log *Log

	lock *flock.Flock
}

var validID = regexp.MustCompile(`^[0-9]{8}-[0-9]{6}-[0-9a-f]{4}$`)

// Create creates a job with a new ID. Only the owner can read its directory, because its
// files may contain a domain's secrets.
func (s Store) Create(now time.Time) (*Job, error) {
	if err := os.MkdirAll(filepath.Join(s.Dir, "jobs"), 0o700); err != nil {
		return nil, err
	}
	for range 100 {
		id := now.UTC().Format("20060102-150405-") + suffix()
		dir := s.dir(id)
		err := os.Mkdir(dir, 0o700)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		return s.hold(id)
	}
	return nil, errors.New("cannot find a free job name")
}

func suffix() string {
	b := make([]byte, 2)
	if _, err := rand.Read(b); err != nil {
		panic(err) // crypto/rand never fails on Linux
	}
	return hex.EncodeToString(b)
}

// DirOf returns the directory of a job.
func (s Store) DirOf(id string) string { return s.dir(id) }

func (s Store) dir(id string) string { return filepath.Join(s.Dir, "jobs", id) }

// Hold locks the job with an ID. The beginning or the end of the ID is enough if it is
// unique.
func (s Store) Hold(name string) (*Job, error) {
	id, err := s.resolve(name)
	if err != nil {
		return nil, err
	}
	return s.hold(id)
}

func (s Store) hold(id string) (*Job, error) {
	if err := s.checkSchema(id); err != nil {
		return nil, err
	}
	lock := flock.New(filepath.Join(s.dir(id), lockFile))
	if err := take(lock); err != nil {
		return nil, fmt.Errorf("job %s: %w", id, err)
	}
	log, err := Open(filepath.Join(s.dir(id), logFile))
	if err != nil {
		lock.Close()
		return nil, ofJob(id, err)
	}
	return &Job{ID: id, Dir: s.dir(id), Log: log, lock: lock}, nil
}

// checkSchema refuses a job whose journal has another schema. It is called before the job
// is locked, because locking may create a file.
func (s Store) checkSchema(id string) error {
	_, err := s.parse(id)
	if foreign := (*SchemaError)(nil); errors.As(err, &foreign) {
		return err
	}
	return nil // Open reports other errors
}

// parse reads a job's journal.
func (s Store) parse(id string) ([]Entry, error) {
	f, err := os.Open(filepath.Join(s.dir(id), logFile))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	entries, err := Parse(f)
	return entries, ofJob(id, err)
}

// ofJob sets the job's ID in a SchemaError.
func ofJob(id string, err error) error {
	if foreign := (*SchemaError)(nil); errors.As(err, &foreign) {
		return &SchemaError{Job: id, Found: foreign.Found, Known: foreign.Known}
	}
	return err
}

// SetAside moves the unchanged directory of a job whose journal cannot be read or written
// any more to "closed", and returns its new path.
func (s Store) SetAside(name string) (id, dir string, err error) {
	if id, err = s.resolve(name); err != nil {
		return "", "", err
	}
	if err := s.checkSchema(id); err != nil {
		return id, "", err
	}
	lock := flock.New(filepath.Join(s.dir(id), lockFile))
	if err := take(lock); err != nil {
		return id, "", fmt.Errorf("job %s: %w", id, err)
	}
	defer lock.Close()
	aside := filepath.Join(s.Dir, "closed")
	if err := os.MkdirAll(aside, 0o700); err != nil {
		return id, "", err
	}
	dir = filepath.Join(aside, id)
	if err := os.Rename(s.dir(id), dir); err != nil {
		return id, "", err
	}
	return id, dir, errors.Join(SyncDir(aside), SyncDir(filepath.Join(s.Dir, "jobs")))
}

func take(lock *flock.Flock) error {
	ok, err := lock.TryLock()
	if err == nil && !ok {
		err = ErrBusy
	}
	return err
}

// Close releases the job.
func (j *Job) Close() error {
	return errors.Join(j.Log.Close(), j.lock.Close())
}

// PlanPath returns the path of the job's plan.
func (j *Job) PlanPath() string { return filepath.Join(j.Dir, planFile) }

// SavePlan writes the plan file atomically.
func (j *Job) SavePlan(data []byte) error {
	if err := renameio.WriteFile(j.PlanPath(), data, 0o600); err != nil {
		return err
	}
	return SyncDir(j.Dir)
}

// resolve returns the ID of the job that name identifies.
func (s Store) resolve(name string) (string, error) {
	ids, err := s.ids()
	if err != nil {
		return "", err
	}
	if slices.Contains(ids, name) {
		return name, nil
	}
	var match []string
	for _, id := range ids {
		if name != "" && (strings.HasPrefix(id, name) || strings.HasSuffix(id, name)) {
			match = append(match, id)
		}
	}
	switch len(match) {
	case 1:
		return match[0], nil
	case 0:
		return "", fmt.Errorf("%w: %s", ErrNoJob, name)
	}
	return "", fmt.Errorf("%w: %s is ambiguous: %s", ErrNoJob, name, strings.Join(match, ", "))
}

// ids returns the names of all jobs, oldest first.
func (s Store) ids() ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(s.Dir, "jobs"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, e := range entries {
		if e.IsDir() && validID.MatchString(e.Name()) {
			ids = append(ids, e.Name())
		}
	}
	return ids, nil
}

// Listed is a job in a list. It was read without locking the job.
type Listed struct {
	ID      string
	Entries []Entry
	Record  Record
	// Running reports that a process holds the job now.
	Running bool
	// Err is why the journal could not be read. Record then has what could be read, but
	// only to show it to people.
	Err error
}

// List reads all jobs, oldest first.
func (s Store) List() ([]Listed, error) {
	ids, err := s.ids()
	if err != nil {
		return nil, err
	}
	jobs := make([]Listed, 0, len(ids))
	for _, id := range ids {
		jobs = append(jobs, s.read(id))
	}
	return jobs, nil
}

// Read reads one job without locking it.
func (s Store) Read(name string) (Listed, error) {
	id, err := s.resolve(name)
	if err != nil {
		return Listed{}, err
	}
	job := s.read(id)
	return job, job.Err
}

func (s Store) read(id string) Listed {
	held := s.isHeld(id) // before reading: so a job that ends meanwhile does not look interrupted
	entries, err := s.parse(id)
	return Listed{ID: id, Running: held, Entries: entries, Record: Replay(entries), Err: err}
}

// isHeld reports whether a process holds the job. It does not create the lock's
// file.
func (s Store) isHeld(id string) bool {
	lock := flock.New(filepath.Join(s.dir(id), lockFile), flock.SetFlag(os.O_RDONLY))
	ok, err := lock.TryRLock()
	if ok {
		lock.Close()
	}
	return err == nil && !ok
}

// PlanOf reads a job's saved plan.
func (s Store) PlanOf(id string) (*os.File, error) {
	return os.Open(filepath.Join(s.dir(id), planFile))
}

// LockDisk locks the disk with an identity against other virt-grow processes, until the
// returned function is called.
func (s Store) LockDisk(identity string) (release func() error, err error) {
	dir := filepath.Join(s.Dir, "locks")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	lock := flock.New(filepath.Join(dir, identity))
	if err := take(lock); err != nil {
		return nil, err
	}
	return lock.Close, nil
}
