package block

import (
	"os/exec"
	"testing"

	"github.com/virt-grow/virt-grow/plan/journal"
)

// startSleep starts a process that would run for a minute.
func startSleep(t *testing.T) (journal.Proc, error) {
	t.Helper()
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		return journal.Proc{}, err
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return Identify("sleep", cmd.Process.Pid)
}
