package guest

import engine "github.com/virt-grow/virt-grow/guest/job"

// Rates are how long steps took before.
type Rates = engine.Timings

// LoadRates reads the rates kept in a state directory.
func LoadRates(dir string) *Rates { return engine.LoadTimings(dir) }
