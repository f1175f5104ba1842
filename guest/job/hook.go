package job

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/virt-grow/virt-grow/guest/block"
)

// Hook runs a command of the user in the host's shell; "" is none. Its environment has
// VIRT_GROW_JOB, VIRT_GROW_PHASE, VIRT_GROW_IMAGE, VIRT_GROW_PLAN, VIRT_GROW_DOMAIN,
// VIRT_GROW_DISK, VIRT_GROW_DISKS and VIRT_GROW_CONNECT.
func (j *Job) Hook(ctx context.Context, phase, command string) error {
	if command == "" {
		return nil
	}
	env := []string{
		"VIRT_GROW_JOB=" + j.id, "VIRT_GROW_PHASE=" + phase,
		"VIRT_GROW_IMAGE=" + j.header.Target.Path, "VIRT_GROW_PLAN=" + j.PlanPath(),
	}
	if g := j.header.Target.Guest; g != nil {
		env = append(env, "VIRT_GROW_DOMAIN="+g.Name, "VIRT_GROW_DISK="+g.Disk,
			"VIRT_GROW_DISKS="+strings.Join(j.header.Target.Disks(), " "), "VIRT_GROW_CONNECT="+g.Connect)
	}
	j.Note("running the %s command", phase)
	if err := block.RunShell(ctx, command, append(os.Environ(), env...)); err != nil {
		return fmt.Errorf("the %s command failed: %w", phase, err)
	}
	return nil
}
