package growth

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/virt-grow/virt-grow/guest/block"
	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
)

// snapshot is a snapshot of the guest's disk, with the files that it uses on this host.
type snapshot struct {
	domain.DiskSnapshot
	// Dir is the directory that was made for its socket; "" if the socket is in the
	// domain's own.
	Dir string `json:"dir,omitempty"`
	// Freezing reports that the guest's file systems may be frozen.
	Freezing bool `json:"freezing,omitempty"`
}

// liveDomain is what a snapshot needs of a running guest's domain.
type liveDomain interface {
	State(context.Context) (domain.State, error)
	// PlaceSocket returns a path where the domain's QEMU may create a socket.
	PlaceSocket(name string) (string, error)
	// BeginSnapshot exports a disk as it is at this moment, until EndSnapshot.
	// EndSnapshot may be called without a snapshot.
	BeginSnapshot(context.Context, domain.DiskSnapshot) error
	EndSnapshot(context.Context, domain.DiskSnapshot) error
	// Freeze makes the guest's agent stop writes to file systems, until Thaw.
	Freeze(context.Context) error
	Thaw(context.Context) error
}

// snapshotUse says how a snapshot is taken, for a rehearsal or for the check before a
// shutdown.
type snapshotUse struct {
	// quiesce, maxScratch and guard are as in RehearseOptions.
	quiesce    string
	maxScratch size.Bytes
	guard      func(uri, uuid string) (end func(thawed bool), err error)
	// refusal is the reason if no snapshot can be had, or if it has to be given up.
	refusal plan.Reason
}

// takeSnapshot takes the snapshot, while the guest's file systems are frozen if the use
// says so. It returns how long they were frozen.
func (g *growth) takeSnapshot(ctx context.Context, use snapshotUse) (frozen time.Duration, err error) {
	if err := g.placeSnapshot(); err != nil {
		return 0, err
	}
	if err := g.save(); err != nil {
		return 0, err
	}
	// Both calls are waited for, even after an interrupt: nothing would undo a freeze or
	// a snapshot that came later.
	whole := context.WithoutCancel(ctx)
	begun := time.Now()
	isFrozen, thaw, err := g.freeze(whole, use)
	if err != nil {
		return 0, err
	}
	if err = g.Fault(ctx, "view/before"); err == nil {
		err = g.live.BeginSnapshot(whole, g.data.Snapshot.DiskSnapshot)
	}
	if isFrozen {
		thawed := thaw()
		frozen = time.Since(begun)
		if thawed != nil {
			return frozen, errors.Join(err, fmt.Errorf("the guest's file systems stay frozen: %w", thawed))
		}
	}
	if ctx.Err() != nil {
		return frozen, context.Cause(ctx)
	}
	if err != nil {
		return frozen, plan.Refuse(use.refusal, g.Guest().Name, "cannot take a snapshot of disk %s of %s: %v", g.diskNames(), g.Guest().Name, err)
	}
	return frozen, nil
}

// placeSnapshot names the snapshot's files: a scratch file next to each overlay, the socket
// in the directory that libvirt lets the domain's QEMU write to. The fallback for both
// is the directory for temporary files, where a confined QEMU may not write.
func (g *growth) placeSnapshot() error {
	v := &snapshot{}
	var err error
	if v.Socket, err = g.live.PlaceSocket("virt-grow-" + g.ID() + ".sock"); err != nil {
		if v.Dir, err = g.temporaryForQEMU(); err != nil {
			return err
		}
		v.Socket = filepath.Join(v.Dir, "view.sock")
	}
	for i, e := range g.edited {
		d := domain.SnapshotDisk{Target: cmp.Or(e.Target, g.Guest().Disk), Scratch: e.Overlay + ".scratch"}
		if filepath.Dir(e.Overlay) == g.Dir() { // QEMU may not access the job's directory
			d.Scratch = strings.TrimSuffix(v.Socket, ".sock") + strings.Repeat("+", i) + ".scratch"
		}
		if i > 0 {
			v.More = append(v.More, d)
			continue
		}
		v.Target, v.Scratch = d.Target, d.Scratch
	}
	g.data.Snapshot = v
	return nil
}

// temporaryForQEMU makes a directory that belongs to the user that QEMU runs as, who is
// the image's owner.
func (g *growth) temporaryForQEMU() (string, error) {
	info, err := os.Stat(g.Target().Path)
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "virt-grow-")
	if err != nil {
		return "", err
	}
	stat := info.Sys().(*syscall.Stat_t)
	if err := os.Chown(dir, int(stat.Uid), int(stat.Gid)); err != nil && os.Geteuid() == 0 {
		return "", errors.Join(err, os.Remove(dir))
	}
	return dir, nil
}

// freeze freezes the guest's file systems, if the use says so and the agent can. If it
// returns frozen, the caller must call thaw.
func (g *growth) freeze(ctx context.Context, use snapshotUse) (frozen bool, thaw func() error, err error) {
	guest := g.Guest()
	if use.quiesce == "no" || !guest.Health.Agent {
		return false, nil, nil
	}
	end, err := use.guard(guest.Connect, guest.UUID)
	if err != nil {
		return false, nil, err
	}
	thaw = func() error {
		err := g.live.Thaw(ctx)
		end(err == nil)
		if err != nil {
			return err
		}
		return g.freezing(false)
	}
	if err := g.freezing(true); err != nil {
		end(true)
		return false, nil, err
	}
	if err = g.live.Freeze(ctx); err == nil {
		return true, thaw, nil
	}
	// After an error some file systems may still be frozen.
	if thawed := thaw(); thawed != nil {
		return false, nil, errors.Join(err, thawed)
	}
	if use.quiesce == "yes" {
		return false, nil, plan.Refuse(use.refusal, guest.Name, "--quiesce yes: the guest agent cannot freeze the file systems of %s: %v", guest.Name, err)
	}
	g.Note("the file systems are not frozen: %v", err)
	return false, nil, nil
}

// freezing saves whether the guest's file systems may be frozen.
func (g *growth) freezing(may bool) error {
	g.data.Snapshot.Freezing = may
	return g.save()
}

// watchScratch cancels the returned context when the scratch files exceed their limit: a
// full file system could pause the guest. stop ends the watch, and returns the largest size
// that was seen.
func (g *growth) watchScratch(ctx context.Context, use snapshotUse) (_ context.Context, stop func() size.Bytes, err error) {
	disks, limit := g.data.Snapshot.Disks(), use.maxScratch
	if limit == 0 {
		free, err := block.Free(filepath.Dir(disks[0].Scratch))
		if err != nil {
			return ctx, nil, err
		}
		limit = free / 2
	}
	ctx, cancel := context.WithCancelCause(ctx)
	ended := make(chan struct{})
	var largest size.Bytes
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			var used size.Bytes
			for _, d := range disks {
				allocated, _ := block.Allocated(d.Scratch) // 0 before libvirt has made it
				used += allocated
			}
			largest = max(largest, used)
			if used > limit {
				cancel(plan.Refuse(use.refusal, g.Guest().Name, "%s overwrote %s since the snapshot was taken, and the limit for what is kept of that is %s", g.Guest().Name, used, limit))
			}
			_ = domain.Sleep(ctx, 100*time.Millisecond)
		}
	}()
	return ctx, func() size.Bytes { cancel(nil); <-ended; return largest }, nil
}

// overlaySnapshot creates the overlays on the disks of the snapshot.
func (g *growth) overlaySnapshot(ctx context.Context) error {
	for i, d := range g.data.Snapshot.Disks() {
		o := &g.edited[i].Files
		o.Image, o.Format = g.data.Snapshot.URI(d.Target), "raw"
		if err := o.CreateShared(ctx, g.edited[i].NewSize); err != nil {
			return err
		}
	}
	return nil
}

// endSnapshot ends the snapshot, and removes its files. It can be called again.
func (g *growth) endSnapshot(ctx context.Context) error {
	v := g.data.Snapshot
	if v == nil {
		return nil
	}
	state, err := g.live.State(ctx)
	if err != nil {
		return err
	}
	var frozen error
	if state != domain.Off {
		if v.Freezing {
			if err := g.live.Thaw(ctx); err != nil {
				frozen = fmt.Errorf("the guest's file systems may be frozen (virsh domfsthaw %s): %w", g.Guest().Name, err)
			}
		}
		if err := g.live.EndSnapshot(ctx, v.DiskSnapshot); err != nil {
			return errors.Join(frozen, err)
		}
	}
	files := []string{v.Socket}
	for _, d := range v.Disks() {
		files = append(files, d.Scratch)
	}
	for _, file := range files {
		if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
			return errors.Join(frozen, err)
		}
	}
	if v.Dir == "" {
		return frozen
	}
	return errors.Join(frozen, os.RemoveAll(v.Dir))
}
