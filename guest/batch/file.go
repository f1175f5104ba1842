// Package batch grows many guests in one change window. A batch is a file that is planned
// from an inventory and reviewed: it has a whole plan for each guest, or the reason why the
// guest is refused.
package batch

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/renameio/v2"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/inventory"
	"github.com/virt-grow/virt-grow/plan/journal"
)

// Schema names the format of the batch file.
const Schema = "virt-grow/batch/v1"

// Batch is the content of a batch file.
type Batch struct {
	Schema string `json:"schema"`
	// Inventory is the inventory that the batch was planned from.
	Inventory Source    `json:"inventory"`
	Made      time.Time `json:"made"`
	// Connect is libvirt's URI.
	Connect string           `json:"connect"`
	Window  inventory.Window `json:"window"`
	// Canary are the guests that grow first, one after the other and alone.
	Canary []string `json:"canary,omitempty"`
	// Parallel is how many guests may be away at the same time.
	Parallel int `json:"parallel"`
	// StopAfter is the number of failed guests after which no new outage begins.
	StopAfter int `json:"stop_after"`
	// Guests are in the order of the inventory.
	Guests   []Guest  `json:"guests"`
	Expected Expected `json:"expected"`
}

// Source is a file that was read.
type Source struct {
	// Name is the file's absolute path, or "-".
	Name string `json:"name"`
	// SHA256 is the hash of its content, in hexadecimal.
	SHA256 string `json:"sha256"`
}

// SourceOf returns the source for a file's name and content.
func SourceOf(name string, text []byte) Source {
	sum := sha256.Sum256(text)
	return Source{Name: name, SHA256: hex.EncodeToString(sum[:])}
}

// Guest is one guest of a batch. It has either a plan or a refusal.
type Guest struct {
	// Name is the domain's name; that of the inventory if the guest is refused.
	Name string `json:"name"`
	// UUID is left out if the domain was not found.
	UUID string `json:"uuid,omitempty"`
	// Disks are what the inventory asks for.
	Disks   []inventory.Disk `json:"disks"`
	Plan    *plan.Plan       `json:"plan,omitempty"`
	Refusal *Refusal         `json:"refusal,omitempty"`
	// Rehearsed is how many seconds the rehearsal took, if there was one.
	Rehearsed float64 `json:"rehearsed,omitempty"`
	// Outage is how many seconds the guest is expected to be away; 0 if it is off.
	Outage    float64             `json:"outage"`
	Treatment inventory.Treatment `json:"treatment"`
}

// Refusal says why a guest cannot be grown.
type Refusal struct {
	Reason  Reason `json:"reason"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

// Reason is a plan.Reason, or the one below.
type Reason string

// Failed is the reason of a guest that could not be looked at: the message has the error.
const Failed Reason = "failed"

// Planned returns the guests that have a plan.
func (b *Batch) Planned() []Guest {
	return slices.DeleteFunc(slices.Clone(b.Guests), func(g Guest) bool { return g.Plan == nil })
}

// Refused returns the guests that have no plan.
func (b *Batch) Refused() []Guest {
	return slices.DeleteFunc(slices.Clone(b.Guests), func(g Guest) bool { return g.Plan != nil })
}

// MaxFile limits the size of a batch file: a thousand plans of the largest usual size.
const MaxFile = 256 << 20

// Read reads a batch file. A newer schema is refused before anything else is decoded, and an
// unknown field is an error: a newer version of virt-grow wrote the file, and this version
// cannot check it.
func Read(r io.Reader) (*Batch, error) {
	text, err := io.ReadAll(io.LimitReader(r, MaxFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > MaxFile {
		return nil, fmt.Errorf("the batch file is larger than %d bytes", MaxFile)
	}
	var head struct {
		Schema string `json:"schema"`
	}
	if err := json.Unmarshal(text, &head); err != nil {
		return nil, fmt.Errorf("not a batch file: %w", err)
	}
	if head.Schema != Schema {
		return nil, fmt.Errorf("this version cannot read the batch file: its schema is %q, not %q", head.Schema, Schema)
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	var b Batch
	if err := dec.Decode(&b); err != nil {
		return nil, fmt.Errorf("not a batch file: %w", err)
	}
	return &b, b.check()
}

// check refuses a batch that planning cannot have made.
func (b *Batch) check() error {
	switch {
	case len(b.Guests) == 0:
		return errors.New("the batch has no guests")
	case b.Parallel < 1 || b.StopAfter < 1:
		return fmt.Errorf("the batch has %d guests at a time, and stops after %d failures: each must be at least 1", b.Parallel, b.StopAfter)
	}
	if _, _, err := b.Window.At(time.Time{}); err != nil {
		return fmt.Errorf("the batch's window: %w", err)
	}
	names, uuids := map[string]bool{}, map[string]bool{}
	for _, g := range b.Guests {
		if names[g.Name] || g.Plan != nil && uuids[g.UUID] {
			return fmt.Errorf("the batch has guest %s twice", g.Name)
		}
		names[g.Name], uuids[g.UUID] = true, true
		if err := g.check(); err != nil {
			return fmt.Errorf("guest %s: %w", g.Name, err)
		}
	}
	for _, name := range b.Canary {
		if !names[name] {
			return fmt.Errorf("the canary %s is not one of the batch's guests", name)
		}
	}
	return nil
}

func (g *Guest) check() error {
	switch {
	case g.Name == "":
		return errors.New("it has no name")
	case (g.Plan == nil) == (g.Refusal == nil):
		return errors.New("it must have either a plan or a refusal")
	case g.Plan == nil:
		return nil
	case g.Plan.Target.Guest == nil || g.Plan.Target.Guest.UUID != g.UUID:
		return errors.New("its plan is for another guest")
	}
	return g.Plan.Check()
}

// Write writes the batch, indented for review.
func (b *Batch) Write(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(b)
}

// ReadFile reads the batch file at a path.
func ReadFile(path string) (*Batch, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return Read(f)
}

// WriteFile replaces the file at a path by the batch: after a crash, the path has either the
// old or the new content.
func (b *Batch) WriteFile(path string) error {
	var text bytes.Buffer
	if err := b.Write(&text); err != nil {
		return err
	}
	if err := renameio.WriteFile(path, text.Bytes(), 0o644); err != nil {
		return err
	}
	return journal.SyncDir(filepath.Dir(path))
}
