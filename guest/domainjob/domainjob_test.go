package domainjob

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/guest/inside"
	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/journal"
)

// machine is a domain in memory.
type machine struct {
	inside.Agent
	state domain.State
	xml   domain.DefinitionXML
	// keeps reports that libvirt does not apply a new definition unchanged.
	keeps   bool
	failing string // name of the call that fails
}

var errInjected = errors.New("injected")

func (m *machine) failure(call string) error {
	if m.failing == call {
		return errInjected
	}
	return nil
}

func (m *machine) State(context.Context) (domain.State, error) { return m.state, m.failure("state") }

func (m *machine) XML(context.Context) (domain.DefinitionXML, error) { return m.xml, m.failure("xml") }

func (m *machine) Define(_ context.Context, x domain.DefinitionXML) error {
	if !m.keeps {
		m.xml = x
	}
	return m.failure("define")
}

const (
	original   = domain.DefinitionXML("<domain><name>dev7</name><devices><disk type='file'><target dev='vda'/></disk></devices></domain>")
	controller = "<controller type='scsi' index='0'/>"
)

// with returns the definition with an element added to the end of its devices.
func with(element string) domain.DefinitionXML {
	return domain.DefinitionXML(strings.Replace(string(original), "</devices>", element+"</devices>", 1))
}

// hold calls test with a job on the machine.
func hold(t *testing.T, m *machine, test func(*Job)) {
	t.Helper()
	e := job.Engine{Options: job.Options{Store: journal.Store{Dir: t.TempDir()}}}
	spec := job.Spec{Kind: "test", Target: plan.Target{Guest: &plan.Guest{Name: "dev7"}}, Open: func(j *job.Job) (any, job.Work, error) {
		made := New(j, nil)
		made.Machine = m
		test(made)
		return nil, nil, errInjected
	}}
	if _, err := e.Run(t.Context(), spec); !errors.Is(err, errInjected) {
		t.Fatal(err)
	}
}

// TestSaveOriginal checks that a continued job keeps the definition from before the job.
func TestSaveOriginal(t *testing.T) {
	m := &machine{xml: original, failing: "xml"}
	hold(t, m, func(j *Job) {
		if err := j.SaveOriginal(t.Context()); !errors.Is(err, errInjected) {
			t.Errorf("no definition: %v", err)
		}
		m.failing = ""
		for range 2 {
			if err := j.SaveOriginal(t.Context()); err != nil {
				t.Fatal(err)
			}
			m.xml = with(controller)
		}
		if x, err := j.LoadDefinition(OriginalXML); x != original || err != nil {
			t.Errorf("saved %s, %v", x, err)
		}
	})
}

// TestRestoreDefinition checks that controllers that libvirt has added are removed, and
// that edits by users are kept.
func TestRestoreDefinition(t *testing.T) {
	edited := with("<interface type='network'/>")
	for name, c := range map[string]struct {
		now     domain.DefinitionXML
		keeps   bool
		failing string
		want    domain.DefinitionXML
		fails   bool
	}{
		"as before":      {now: original, failing: "define", want: original},
		"a controller":   {now: with(controller), want: original},
		"edited":         {now: edited, failing: "define", want: edited},
		"not taken over": {now: with(controller), keeps: true, want: with(controller), fails: true},
		"refused":        {now: with(controller), keeps: true, failing: "define", want: with(controller), fails: true},
		"not to be read": {now: with(controller), failing: "xml", want: with(controller), fails: true},
	} {
		m := &machine{xml: original}
		hold(t, m, func(j *Job) {
			if err := j.RestoreDefinition(t.Context()); err == nil {
				t.Errorf("%s, nothing saved: no error", name)
			}
			if err := j.SaveOriginal(t.Context()); err != nil {
				t.Fatal(err)
			}
			m.xml, m.keeps, m.failing = c.now, c.keeps, c.failing
			if err := j.RestoreDefinition(t.Context()); (err != nil) != c.fails || m.xml != c.want {
				t.Errorf("%s: %v, now %s", name, err, m.xml)
			}
		})
	}
}

// TestCheckRunning checks that an agent is only used in a running guest.
func TestCheckRunning(t *testing.T) {
	for _, c := range []struct {
		state   domain.State
		failing string
		reason  plan.Reason
	}{{domain.Running, "", ""}, {domain.Off, "", plan.DomainState}, {domain.Held, "", plan.DomainState}, {domain.Running, "state", ""}} {
		hold(t, &machine{state: c.state, failing: c.failing}, func(j *Job) {
			err := j.CheckRunning(t.Context())
			r, _ := plan.IsRefusal(err)
			if (r != nil) != (c.reason != "") || r != nil && r.Reason != c.reason || (err != nil) != (c.reason != "" || c.failing != "") {
				t.Errorf("%s: %v", c.state, err)
			}
		})
	}
}

// TestDisconnect checks that disconnecting a job that was never connected is no error.
func TestDisconnect(t *testing.T) {
	hold(t, &machine{}, func(j *Job) {
		if err := errors.Join(j.Disconnect(), j.Release()); err != nil {
			t.Error(err)
		}
	})
}
