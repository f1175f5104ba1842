// Package level names how much of the test suite a run takes, so that each test says
// in one line which runs it belongs to:
//
//	Short   go test -short           no appliance, no libvirt daemon, no QEMU guest; a minute
//	Real    make test                the real engines, what a change breaks first; 15 minutes
//	Long    make test-all            the long matrices, without what is for Real only
//	All     make test-all LONG=all   every case of the matrices; hours
//	Debian  make test-debian         guests that are installations of Debian, and nothing else
//
// Make passes the last three on in VIRT_GROW_LONG, as 1, all and debian. A test that
// asks for no level runs at all of them, and therefore has to be fit for Short.
package level

import (
	"fmt"
	"os"
	"testing"
)

// Level is how much of the suite a run takes. Each level has the tests of the one
// before it, except those that are for Only one level.
type Level int

// The levels, which the package's comment describes.
const (
	Short Level = iota
	Real
	Long
	All
	Debian
)

// variable is where make says which level a run has. -short overrides it.
const variable = "VIRT_GROW_LONG"

// String returns the command that runs the level's tests.
func (l Level) String() string {
	return [...]string{
		Short: "go test -short", Real: "make test", Long: "make test-all", All: "make test-all LONG=all", Debian: "make test-debian",
	}[l]
}

// parse returns the level of a run with or without -short, where the variable has
// this value.
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

// Current returns the level of this run. The flags must have been parsed. It panics if
// VIRT_GROW_LONG names no level: a run at a level that nobody meant shows nothing.
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

// Only skips the test in runs of every other level: those below cannot run it, and
// those above have a matrix that comes near to it.
func Only(t testing.TB, l Level) {
	t.Helper()
	if Current() != l {
		t.Skipf("belongs to %s alone", l)
	}
}
