package lab

import (
	"testing"
	"time"
)

const said = `boot aaaaaaaa 1700000000.000000 0
beat aaaaaaaa 1700000000.100000 1000 900 0
beat aaaaaaaa 1700000000.200000 1000 900 1
note aaaaaaaa 1700000000.250000 mounted /dev/vdb1 at /data
beat aaaaaaaa 1700000001.200000 1000 900 2
beat aaaaaaaa 17000boot bbbbbbbb 1700000011.000000 3
beat bbbbbbbb 1700000011.700001 2000 1900 3
beat bbbbbbbb 1700000011.8`

func TestParseLog(t *testing.T) {
	log, err := parseLog([]byte(said))
	check(t, err)
	if len(log.Heartbeats) != 4 || len(log.Boots) != 2 || len(log.Notes) != 1 {
		t.Fatalf("%+v", log)
	}
	want := Heartbeat{time.UnixMicro(1700000011700001), "bbbbbbbb", 2000, 1900, 3}
	if log.Heartbeats[3] != want {
		t.Errorf("last beat %+v", log.Heartbeats[3])
	}
	if b := log.Boots[1]; b.Found != 3 || b.ID != "bbbbbbbb" {
		t.Errorf("second boot %+v", b)
	}
	if n := log.Notes[0].Text; n != "mounted /dev/vdb1 at /data" {
		t.Errorf("note %q", n)
	}
	if _, err := parseLog([]byte("something else is here\n")); err == nil {
		t.Error("a strange line was taken")
	}
}

func TestLongestGap(t *testing.T) {
	log, err := parseLog([]byte(said))
	check(t, err)
	gap := longestGap(log.Heartbeats, time.Unix(1700000000, 0))
	if gap.Length() != 10500001*time.Microsecond || gap.From.Boot == gap.To.Boot {
		t.Errorf("%v, %+v", gap.Length(), gap)
	}
	if gap := longestGap(log.Heartbeats, time.Unix(1700000100, 0)); gap.Length() != 0 {
		t.Errorf("after everything: %v", gap.Length())
	}
}
