package plan_test

import (
	"bytes"
	"testing"

	"github.com/virt-grow/virt-grow/plan"
)

// FuzzRead checks that any plan file can be read without a crash, because plan files may
// come from other people, and that an accepted one can be written and read again.
func FuzzRead(f *testing.F) {
	for _, l := range []*plan.Layout{cloud(), volumes(), vault(true)} {
		p, err := plan.Build(l, target, request("+10G", grown(l)))
		if err != nil {
			f.Fatal(err)
		}
		var text bytes.Buffer
		if err := p.Write(&text); err != nil {
			f.Fatal(err)
		}
		f.Add(text.Bytes())
	}
	f.Add([]byte(`{"schema":"virt-grow/plan/v1"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := plan.Read(bytes.NewReader(data))
		if err != nil {
			return
		}
		_ = p.Duration()
		var text bytes.Buffer
		if err := p.Write(&text); err != nil {
			t.Fatalf("read but not written: %v", err)
		}
		if _, err := plan.Read(&text); err != nil {
			t.Fatalf("written but not read: %v", err)
		}
	})
}

// FuzzWords parses any sizes and targets that users may type.
func FuzzWords(f *testing.F) {
	for _, s := range []string{"30G", "+10G", "fill", "1.5TiB", "9999999999P", "/data=+1G", "UUID=a=b", "none", "C:", "60%", "/data=100%"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if a, err := plan.ParseAmount(s); err == nil && (a.Bytes < 0 || a.Mode != plan.Fill && a.Bytes == 0 && a.Percent == 0) {
			t.Fatalf("%q became %v", s, a)
		}
		w, err := plan.ParseGrowTarget(s)
		if err != nil {
			return
		}
		if w.Name == "" {
			t.Fatalf("%q names nothing", s)
		}
		l := cloud()
		r := plan.Request{Size: plan.Amount{Mode: plan.Fill}, Grow: []plan.GrowTarget{w}}
		if p, err := plan.Build(l, target, r); err == nil && p.NewSize < l.Size {
			t.Fatalf("%q shrinks", s)
		}
	})
}
