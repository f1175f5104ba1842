package usage

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/prometheus/common/expfmt"
)

// measured are guests and jobs with everything that metrics show.
func measured() ([]Guest, []JobFigures) {
	full := on(fileSystem("/data", 10, 10), func(f *FileSystem) { f.Forecast = &Forecast{Outlook: Full, Samples: 4} })
	filling := on(fileSystem("/", 9, 10), func(f *FileSystem) { f.Size, f.Forecast = 11<<30, &Forecast{Outlook: Filling, Days: 1.5, Samples: 3} })
	guests := []Guest{guestWith("dev7", filling, full, on(fileSystem("/flat", 1, 2), func(f *FileSystem) { f.Forecast = &Forecast{Outlook: Flat, Samples: 9} })),
		{Name: "off", UUID: "u2", Unread: Off}}
	jobs := []JobFigures{
		{ID: "a", Domain: "dev7", State: "done", Outage: 20 * time.Second, Back: noon},
		{ID: "b", Domain: "dev7", State: "done", Outage: 30500 * time.Millisecond, Back: noon.Add(time.Hour)},
		{ID: "c", Domain: "dev7", State: "waiting", Waiting: noon},
		{ID: "d", State: "damaged"},
	}
	return guests, jobs
}

func TestMetrics(t *testing.T) {
	guests, jobs := measured()
	var out bytes.Buffer
	if err := WriteMetrics(&out, noon, guests, jobs); err != nil {
		t.Fatal(err)
	}
	checkMetrics(t, out.String())
	for _, line := range []string{
		`virt_grow_guest_readable{domain="dev7",uuid="uuid-dev7"} 1`,
		`virt_grow_guest_readable{domain="off",uuid="u2"} 0`,
		`virt_grow_filesystem_size_bytes{domain="dev7",uuid="uuid-dev7",device="vda1",mountpoint="/",fstype="ext4"} 1.1811160064e+10`,
		`virt_grow_filesystem_used_bytes{domain="dev7",uuid="uuid-dev7",device="vda1",mountpoint="/",fstype="ext4"} 9.663676416e+09`,
		`virt_grow_filesystem_full_in_seconds{domain="dev7",uuid="uuid-dev7",device="vda1",mountpoint="/",fstype="ext4"} 129600`,
		`virt_grow_filesystem_full_in_seconds{domain="dev7",uuid="uuid-dev7",device="vda1",mountpoint="/data",fstype="ext4"} 0`,
		`virt_grow_filesystem_forecast_samples{domain="dev7",uuid="uuid-dev7",device="vda1",mountpoint="/flat",fstype="ext4"} 9`,
		`virt_grow_jobs{state="done"} 2`,
		`virt_grow_jobs{state="editing"} 0`,
		`virt_grow_jobs{state="damaged"} 1`,
		`virt_grow_trials_waiting 1`,
		`virt_grow_trial_waiting_since_timestamp_seconds{domain="dev7",job="c"} 1.7723664e+09`,
		`virt_grow_last_outage_seconds{domain="dev7"} 30.5`,
		`virt_grow_last_outage_end_timestamp_seconds{domain="dev7"} 1.77237e+09`,
	} {
		if !strings.Contains(out.String(), line+"\n") {
			t.Errorf("no line %s", line)
		}
	}
	if strings.Count(out.String(), "full_in_seconds{") != 2 {
		t.Errorf("it is said when what is not filling up is full:\n%s", &out)
	}
}

// TestMetricsHostile checks that names from guests cannot add or break a line.
func TestMetricsHostile(t *testing.T) {
	for _, name := range []string{hostile, "\n# TYPE x counter\nx 1\n", "\xff\xfe", `\`, `\"`, "", strings.Repeat("é", 2000)} {
		fs := fileSystem(name, 1, 2)
		fs.Type, fs.Device = name, name
		guests := []Guest{guestWith(name, fs, fs, fileSystem("/", 1, 2)), guestWith(name)}
		var out bytes.Buffer
		if err := WriteMetrics(&out, noon, guests, []JobFigures{{ID: name, Domain: name, State: name, Waiting: noon}}); err != nil {
			t.Fatal(err)
		}
		checkMetrics(t, out.String())
		var parser expfmt.TextParser
		families, err := parser.TextToMetricFamilies(&out)
		if err != nil {
			t.Fatal(err)
		}
		used := families["virt_grow_filesystem_used_bytes"].GetMetric()
		want := strings.ToValidUTF8(name, "\ufffd")
		for _, l := range used[0].GetLabel() {
			if l.GetName() == "mountpoint" && l.GetValue() != want && l.GetValue() != "/" {
				t.Errorf("the mount point %q is %q", name, l.GetValue())
			}
		}
		if len(used) != 2 {
			t.Errorf("%d file systems", len(used))
		}
	}
}

// checkMetrics checks a text as promtool check metrics does, with the same linter, and that no
// series is there twice.
func checkMetrics(t *testing.T, text string) {
	t.Helper()
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("%v %v in\n%s", problems, err, text)
	}
	lines := map[string]int{}
	for line := range strings.Lines(text) {
		lines[line[:strings.LastIndexByte(line, ' ')]]++
	}
	for line, n := range lines {
		if n > 1 && !strings.HasPrefix(line, "#") {
			t.Errorf("%d times %q", n, line)
		}
	}
	if help, types := strings.Count("\n"+text, "\n# HELP "), strings.Count("\n"+text, "\n# TYPE "); help != types {
		t.Errorf("%d HELP and %d TYPE in\n%s", help, types, text)
	}
}
