package plan

import (
	"fmt"
	"strings"

	"github.com/virt-grow/virt-grow/plan/size"
)

// The kinds of step of a data disk's life, and of a medium's.
const (
	StepController StepKind = "controller" // in the definition, or the running guest
	StepDefine     StepKind = "define"     // in the definition the guest is started with
	StepPlug       StepKind = "plug"       // into the running guest
	StepSeen       StepKind = "seen"       // by the guest
	StepInitialise StepKind = "initialise" // by Windows
	StepFstab      StepKind = "fstab"      // a line that comes or goes
	StepMount      StepKind = "mount"
	StepUnmount    StepKind = "unmount"
	StepUnplug     StepKind = "unplug"
	StepUndefine   StepKind = "undefine"
	StepDelete     StepKind = "delete" // the image
	StepMedium     StepKind = "medium" // in the definition, or the running guest
)

// WindowsDisk is what Windows is to make of a new disk.
type WindowsDisk struct {
	Label string `json:"label,omitempty"`
	// Letter is the drive's, "E"; "" is the next free one.
	Letter string `json:"letter,omitempty"`
}

// Script has Windows bring the disk online and, if there is nothing on it, make one
// NTFS. It is the one that is not among those known before, by number, and has that
// size. What it prints is the drive's letter. Run a second time it does what is
// left: a volume that has a file system is not formatted.
func (w WindowsDisk) Script(known []int, disk size.Bytes) string {
	letter := "-AssignDriveLetter"
	if w.Letter != "" {
		letter = "-DriveLetter " + w.Letter
	}
	return strings.Join([]string{
		"$ErrorActionPreference = 'Stop'",
		"Update-HostStorageCache",
		fmt.Sprintf("$d = @(Get-Disk | Where-Object { $_.Number -notin @(%s) -and $_.Size -eq %d })", numbers(known), int64(disk)),
		"if ($d.Count -ne 1) { throw \"$($d.Count) disks could be the new one\" }",
		"$n = $d[0].Number",
		"if ($d[0].IsOffline) { Set-Disk -Number $n -IsOffline $false }",
		"if ($d[0].IsReadOnly) { Set-Disk -Number $n -IsReadOnly $false }",
		"if ((Get-Disk -Number $n).PartitionStyle -eq 'RAW') { Initialize-Disk -Number $n -PartitionStyle GPT }",
		"$p = Get-Partition -DiskNumber $n -ErrorAction SilentlyContinue | Where-Object Type -ne 'Reserved' | Select-Object -First 1",
		"if (-not $p) { $p = New-Partition -DiskNumber $n -UseMaximumSize " + letter + " }",
		fmt.Sprintf("if (-not ($p | Get-Volume).FileSystem) { $p | Format-Volume -FileSystem NTFS -NewFileSystemLabel '%s' -Confirm:$false | Out-Null }", strings.ReplaceAll(w.Label, "'", "''")),
		"(Get-Partition -DiskNumber $n -PartitionNumber $p.PartitionNumber).DriveLetter",
	}, "\n")
}

func numbers(list []int) string {
	return strings.Trim(strings.Join(strings.Fields(fmt.Sprint(list)), ","), "[]")
}
