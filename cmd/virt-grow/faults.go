//go:build faults

package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"
)

// faults injects the faults that VIRT_GROW_FAULT lists: "point=kind", separated by
// commas. A point is a step and a moment, for example "fs:sda1/before" or
// "commit/after". A kind is error, enospc, hang (until the run is interrupted),
// interrupt (SIGINT to this process, then hang until it is handled), stop (SIGSTOP: the
// test continues with SIGCONT) or kill (SIGKILL).
func faults() func(ctx context.Context, point string) error {
	kinds := map[string]string{}
	for _, word := range strings.Split(os.Getenv("VIRT_GROW_FAULT"), ",") {
		// A point may contain "=" (in a device's name); a kind does not.
		if i := strings.LastIndex(word, "="); i > 0 {
			kinds[word[:i]] = word[i+1:]
		}
	}
	return func(ctx context.Context, point string) error { return fault(ctx, point, kinds[point]) }
}

func fault(ctx context.Context, point, kind string) error {
	switch kind {
	case "":
		return nil
	case "error":
		return fmt.Errorf("injected at %s", point)
	case "enospc":
		return fmt.Errorf("injected at %s: %w", point, syscall.ENOSPC)
	case "hang":
		<-ctx.Done()
		return context.Cause(ctx)
	case "interrupt":
		_ = syscall.Kill(os.Getpid(), syscall.SIGINT)
		if ctx.Done() == nil {
			// The step ignores its context. The signal must arrive before the
			// step ends.
			time.Sleep(time.Second)
			return nil
		}
		<-ctx.Done()
		return context.Cause(ctx)
	case "stop":
		_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
		time.Sleep(10 * time.Millisecond) // other threads may be stopped first
		return nil
	case "kill":
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
	return fmt.Errorf("VIRT_GROW_FAULT: unknown kind %q at %s", kind, point)
}
