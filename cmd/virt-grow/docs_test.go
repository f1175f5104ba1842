package main

import (
	"os"
	"strings"
	"testing"
)

// TestReasonsDocumented checks that the reference lists every reason that the program
// has a hint for, because scripts decide by reasons.
func TestReasonsDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/reference.md")
	if err != nil {
		t.Fatal(err)
	}
	for reason := range hints {
		if !strings.Contains(string(text), "`"+string(reason)+"`") {
			t.Errorf("docs/reference.md does not list %s", reason)
		}
	}
}
