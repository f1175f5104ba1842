package live

import (
	"flag"
	"os"
	"testing"
)

// TestMain raises rapid's default of 100 cases; the command line wins.
func TestMain(m *testing.M) {
	if err := flag.Set("rapid.checks", "2000"); err != nil {
		panic(err)
	}
	flag.Parse()
	os.Exit(m.Run())
}
