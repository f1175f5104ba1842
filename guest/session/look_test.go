package session

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/virt-grow/virt-grow/guest/appliance"
	"github.com/virt-grow/virt-grow/guest/block"
	"github.com/virt-grow/virt-grow/guest/image"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/journal"
	"github.com/virt-grow/virt-grow/plan/size"
)

// reader is a fake appliance that finds a file system on every disk.
type reader struct {
	fakeMachine
	content plan.Content
}

func (m reader) Probe(_ context.Context, disks ...size.Bytes) (*plan.Layout, error) {
	l := &plan.Layout{DiskLayout: plan.DiskLayout{Size: disks[0]}, Devices: []plan.Device{{Name: "sda", Content: m.content}}}
	return l, m.r.call("probe %s", disks[0])
}

func (m reader) Inspect(_ context.Context, l *plan.Layout) error {
	l.OS = &plan.OS{Product: "Debian"}
	return m.r.call("inspect")
}

func (m reader) ReadFstabs(context.Context, *plan.Layout) error { return m.r.call("read fstabs") }

func (m reader) FindMemoryImage(context.Context, *plan.Layout) error {
	return m.r.call("find memory image")
}

func (m reader) Hibernated(context.Context) (*plan.Refusal, error) {
	if err := m.r.call("hibernated"); err != nil {
		return plan.Refuse(plan.Hibernated, "sda", "%v", err), nil
	}
	return nil, nil
}

// reading returns a host whose appliances find that content.
func (r *recorder) reading(content plan.Content) *host {
	h := r.host()
	launch := h.launch
	h.launch = func(ctx context.Context, o appliance.Options) (*appliance.Appliance, machine, error) {
		_, _, err := launch(ctx, o)
		return nil, reader{fakeMachine{r: r}, content}, err
	}
	h.startGate = func(_ context.Context, dir string, to size.Bytes) (gate, appliance.Drive, journal.Proc, error) {
		return &fakeGate{r: r}, appliance.Drive{}, journal.Proc{}, r.call("gate %s", to)
	}
	return h
}

// inUse makes an image that a running guest uses, so that creating its overlay reads
// nothing.
func inUse(t *testing.T, name string, disk, sector size.Bytes) *image.Image {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	img := &image.Image{Size: disk, Access: block.Shared}
	img.Path, img.Format, img.SectorSize = path, "raw", sector
	return img
}

func TestRead(t *testing.T) {
	ctx := context.Background()
	closeness := func(c plan.Closeness) Inspection { return func(*plan.Layout) plan.Closeness { return c } }
	for name, c := range map[string]struct {
		inspect Inspection
		atRest  bool
		want    []string
	}{
		"contents only":  {closeness(0), false, []string{"probe 1 GiB"}},
		"fstabs":         {closeness(plan.LookAtFstab), false, []string{"probe 1 GiB", "read fstabs"}},
		"system":         {Always, false, []string{"probe 1 GiB", "inspect"}},
		"system at rest": {Always, true, []string{"probe 1 GiB", "inspect", "find memory image"}},
	} {
		r := &recorder{}
		s := &Session{vm: reader{fakeMachine: fakeMachine{r: r}}}
		read := s.Read
		if c.atRest {
			read = s.ReadAtRest
		}
		if _, err := read(ctx, c.inspect, size.GiB); err != nil || !slices.Equal(r.calls, c.want) {
			t.Errorf("%s: %v, %q", name, err, r.calls)
		}
	}
	r := &recorder{fail: map[string]error{"hibernated": errors.New("it sleeps")}}
	err := (&Session{vm: reader{fakeMachine: fakeMachine{r: r}}}).CheckNotHibernated(ctx)
	if refusal, ok := plan.IsRefusal(err); !ok || refusal.Reason != plan.Hibernated {
		t.Error(err)
	}
}

// TestLook checks that the usual state of a running guest's disk is no damage, and that
// the result is cached.
func TestLook(t *testing.T) {
	ctx := context.Background()
	dirty := plan.Content{Type: "ntfs", Problem: plan.Refuse(plan.NTFSDirty, "sda", "")}
	r, img, cache := &recorder{}, inUse(t, "a.raw", size.GiB, 512), OpenCache(t.TempDir())
	then := func(context.Context, *plan.Layout, *appliance.Appliance) error { return r.call("then") }
	l, err := Look(ctx, []Source{{Image: img}}, Options{host: r.reading(dirty)}, cache, Always, then)
	if err != nil || l.Devices[0].Content.Problem != nil {
		t.Errorf("%+v, %v", l, err)
	}
	want := []string{"gate 1 GiB", "launch", "open shared 0 look.qcow2", "refresh", "probe 1 GiB", "inspect", "then", "kill", "stop 0"}
	if !slices.Equal(r.calls, want) {
		t.Errorf("got  %q\nwant %q", r.calls, want)
	}
	if in := cache.Find(image.Stamps(img.Path, nil)); in == nil || in.OS != "Debian" {
		t.Errorf("in the cache: %+v", in)
	}
}

// TestLookAll checks that images with the same sector size share one appliance, which is
// large enough for all of them. The error of one image does not affect the others, and
// an appliance that cannot detach an image is replaced.
func TestLookAll(t *testing.T) {
	ctx := context.Background()
	images := func(t *testing.T) []*image.Image {
		return []*image.Image{inUse(t, "a.raw", size.GiB, 512), inUse(t, "b.raw", 3*size.GiB, 4096), inUse(t, "c.raw", 2*size.GiB, 512)}
	}
	failed := errors.New("no")
	one := func(probe string) []string {
		return []string{"open shared 0 look.qcow2", "refresh", probe, "inspect"}
	}
	let := []string{"settle", "shut 0"}
	end := []string{"kill", "stop 0"}
	for name, c := range map[string]struct {
		fail map[string]error
		errs []bool // for each image
		want []string
	}{
		"all": {nil, []bool{false, false, false}, slices.Concat(
			[]string{"gate 2 GiB", "launch"}, one("probe 1 GiB"), let, one("probe 2 GiB"), let, end,
			[]string{"gate 3 GiB", "launch"}, one("probe 3 GiB"), let, end)},
		"one cannot be read": {map[string]error{"probe 1 GiB": failed}, []bool{true, false, false}, slices.Concat(
			[]string{"gate 2 GiB", "launch"}, one("probe 1 GiB")[:3], let, one("probe 2 GiB"), let, end,
			[]string{"gate 3 GiB", "launch"}, one("probe 3 GiB"), let, end)},
		"one is not let go": {map[string]error{"settle": failed}, []bool{false, false, false}, slices.Concat(
			[]string{"gate 2 GiB", "launch"}, one("probe 1 GiB"), let[:1], end,
			[]string{"gate 2 GiB", "launch"}, one("probe 2 GiB"), let[:1], end,
			[]string{"gate 3 GiB", "launch"}, one("probe 3 GiB"), let[:1], end)},
	} {
		t.Run(name, func(t *testing.T) {
			r := &recorder{fail: c.fail}
			looks, err := LookAll(ctx, images(t), Options{host: r.reading(plan.Content{Type: "xfs"})}, nil)
			if err != nil {
				t.Fatal(err)
			}
			var errs []bool
			for _, look := range looks {
				errs = append(errs, look.Err != nil)
			}
			if !slices.Equal(errs, c.errs) || !slices.Equal(r.calls, c.want) {
				t.Errorf("errors %v\ngot  %q\nwant %q", errs, r.calls, c.want)
			}
		})
	}
	r := &recorder{fail: map[string]error{"launch": failed}}
	if _, err := LookAll(ctx, images(t), Options{host: r.reading(plan.Content{})}, nil); !errors.Is(err, failed) {
		t.Error(err)
	}
	if looks, err := LookAll(ctx, nil, Options{host: r.reading(plan.Content{})}, nil); err != nil || len(looks) != 0 {
		t.Errorf("no images: %v, %v", looks, err)
	}
}

func TestStartReadOnly(t *testing.T) {
	r := &recorder{}
	sources := []Source{{"vda", inUse(t, "a.raw", size.GiB, 512)}, {"vdb", inUse(t, "b.raw", 2*size.GiB, 512)}}
	s, err := StartReadOnly(context.Background(), sources, Options{host: r.host()})
	if err != nil {
		t.Fatal(err)
	}
	dir := s.Dir()
	if err := s.Close(); err != nil || image.Exists(dir) {
		t.Errorf("%v, or %s is left", err, dir)
	}
	want := []string{"gate 0 1 GiB", "gate 1 2 GiB", "open shared 0 look.qcow2", "open shared 1 look.qcow2", "launch", "kill", "stop 0", "stop 1"}
	if !slices.Equal(r.calls, want) {
		t.Errorf("got %q", r.calls)
	}
}
