package guest

import (
	engine "github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/guest/session"
)

// kinds are the kinds of job that the engine runs. The options are for a job that is
// taken up again: how an appliance is started, and the inspection cache.
func kinds(o session.Options, cache *session.Cache) engine.Kinds {
	return engine.Kinds{
		string(Growth):         openLegacy,
		string(Rehearsing):     openLegacy,
		string(OnlineGrowth):   openOnline,
		string(DiskAttach):     openAttach(o, cache),
		string(DiskDetach):     openDetach(o),
		string(Medium):         openMedium,
		string(Editing):        openFiles(o),
		string(CopyingIn):      openFiles(o),
		string(DiskCreation):   openCreation(o, cache),
		string(DiskConversion): openConversion,
	}
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
	return err != nil || facts.Kind != Growth && facts.Kind != Rehearsing
}
