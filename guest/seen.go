package guest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/renameio/v2"

	"github.com/virt-grow/virt-grow/guest/image"
	"github.com/virt-grow/virt-grow/plan"
)

// Seen keeps what images held when they were last looked at: a look takes the
// appliance.
type Seen struct{ path string }

// seenImage is one image: the stamps are its own and those of what lies below it,
// from before the look.
type seenImage struct {
	Stamps []image.Stamp `json:"stamps"`
	*plan.Inside
}

// seenMost is how many images are kept.
const seenMost = 500

// OpenSeen opens what is kept in a state folder.
func OpenSeen(dir string) *Seen { return &Seen{filepath.Join(dir, "seen.json")} }

// read gives the images by Stamp.Identity. What cannot be read is taken for none:
// it is made again by the next look.
func (s *Seen) read() map[string]seenImage {
	images := map[string]seenImage{}
	if data, err := os.ReadFile(s.path); err == nil {
		_ = json.Unmarshal(data, &images)
	}
	return images
}

// note keeps what an image holds. A block device's stamp says nothing, so it is
// not kept.
func (s *Seen) note(stamps []image.Stamp, in *plan.Inside) {
	unstamped := func(stamp image.Stamp) bool { return stamp.Time.IsZero() }
	if s == nil || len(stamps) == 0 || slices.ContainsFunc(stamps, unstamped) {
		return
	}
	images := s.read()
	images[stamps[0].Identity()] = seenImage{stamps, in}
	forgetOldest(images)
	data, err := json.MarshalIndent(images, "", "  ")
	if err != nil || os.MkdirAll(filepath.Dir(s.path), 0o700) != nil {
		return // it is only a help
	}
	_ = renameio.WriteFile(s.path, append(data, '\n'), 0o600)
}

func forgetOldest(images map[string]seenImage) {
	for len(images) > seenMost {
		oldest, at := "", time.Time{}
		for id, image := range images {
			if image.Inside == nil || oldest == "" || image.At.Before(at) {
				oldest, at = id, time.Time{}
				if image.Inside != nil {
					at = image.At
				}
			}
		}
		delete(images, oldest)
	}
}

// find gives what was seen of an image; nil if nothing.
func (s *Seen) find(stamps []image.Stamp) *plan.Inside {
	if s == nil || len(stamps) == 0 {
		return nil
	}
	image, ok := s.read()[stamps[0].Identity()]
	if !ok || image.Inside == nil {
		return nil
	}
	image.Current = slices.Equal(image.Stamps, stamps)
	return image.Inside
}

// sawGrown keeps what the image holds now, as it was planned and verified; but not
// of a guest that runs on it, nor where the table was left behind in a plan file.
func (j *job) sawGrown() {
	g := j.guest()
	if j.plan == nil || j.plan.Before.Table == nil || g != nil && (g.Running || g.Trial) {
		return
	}
	after := *j.plan.After
	after.Table = j.plan.Before.Table
	target := j.facts.Target
	j.options.Session.Seen.saw(image.Stamps(target.Path, target.Backing), &after, time.Now())
}

// saw keeps a look at an image.
func (s *Seen) saw(stamps []image.Stamp, l *plan.Layout, at time.Time) {
	if s == nil {
		return
	}
	now := plan.InsideOf(l, at)
	if was := s.find(stamps); was != nil && was.Current && was.OS != "" && now.OS == "" {
		return // that look was a closer one
	}
	s.note(stamps, now)
}
