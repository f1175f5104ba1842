package usage

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gofrs/flock"
	"pgregory.net/rapid"
)

// stored returns the samples in the store, by guest and file system.
func stored(t *testing.T, s Store) map[string][]Sample {
	t.Helper()
	d, err := s.read()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]Sample{}
	for _, one := range d.Series {
		all[one.Guest+" "+one.FS] = one.Samples
	}
	return all
}

// TestKeep checks that there is one sample a day, and that the forecast is made from them.
func TestKeep(t *testing.T) {
	s := Store{filepath.Join(t.TempDir(), "new")}
	var forecast string
	for day, used := range []float64{50, 60, 70} {
		for hour := range 3 {
			guests := []Guest{guestWith("dev7", fileSystem("/", sizeOf(int64(used))+sizeOf(int64(hour)), 100)), {Name: "off", Unread: Off}}
			if err := s.Keep(t.Context(), noon.AddDate(0, 0, day).Add(time.Duration(hour)*time.Hour), guests); err != nil {
				t.Fatal(err)
			}
			forecast = guests[0].FileSystems[0].Forecast.String()
		}
	}
	if got := stored(t, s); len(got) != 1 || len(got["uuid-dev7 /"]) != 3 {
		t.Errorf("%v", got)
	}
	if forecast != "full in 2 days; 3 samples" {
		t.Error(forecast)
	}
	// The clock was a month ahead, and is right again.
	guests := []Guest{guestWith("dev7", fileSystem("/", 71, 100))}
	for _, at := range []time.Time{noon.AddDate(0, 1, 0), noon.AddDate(0, 0, 3)} {
		if err := s.Keep(t.Context(), at, guests); err != nil {
			t.Fatal(err)
		}
	}
	if got := stored(t, s)["uuid-dev7 /"]; len(got) != 4 || got[3].At != noon.AddDate(0, 0, 3).Unix() {
		t.Errorf("%v", got)
	}
}

// TestKeepBounded checks that the store does not grow beyond its limits, whatever is measured
// and when, and that it is always read as it was written.
func TestKeepBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := &document{Schema: samplesSchema}
		now := noon
		for range rapid.IntRange(1, 250).Draw(t, "calls") {
			now = now.Add(time.Duration(rapid.IntRange(-30, 100).Draw(t, "hours")) * time.Hour)
			g := guestWith(rapid.SampledFrom([]string{"a", "b", hostile}).Draw(t, "guest"),
				fileSystem(rapid.SampledFrom([]string{"/", "/data", hostile}).Draw(t, "mount"), sizeOf(rapid.Int64Range(0, 100).Draw(t, "used")), 100))
			d.add(now, []Guest{g})
			for _, s := range d.Series {
				last := int64(-1)
				for _, one := range s.Samples {
					if one.day() <= last || one.At > now.Unix()+daySeconds || one.At < now.Unix()-(MaxDays+1)*daySeconds {
						t.Fatalf("at %v: %v", now, s.Samples)
					}
					last = one.day()
				}
				if len(s.Samples) == 0 || len(s.Samples) > MaxDays {
					t.Fatalf("%d samples", len(s.Samples))
				}
			}
		}
		text, err := json.Marshal(d)
		var again document
		if err != nil || json.Unmarshal(text, &again) != nil || fmt.Sprint(again.byKey()[d.Series[0].key].Samples) != fmt.Sprint(d.Series[0].Samples) {
			t.Fatalf("%v is read as %v", d, again)
		}
	})
}

// TestKeepFewSeries checks that the file systems that were not seen for long are forgotten
// first.
func TestKeepFewSeries(t *testing.T) {
	d := &document{Schema: samplesSchema}
	for day, name := range []string{"old", "new", "last"} {
		var guests []Guest
		for i := range MaxSeries/2 - 10 {
			guests = append(guests, guestWith(fmt.Sprint(name, i), fileSystem("/", 1, 2)))
		}
		d.add(noon.AddDate(0, 0, day), guests)
	}
	count := map[string]int{}
	for _, s := range d.Series {
		count[s.Guest[len("uuid-"):len("uuid-")+3]]++
	}
	if len(d.Series) != MaxSeries || count["old"] != 20 || count["las"] != count["new"] {
		t.Errorf("%d series, %v", len(d.Series), count)
	}
}

// TestKeepDamaged checks that a damaged file is said and replaced, and that one of a newer
// version stays.
func TestKeepDamaged(t *testing.T) {
	good := `{"schema":"virt-grow/samples/v1","series":[null,{"guest":"uuid-dev7","filesystem":"/","source":"agent","samples":[{"at":-5,"used":7,"of":3},{"at":1772280000,"used":1,"of":2}]}]}`
	for _, c := range []struct{ content, says, left string }{
		{good, "", `"samples":[{"at":1772280000,`},
		{"", "is damaged", ""},
		{"\x00\x00\x00", "is damaged", ""},
		{"{}", "it has no schema", ""},
		{"[]", "is damaged", ""},
		{good[:len(good)-10], "is damaged", ""},
		{`{"schema":"virt-grow/samples/v1","series":7}`, "is damaged", ""},
		{`{"schema":"virt-grow/samples/v2","series":[]}`, "another version", `{"schema":"virt-grow/samples/v2","series":[]}`},
	} {
		s := Store{t.TempDir()}
		if err := os.WriteFile(s.path(), []byte(c.content), 0o600); err != nil {
			t.Fatal(err)
		}
		guests := []Guest{guestWith("dev7", fileSystem("/", 50, 100))}
		err := s.Keep(t.Context(), noon, guests)
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%q: %v", c.content, err)
		}
		text, _ := os.ReadFile(s.path())
		if !strings.Contains(string(text), c.left) || guests[0].FileSystems[0].Forecast == nil {
			t.Errorf("%q became %q", c.content, text)
		}
		if errors.As(err, new(*DamagedError)) {
			if err := s.Keep(t.Context(), noon, guests); err != nil {
				t.Errorf("%q is not replaced: %v", c.content, err)
			}
		}
	}
}

// TestKeepUnwritable checks that the forecasts are there although nothing can be kept.
func TestKeepUnwritable(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	guests := []Guest{guestWith("dev7", fileSystem("/", 50, 100))}
	if err := (Store{filepath.Join(file, "state")}).Keep(t.Context(), noon, guests); err == nil || guests[0].FileSystems[0].Forecast == nil {
		t.Errorf("%+v %v", guests, err)
	}
}

// TestKeepTogether checks that concurrent calls lose no sample, and leave no other file.
func TestKeepTogether(t *testing.T) {
	s := Store{t.TempDir()}
	var wait sync.WaitGroup
	for i := range 20 {
		wait.Add(1)
		go func() {
			defer wait.Done()
			if err := s.Keep(t.Context(), noon, []Guest{guestWith(fmt.Sprint("vm", i), fileSystem("/", 1, 2))}); err != nil {
				t.Error(err)
			}
		}()
	}
	wait.Wait()
	files, _ := os.ReadDir(s.Dir)
	if got := stored(t, s); len(got) != 20 || len(files) != 2 {
		t.Errorf("%d series, files %v", len(got), files)
	}
}

// TestKeepLocked checks that a call ends when it is interrupted while another process has
// the lock.
func TestKeepLocked(t *testing.T) {
	s := Store{t.TempDir()}
	held := flock.New(filepath.Join(s.Dir, "samples.lock"))
	if err := held.Lock(); err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	ctx, cancel := deadline(t)
	defer cancel()
	if err := s.Keep(ctx, noon, []Guest{guestWith("dev7", fileSystem("/", 1, 2))}); err == nil {
		t.Error("the samples were written without the lock")
	}
	if _, err := os.Stat(s.path()); err == nil {
		t.Error("there is a file")
	}
}

// BenchmarkKeep measures a call with a store that is as large as it gets.
func BenchmarkKeep(b *testing.B) {
	s := Store{b.TempDir()}
	d := &document{Schema: samplesSchema}
	for i := range MaxSeries {
		one := &series{key: key{Guest: fmt.Sprintf("8b3c9d5e-0000-4000-8000-%012d", i/5), FS: fmt.Sprint("/srv/data", i), Source: ByAgent}}
		for day := range MaxDays {
			one.Samples = append(one.Samples, Sample{At: noon.AddDate(0, 0, day-MaxDays+1).Unix(), Used: sizeOf(int64(day) << 30), Usable: 1 << 40})
		}
		d.Series = append(d.Series, one)
	}
	if err := s.write(d); err != nil {
		b.Fatal(err)
	}
	guests := []Guest{guestWith("dev7", fileSystem("/", 50, 100))}
	for b.Loop() {
		if err := s.Keep(b.Context(), noon, guests); err != nil {
			b.Fatal(err)
		}
	}
	info, err := os.Stat(s.path())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(info.Size())/1e6, "MB")
}
