package guest

import (
	engine "github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/journal"
)

// kinds are the kinds of job that the engine runs. session is how an appliance is
// started for one that is taken up again.
func kinds(session SessionOptions) engine.Kinds {
	all := engine.Kinds{
		string(DiskCreation):   openCreation(session),
		string(DiskConversion): openConversion,
		string(Editing):        openFiles(session),
		string(CopyingIn):      openFiles(session),
	}
	for _, kind := range []Kind{Growth, Rehearsing, OnlineGrowth, DiskAttach, DiskDetach, Medium, Editing, CopyingIn} {
		if _, moved := all[string(kind)]; !moved {
			all[string(kind)] = openLegacy
		}
	}
	return all
}

// Engine is the engine that runs jobs with these options.
func (o Options) Engine() *engine.Engine {
	return &engine.Engine{
		Store: o.Store, Kinds: kinds(o.Session), Timings: o.Session.Rates,
		Emit: o.Emit, Note: o.Note, Opened: o.Opened, Listed: o.Listed, Fault: o.Fault,
	}
}

// moved reports whether a job is run by the engine.
func (o Options) moved(name string) bool {
	listed, err := o.Store.Read(name)
	if err != nil {
		return true
	}
	facts, err := factsOf(listed.Record)
	return err != nil || facts.Kind != Growth && facts.Kind != Rehearsing && openErrands[facts.Kind] == nil
}

// handle is what parts of several kinds need of their job, whichever engine runs it.
type handle interface {
	ID() string
	Dir() string
	PathNextTo(path, ending string) string
	Note(format string, args ...any)
	Started(journal.Proc)
	Begins(step string) int
	Progress(plan.Step, float64)
}
