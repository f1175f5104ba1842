// Package size has the type for all sizes and offsets, in bytes.
//
// Units are those of qemu-img: K, M, G, T, P are powers of 1024, KiB…PiB mean the same, B is
// bytes. A number without a unit is refused: HMP takes it for MiB, virsh for KiB and QMP for
// bytes.
package size

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Bytes is a size or an offset in bytes.
type Bytes int64

// IEC multiples of a byte.
const (
	KiB Bytes = 1 << (10 * (iota + 1))
	MiB
	GiB
	TiB
	PiB
)

// ErrNoUnit reports that a number has no unit.
var ErrNoUnit = errors.New("a size needs a unit")

var units = []struct {
	suffix string
	factor Bytes
}{
	{"KiB", KiB}, {"MiB", MiB}, {"GiB", GiB}, {"TiB", TiB}, {"PiB", PiB},
	{"K", KiB}, {"M", MiB}, {"G", GiB}, {"T", TiB}, {"P", PiB},
	{"B", 1},
}

// Parse reads "30G", "1.5GiB", "4096B". Units are not case-sensitive. A fraction of a byte
// (as in "0.3K") is rounded up.
func Parse(s string) (Bytes, error) {
	text := strings.TrimSpace(s)
	for _, u := range units {
		number, ok := cutSuffixFold(text, u.suffix)
		if !ok {
			continue
		}
		return scale(strings.TrimSpace(number), u.factor, s)
	}
	if _, err := strconv.ParseFloat(text, 64); err == nil {
		return 0, fmt.Errorf("%q: %w, for example %sM or %sG", s, ErrNoUnit, text, text)
	}
	return 0, fmt.Errorf("%q is not a size (examples: 30G, 512M, 1.5T, 4096B)", s)
}

func cutSuffixFold(s, suffix string) (string, bool) {
	if len(s) < len(suffix) || !strings.EqualFold(s[len(s)-len(suffix):], suffix) {
		return s, false
	}
	return s[:len(s)-len(suffix)], true
}

func scale(number string, factor Bytes, whole string) (Bytes, error) {
	if n, err := strconv.ParseInt(number, 10, 64); err == nil {
		if n < 0 {
			return 0, fmt.Errorf("%q: a size cannot be negative", whole)
		}
		if n > math.MaxInt64/int64(factor) {
			return 0, fmt.Errorf("%q is more than %s", whole, Bytes(math.MaxInt64))
		}
		return Bytes(n) * factor, nil
	}
	if strings.Trim(number, "0123456789.") != "" {
		return 0, fmt.Errorf("%q is not a size (examples: 30G, 512M, 1.5T, 4096B)", whole)
	}
	f, err := strconv.ParseFloat(number, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is not a size (examples: 30G, 512M, 1.5T, 4096B)", whole)
	}
	bytes := math.Ceil(f * float64(factor))
	if bytes >= math.MaxInt64 {
		return 0, fmt.Errorf("%q is more than %s", whole, Bytes(math.MaxInt64))
	}
	return Bytes(bytes), nil
}

// String returns the size for people, with at most two decimals: "20 GiB", "1.5 GiB",
// "512 B".
func (b Bytes) String() string {
	if b < 0 {
		return "-" + (-b).String()
	}
	unit, name := Bytes(1), "B"
	for _, u := range units[:5] {
		if b >= u.factor {
			unit, name = u.factor, u.suffix
		}
	}
	text := strconv.FormatFloat(float64(b)/float64(unit), 'f', 2, 64)
	text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	return text + " " + name
}

// Up rounds b up to a multiple of to.
func (b Bytes) Up(to Bytes) Bytes {
	return (b + to - 1) / to * to
}

// Down rounds b down to a multiple of to.
func (b Bytes) Down(to Bytes) Bytes {
	return b / to * to
}
