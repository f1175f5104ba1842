package device

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/guest/domainjob"
	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/apply"
)

// mediumJob is the work of a job that changes a medium.
type mediumJob struct {
	job.Stepwise
	slot
	*medium
}

func newMedium(base *domainjob.Job, d vm, m *medium) *mediumJob {
	return &mediumJob{slot: slot{base, d, m.Target, m.ISO}, medium: m}
}

// OpenMedium opens a job of KindMedium.
func OpenMedium(j *job.Job) (job.Work, error) {
	m := &medium{}
	err := j.Load(m)
	return newMedium(domainjob.New(j, nil), vm{}, m), err
}

// Handlers returns the handlers that change the medium, or add a drive with it.
func (m *mediumJob) Handlers() map[plan.StepKind]apply.Handler {
	return map[plan.StepKind]apply.Handler{
		plan.StepMedium: {Do: m.insert, Undo: m.putBack},
		plan.StepDefine: {Do: m.define, Undo: m.undefineDrive},
		plan.StepPlug:   {Do: m.plug, Undo: m.unplugDrive},
	}
}

// drive returns the drive in its present state.
func (m *mediumJob) drive(ctx context.Context, scope domain.Scope) (domain.Device, error) {
	devices, _, err := m.domain.Devices(ctx, scope)
	if err != nil {
		return domain.Device{}, err
	}
	i := slices.IndexFunc(devices, func(d domain.Device) bool { return d.Target == m.Target })
	if i < 0 {
		return domain.Device{}, plan.Refuse(plan.DomainChanged, m.ID(), "another user has removed the drive %s from %s", m.Target, m.domain.Name)
	}
	return devices[i], nil
}

func (m *mediumJob) insert(ctx context.Context, s plan.Step) error {
	scope := domain.Scope(s.Device)
	now, err := m.drive(ctx, scope)
	if err != nil || now.Source == m.ISO {
		return err
	}
	element, err := domain.WithMedium(now.Text, m.ISO)
	if err != nil {
		return err
	}
	err = m.domain.Update(ctx, element, scope, m.Force)
	if now, asked := m.drive(ctx, scope); asked == nil && now.Source == m.ISO {
		return nil
	}
	if err == nil {
		err = fmt.Errorf("the drive %s of %s has not changed (%s)", m.Target, m.domain.Name, scope)
	}
	return err
}

// putBack inserts the old medium again.
func (m *mediumJob) putBack(ctx context.Context, s plan.Step) error {
	scope := domain.Scope(s.Device)
	state, err := m.domain.State(ctx)
	if err != nil || scope == domain.Live && state == domain.Off {
		return err
	}
	now, err := m.drive(ctx, scope)
	if err != nil {
		return err
	}
	if now.Source != m.Was[scope] {
		if err := m.domain.Update(ctx, m.Old[scope], scope, m.Force); err != nil {
			return err
		}
	}
	if scope == domain.Live {
		return nil
	}
	return m.RestoreDefinition(ctx)
}

func (m *mediumJob) define(ctx context.Context, _ plan.Step) error {
	return m.put(ctx, m.New, domain.Config)
}

func (m *mediumJob) undefineDrive(ctx context.Context, _ plan.Step) error {
	return errors.Join(m.undefine(ctx), m.RestoreDefinition(ctx))
}

func (m *mediumJob) plug(ctx context.Context, _ plan.Step) error {
	return m.put(ctx, m.New, domain.Live)
}

func (m *mediumJob) unplugDrive(ctx context.Context, _ plan.Step) error {
	return m.unplug(ctx, ReleaseLimit)
}

// Report says which medium is in the drive now.
func (m *mediumJob) Report(out *job.Outcome) {
	was := m.Was[domain.Live]
	if was == "" {
		was = m.Was[domain.Config]
	}
	first := fmt.Sprintf("%s is in drive %s of %s", filepath.Base(m.ISO), m.Target, m.domain.Name)
	if m.ISO == "" {
		first = fmt.Sprintf("%s was ejected from drive %s of %s", filepath.Base(was), m.Target, m.domain.Name)
	}
	out.Messages = append(out.Messages, first)
	if m.ISO != "" && was != "" {
		out.Messages = append(out.Messages, "before, it was "+was)
	}
	out.Messages = append(out.Messages, m.Notes...)
	out.ManualSteps = append(out.ManualSteps, m.ManualSteps...)
}
