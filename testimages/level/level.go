// Package level defines the levels of the test suite, so that each test names in one line the
// runs to which it belongs:
//
//	Short   go test -short           no appliance, no libvirt daemon, no QEMU guest; a minute
//	Real    make test                the most important tests with the real engines; 15 minutes
//	Long    make test-all            the long matrices, without the tests for Real only
//	All     make test-all LONG=all   every case of the matrices; hours
//	Debian  make test-debian         guests with installations of Debian, and nothing else
//
// make passes the last three in VIRT_GROW_LONG, as 1, all and debian. A test without a level
// runs at all levels, and must meet the conditions of Short.
package level

import (
	"fmt"
	"os"
	"testing"
)

// Level is a level of the suite. Each level includes the tests of the level before, except
// those that use Only.
type Level int

// The levels, which the package's comment describes.
const (
	Short Level = iota
	Real
	Long
	All
	Debian
)

// variable is the environment variable with which make sets the level. -short overrides it.
const variable = "VIRT_GROW_LONG"

// String returns the command that runs the level's tests.
func (l Level) String() string {
	return [...]string{
		Short: "go test -short", Real: "make test", Long: "make test-all", All: "make test-all LONG=all", Debian: "make test-debian",
	}[l]
}

// parse returns the level of a run with or without -short, for a value of the variable.
func parse(short bool, value string) (Level, error) {
	l, known := map[string]Level{"": Real, "1": Long, "all": All, "debian": Debian}[value]
	switch {
	case !known:
		return 0, fmt.Errorf("%s=%s: it must be 1, all, debian or empty", variable, value)
	case short:
		return Short, nil
	}
	return l, nil
}

// Current returns the level of this run. The flags must have been parsed. It panics if the
// value of VIRT_GROW_LONG is invalid.
func Current() Level {
	l, err := parse(testing.Short(), os.Getenv(variable))
	if err != nil {
		panic(err)
	}
	return l
}

// At reports whether this run has the level's tests.
func At(l Level) bool { return Current() >= l }

// Need skips the test in runs below the level.
func Need(t testing.TB, least Level) {
	t.Helper()
	if !At(least) {
		t.Skipf("belongs to %s", least)
	}
}

// Only skips the test in runs of every other level: lower levels cannot run it, and higher
// levels have a matrix that covers it.
func Only(t testing.TB, l Level) {
	t.Helper()
	if Current() != l {
		t.Skipf("belongs to %s alone", l)
	}
}
