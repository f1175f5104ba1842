package domain

import (
	"errors"
	"strings"
	"testing"

	"libvirt.org/go/libvirt"
)

const (
	onImage   = definition
	imagePath = "/img/a & b.qcow2"
)

var onOverlay = strings.Replace(definition, "/img/a &amp; b.qcow2", "/img/overlay.qcow2", 1)

// Hooks for a commit: the job is complete, has failed or has been cancelled, and the
// pivot.
var (
	ready  hook = func(v *vm, _ int) error { v.job.Cur = v.job.End; return nil }
	vanish hook = func(v *vm, _ int) error { v.job = nil; return nil }
	pivots hook = func(v *vm, _ int) error { v.job, v.live = nil, onImage; return nil }
	noJob  hook = func(*vm, int) error {
		return failure(libvirt.ERR_INVALID_ARG, "no active block job on vda")
	}
	notReady hook = func(*vm, int) error {
		return failure(libvirt.ERR_BLOCK_COPY_ACTIVE, "block copy still active: not ready for pivot yet")
	}
)

// from calls a hook the nth time and every time after that.
func from(nth int, h hook) hook {
	return func(v *vm, n int) error {
		if n < nth {
			return nil
		}
		return h(v, n)
	}
}

// sequence calls one hook after another, and the last one for all later calls.
func sequence(hooks ...hook) hook {
	return func(v *vm, n int) error { return hooks[min(n, len(hooks))-1](v, n) }
}

func TestCommitLive(t *testing.T) {
	running := &libvirt.DomainBlockJobInfo{Type: libvirt.DOMAIN_BLOCK_JOB_TYPE_ACTIVE_COMMIT, End: 100}
	for _, c := range []struct {
		what  string
		live  string
		job   *libvirt.DomainBlockJobInfo
		hooks map[string]hook
		calls string
		err   string
	}{
		{"job ready, pivot", onOverlay, nil, map[string]hook{"job": from(4, ready), "pivot": pivots}, "commit pivot", ""},
		{"on the image already", onImage, nil, nil, "", ""},
		{"begun before", onOverlay, running, map[string]hook{"job": from(3, ready), "pivot": pivots}, "pivot", ""},
		{"not ready yet", onOverlay, nil, map[string]hook{"job": from(2, ready), "pivot": sequence(notReady, notReady, pivots)}, "commit pivot pivot pivot", ""},
		{"refused", onOverlay, nil, map[string]hook{"commit": noAgent}, "commit", "the live commit did not begin"},
		{"begun, and the answer is lost", onOverlay, nil, map[string]hook{
			"commit": sequence(func(v *vm, _ int) error { v.job = running; v.restart(0); return nil }, noAgent),
			"job":    from(3, ready), "pivot": pivots}, "commit commit pivot", ""},
		{"the job fails", onOverlay, nil, map[string]hook{"job": at(4, vanish)}, "commit", "ended without a pivot"},
		{"cancelled by somebody", onOverlay, nil, map[string]hook{"job": sequence(ignored, ready, vanish), "pivot": notReady}, "commit pivot", "ended without a pivot"},
		{"pivoted by somebody", onOverlay, nil, map[string]hook{"job": at(4, pivots)}, "commit", ""},
		{"the pivot fails", onOverlay, nil, map[string]hook{"job": from(2, ready), "pivot": noAgent}, "commit pivot", "not responding"},
		{"the daemon restarts in the middle", onOverlay, nil, map[string]hook{
			"job": sequence(ignored, ignored, func(v *vm, _ int) error { v.restart(2); return nil }, ready), "pivot": pivots}, "commit pivot", ""},
		{"the daemon restarts before the pivot", onOverlay, nil, map[string]hook{
			"job": from(2, ready), "pivot": sequence(func(v *vm, _ int) error { v.restart(0); return nil }, pivots)}, "commit pivot pivot", ""},
		{"pivoted, and the answer is lost", onOverlay, nil, map[string]hook{
			"job": from(2, ready), "pivot": sequence(func(v *vm, _ int) error { v.live, v.job = onImage, nil; v.restart(0); return nil }, noJob)}, "commit pivot pivot", ""},
		{"the guest stops in the middle", onOverlay, nil, map[string]hook{"job": at(4, func(v *vm, _ int) error { v.powerOff(); return errNotActive })}, "commit", "domain is not running"},
		{"the guest stops before the pivot", onOverlay, nil, map[string]hook{"job": from(2, ready), "pivot": func(v *vm, _ int) error { v.powerOff(); return errNotActive }}, "commit pivot", "domain is not running"},
	} {
		t.Run(c.what, func(t *testing.T) {
			d, v := fake(t, c.hooks)
			v.live = c.live
			if c.job != nil {
				job := *c.job
				v.job = &job
			}
			var most uint64
			err := d.CommitLive(t.Context(), "vda", imagePath, func(done, all uint64) { most = max(most, all) })
			wants(t, err, c.err)
			if got := v.called("commit", "pivot"); got != c.calls {
				t.Errorf("called %q, want %q", got, c.calls)
			}
			if errors.Is(err, ErrNotBegun) != (c.what == "refused") {
				t.Errorf("%v", err)
			}
			if err == nil && c.calls != "" && most != 100 && c.what != "pivoted by somebody" {
				t.Errorf("progress %d", most)
			}
		})
	}
}

// TestCommitCancelled checks that the job continues when the wait for it is cancelled.
func TestCommitCancelled(t *testing.T) {
	ctx, stop := cancelled(t, 3)
	d, v := fake(t, map[string]hook{"job": stop})
	v.live = onOverlay
	if err := d.CommitLive(ctx, "vda", imagePath, func(uint64, uint64) {}); !errors.Is(err, errStopped) {
		t.Errorf("%v", err)
	}
	if v.called("pivot") != "" || v.job == nil {
		t.Error("the job did not go on")
	}
}

func TestRedirect(t *testing.T) {
	d, v := fake(t, nil)
	wants(t, d.Redirect(t.Context(), []Overlay{{"vda", "/img/<x>.qcow2"}}), "")
	const want = "<domainsnapshot><disks>" +
		"<disk name='vda' snapshot='external' type='file'><driver type='qcow2'/><source file='/img/&lt;x&gt;.qcow2'/></disk>" +
		"<disk name='sda' snapshot='no'/></disks></domainsnapshot>"
	if v.sent["snapshot"] != want {
		t.Errorf("%s\nwant %s", v.sent["snapshot"], want)
	}
}
