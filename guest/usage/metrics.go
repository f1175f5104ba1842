package usage

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/virt-grow/virt-grow/plan/journal"
)

// JobFigures is what the metrics show of a job.
type JobFigures struct {
	ID, Domain string
	State      string
	// Waiting is since when the trial waits for a decision; zero if it does not.
	Waiting time.Time
	// Outage is how long the guest was away, and Back when it was back; zero if the job had
	// no outage, or if it has not ended.
	Outage time.Duration
	Back   time.Time
}

// family is one metric with its samples.
type family struct {
	name, help string
	lines      []string
}

// set adds a sample. labels are pairs of a name and a value.
func (f *family) set(value float64, labels ...string) {
	var pairs []string
	for i := 0; i < len(labels); i += 2 {
		pairs = append(pairs, labels[i]+`="`+escaped(labels[i+1])+`"`)
	}
	line := f.name
	if len(pairs) > 0 {
		line += "{" + strings.Join(pairs, ",") + "}"
	}
	f.lines = append(f.lines, line+" "+strconv.FormatFloat(value, 'g', -1, 64))
}

// escaped returns a label's value for the text format, which is UTF-8 and has three escapes.
func escaped(value string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(strings.ToValidUTF8(value, "\ufffd"))
}

// MetricsHead is how every file that WriteMetrics writes begins.
const MetricsHead = "# HELP virt_grow_"

// WriteMetrics writes the figures in Prometheus's text format. All metrics are gauges. One
// without samples is left out.
func WriteMetrics(w io.Writer, now time.Time, guests []Guest, jobs []JobFigures) error {
	for _, f := range append(guestMetrics(now, guests), jobMetrics(jobs)...) {
		if len(f.lines) == 0 {
			continue
		}
		slices.Sort(f.lines)
		// A hostile guest may list a file system twice with the same labels.
		f.lines = slices.CompactFunc(f.lines, sameSeries)
		_, err := fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s gauge\n%s\n", f.name, f.help, f.name, strings.Join(f.lines, "\n"))
		if err != nil {
			return err
		}
	}
	return nil
}

// sameSeries reports whether two lines differ in nothing but the value.
func sameSeries(a, b string) bool {
	return a[:strings.LastIndexByte(a, ' ')] == b[:strings.LastIndexByte(b, ' ')]
}

func guestMetrics(now time.Time, guests []Guest) []*family {
	known := &family{name: "virt_grow_guest_readable", help: "1 if the file systems of the guest could be read, 0 if not."}
	size := &family{name: "virt_grow_filesystem_size_bytes", help: "Size of the file system, with what is reserved for root."}
	used := &family{name: "virt_grow_filesystem_used_bytes", help: "Used space of the file system."}
	free := &family{name: "virt_grow_filesystem_avail_bytes", help: "Space that users other than root can still use."}
	full := &family{name: "virt_grow_filesystem_full_in_seconds", help: "Time until the file system is full at the rate seen. Missing if it is not filling up, or if there are too few samples."}
	count := &family{name: "virt_grow_filesystem_forecast_samples", help: "Number of daily samples that the forecast is made from."}
	for g := range guests {
		known.set(number(guests[g].Source != ""), "domain", guests[g].Name, "uuid", guests[g].UUID)
	}
	for _, r := range Rows(guests) {
		if _, ok := r.FS.Share(); !ok {
			continue
		}
		mount := ""
		if len(r.FS.Mounted) > 0 {
			mount = r.FS.Mounted[0]
		}
		labels := []string{"domain", r.Guest.Name, "uuid", r.Guest.UUID, "device", r.FS.Device, "mountpoint", mount, "fstype", r.FS.Type}
		size.set(float64(r.FS.Size), labels...)
		used.set(float64(r.FS.Used), labels...)
		free.set(float64(r.FS.Free), labels...)
		if r.FS.Forecast == nil {
			continue
		}
		count.set(float64(r.FS.Forecast.Samples), labels...)
		if at, ok := r.FS.Forecast.FullAt(now); ok {
			full.set(at.Sub(now).Seconds(), labels...)
		}
	}
	return []*family{known, size, used, free, full, count}
}

func number(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// states are the states of which the number of jobs is written, also if there are none: a
// series that comes and goes cannot be alerted on.
var states = []journal.JobState{journal.Opening, journal.Editing, journal.Working, journal.Trial, journal.Waiting, journal.Committing,
	journal.Finished, journal.RolledBack, journal.Cancelled, journal.Closed}

func jobMetrics(jobs []JobFigures) []*family {
	counted := &family{name: "virt_grow_jobs", help: "Number of jobs in the state directory, by state."}
	waiting := &family{name: "virt_grow_trials_waiting", help: "Number of trials that wait for accept or rollback."}
	since := &family{name: "virt_grow_trial_waiting_since_timestamp_seconds", help: "When the trial began to wait for accept or rollback."}
	outage := &family{name: "virt_grow_last_outage_seconds", help: "How long the guest was away in its last outage."}
	back := &family{name: "virt_grow_last_outage_end_timestamp_seconds", help: "When the guest was back after its last outage."}
	number, wait := map[string]int{}, 0
	last := map[string]JobFigures{}
	for _, s := range states {
		number[string(s)] = 0
	}
	for _, j := range jobs {
		number[j.State]++
		if !j.Waiting.IsZero() {
			wait++
			since.set(float64(j.Waiting.Unix()), "domain", j.Domain, "job", j.ID)
		}
		if !j.Back.IsZero() && j.Back.After(last[j.Domain].Back) {
			last[j.Domain] = j
		}
	}
	for state, n := range number {
		counted.set(float64(n), "state", state)
	}
	waiting.set(float64(wait))
	for name, j := range last {
		outage.set(j.Outage.Seconds(), "domain", name)
		back.set(float64(j.Back.Unix()), "domain", name)
	}
	return []*family{counted, waiting, since, outage, back}
}
