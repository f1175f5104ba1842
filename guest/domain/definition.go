package domain

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/google/renameio/v2"
)

// DefinitionXML is the text of a domain's persistent definition, with its secrets, as
// libvirt returned it; "" if there is none. Methods that return another text change one
// disk and nothing else: comments, metadata and qemu:commandline stay byte for byte.
type DefinitionXML string

// LoadDefinition reads a definition that Save has written.
func LoadDefinition(path string) (DefinitionXML, error) {
	text, err := os.ReadFile(path)
	return DefinitionXML(text), err
}

// Save writes the definition to a file that only its owner can read.
func (x DefinitionXML) Save(path string) error {
	return renameio.WriteFile(path, []byte(x), 0o600)
}

// XML returns the persistent definition.
func (d *Domain) XML(ctx context.Context) (DefinitionXML, error) {
	text, err := d.Text(ctx, Config)
	return DefinitionXML(text), err
}

// Define replaces the domain's definition.
func (d *Domain) Define(ctx context.Context, x DefinitionXML) error {
	return d.conn.do(ctx, func(l connection) error { return l.Define(string(x)) })
}

// RestoreDisk returns the definition with one disk as it is in original. It fails if
// another user has edited that disk: if the disk is neither as in trial (the definition
// with the disk on its overlay) nor what libvirt makes of original's disk when it pivots to
// the image. If trial is "", the disk is not checked.
func (x DefinitionXML) RestoreDisk(original, trial DefinitionXML, target, image string) (DefinitionXML, error) {
	now, err := x.disk(target)
	if err != nil {
		return "", err
	}
	was, err := original.disk(target)
	if err != nil {
		return "", err
	}
	is, want := now.in(string(x)), was.in(string(original))
	if is == want {
		return x, nil
	}
	during, err := trial.disk(target)
	asInTrial := err == nil && is == during.in(string(trial))
	if trial != "" && !asInTrial && !pivotedTo(is, want, image) {
		return "", fmt.Errorf("another user edited disk %s in the domain's definition during the trial", target)
	}
	return DefinitionXML(apply(string(x), edit{now.from, now.to, want})), nil
}

// ReplaceDisk returns the definition with a disk as another one is in original.
func (x DefinitionXML) ReplaceDisk(target string, original DefinitionXML, as string) (DefinitionXML, error) {
	now, err := x.disk(target)
	if err != nil {
		return "", err
	}
	was, err := original.disk(as)
	if err != nil {
		return "", err
	}
	return DefinitionXML(apply(string(x), edit{now.from, now.to, was.in(string(original))})), nil
}

// disk finds the disk with a target.
func (x DefinitionXML) disk(target string) (element, error) {
	all, err := find(string(x), "domain", "devices", "disk")
	if err != nil {
		return element{}, fmt.Errorf("cannot read the domain's definition: %w", err)
	}
	for _, disk := range all {
		targets, err := find(disk.in(string(x)), "disk", "target")
		if err != nil {
			return element{}, fmt.Errorf("cannot read the domain's definition: %w", err)
		}
		if slices.ContainsFunc(targets, func(t element) bool { return t.attr("dev") == target }) {
			return disk, nil
		}
	}
	return element{}, fmt.Errorf("disk %s is no longer in the domain's definition", target)
}

// pivotedTo reports whether is is what a pivot to the image makes of the disk was: libvirt
// names the image by its resolved path, may call it a file or a block device, and leaves
// an empty <backingStore/>.
func pivotedTo(is, was, image string) bool {
	sources, err := find(is, "disk", "source")
	if err != nil || len(sources) != 1 || cmp.Or(sources[0].attr("file"), sources[0].attr("dev")) != image {
		return false
	}
	now, err := withoutSource(is)
	then, failed := withoutSource(was)
	return err == nil && failed == nil && now == then
}

// withoutSource returns a disk's XML without the parts that name its image: its type, the
// start tag of its source, and an empty backing store.
func withoutSource(disk string) (string, error) {
	edits, err := setType(disk, "")
	sources, bad := find(disk, "disk", "source")
	stores, worse := find(disk, "disk", "backingStore")
	for _, s := range sources {
		edits = append(edits, remove(disk, s.from, s.tag))
	}
	for _, s := range stores {
		if s.tag == s.to {
			edits = append(edits, remove(disk, s.from, s.to))
		}
	}
	return apply(disk, edits...), errors.Join(err, bad, worse)
}

// Alike reports whether two definitions are equal, except for their controllers, which
// libvirt adds by itself, and for different spellings of the same disks.
func (x DefinitionXML) Alike(y DefinitionXML) bool {
	a, err := x.withoutDevices()
	b, failed := y.withoutDevices()
	return err == nil && failed == nil && a == b
}

// withoutDevices returns the definition without its disks and controllers, followed by a
// line for each disk.
func (x DefinitionXML) withoutDevices() (string, error) {
	text := string(x)
	var edits []edit
	for _, name := range []string{"disk", "controller"} {
		all, err := find(text, "domain", "devices", name)
		if err != nil {
			return "", err
		}
		for _, e := range all {
			edits = append(edits, remove(text, e.from, e.to))
		}
	}
	disks, _, err := parseDevices(text)
	if err != nil {
		return "", err
	}
	var lines []string
	for _, d := range disks {
		lines = append(lines, fmt.Sprintf("%q %q", d.Target, cmp.Or(d.Source, d.Remote)))
	}
	slices.Sort(lines)
	return apply(text, edits...) + strings.Join(lines, "\n"), nil
}

// WithMedium returns a drive's element with another medium; path is "" for none.
func WithMedium(drive, path string) (string, error) {
	edits, err := setType(drive, "file")
	sources, bad := find(drive, "disk", "source")
	stores, worse := find(drive, "disk", "backingStore")
	targets, worst := find(drive, "disk", "target")
	if err := errors.Join(err, bad, worse, worst); err != nil {
		return "", fmt.Errorf("cannot read the drive's definition: %w", err)
	}
	if len(targets) != 1 {
		return "", fmt.Errorf("the drive's definition has %d targets", len(targets))
	}
	for _, e := range append(sources, stores...) {
		edits = append(edits, edit{from: e.from, to: e.to})
	}
	if at := targets[0].from; path != "" {
		edits = append(edits, edit{at, at, fmt.Sprintf("<source file='%s'/>", escaped(path))})
	}
	return apply(drive, edits...), nil
}

// setType returns the edit that changes a disk's type.
func setType(disk, kind string) ([]edit, error) {
	root, err := find(disk, "disk")
	if err != nil || len(root) == 0 {
		return nil, cmp.Or(err, errors.New("it is not a disk"))
	}
	from, to, ok := attrValue(disk[:root[0].tag], "type")
	if !ok {
		return nil, nil
	}
	return []edit{{from, to, kind}}, nil
}
