package superblock

import (
	"bytes"
	"encoding/binary"

	"github.com/virt-grow/virt-grow/plan/size"
)

// MMPLen is how much of the block for multiple mount protection is read.
const MMPLen = 1024

const extIncompatMMP = 0x100

// Values of the sequence in that block (Linux, fs/ext4/ext4.h). A kernel that has the file
// system mounted counts through the values below mmpFsck.
const (
	mmpMagic = 0x004d4d50
	mmpClean = 0xff4d4d50
	mmpFsck  = 0xe24d4d50
)

// MMPAt returns the offset of the block for multiple mount protection; ok is false if the
// file system has no such block within its bounds.
func (e *Ext) MMPAt() (at size.Bytes, ok bool) {
	ok = e.Incompat&extIncompatMMP != 0 && e.MMPBlock > e.FirstDataBlock && e.MMPBlock < e.Blocks
	return size.Bytes(e.MMPBlock * e.BlockSize), ok
}

// MMPState is the state in the multiple mount protection.
type MMPState int

// A system that was not shut down also leaves MMPMounted: e2fsck waits whether the sequence
// changes, and continues if it does not. For MMPChecked, e2fsck always refuses.
const (
	MMPClean MMPState = iota
	MMPMounted
	MMPChecked
)

// ReadMMP reads the block, and returns the state and the host that wrote it last. It
// ignores an invalid block, which e2fsck creates anew.
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
