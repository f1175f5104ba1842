package session

import (
	"os"
	"testing"

	"github.com/virt-grow/virt-grow/testimages/private"
)

// TestMain runs the tests without access to the host's own jobs, domains and caches.
func TestMain(m *testing.M) { os.Exit(private.Run(m)) }
