package image

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/virt-grow/virt-grow/plan"
)

// SetFormat sets the image's format to the given one; "" takes the one that the
// name ends in, and raw for a block device. The content never decides, because a
// guest controls it; it is only read to refuse a format that contradicts it.
func (img *Image) SetFormat(given string) error {
	format := given
	if format == "" {
		format = img.formatByName()
	}
	switch format {
	case "":
		return plan.Refuse(plan.FormatMissing, img.given, "the name of %s ends neither in .qcow2 nor in .raw, and the format is never guessed from the content", img.given)
	case "qcow2", "raw":
		img.Format = format
		return checkContent(img.given, img.Path, format)
	}
	return plan.Refuse(plan.FormatUnsupported, img.given, "cannot grow images of format %s: only qcow2 and raw", format)
}

func (img *Image) formatByName() string {
	switch strings.ToLower(filepath.Ext(img.given)) {
	case ".qcow2":
		return "qcow2"
	case ".raw":
		return "raw"
	}
	if img.Block {
		return "raw"
	}
	return ""
}

// magics are the first bytes of formats that a raw disk does not begin with.
var magics = []struct{ format, magic string }{
	{"qcow2", "QFI\xfb"}, {"vmdk", "KDMV"}, {"vhdx", "vhdxfile"}, {"qed", "QED\x00"},
}

// CheckContent refuses a format that contradicts the first bytes of the file.
func CheckContent(path, format string) error { return checkContent(path, path, format) }

// checkContent reads the file at path, and calls it name in its refusal.
func checkContent(name, path, format string) error {
	head, err := readHead(path, 8)
	if err != nil {
		return err
	}
	looks := ""
	for _, m := range magics {
		if strings.HasPrefix(string(head), m.magic) {
			looks = m.format
		}
	}
	switch {
	case format == "raw" && looks != "":
		stamp, err := StampOf(path)
		if err != nil {
			return err
		}
		return plan.Refuse(plan.FormatMismatch, name, "%s has the header of a %s image, but is configured as raw: as raw, the guest sees a disk of %d bytes, the size of the file", name, looks, stamp.Bytes)
	case format == "qcow2" && looks != "qcow2":
		return plan.Refuse(plan.FormatMismatch, name, "%s does not have the header of a qcow2 image", name)
	}
	return nil
}

// readHead reads the first n bytes of a file, or all of a shorter one.
func readHead(path string, n int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, n))
}

// descriptors are the names of volume descriptors of ISO 9660 and UDF.
var descriptors = []string{"CD001", "BEA01", "NSR02", "NSR03"}

// IsISO reports whether a file has a volume descriptor of ISO 9660 or UDF. They
// begin at sector 16, have 2048 bytes each, and their name follows the first byte
// (ECMA-119 §8.1, ECMA-167 part 2 §9.1).
func IsISO(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	for sector := range int64(4) {
		name := make([]byte, 5)
		if _, err := f.ReadAt(name, (16+sector)*2048+1); err != nil {
			if errors.Is(err, io.EOF) {
				return false, nil
			}
			return false, err
		}
		if slices.Contains(descriptors, string(name)) {
			return true, nil
		}
	}
	return false, nil
}
