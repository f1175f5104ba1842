package session

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/google/renameio/v2"

	"github.com/virt-grow/virt-grow/guest/image"
	"github.com/virt-grow/virt-grow/plan"
)

// Cache keeps inspection results per image, because an inspection has to boot the
// appliance. A nil Cache keeps nothing. It is only a help: a result that cannot be
// written or read is no error.
type Cache struct {
	path string
	// mu keeps two goroutines from replacing each other's results.
	mu sync.Mutex
}

// entry is the result for one image.
type entry struct {
	// Stamps are those of the image and of its backing files, from before the
	// inspection.
	Stamps []image.Stamp `json:"stamps"`
	*plan.Inside
}

// maxEntries is how many images are kept.
const maxEntries = 500

// OpenCache returns the cache in a state directory.
func OpenCache(dir string) *Cache { return &Cache{path: filepath.Join(dir, "inspections.json")} }

// read returns the entries by Stamp.Identity.
func (c *Cache) read() map[string]entry {
	entries := map[string]entry{}
	if data, err := os.ReadFile(c.path); err == nil {
		_ = json.Unmarshal(data, &entries)
	}
	return entries
}

// Find returns what was found in an image with these stamps, or nil. The result is
// current if neither the image nor a backing file was written to since.
func (c *Cache) Find(stamps []image.Stamp) *plan.Inside {
	if c == nil || len(stamps) == 0 {
		return nil
	}
	e, ok := c.read()[stamps[0].Identity()]
	if !ok || e.Inside == nil {
		return nil
	}
	e.Current = slices.Equal(e.Stamps, stamps)
	return e.Inside
}

// Save keeps what was found in an image. A current result of a closer inspection is
// not replaced, and a block device is not kept, because its stamp does not change
// when it is written to.
func (c *Cache) Save(stamps []image.Stamp, l *plan.Layout, at time.Time) {
	unstamped := func(s image.Stamp) bool { return s.Time.IsZero() }
	if c == nil || len(stamps) == 0 || slices.ContainsFunc(stamps, unstamped) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	found := plan.InsideOf(l, at)
	if old := c.Find(stamps); old != nil && old.Current && old.OS != "" && found.OS == "" {
		return
	}
	entries := c.read()
	entries[stamps[0].Identity()] = entry{stamps, found}
	removeOldest(entries)
	c.write(entries)
}

func (c *Cache) write(entries map[string]entry) {
	data, err := json.MarshalIndent(entries, "", "  ")
	if err != nil || os.MkdirAll(filepath.Dir(c.path), 0o700) != nil {
		return
	}
	_ = renameio.WriteFile(c.path, append(data, '\n'), 0o600)
}

func removeOldest(entries map[string]entry) {
	for len(entries) > maxEntries {
		oldest, at := "", time.Time{}
		for id, e := range entries {
			if e.Inside == nil || oldest == "" || e.At.Before(at) {
				oldest, at = id, time.Time{}
				if e.Inside != nil {
					at = e.At
				}
			}
		}
		delete(entries, oldest)
	}
}
