package guest

import (
	"context"
	"fmt"
	"os"

	"github.com/virt-grow/virt-grow/guest/block"
)

// Hooks are people's own commands, run by the shell of the host with the job
// in their environment.
type Hooks struct {
	// Pre runs before the outage; when it fails, there is none.
	Pre string `json:"pre,omitempty"`
	// Post runs after success, OnFailure when the job failed after Pre, with
	// everything undone by then.
	Post      string `json:"post,omitempty"`
	OnFailure string `json:"on_failure,omitempty"`
}

// hook runs one of the commands: VIRT_GROW_JOB, VIRT_GROW_DOMAIN,
// VIRT_GROW_DISK, VIRT_GROW_IMAGE, VIRT_GROW_PLAN and VIRT_GROW_PHASE tell it
// what for.
func (j *job) hook(ctx context.Context, phase, command string) error {
	if command == "" {
		return nil
	}
	env := []string{
		"VIRT_GROW_JOB=" + j.held.ID, "VIRT_GROW_PHASE=" + phase,
		"VIRT_GROW_IMAGE=" + j.facts.Target.Path, "VIRT_GROW_PLAN=" + j.held.PlanPath(),
	}
	if g := j.guest(); g != nil {
		env = append(env, "VIRT_GROW_DOMAIN="+g.Name, "VIRT_GROW_DISK="+g.Disk, "VIRT_GROW_CONNECT="+g.Connect)
	}
	j.note("running the %s command", phase)
	if err := block.RunShell(ctx, command, append(os.Environ(), env...)); err != nil {
		return fmt.Errorf("the %s command failed: %w", phase, err)
	}
	return nil
}
