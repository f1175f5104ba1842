package testimages

import (
	"encoding/binary"
	"fmt"
	"os"
)

// windowsTree is as much of a Windows Server system drive as inspection needs.
func windowsTree(r *random, img Image, v volume) []entry {
	es := []entry{
		{path: "Windows/"}, {path: "Windows/System32/"}, {path: "Windows/System32/config/"},
		{path: "Windows/System32/drivers/"}, {path: "Windows/System32/drivers/etc/"},
		{path: config + "SOFTWARE", data: writeHive(softwareHive())},
		{path: config + "SYSTEM", data: writeHive(systemHive(img, v))},
		{path: "Windows/System32/cmd.exe", data: peFile(r.bytes(200_000))},
		{path: "Windows/System32/ntoskrnl.exe", data: peFile(r.bytes(500_000))},
		{path: "Windows/System32/drivers/etc/hosts", data: []byte("127.0.0.1 localhost\r\n")},
		{path: "Windows/System32/drivers/viostor.sys", data: peFile(r.bytes(30_000))},
		{path: "Program Files/"}, {path: "Program Files/Common Files/"}, {path: "Users/"}, {path: "Users/Administrator/"},
	}
	for _, e := range dataTree(r) {
		e.path = "Users/Administrator/" + e.path
		es = append(es, e)
	}
	if v.Tree == "windows-hibernated" {
		// ntfs-3g: "hibr" at the start means a hibernated system.
		es = append(es, entry{path: "hiberfil.sys", data: append([]byte("hibr"), r.bytes(65532)...)})
	}
	return es
}

func softwareHive() *regKey {
	root := &regKey{name: "ROOT"}
	root.at(`Microsoft\Windows NT\CurrentVersion`).set(
		regString("ProductName", "Windows Server 2022 Standard"),
		regString("InstallationType", "Server"),
		regString("EditionID", "ServerStandard"),
		regString("CurrentVersion", "6.3"),
		regString("CurrentBuild", "20348"),
		regString("CurrentBuildNumber", "20348"),
		regNumber("CurrentMajorVersionNumber", 10),
		regNumber("CurrentMinorVersionNumber", 0),
		regString("SystemRoot", `C:\Windows`))
	root.at(`Microsoft\Windows\CurrentVersion\Uninstall`)
	return root
}

func systemHive(img Image, v volume) *regKey {
	root := &regKey{name: "ROOT"}
	root.at("Select").set(regNumber("Current", 1), regNumber("Default", 1), regNumber("Failed", 0), regNumber("LastKnownGood", 1))
	root.at(`ControlSet001\Services\Tcpip\Parameters`).set(regString("Hostname", "WIN-GROW"))
	root.at("MountedDevices").set(regValue{`\DosDevices\C:`, regBinary, driveID(img, v)})
	return root
}

// driveID returns how Windows remembers which partition has a drive letter.
func driveID(img Image, v volume) []byte {
	if img.Table == "mbr" {
		b := binary.LittleEndian.AppendUint32(nil, img.diskSignature())
		return binary.LittleEndian.AppendUint64(b, uint64(v.start))
	}
	for _, p := range img.Parts {
		if partName(p.Num) == v.Name {
			return append([]byte("DMIO:ID:"), guidBytes(p.GUID)...)
		}
	}
	panic("recipe: no partition " + v.Name)
}

// NTFS on disk

// ntfsBoot is what the zoo needs of an NTFS boot sector.
type ntfsBoot struct {
	cluster, mft, mirror, record int64 // bytes; mft and mirror from the volume's start
}

func readNTFSBoot(f *os.File, start int64) (ntfsBoot, error) {
	b := make([]byte, 512)
	if _, err := f.ReadAt(b, start); err != nil {
		return ntfsBoot{}, err
	}
	if string(b[3:11]) != "NTFS    " {
		return ntfsBoot{}, fmt.Errorf("no NTFS at %d", start)
	}
	le := binary.LittleEndian
	n := ntfsBoot{cluster: int64(le.Uint16(b[11:])) * int64(b[13])}
	n.mft, n.mirror = int64(le.Uint64(b[48:]))*n.cluster, int64(le.Uint64(b[56:]))*n.cluster
	if c := int8(b[64]); c < 0 {
		n.record = 1 << -c
	} else {
		n.record = int64(c) * n.cluster
	}
	return n, nil
}

// setNTFSDirty sets VOLUME_IS_DIRTY in $Volume, which is MFT record 3, and in
// its mirror.
func setNTFSDirty(f *os.File, start int64) error {
	n, err := readNTFSBoot(f, start)
	if err != nil {
		return err
	}
	for _, table := range []int64{n.mft, n.mirror} {
		at := start + table + 3*n.record
		rec := make([]byte, n.record)
		if _, err := f.ReadAt(rec, at); err != nil {
			return err
		}
		off, err := volumeFlags(rec)
		if err != nil {
			return err
		}
		if _, err := f.WriteAt([]byte{rec[off] | 1}, at+int64(off)); err != nil {
			return err
		}
	}
	return nil
}

// volumeFlags finds the flags of $VOLUME_INFORMATION (type 0x70) in a record.
func volumeFlags(rec []byte) (int, error) {
	le := binary.LittleEndian
	for at := int(le.Uint16(rec[20:])); at+24 < len(rec); {
		typ, size := le.Uint32(rec[at:]), int(le.Uint32(rec[at+4:]))
		if typ == 0x70 {
			return at + int(le.Uint16(rec[at+20:])) + 10, nil
		}
		if typ == 0xFFFFFFFF || size < 24 {
			break
		}
		at += size
	}
	return 0, fmt.Errorf("no $VOLUME_INFORMATION in the record of $Volume")
}

// setNTFSSerial replaces the random serial number mkntfs made up, in the boot
// sector and in its copy at the volume's end.
func setNTFSSerial(f *os.File, size int64, serial []byte) error {
	return writeAll(f, chunk{0x48, serial}, chunk{size - 512 + 0x48, serial})
}
