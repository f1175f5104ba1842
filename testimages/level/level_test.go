package level

import "testing"

func TestParse(t *testing.T) {
	for _, c := range []struct {
		short bool
		value string
		want  Level
	}{
		{false, "", Real}, {false, "1", Long}, {false, "all", All}, {false, "debian", Debian},
		{true, "", Short}, {true, "all", Short},
	} {
		if got, err := parse(c.short, c.value); got != c.want || err != nil {
			t.Errorf("-short=%v and %q: %v, %v; want %v", c.short, c.value, got, err, c.want)
		}
	}
	for _, short := range []bool{false, true} {
		if got, err := parse(short, "2"); err == nil {
			t.Errorf("-short=%v and a value of no level: %v", short, got)
		}
	}
}

// TestLevels runs at every level, and shows there which tests the level has.
func TestLevels(t *testing.T) {
	run := Current()
	for l := Short; l <= Debian; l++ {
		var needed, only bool
		t.Run("need", func(t *testing.T) { Need(t, l); needed = true })
		t.Run("only", func(t *testing.T) { Only(t, l); only = true })
		if needed != (l <= run) || only != (l == run) {
			t.Errorf("%v runs what needs %v: %v, what is for it only: %v", run, l, needed, only)
		}
	}
}
