package session

import (
	"os"
	"testing"

	"github.com/virt-grow/virt-grow/testimages/private"
)

// TestMain keeps the tests away from what belongs to the host.
func TestMain(m *testing.M) { os.Exit(private.Run(m)) }
