package memory

import (
	"slices"
	"strings"
	"testing"
)

func header(page int, signature string) []byte {
	head := make([]byte, HeaderSize)
	copy(head[page-10:], signature)
	return head
}

func TestSuspended(t *testing.T) {
	for page := 4 << 10; page <= 64<<10; page *= 2 {
		for _, signature := range []string{"S1SUSPEND\x00", "S2SUSPEND\x00", "ULSUSPEND\x00", "LINHIB0001", "\xed\xc3\x02\xe9\x98\x56\xe5\x0c"} {
			if !Suspended(header(page, signature)) {
				t.Errorf("%q at the end of a page of %d bytes is not seen", signature, page)
			}
		}
		if Suspended(header(page, "SWAPSPACE2")) {
			t.Errorf("an ordinary swap with pages of %d bytes", page)
		}
	}
	if Suspended(header(4096, "S1SUSPEND\x00")[:4095]) || Suspended(nil) || Suspended([]byte(strings.Repeat("S1SUSPEND", 3))) {
		t.Error("what is too short has no header")
	}
}

func TestSwapFiles(t *testing.T) {
	text := "UUID=1 / ext4 defaults 0 1\n/swapfile none swap sw 0 0\n/dev/vda3 none swap sw\n# /old none swap\n/data//swap\\040two none swap pri=1\n/../dev/vdb none swap\nLABEL=s none swap\n"
	if got := SwapFiles([]byte(text)); !slices.Equal(got, []string{"/swapfile", "/data/swap two"}) {
		t.Errorf("%q", got)
	}
	if got := UnitFile("[Swap]\nPriority=1\nWhat=/var/swap\n"); got != "/var/swap" {
		t.Errorf("%q", got)
	}
	if got := UnitFile("[Swap]\nWhat=/dev/vda3\n"); got != "" {
		t.Errorf("%q", got)
	}
}

func TestResumeOffsets(t *testing.T) {
	text := "GRUB_CMDLINE_LINUX_DEFAULT=\"quiet resume=UUID=1 resume_offset=34816\"\nlinux /vmlinuz resume_offset=34816 ro\nresume_offset=99999999999999999999 resume_offset=x resume_offset=5"
	if got := ResumeOffsets(text); !slices.Equal(got, []int64{34816, 5}) {
		t.Errorf("%v", got)
	}
	if got := ResumeOffsets(strings.Repeat("resume_offset=1", 99)); len(got) != 1 {
		t.Errorf("%v", got)
	}
}

func FuzzTexts(f *testing.F) {
	f.Add("/swapfile none swap sw\nWhat=/swap\nresume_offset=12")
	f.Fuzz(func(t *testing.T, text string) {
		for _, file := range append(SwapFiles([]byte(text)), UnitFile(text)) {
			if file != "" && (file[0] != '/' || file == "/" || strings.HasPrefix(file, "/dev/") || strings.Contains(file, "/../")) {
				t.Errorf("%q", file)
			}
		}
		for _, n := range ResumeOffsets(text) {
			if n <= 0 {
				t.Error(n)
			}
		}
		Suspended([]byte(text))
	})
}
