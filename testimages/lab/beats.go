package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Beat is one sign of life of a guest.
type Beat struct {
	At         time.Time // by the guest's clock, which is set to the host's at boot
	Boot       string    // differs from boot to boot
	Disk       int64     // bytes of the root disk
	Filesystem int64     // bytes of the root file system, as statfs(2) has it
	Written    int64     // the last line known to be safe on the root file system
}

// Boot is a kernel that got as far as its root file system.
type Boot struct {
	At    time.Time
	ID    string
	Found int64 // the last line found on the root file system
}

// Note is whatever else a guest has to tell: "told to hang", "asked to stop",
// "stopped", ….
type Note struct {
	At   time.Time
	Boot string
	Text string
}

// Log is what a guest has said so far, from its first boot on.
type Log struct {
	Beats []Beat
	Boots []Boot
	Notes []Note
}

// Log reads what the guest has said.
func (g *Guest) Log() (Log, error) {
	b, err := os.ReadFile(g.beats())
	if err != nil {
		return Log{}, err
	}
	return parseLog(b)
}

// Beats are the guest's signs of life so far.
func (g *Guest) Beats() ([]Beat, error) {
	log, err := g.Log()
	return log.Beats, err
}

// parseLog reads lines as init/heart.go writes them. The last line may be
// incomplete. So may one in the middle be, where the guest was destroyed; the
// next boot's first line then follows on the same line.
func parseLog(b []byte) (log Log, err error) {
	b = b[:bytes.LastIndexByte(b, '\n')+1]
	for line := range strings.Lines(string(b)) {
		if i := strings.LastIndex(line, "boot "); i > 0 && !strings.HasPrefix(line, "note ") {
			line = line[i:]
		}
		fields := strings.Fields(line)
		if len(fields) < 4 {
			return log, fmt.Errorf("the guest said %q", line)
		}
		if err := log.add(fields); err != nil {
			return log, fmt.Errorf("the guest said %q: %w", line, err)
		}
	}
	return log, nil
}

func (log *Log) add(fields []string) error {
	at, err := parseTime(fields[2])
	if err != nil {
		return err
	}
	switch {
	case fields[0] == "note":
		log.Notes = append(log.Notes, Note{at, fields[1], strings.Join(fields[3:], " ")})
		return nil
	case fields[0] == "boot" && len(fields) == 4:
		found, err := strconv.ParseInt(fields[3], 10, 64)
		log.Boots = append(log.Boots, Boot{at, fields[1], found})
		return err
	case fields[0] == "beat" && len(fields) == 6:
		var n [3]int64
		for i := range n {
			if n[i], err = strconv.ParseInt(fields[3+i], 10, 64); err != nil {
				return err
			}
		}
		log.Beats = append(log.Beats, Beat{at, fields[1], n[0], n[1], n[2]})
		return nil
	}
	return errors.New("no such line is known")
}

// parseTime reads seconds with six decimals.
func parseTime(s string) (time.Time, error) {
	digits := strings.Replace(s, ".", "", 1)
	micros, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return time.Time{}, err
	}
	return time.UnixMicro(micros), nil
}

// WaitBeat waits for a beat later than a time, and returns the first such.
func (g *Guest) WaitBeat(ctx context.Context, after time.Time) (found Beat, err error) {
	err = until(ctx, "a beat of "+g.Name, func() (bool, error) {
		beats, err := g.Beats()
		for _, b := range beats {
			if b.At.After(after) {
				found = b
				return true, nil
			}
		}
		return false, err
	})
	return found, err
}

// WaitNote waits for a note later than a time that has a text in it.
func (g *Guest) WaitNote(ctx context.Context, after time.Time, text string) (found Note, err error) {
	err = until(ctx, g.Name+" to say "+strconv.Quote(text), func() (bool, error) {
		log, err := g.Log()
		for _, n := range log.Notes {
			if n.At.After(after) && strings.Contains(n.Text, text) {
				found = n
				return true, nil
			}
		}
		return false, err
	})
	return found, err
}

// Gap is the time between two beats.
type Gap struct{ From, To Beat }

// Length is how long the gap lasts.
func (g Gap) Length() time.Duration { return g.To.At.Sub(g.From.At) }

// Outage is the longest gap between beats that ends after a time.
func (g *Guest) Outage(after time.Time) (Gap, error) {
	beats, err := g.Beats()
	return longestGap(beats, after), err
}

func longestGap(beats []Beat, after time.Time) (longest Gap) {
	for i := 1; i < len(beats); i++ {
		gap := Gap{beats[i-1], beats[i]}
		if gap.To.At.After(after) && gap.Length() > longest.Length() {
			longest = gap
		}
	}
	return longest
}
