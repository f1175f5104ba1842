package live

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
)

// WindowsDisk is a disk of a Windows guest.
type WindowsDisk struct {
	Number       int
	Size, Sector size.Bytes
	// Style is "GPT", "MBR" or "RAW".
	Style, Serial string
	Parts         []WindowsPart
}

// WindowsPart is a partition of a WindowsDisk.
type WindowsPart struct {
	Number       int
	Offset, Size size.Bytes
	// Type is Windows' name of the type: "Basic", "Recovery", "IFS", "Extended".
	Type string
	// Letter is the drive letter: "C"; "" for none.
	Letter string
	// FS is "NTFS", "ReFS", "FAT32"; "" if Windows has no volume on it.
	FS string
}

// WindowsProbe returns the program with which PowerShell lists the disks of a Windows, and
// their partitions: one line for each, with fields separated by "|".
func WindowsProbe() string {
	return strings.Join([]string{
		"$ErrorActionPreference = 'Stop'",
		"Update-HostStorageCache",
		"foreach ($d in @(Get-Disk)) { " +
			`'disk|{0}|{1}|{2}|{3}|{4}' -f $d.Number, $d.Size, $d.LogicalSectorSize, $d.PartitionStyle, ([string]$d.SerialNumber -replace '[|\s]', ''); ` +
			"foreach ($p in @(Get-Partition -DiskNumber $d.Number -ErrorAction SilentlyContinue)) { " +
			"$v = $p | Get-Volume -ErrorAction SilentlyContinue; " +
			"'part|{0}|{1}|{2}|{3}|{4}|{5}' -f $p.PartitionNumber, $p.Offset, $p.Size, $p.Type, $p.DriveLetter, $v.FileSystem } }",
	}, "\n")
}

// ReadWindowsProbe reads the output of WindowsProbe.
func ReadWindowsProbe(text string) ([]WindowsDisk, error) {
	var disks []WindowsDisk
	for line := range strings.Lines(text) {
		// PowerShell 5 prints a missing drive letter as a NUL.
		fields := strings.Split(strings.TrimSpace(strings.ReplaceAll(line, "\x00", "")), "|")
		var numbers [3]int64
		for i := range numbers {
			if len(fields) < 6 {
				break
			}
			n, err := strconv.ParseInt(fields[i+1], 10, 64)
			if err != nil || n < 0 || i == 0 && n > 1<<16 {
				return nil, fmt.Errorf("the guest describes a disk as %.100q", line)
			}
			numbers[i] = n
		}
		switch {
		case fields[0] == "disk" && len(fields) == 6:
			disks = append(disks, WindowsDisk{Number: int(numbers[0]), Size: size.Bytes(numbers[1]), Sector: size.Bytes(numbers[2]), Style: fields[4], Serial: fields[5]})
		case fields[0] == "part" && len(fields) == 7 && len(disks) > 0:
			d := &disks[len(disks)-1]
			d.Parts = append(d.Parts, WindowsPart{Number: int(numbers[0]), Offset: size.Bytes(numbers[1]), Size: size.Bytes(numbers[2]), Type: fields[4], Letter: fields[5], FS: fields[6]})
		case fields[0] != "":
			return nil, fmt.Errorf("the guest describes a disk as %.100q", line)
		}
		if len(disks) > maxDevices || len(disks) > 0 && len(disks[len(disks)-1].Parts) > maxDevices {
			return nil, fmt.Errorf("the guest lists more than %d disks or partitions", maxDevices)
		}
	}
	if len(disks) == 0 {
		return nil, errors.New("the guest lists no disk")
	}
	return disks, nil
}

// WindowsDisks returns the disks with a size; only the disk that is meant, if its serial
// number identifies it.
func WindowsDisks(all []WindowsDisk, bytes size.Bytes, meant Disk) []WindowsDisk {
	fits := slices.DeleteFunc(slices.Clone(all), func(d WindowsDisk) bool { return d.Size != bytes })
	var known []Identity
	for _, d := range fits {
		known = append(known, Identity{Serial: d.Serial})
	}
	if i, err := Match(Identity{Serial: meant.Serial}, known); err == nil {
		return fits[i : i+1]
	}
	return fits
}

// Target returns the partition that grows when the disk gets size to: the one that where
// names ("D:"), or else C:, or the only volume that can grow. It refuses a partition that
// Windows cannot extend.
func (w WindowsDisk) Target(where string, to size.Bytes) (WindowsPart, error) {
	p, err := w.choose(where)
	if err != nil {
		return p, err
	}
	name := w.called(p)
	for _, o := range w.Parts {
		if isExtended(o) && o.Offset < p.Offset && p.Offset < o.Offset+o.Size {
			return p, plan.Refuse(plan.UnsupportedLayout, name, "%s in Windows is a logical drive: it can only be extended while the guest is off", name)
		}
		if o.Offset > p.Offset {
			return p, plan.Refuse(plan.ImmovableNeighbor, name, "%s is behind %s in Windows, and can only be moved while the guest is off", w.describe(o), name)
		}
	}
	sector := max(w.Sector, 512)
	if limit := sector << 32; w.Style != "GPT" && to > limit {
		return p, plan.Refuse(plan.MBRLimit, name, "the disk of %s becomes %s: its MBR is limited to %s", name, to, limit)
	}
	return p, nil
}

func isExtended(p WindowsPart) bool { return strings.Contains(p.Type, "Extended") }

// choose returns the partition that where means.
func (w WindowsDisk) choose(where string) (WindowsPart, error) {
	extends := func(p WindowsPart) bool {
		return p.Letter != "" && (strings.EqualFold(p.FS, "NTFS") || strings.EqualFold(p.FS, "ReFS"))
	}
	letter := letterOf(where)
	var found []WindowsPart
	for _, p := range w.Parts {
		switch {
		case where != "" && p.Letter != "" && strings.EqualFold(p.Letter, letter):
			if !extends(p) {
				return p, plan.Refuse(plan.UnknownContent, where, "%s in Windows holds %s, which Windows does not extend", w.called(p), orNothing(p.FS))
			}
			return p, nil
		case where == "" && strings.EqualFold(p.Letter, "C") && extends(p):
			return p, nil
		case extends(p):
			found = append(found, p)
		}
	}
	switch {
	case where != "" && len(found) == 1 && found[0].Letter == Unknown:
		found[0].Letter = strings.ToUpper(letter) // the script checks it
		return found[0], nil
	case where != "":
		return WindowsPart{}, plan.Refuse(plan.NotFound, where, "there is no drive %s on this disk in Windows", where)
	case len(found) == 1:
		return found[0], nil
	case len(found) == 0:
		return WindowsPart{}, plan.Refuse(plan.UnknownContent, "", "nothing on disk %d in Windows can be extended: it has no drive letter with NTFS or ReFS", w.Number)
	}
	var names []string
	for _, p := range found {
		names = append(names, w.called(p))
	}
	return WindowsPart{}, plan.Refuse(plan.AmbiguousTarget, "", "several drives could grow: %s", strings.Join(names, ", "))
}

// letterOf returns the letter of a drive name like "D:" or "D:\".
func letterOf(where string) string { return strings.TrimSuffix(strings.TrimSuffix(where, `\`), ":") }

func orNothing(fs string) string {
	if fs == "" {
		return "unknown content"
	}
	return fs
}

// called returns a partition's name for people.
func (w WindowsDisk) called(p WindowsPart) string {
	if p.Letter != "" && p.Letter != Unknown {
		return p.Letter + ":"
	}
	return fmt.Sprintf("partition %d of disk %d", p.Number, w.Number)
}

func (w WindowsDisk) describe(p WindowsPart) string {
	if p.Type == "" {
		return w.called(p)
	}
	return fmt.Sprintf("%s (%s)", w.called(p), p.Type)
}

// WindowsFromLayout returns the disk of a Windows from the layout of its image.
func WindowsFromLayout(l *plan.Layout) WindowsDisk {
	w := WindowsDisk{Size: l.Size, Sector: l.Sector}
	if l.Table != nil {
		w.Style = strings.ToUpper(string(l.Table.Kind))
	}
	for _, d := range l.Devices {
		if d.Kind != plan.Partition {
			continue
		}
		p := WindowsPart{Number: d.Number, Offset: d.Start, Size: d.Size, Type: d.Type, FS: strings.ToUpper(d.Content.Type)}
		if d.Content.Type == "BitLocker" {
			p.FS = "NTFS" // Windows extends a BitLocker volume that is unlocked
		}
		recovery := d.Content.Role == plan.RoleWindowsRecovery || strings.Contains(d.Type, "recovery")
		if l.OS == nil && p.FS == "NTFS" && !recovery {
			p.Letter = Unknown // another disk stores the drive letters
		}
		if d.Extended {
			p.Type = "Extended"
		}
		for _, at := range d.Content.Mounted {
			if letter, ok := strings.CutSuffix(at, ":"); ok && len(letter) == 1 {
				p.Letter = letter
			}
		}
		w.Parts = append(w.Parts, p)
	}
	return w
}

// WindowsScript returns the PowerShell script for a Windows whose disk has grown to a size.
// The script finds the disk by that size, and extends the last partition and its volume, if
// its drive letter is letter ("C"; "" if the letter is not known). Its output is for people.
func WindowsScript(disk size.Bytes, letter string) string {
	lines := []string{
		"$ErrorActionPreference = 'Stop'",
		fmt.Sprintf("for ($i = 0; $i -lt 20; $i++) { Update-HostStorageCache; $d = @(Get-Disk | Where-Object Size -eq %d); if ($d.Count -gt 0) { break }; Start-Sleep -Milliseconds 500 }", int64(disk)),
		fmt.Sprintf("if ($d.Count -ne 1) { throw ('{0} disks have %d bytes' -f $d.Count) }", int64(disk)),
		"$p = $d[0] | Get-Partition | Sort-Object Offset | Select-Object -Last 1",
		"if (-not $p.DriveLetter) { throw ('the last partition of disk {0} has no drive letter (type {1})' -f $d[0].Number, $p.Type) }",
	}
	if len(letter) == 1 && isLetter(letter[0]) {
		lines = append(lines, fmt.Sprintf("if ($p.DriveLetter -ne '%s') { throw ('the last partition of disk {0} is {1}:, not %s:' -f $d[0].Number, $p.DriveLetter) }", letter, letter))
	}
	return strings.Join(append(lines,
		"$to = ($p | Get-PartitionSupportedSize).SizeMax",
		"if ($p.Size -lt $to) { $p | Resize-Partition -Size $to }",
		"'{0}: has {1} bytes' -f $p.DriveLetter, $to"), "\n")
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

// RebootOnly reports whether a guest sees the new size of a disk on this bus only after a
// reboot.
func RebootOnly(bus string) bool { return bus == "ide" || bus == "sata" || bus == "fdc" }
