package guest

import (
	engine "github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/guest/session"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/journal"
)

// kinds are the kinds of job that the engine runs. The options are for a job that is
// taken up again: how an appliance is started, and the inspection cache.
func kinds(o session.Options, cache *session.Cache) engine.Kinds {
	all := engine.Kinds{
		string(DiskCreation):   openCreation(o, cache),
		string(DiskConversion): openConversion,
		string(Editing):        openFiles(o),
		string(CopyingIn):      openFiles(o),
		string(OnlineGrowth):   openOnline,
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
		Store: o.Store, Kinds: kinds(o.Session, o.Cache), Timings: o.Rates,
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
