package live

import (
	"flag"
	"os"
	"testing"
)

// TestMain raises rapid's default of 100 cases, unless the command line sets it.
func TestMain(m *testing.M) {
	if err := flag.Set("rapid.checks", "2000"); err != nil {
		panic(err)
	}
	flag.Parse()
	os.Exit(m.Run())
}
