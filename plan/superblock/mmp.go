package superblock

import (
	"bytes"
	"encoding/binary"

	"github.com/virt-grow/virt-grow/plan/size"
)

// MMPLen is how much of the block for multiple mount protection is read.
const MMPLen = 1024

const extIncompatMMP = 0x100

// Values of the sequence in that block (Linux, fs/ext4/ext4.h). Whoever has the file
// system mounted counts in the values below mmpFsck.
const (
	mmpMagic = 0x004d4d50
	mmpClean = 0xff4d4d50
	mmpFsck  = 0xe24d4d50
)

// MMPAt is where the block for multiple mount protection begins; ok is false when the
// file system has none within its bounds.
func (e *Ext) MMPAt() (at size.Bytes, ok bool) {
	ok = e.Incompat&extIncompatMMP != 0 && e.MMPBlock > e.FirstDataBlock && e.MMPBlock < e.Blocks
	return size.Bytes(e.MMPBlock * e.BlockSize), ok
}

// MMPState is what the multiple mount protection says.
type MMPState int

// MMPMounted is left behind, too, by a system that was not shut down; e2fsck waits
// whether the sequence goes on, and takes the file system over where it does not.
// MMPChecked is refused by e2fsck for good.
const (
	MMPClean MMPState = iota
	MMPMounted
	MMPChecked
)

// ReadMMP reads the block, and names the host that wrote it last. One that is none is
// left to e2fsck, which makes it anew.
func ReadMMP(b []byte) (state MMPState, host string) {
	le := binary.LittleEndian
	if len(b) < MMPLen || le.Uint32(b) != mmpMagic {
		return MMPClean, ""
	}
	host = string(bytes.SplitN(b[16:80], []byte{0}, 2)[0])
	switch sequence := le.Uint32(b[4:]); {
	case sequence == mmpClean:
		return MMPClean, host
	case sequence < mmpFsck:
		return MMPMounted, host
	}
	return MMPChecked, host
}
