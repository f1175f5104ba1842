package guest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/google/renameio/v2"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/apply"
)

// Rates are how long each kind of step took on this host, for the next plan's
// estimate. A host without any goes by the planner's own figures.
type Rates struct {
	path string
	mu   sync.Mutex
	// Seconds are running means, by kind and content, or kind and domain.
	Seconds map[string]float64 `json:"seconds"`
}

// LoadRates reads the rates kept in a state folder. What cannot be read is
// taken for none: an estimate is no reason to fail.
func LoadRates(dir string) *Rates {
	r := &Rates{path: filepath.Join(dir, "rates.json"), Seconds: map[string]float64{}}
	if data, err := os.ReadFile(r.path); err == nil {
		_ = json.Unmarshal(data, r)
	}
	if r.Seconds == nil {
		r.Seconds = map[string]float64{}
	}
	return r
}

// rateKey names what a step's time depends on.
func rateKey(g *plan.Guest, s plan.Step) string {
	switch s.Kind {
	case plan.StepShutdown, plan.StepStart, plan.StepExtend, plan.StepHealth, plan.StepPivot, plan.StepStop:
		if g != nil {
			return strings.TrimSuffix(string(s.Kind)+"/"+g.UUID+"/"+s.Content, "/")
		}
	}
	return string(s.Kind) + "/" + s.Content
}

// byBytes says that a step's time depends on how much it copies, of which only
// the most is known: what it took for another partition says nothing.
func byBytes(s plan.Step) bool { return s.Bytes > 0 }

// tune replaces a plan's estimates by what was measured.
func (r *Rates) tune(p *plan.Plan) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range p.Steps {
		if byBytes(p.Steps[i]) {
			continue
		}
		if seconds, ok := r.Seconds[rateKey(p.Target.Guest, p.Steps[i])]; ok && seconds > 0 && seconds < 86400 {
			p.Steps[i].Seconds = seconds
		}
	}
}

// learn takes a finished step's time over: the mean leans to what is new.
func (r *Rates) learn(g *plan.Guest, e apply.Event) {
	if r == nil || e.Phase != apply.Finished || byBytes(e.Step) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	key, took := rateKey(g, e.Step), e.Took.Round(time.Millisecond).Seconds()
	if was, ok := r.Seconds[key]; ok {
		took = (was + took) / 2
	}
	r.Seconds[key] = took
}

// save keeps the rates for the next run.
func (r *Rates) save() error {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return renameio.WriteFile(r.path, append(data, '\n'), 0o600)
}
