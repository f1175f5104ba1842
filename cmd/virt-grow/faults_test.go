//go:build faults

package main

import (
	"context"
	"errors"
	"syscall"
	"testing"
)

func TestFaults(t *testing.T) {
	t.Setenv("VIRT_GROW_FAULT", "fs:sda1/before=error,commit/after=enospc,lv:vg/a=b/after=hang")
	fault := faults()
	ctx, cancel := context.WithCancelCause(context.Background())
	over := errors.New("over")
	cancel(over)
	if err := fault(ctx, "fs:sda1/after"); err != nil {
		t.Error(err)
	}
	if err := fault(ctx, "fs:sda1/before"); err == nil {
		t.Error("no error")
	}
	if err := fault(ctx, "commit/after"); !errors.Is(err, syscall.ENOSPC) {
		t.Error(err)
	}
	if err := fault(ctx, "lv:vg/a=b/after"); !errors.Is(err, over) {
		t.Error(err)
	}
}
