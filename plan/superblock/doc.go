// Package superblock reads the first blocks of file systems: which features they
// have, by name, and how big their own tools will make them on a device of a given
// size. It is pure: it gets bytes that a guest wrote, believes nothing of them, and
// computes. It writes nothing.
package superblock

import (
	"errors"
	"fmt"
	"strings"
)

// ErrNone reports that there is no such superblock in the bytes.
var ErrNone = errors.New("there is no superblock")

// bit is one feature.
type bit struct {
	mask uint64
	name string
}

// words names the bits that are set: those that are known by name, the rest in hex.
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
	// Names are the features' own, in hex where they have none here.
	Names []string
	// Word is the part of the superblock they are in: "incompatible",
	// "read-only compatible", "compatible".
	Word string
	Bits uint64
}

func (u Unknown) String() string {
	return fmt.Sprintf("%s (%s features %#x)", strings.Join(u.Names, ", "), u.Word, u.Bits)
}

// unknown returns the bits of a word that are not among those known to the host.
func unknown(word string, set, host uint64, named []bit) []Unknown {
	if set &^= host; set != 0 {
		return []Unknown{{Names: words(set, named), Word: word, Bits: set}}
	}
	return nil
}
