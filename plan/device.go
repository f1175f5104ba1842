package plan

import (
	"fmt"
	"strings"

	"github.com/virt-grow/virt-grow/plan/size"
)

// The kinds of step that attach, detach and initialise disks and change media.
const (
	StepController StepKind = "controller" // add a SCSI controller
	StepDefine     StepKind = "define"     // change the definition for the next start
	StepPlug       StepKind = "plug"       // attach to the running guest
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

// WindowsDisk says how Windows initialises a new disk.
type WindowsDisk struct {
	Label string `json:"label,omitempty"`
	// Letter is the drive letter, "E"; "" is the next free one.
	Letter string `json:"letter,omitempty"`
}

// Script returns a script for PowerShell that brings the new disk online and, if the disk is
// empty, creates one NTFS. The new disk is the one with that size whose number is not among
// the known ones. The script prints the drive letter. It can be repeated: it does not format
// a volume that has a file system.
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
