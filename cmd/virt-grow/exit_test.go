package main

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/virt-grow/virt-grow/guest"
	"github.com/virt-grow/virt-grow/guest/growth"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/journal"
)

func TestExitCode(t *testing.T) {
	broken := errors.New("broken")
	stopped := &interrupt{syscall.SIGINT}
	for _, c := range []struct {
		name string
		err  error
		want int
	}{
		{"nothing", nil, 0},
		{"any error", broken, 1},
		{"declined", errors.Join(growth.ErrDeclined, nil), 1},
		{"refusal", plan.Refuse(plan.BitLocker, "sda1", "no"), 3},
		{"wrapped refusal", fmt.Errorf("check:sda1: %w", plan.Refuse(plan.FSDamaged, "sda1", "no")), 3},
		{"stale", plan.Refuse(plan.StalePlan, "", "no"), 4},
		{"image changed", plan.Refuse(plan.ImageChanged, "", "no"), 4},
		{"in use", plan.Refuse(plan.InUse, "", "no"), 5},
		{"locked", plan.Refuse(plan.Locked, "", "no"), 5},
		{"job active", plan.Refuse(plan.JobActive, "", "no"), 5},
		{"busy", fmt.Errorf("x: %w", journal.ErrBusy), 5},
		{"window", plan.Refuse(plan.Window, "", "no"), 6},
		{"no job", journal.ErrNoJob, 3},
		{"damaged journal", fmt.Errorf("x: %w", journal.ErrDamaged), 8},
		{"usage", usage("no"), 64},
		{"interrupted", stopped, 130},
		{"cancelled", context.Canceled, 130},
		{"failed in the overlay", &guest.Failure{Err: broken, Restored: true}, 1},
		{"refused in the overlay", &guest.Failure{Err: plan.Refuse(plan.FSDamaged, "", "no"), Restored: true}, 3},
		{"interrupted in the overlay", &guest.Failure{Err: stopped, Restored: true}, 130},
		{"failed in the commit", &guest.Failure{Err: broken, Begun: true, Restored: true}, 7},
		{"interrupted in the commit", &guest.Failure{Err: stopped, Begun: true, Restored: true}, 130},
		{"not restored", &guest.Failure{Err: broken, Begun: true, Undo: broken}, 8},
		{"interrupted and not restored", &guest.Failure{Err: stopped, Undo: broken}, 8},
		{"shutdown", plan.Refuse(plan.ShutdownTimeout, "", "no"), 1},
		{"late", &guest.Failure{Err: plan.Refuse(plan.Window, "", "no"), Stopped: true, Restored: true}, 6},
		{"unhealthy", &guest.Failure{Err: broken, Stopped: true, Restored: true}, 7},
		{"refused while off", &guest.Failure{Err: plan.Refuse(plan.NTFSHibernated, "", "no"), Stopped: true, Restored: true}, 3},
		{"pivot", &guest.Failure{Err: broken, Stopped: true, Begun: true, Forward: true}, 8},
		{"not restored, and more", errors.Join(&guest.Failure{Err: broken, Undo: broken}, broken), 8},
	} {
		if got := exitCode(c.err); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

// reasons reads the constants from the source, so that none can be missing.
func reasons(t *testing.T) []plan.Reason {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "../../plan/refusal.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var all []plan.Reason
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if name, ok := spec.Type.(*ast.Ident); !ok || name.Name != "Reason" {
			return true
		}
		text, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, plan.Reason(text))
		return true
	})
	return all
}

func TestHints(t *testing.T) {
	all := reasons(t)
	if len(all) < 25 {
		t.Fatalf("only %d reasons found", len(all))
	}
	p := &program{console: quiet(nil), state: "/elsewhere"}
	for _, reason := range all {
		for _, subject := range []string{"", "sda3", "/a b.img"} {
			hint := p.hintFor(plan.Refuse(reason, subject, "no"))
			if hint == "" || strings.Contains(hint, "SUBJECT") || strings.Contains(hint, "VIRT-GROW") {
				t.Errorf("%s: hint %q", reason, hint)
			}
		}
	}
}

func TestHintOfFailure(t *testing.T) {
	p := &program{console: quiet(nil), state: "/s"}
	f := &guest.Failure{Err: errors.New("x"), Undo: errors.New("y"), Job: "J", Begun: true}
	for _, part := range []string{"virt-grow --state-dir /s rollback J", "virt-grow --state-dir /s resume J"} {
		if got := p.hint(f); !strings.Contains(got, part) {
			t.Errorf("%q lacks %q", got, part)
		}
	}
}
