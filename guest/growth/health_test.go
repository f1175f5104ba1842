package growth

import (
	"errors"
	"testing"
	"time"

	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
)

func TestSizeSeen(t *testing.T) {
	const G = size.GiB
	grew := plan.Step{Kind: plan.StepFS, Content: "ext4", From: 10 * G, To: 20 * G}
	root := func(total size.Bytes) domain.FS { return domain.FS{MountPoint: "/", Type: "ext4", Total: total} }
	data := func(total size.Bytes) domain.FS { return domain.FS{MountPoint: "/data", Type: "ext4", Total: total} }
	boot := domain.FS{MountPoint: "/boot", Type: "ext4", Total: G}
	for _, c := range []struct {
		name          string
		mounted       []string
		before, after []domain.FS
		ok            bool
	}{
		{"grown", nil, []domain.FS{boot, root(97 * G / 10)}, []domain.FS{boot, root(195 * G / 10)}, true},
		{"not grown", nil, []domain.FS{boot, root(97 * G / 10)}, []domain.FS{boot, root(97 * G / 10)}, false},
		{"half grown", nil, []domain.FS{root(97 * G / 10)}, []domain.FS{root(15 * G)}, false},
		{"gone", nil, []domain.FS{root(97 * G / 10)}, []domain.FS{boot}, false},
		{"never mounted", nil, []domain.FS{boot}, []domain.FS{boot}, true},
		{"no sizes", nil, []domain.FS{{MountPoint: "/", Type: "ext4"}}, nil, true},
		{"two alike, one grown", nil, []domain.FS{data(97 * G / 10), root(97 * G / 10)}, []domain.FS{data(97 * G / 10), root(195 * G / 10)}, true},
		{"two alike, the other grown", []string{"/"}, []domain.FS{data(97 * G / 10), root(97 * G / 10)}, []domain.FS{data(195 * G / 10), root(97 * G / 10)}, false},
		{"nothing known", nil, nil, []domain.FS{root(195 * G / 10)}, true},
	} {
		if err := sizeSeen(grew, c.mounted, c.before, c.after); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if !sameType("ntfs", "NTFS") || !sameType("ntfs", "ntfs3") || !sameType("ntfs", "fuseblk") || sameType("xfs", "ext4") {
		t.Error("types are not told apart")
	}
}

func TestWindow(t *testing.T) {
	now := time.Date(2026, 5, 4, 3, 50, 0, 0, time.UTC)
	g := &plan.Guest{Name: "dev7", Running: true, Trial: true}
	p := &plan.Plan{Target: plan.Target{Guest: g}, Steps: []plan.Step{
		{Kind: plan.StepShutdown, Seconds: 60}, {Kind: plan.StepFS, Seconds: 30},
		{Kind: plan.StepStart, Seconds: 60}, {Kind: plan.StepHealth, Seconds: 60}, {Kind: plan.StepPivot, Seconds: 1000}}}
	for _, c := range []struct {
		name string
		w    Window
		fits bool
	}{
		{"none", Window{}, true},
		{"end", Window{End: now.Add(10 * time.Minute)}, true},
		{"end too soon", Window{End: now.Add(5 * time.Minute)}, false},
		{"end passed", Window{End: now.Add(-time.Minute)}, false},
		{"outage", Window{Max: 6 * time.Minute}, true},
		{"no room for a rollback", Window{Max: 5 * time.Minute}, false},
		{"the shorter counts", Window{End: now.Add(time.Hour), Max: time.Minute}, false},
	} {
		err := c.w.Fits(p, now)
		if r, refused := plan.IsRefusal(err); (err == nil) != c.fits || err != nil && (!refused || r.Reason != plan.Window) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// TestExcused checks that an agent has to list file systems only if it could before the
// outage.
func TestExcused(t *testing.T) {
	before := []domain.FS{{MountPoint: "/", Type: "xfs", Total: size.GiB}}
	unknown := errors.New("internal error: unable to execute QEMU agent command 'guest-get-fsinfo': The command guest-get-fsinfo has not been found")
	disabled := errors.New("Requested operation is not valid: Command guest-get-fsinfo has been disabled for this instance")
	stub := errors.New("guest agent command failed: this feature or command is not currently supported")
	broken := errors.New("failed to get the block device of /")
	for _, c := range []struct {
		name string
		data growthData
		err  error
		want bool
	}{
		{"unknown, never asked", growthData{}, unknown, true},
		{"disabled, never asked", growthData{}, disabled, true},
		{"not for this system", growthData{}, stub, true},
		{"broken, never asked", growthData{}, broken, false},
		{"broken before, too", growthData{Unlisted: true}, broken, true},
		{"disabled before, too", growthData{Unlisted: true}, disabled, true},
		{"it could before", growthData{Before: before}, disabled, false},
		{"it could before, and fails", growthData{Before: before}, broken, false},
	} {
		if got := c.data.excused(c.err); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
