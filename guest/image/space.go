package image

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/virt-grow/virt-grow/guest/block"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
)

// CheckSpace refuses when there is too little free space for what is about to be
// written. needs has the number of bytes for each directory; directories on one
// file system need their space at the same time.
func CheckSpace(needs map[string]size.Bytes) error {
	return checkSpace(needs, block.Free, fileSystemOf)
}

func fileSystemOf(dir string) (uint64, error) {
	var s unix.Stat_t
	err := unix.Stat(dir, &s)
	return s.Dev, err
}

func checkSpace(needs map[string]size.Bytes, free func(string) (size.Bytes, error), fileSystem func(string) (uint64, error)) error {
	total := map[uint64]size.Bytes{}
	for _, dir := range slices.Sorted(maps.Keys(needs)) {
		id, err := fileSystem(dir)
		if err != nil {
			return fmt.Errorf("cannot read the free space in %s: %w", dir, err)
		}
		left, err := free(dir)
		if err != nil {
			return fmt.Errorf("cannot read the free space in %s: %w", dir, err)
		}
		if total[id] += needs[dir]; left < total[id] {
			return plan.Refuse(plan.NoSpace, dir, "not enough space in %s: about %s will be written, %s are free", dir, total[id], left)
		}
	}
	return nil
}

// minFree is the free space below which an edit is aborted.
const minFree = size.MiB

// WatchSpace ends the context when the file system of dir is full. The appliance
// would never report that: QEMU pauses a guest whose disk reports "no space", so
// that the user can free some (werror=enospc, the default), and the running call
// would wait for ever.
func WatchSpace(ctx context.Context, dir string) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	ticker := time.NewTicker(200 * time.Millisecond)
	go func() {
		defer ticker.Stop()
		watchSpace(ctx, dir, block.Free, ticker.C, cancel)
	}()
	return ctx, func() { cancel(nil) }
}

func watchSpace(ctx context.Context, dir string, free func(string) (size.Bytes, error), tick <-chan time.Time, cancel context.CancelCauseFunc) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick:
		}
		if left, err := free(dir); err == nil && left < minFree {
			cancel(fmt.Errorf("%s is almost full: %s are free, so the edit was stopped", dir, left))
			return
		}
	}
}
