package job

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/renameio/v2"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/apply"
)

// Timings are how long each kind of step took on this host, for the next plan's
// estimate. For a guest without timings of its own, they are those of the host's other
// guests. A host without timings uses the planner's own figures. A nil *Timings has no
// timings and stores none.
type Timings struct {
	path string
	mu   sync.Mutex
	// Seconds are running means, by kind and content, or kind and domain.
	Seconds map[string]float64 `json:"seconds"`
	// PerFile are the same for each file that a step reads, of steps with many files.
	// Seconds are those of steps with few, or none.
	PerFile map[string]float64 `json:"per_file,omitempty"`
}

// manyFiles is the smallest number of files from which the time per file is computed.
const manyFiles = 20000

// LoadTimings reads the timings in a state directory. A file that cannot be read is
// ignored: estimates are not essential.
func LoadTimings(dir string) *Timings {
	t := &Timings{path: filepath.Join(dir, "rates.json"), Seconds: map[string]float64{}}
	if data, err := os.ReadFile(t.path); err == nil {
		_ = json.Unmarshal(data, t)
	}
	if t.Seconds == nil {
		t.Seconds = map[string]float64{}
	}
	if t.PerFile == nil {
		t.PerFile = map[string]float64{}
	}
	return t
}

// guestSteps are the steps whose time depends most on the guest.
var guestSteps = []plan.StepKind{plan.StepShutdown, plan.StepStart, plan.StepExtend, plan.StepHealth, plan.StepPivot, plan.StepStop}

// timingKey returns the key for the properties that a step's time depends on.
func timingKey(g *plan.Guest, s plan.Step) string {
	if g != nil && slices.Contains(guestSteps, s.Kind) {
		return strings.TrimSuffix(string(s.Kind)+"/"+g.UUID+"/"+s.Content, "/")
	}
	key := string(s.Kind) + "/" + s.Content
	switch {
	case s.Mounted && s.Content == "ext4": // the others are always grown mounted
		return key + "/mounted"
	case !s.Full && s.Content != "" && (s.Kind == plan.StepCheck || s.Kind == plan.StepVerify):
		return key + "/quick"
	}
	return key
}

// byBytes reports whether a step's time depends on how much it copies, of which only
// an upper limit is known: what another partition took says nothing about it.
func byBytes(s plan.Step) bool { return s.Bytes > 0 }

// Tune replaces a plan's estimates with measured times.
func (t *Timings) Tune(p *plan.Plan) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range p.Steps {
		if s := &p.Steps[i]; !byBytes(*s) {
			base, perFile := t.of(timingKey(p.Target.Guest, *s), *s)
			s.Seconds = base + perFile*float64(s.Files)
		}
	}
}

// of is how long a step takes with few files, and for each file, as far as that was
// measured.
func (t *Timings) of(key string, s plan.Step) (base, perFile float64) {
	base, perFile = plan.Usual(s)
	if seconds, ok := t.Seconds[key]; ok && sensible(seconds) {
		base = seconds
	} else if others := t.ofOtherGuests(s); len(others) > 0 {
		base = others[len(others)/2]
	}
	if seconds, ok := t.PerFile[key]; ok && seconds >= 0 && seconds < 1 {
		perFile = seconds
	}
	return base, perFile
}

func sensible(seconds float64) bool { return seconds > 0 && seconds < 86400 }

// ofOtherGuests returns how long a step took in each guest of the host, in ascending order;
// nothing for a step that does not depend on the guest. The middle one is not moved by the
// one guest that takes ten minutes to shut down.
func (t *Timings) ofOtherGuests(s plan.Step) []float64 {
	if !slices.Contains(guestSteps, s.Kind) {
		return nil
	}
	var all []float64
	for key, seconds := range t.Seconds {
		words := strings.SplitN(key, "/", 3)
		if words[0] == string(s.Kind) && len(words) > 1 && strings.Join(words[2:], "") == s.Content && sensible(seconds) {
			all = append(all, seconds)
		}
	}
	slices.Sort(all)
	return all
}

// Learn adds the time of a finished step; the newest time has the most weight in the mean.
func (t *Timings) Learn(g *plan.Guest, e apply.Event) {
	if t == nil || e.Phase != apply.Finished || byBytes(e.Step) {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	key, took := timingKey(g, e.Step), e.Took.Round(time.Millisecond).Seconds()
	if e.Step.Files < manyFiles {
		learn(t.Seconds, key, took)
		return
	}
	base, _ := t.of(key, e.Step)
	learn(t.PerFile, key, max(0, took-base)/float64(e.Step.Files))
}

func learn(means map[string]float64, key string, now float64) {
	if was, ok := means[key]; ok {
		now = (was + now) / 2
	}
	means[key] = now
}

// Save stores the timings for the next run.
func (t *Timings) Save() error {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	data, err := json.MarshalIndent(t, "", "  ")
	if err != nil {
		return err
	}
	return renameio.WriteFile(t.path, append(data, '\n'), 0o600)
}
