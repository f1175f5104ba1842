package growth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/virt-grow/virt-grow/guest/disk"
	"github.com/virt-grow/virt-grow/guest/session"
	"github.com/virt-grow/virt-grow/plan"
)

// missingPVs refuses a plan because PVs of a volume group are on other disks.
type missingPVs struct{ *plan.Refusal }

func (m *missingPVs) Unwrap() error { return m.Refusal }

// WithGroup calls work with a disk. If PVs of a volume group are missing there, and the
// domain has them on other disks, WithGroup calls work again with those disks, too: a
// group can only be changed as a whole, and LVM writes to each of its PVs.
func WithGroup[T any](ctx context.Context, d *disk.Disk, o DomainOptions, s session.Options, work func(*disk.Disk) (T, error)) (T, error) {
	out, err := work(d)
	var missing *missingPVs
	if !errors.As(err, &missing) || d.Domain == nil {
		return out, err
	}
	others, failed := findGroup(ctx, d, missing.Subject, s)
	switch {
	case failed != nil:
		return out, failed
	case len(others) == 0:
		return out, err
	}
	o.More = append(slices.Clone(o.More), others...)
	whole, opened := OpenDomain(ctx, d.Domain, o)
	if opened != nil {
		return out, opened
	}
	whole.Notes = append(whole.Notes, fmt.Sprintf("volume group %s has PVs on %s, too: LVM writes to all of them", missing.Subject, strings.Join(others, ", ")))
	again, err := work(whole)
	if errors.As(err, &missing) {
		return out, missing
	}
	return again, err
}

// findGroup returns the other disks of the domain that PVs of the group are on; none if
// PVs are missing there, too. If there is one other disk, the plan finds out whether they
// are on it.
func findGroup(ctx context.Context, d *disk.Disk, group string, o session.Options) (others []string, err error) {
	for _, def := range d.Status.Disks {
		if def.Writable() && !d.Edits(def.Target) {
			others = append(others, def.Target)
		}
	}
	if len(others) < 2 {
		return others, nil
	}
	s, all, err := d.StartWithOthers(ctx, o)
	if err != nil || s == nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	layout, err := s.Read(ctx, func(*plan.Layout) plan.Closeness { return plan.LookAtContents }, all...)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(layout.DisksOf(group), d.Edits), nil
}
