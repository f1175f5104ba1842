package appliance

import (
	"context"
	"strconv"
	"strings"
)

// label returns a device's label; said is the output of blkid.
func (a *Appliance) label(ctx context.Context, name, said string) (string, error) {
	label := unescape(said)
	// Before util-linux 2.39, blkid prints bytes that are not ASCII as M-C and ^A,
	// which cannot be distinguished from a label with these letters.
	if !strings.Contains(label, "M-") && !strings.Contains(label, "^") {
		return label, nil
	}
	err := a.do(ctx, func() (e error) { label, e = a.g.Vfs_label(a.path(name)); return })
	return label, err
}

// unescape decodes a value of blkid's export format, which libguestfs uses: \x and two
// digits are a byte that cannot be printed, and a backslash quotes any other character
// (util-linux, misc-utils/blkid.c, safe_print).
func unescape(value string) string {
	var b strings.Builder
	for i := 0; i < len(value); i++ {
		if value[i] != '\\' || i+1 == len(value) {
			b.WriteByte(value[i])
			continue
		}
		i++
		if value[i] == 'x' && i+2 < len(value) {
			if n, err := strconv.ParseUint(value[i+1:i+3], 16, 8); err == nil {
				b.WriteByte(byte(n))
				i += 2
				continue
			}
		}
		b.WriteByte(value[i])
	}
	return b.String()
}
