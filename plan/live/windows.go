package live

import (
	"fmt"
	"strings"

	"github.com/virt-grow/virt-grow/plan/size"
)

// WindowsScript is what PowerShell runs in a Windows whose disk has got that size: it
// finds the disk by it, and extends the last partition with the volume on it. Of a
// recovery partition it is no use to move the end. What it prints is for people.
func WindowsScript(disk size.Bytes) string {
	return strings.Join([]string{
		"$ErrorActionPreference = 'Stop'",
		fmt.Sprintf("for ($i = 0; $i -lt 20; $i++) { Update-HostStorageCache; $d = @(Get-Disk | Where-Object Size -eq %d); if ($d.Count -gt 0) { break }; Start-Sleep -Milliseconds 500 }", int64(disk)),
		fmt.Sprintf("if ($d.Count -ne 1) { throw ('{0} disks have %d bytes' -f $d.Count) }", int64(disk)),
		"$p = $d[0] | Get-Partition | Sort-Object Offset | Select-Object -Last 1",
		"if (-not $p.DriveLetter) { throw ('the last partition of disk {0} has no drive letter (type {1})' -f $d[0].Number, $p.Type) }",
		"$to = ($p | Get-PartitionSupportedSize).SizeMax",
		"if ($p.Size -lt $to) { $p | Resize-Partition -Size $to }",
		"'{0}: has {1} bytes' -f $p.DriveLetter, $to",
	}, "\n")
}

// RebootOnly says whether a guest notices the new size of a disk on that bus only
// when it starts.
func RebootOnly(bus string) bool { return bus == "ide" || bus == "sata" || bus == "fdc" }
