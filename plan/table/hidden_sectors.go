package table

import (
	"bytes"
	"math"

	"github.com/virt-grow/virt-grow/plan/size"
)

// Offsets in the boot sector of a FAT or NTFS volume: Microsoft, "FAT: General
// Overview of On-Disk Format" 1.03, and ntfs-3g's layout.h.
const (
	bpbSectorSize  = 0x0B
	bpbReserved    = 0x0E
	bpbHidden      = 0x1C
	bpbNTFSSectors = 0x28
	bpbFAT32Backup = 0x32
)

// HiddenSectors returns the boot sector of a volume that moved to another start, with the
// number of hidden sectors set to the new start: boot code finds the volume by it. ok is
// false, and nothing has to change, unless boot is an NTFS or FAT boot sector and the number
// matched from.
//
// Some tools count a logical volume's hidden sectors from its EBR. That number stays right if
// the EBR moves with the volume; otherwise a second call, with from and to relative to the
// EBR, corrects it.
//
// An exFAT volume is not changed. Its boot sector contains its start as well, but exFAT
// §3.1.5 requires implementations to accept any value, and a change would require new
// checksums in both boot regions.
func HiddenSectors(boot []byte, sector, from, to size.Bytes) (fixed []byte, ok bool) {
	fs := volumeKind(boot)
	if fs != "NTFS" && fs != "FAT" && fs != "FAT32" {
		return nil, false
	}
	old, okOld := sectorNumber(from, sector)
	now, okNow := sectorNumber(to, sector)
	if !okOld || !okNow || old == now || get32(boot[bpbHidden:]) != old {
		return nil, false
	}
	fixed = bytes.Clone(boot)
	put32(fixed[bpbHidden:], now)
	return fixed, true
}

// BackupBootSector returns the offset of the copy of the boot sector in a volume of the given
// size: FAT32 records it, NTFS has it right after the sectors that it counts as its own. ok
// is false if the volume has no copy, or it would not be a whole sector in the volume.
func BackupBootSector(boot []byte, sector, volume size.Bytes) (offset size.Bytes, ok bool) {
	var at uint64 // in the volume's own sectors
	switch volumeKind(boot) {
	case "NTFS":
		at = get64(boot[bpbNTFSSectors:])
	case "FAT32":
		at = uint64(get16(boot[bpbFAT32Backup:]))
		if at >= uint64(get16(boot[bpbReserved:])) { // 0xFFFF as well: none
			return 0, false
		}
	default:
		return 0, false
	}
	unit := size.Bytes(get16(boot[bpbSectorSize:]))
	if at == 0 || unit == 0 || sector <= 0 || volume < sector || at > uint64((volume-sector)/unit) {
		return 0, false
	}
	offset = size.Bytes(at) * unit
	return offset, offset%sector == 0
}

// volumeKind returns the file system of a boot sector, "" for another sector.
func volumeKind(boot []byte) string {
	if len(boot) < 512 || !bootSector(boot).signed() {
		return ""
	}
	return bootSector(boot).fileSystem()
}

func sectorNumber(at, sector size.Bytes) (number uint32, ok bool) {
	if sector <= 0 || at < 0 || at%sector != 0 || at/sector > math.MaxUint32 {
		return 0, false
	}
	return uint32(at / sector), true
}
