package table

import (
	"encoding/binary"
	"fmt"
	"strings"
	"unicode/utf16"
)

// Both formats are little-endian throughout.
var (
	get16 = binary.LittleEndian.Uint16
	get32 = binary.LittleEndian.Uint32
	get64 = binary.LittleEndian.Uint64
	put32 = binary.LittleEndian.PutUint32
	put64 = binary.LittleEndian.PutUint64
)

// guidText returns a GUID as text. The first three fields are little-endian on disk (UEFI
// 2.10 appendix A).
func guidText(b []byte) string {
	return strings.ToUpper(fmt.Sprintf("%08x-%04x-%04x-%x-%x",
		get32(b), get16(b[4:]), get16(b[6:]), b[8:10], b[10:16]))
}

// nameText decodes UTF-16 up to the first NUL. Unpaired surrogates become
// U+FFFD.
func nameText(b []byte) string {
	var units []uint16
	for ; len(b) >= 2; b = b[2:] {
		unit := get16(b)
		if unit == 0 {
			break
		}
		units = append(units, unit)
	}
	return string(utf16.Decode(units))
}
