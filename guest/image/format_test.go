package image

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/virt-grow/virt-grow/plan"
)

func TestIsISO(t *testing.T) {
	for name, c := range map[string]struct {
		at   int
		text string
		want bool
	}{
		"iso9660": {16*2048 + 1, "CD001", true}, "udf": {17*2048 + 1, "NSR02", true},
		"disk": {0, "QFI\xfb", false}, "elsewhere": {1, "CD001", false},
	} {
		text := make([]byte, 64<<10)
		copy(text[c.at:], c.text)
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := IsISO(path); err != nil || got != c.want {
			t.Errorf("%s: %v %v", name, got, err)
		}
		if err := os.Truncate(path, 100); err != nil {
			t.Fatal(err)
		}
		if got, err := IsISO(path); err != nil || got {
			t.Errorf("%s, cut off: %v %v", name, got, err)
		}
	}
}

// TestSetFormat checks that the given format or the name decides, and that contradicting
// content is refused.
func TestSetFormat(t *testing.T) {
	for name, c := range map[string]struct {
		file, content, given string
		block                bool
		format               string
		reason               plan.Reason
	}{
		"by name":              {file: "a.qcow2", content: "QFI\xfb", format: "qcow2"},
		"by name, raw":         {file: "a.RAW", content: "boot", format: "raw"},
		"given":                {file: "a.img", content: "QFI\xfb", given: "qcow2", format: "qcow2"},
		"given over the name":  {file: "a.qcow2", content: "boot", given: "raw", format: "raw"},
		"block device":         {file: "vda", content: "boot", block: true, format: "raw"},
		"no name, not given":   {file: "a.img", content: "QFI\xfb", reason: plan.FormatMissing},
		"not supported":        {file: "a.vmdk", given: "vmdk", content: "KDMV", reason: plan.FormatUnsupported},
		"raw that is qcow2":    {file: "a.raw", content: "QFI\xfb", reason: plan.FormatMismatch},
		"raw that is vmdk":     {file: "a.raw", content: "KDMV", reason: plan.FormatMismatch},
		"raw that is vhdx":     {file: "a.raw", content: "vhdxfile", reason: plan.FormatMismatch},
		"qcow2 that is not":    {file: "a.qcow2", content: "boot", reason: plan.FormatMismatch},
		"qcow2 that is empty":  {file: "a.qcow2", reason: plan.FormatMismatch},
		"raw of a few bytes":   {file: "a.raw", content: "QF", format: "raw"},
		"raw that is empty":    {file: "a.raw", format: "raw"},
		"upper case is a name": {file: "a.QCOW2", content: "QFI\xfb", format: "qcow2"},
	} {
		path := filepath.Join(t.TempDir(), c.file)
		if err := os.WriteFile(path, []byte(c.content), 0o600); err != nil {
			t.Fatal(err)
		}
		img, err := Locate(path)
		if err != nil {
			t.Fatal(err)
		}
		img.Block = c.block
		err = img.SetFormat(c.given)
		refusal, _ := plan.IsRefusal(err)
		if img.Format != c.format && c.reason == "" || (refusal == nil) != (c.reason == "") || refusal != nil && refusal.Reason != c.reason {
			t.Errorf("%s: %q, %v", name, img.Format, err)
		}
	}
}
