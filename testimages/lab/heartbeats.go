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

// Heartbeat is one sign of life of a guest.
type Heartbeat struct {
	At         time.Time // by the guest's clock, which is set to the host's at boot
	Boot       string    // differs from boot to boot
	Disk       int64     // bytes of the root disk
	Filesystem int64     // bytes of the root file system, from statfs(2)
	Written    int64     // the last line known to be safe on the root file system
}

// Boot is a boot that reached the root file system.
type Boot struct {
	At    time.Time
	ID    string
	Found int64 // the last line found on the root file system
}

// Note is another message of the guest: "told to hang", "asked to stop", "stopped", ….
type Note struct {
	At   time.Time
	Boot string
	Text string
}

// Log has all messages of a guest since its first boot.
type Log struct {
	Heartbeats []Heartbeat
	Boots      []Boot
	Notes      []Note
}

// Log reads the guest's messages.
func (g *Guest) Log() (Log, error) {
	b, err := os.ReadFile(g.heartbeatsFile())
	if err != nil {
		return Log{}, err
	}
	return parseLog(b)
}

// Heartbeats returns all heartbeats of the guest so far.
func (g *Guest) Heartbeats() ([]Heartbeat, error) {
	log, err := g.Log()
	return log.Heartbeats, err
}

// parseLog reads the lines that init/heart.go writes. The last line may be incomplete. So may
// a line in the middle, if the guest was destroyed; the first line of the next boot then
// follows on the same line.
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
		log.Heartbeats = append(log.Heartbeats, Heartbeat{at, fields[1], n[0], n[1], n[2]})
		return nil
	}
	return errors.New("unknown kind of line")
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

// WaitHeartbeat waits for a heartbeat after a time, and returns the first one.
func (g *Guest) WaitHeartbeat(ctx context.Context, after time.Time) (found Heartbeat, err error) {
	err = until(ctx, "a beat of "+g.Name, func() (bool, error) {
		heartbeats, err := g.Heartbeats()
		for _, b := range heartbeats {
			if b.At.After(after) {
				found = b
				return true, nil
			}
		}
		return false, err
	})
	return found, err
}

// WaitNote waits for a note after a time that contains a text.
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

// Gap is the time between two heartbeats.
type Gap struct{ From, To Heartbeat }

// Length returns the duration of the gap.
func (g Gap) Length() time.Duration { return g.To.At.Sub(g.From.At) }

// Outage returns the longest gap between heartbeats that ended after a time.
func (g *Guest) Outage(after time.Time) (Gap, error) {
	heartbeats, err := g.Heartbeats()
	return longestGap(heartbeats, after), err
}

func longestGap(heartbeats []Heartbeat, after time.Time) (longest Gap) {
	for i := 1; i < len(heartbeats); i++ {
		gap := Gap{heartbeats[i-1], heartbeats[i]}
		if gap.To.At.After(after) && gap.Length() > longest.Length() {
			longest = gap
		}
	}
	return longest
}
