package create

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
)

// domains is a fake libvirt, which fails with err if err is not nil.
type domains struct {
	users []domain.User
	err   error
}

func (d domains) Users(context.Context, string) ([]domain.User, error) { return d.users, d.err }

// TestSourceInUse checks that the disk of a running domain is not copied, unless the
// domain only reads it. The disk of a domain that is off is copied.
func TestSourceInUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.raw")
	if err := os.WriteFile(path, make([]byte, size.MiB), 0o600); err != nil {
		t.Fatal(err)
	}
	use := domain.User{Domain: "dev7", Live: true, Disk: domain.Disk{Target: "vda", Source: path, Format: "raw"}}
	with := func(change func(*domain.User)) []domain.User {
		changed := use
		change(&changed)
		return []domain.User{changed}
	}
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		libvirt Libvirt
		reason  plan.Reason
		err     error
	}{
		"no libvirt":  {},
		"running":     {libvirt: domains{users: []domain.User{use}}, reason: plan.InUse},
		"off":         {libvirt: domains{users: with(func(u *domain.User) { u.Live = false })}},
		"only reads":  {libvirt: domains{users: with(func(u *domain.User) { u.Disk.Fixed = true })}},
		"another one": {libvirt: domains{users: with(func(u *domain.User) { u.Disk.Source = "/b.raw" })}},
		"no answer":   {libvirt: domains{err: broken}, err: broken},
	} {
		_, err := openSource(t.Context(), path, ConvertOptions{Libvirt: c.libvirt})
		if r, refused := plan.IsRefusal(err); refused != (c.reason != "") || refused && r.Reason != c.reason || !refused && !errors.Is(err, c.err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestNoRoom checks that no job is begun if the new image does not fit.
func TestNoRoom(t *testing.T) {
	d := plan.NewDisk{Path: filepath.Join(t.TempDir(), "a.raw"), Format: "raw", Size: size.PiB, Prealloc: "full"}
	_, err := Disk(t.Context(), d, job.Options{}, Tools{})
	if r, _ := plan.IsRefusal(err); r == nil || r.Reason != plan.NoSpace {
		t.Error(err)
	}
}
