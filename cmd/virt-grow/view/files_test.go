package view

import (
	"bytes"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/virt-grow/virt-grow/guest/appliance"
)

func TestListing(t *testing.T) {
	entries := []appliance.Entry{
		{Name: "bin", Mode: syscall.S_IFLNK | 0o777, Size: 7, Link: "usr/bin"},
		{Name: "su\x1b[2J", Mode: syscall.S_IFREG | 0o4755, UID: 0, GID: 42, Size: 123, Changed: time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC)},
		{Name: "tmp", Mode: syscall.S_IFDIR | 0o1777},
		{Name: "odd", Mode: syscall.S_IFCHR | 0o2640},
	}
	var out bytes.Buffer
	if err := Listing(&out, Style{}, entries, true); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"lrwxrwxrwx  0:0", "bin -> usr/bin", "-rwsr-xr-x  0:42    123  2024-02-29 12:00:00  su?[2J", "drwxrwxrwt", "crw-r-S---"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
	out.Reset()
	if err := Listing(&out, Style{}, entries, false); err != nil || out.String() != "bin\nsu?[2J\ntmp\nodd\n" {
		t.Errorf("%v %q", err, out.String())
	}
	out.Reset()
	if err := ListingJSON(&out, "dev7", "/", entries[1:2]); err != nil || !strings.Contains(out.String(), `"mode": "4755"`) || !strings.Contains(out.String(), `"virt-grow/ls/v1"`) {
		t.Errorf("%v %s", err, &out)
	}
}
