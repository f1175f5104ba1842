// Package superblock reads the first blocks of file systems: it returns the names of their
// features, and the size that their tools will give them on a device. It is pure: it gets
// bytes from a guest, which it does not trust, and writes nothing.
package superblock

import (
	"errors"
	"fmt"
	"strings"
)

// ErrNone reports that the bytes have no such superblock.
var ErrNone = errors.New("there is no superblock")

// bit is one feature.
type bit struct {
	mask uint64
	name string
}

// words returns the names of the bits that are set, unknown bits in hex.
func words(set uint64, known []bit) []string {
	var names []string
	for _, b := range known {
		if set&b.mask != 0 {
			names = append(names, b.name)
			set &^= b.mask
		}
	}
	if set != 0 {
		names = append(names, fmt.Sprintf("%#x", set))
	}
	return names
}

// Unknown are features that a kernel or a tool does not know.
type Unknown struct {
	// Names has the features' names, in hex if the name is not known.
	Names []string
	// Word is the class of the features: "incompatible", "read-only compatible",
	// "compatible".
	Word string
	Bits uint64
}

func (u Unknown) String() string {
	return fmt.Sprintf("%s (%s features %#x)", strings.Join(u.Names, ", "), u.Word, u.Bits)
}

// unknown returns the bits of set that the host does not know.
func unknown(word string, set, host uint64, named []bit) []Unknown {
	if set &^= host; set != 0 {
		return []Unknown{{Names: words(set, named), Word: word, Bits: set}}
	}
	return nil
}
