package plan

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/virt-grow/virt-grow/plan/size"
	"github.com/virt-grow/virt-grow/plan/table"
)

// NTFSWay says who grows an NTFS.
type NTFSWay string

// The two ways. The request has "" for offline.
const (
	NTFSOffline NTFSWay = "offline" // ntfsresize, on the overlay
	NTFSGuest   NTFSWay = "guest"   // Windows itself, after its start
)

// Windows extends a partition together with its NTFS, while the NTFS is in use. The same
// command does not extend an NTFS that is smaller than its partition. So the partition
// keeps its size offline, and only gets free space behind it.

// byGuest reports whether Windows itself grows the volume.
func (b *builder) byGuest(d *Device) bool {
	return b.request.NTFS == NTFSGuest && d.Content.Type == "ntfs"
}

// guestCan refuses --ntfs guest if Windows could not extend the target.
func (b *builder) guestCan(goals []goal) error {
	if b.request.NTFS != NTFSGuest {
		return nil
	}
	i := slices.IndexFunc(goals, func(g goal) bool { return b.byGuest(g.Device) })
	if i < 0 {
		return Refuse(UnsupportedLayout, goals[0].Name, "--ntfs guest: %s is not NTFS (%s)", goals[0].Name, contentName(goals[0].Content.Type))
	}
	if g := goals[i]; g.Kind != Partition {
		return Refuse(UnsupportedLayout, g.Name, "--ntfs guest: Windows extends only partitions, and %s is not one", g.Name)
	}
	return nil
}

// leave removes the partitions that Windows extends from ends, and records the sizes that
// they can have.
func (b *onDisk) leave(ends []End, goals []goal) []End {
	var kept []End
	for _, e := range ends {
		i := slices.IndexFunc(goals, func(g goal) bool { return b.isOn(g.Device) && g.Number == e.Number && b.byGuest(g.Device) })
		if i < 0 {
			kept = append(kept, e)
			continue
		}
		d := goals[i].Device
		start := d.Start
		if e.Start != 0 {
			start = e.Start
			kept = append(kept, End{Number: e.Number, Start: e.Start, End: e.Start + d.Size})
		}
		b.extensions = append(b.extensions, extension{device: d, start: start, to: e.End - start})
	}
	return kept
}

// extension is a partition that Windows extends, with its start on the disk.
type extension struct {
	device    *Device
	start, to size.Bytes
}

// extend returns the steps in which Windows extends partitions.
func (b *builder) extend() []Step {
	var steps []Step
	for _, x := range b.extensions {
		if x.to <= x.device.Size {
			continue
		}
		steps = append(steps, Step{Kind: StepExtend, Device: x.device.Name, Content: x.device.Content.Type,
			From: x.device.Size, To: x.to, Script: b.script(x),
			Summary: fmt.Sprintf("Windows extends %s %s → %s", x.device.called(), x.device.Size, x.to)})
	}
	return steps
}

// drivers warns if Windows has no driver for a disk's virtio bus. This is not a refusal,
// because the disk may be a second one that is not in use.
func (p *Plan) drivers() {
	os := p.Before.OS
	if p.Target.Guest == nil || os == nil || os.Type != "windows" {
		return
	}
	warned := map[string]bool{}
	for _, d := range p.Target.Images() {
		driver := map[string]string{"virtio": "viostor", "scsi": "vioscsi"}[d.Bus]
		if driver == "" || warned[driver] || slices.Contains(os.Virtio, driver) {
			continue
		}
		warned[driver] = true
		p.Warnings = append(p.Warnings, fmt.Sprintf("the Windows on it has no driver %s, which a disk on this bus (%s) needs, unless its controller is not a virtio one", driver, d.Bus))
	}
}

// called returns the drive letter, or the device's name if there is none.
func (d *Device) called() string {
	if len(d.Content.Mounted) > 0 {
		return d.Content.Mounted[0]
	}
	return d.Name
}

// recovery reports whether the partition's type is that of Windows' recovery environment:
// it has the same name on GPT and MBR.
func (d *Device) recovery() bool {
	return d.Type == table.TypeName(table.GPT, table.GPTWinRE) || d.Content.Role == RoleWindowsRecovery
}

// recovery handles a recovery partition that moves, which Windows finds by its offset: the
// script of the first extension updates Windows; without one, it warns the user.
func (b *builder) recovery(d *Device, start size.Bytes) {
	if len(b.extensions) > 0 {
		b.recoveries = append(b.recoveries, b.find(d, start))
		return
	}
	b.warn(fmt.Sprintf("%s: Windows may have recorded where its recovery environment is; in the guest, run reagentc /disable before and reagentc /enable after, or look with reagentc /info", d.Name))
}

// script returns the script for PowerShell. Its output is for people.
func (b *builder) script(x extension) string {
	find := b.find(x.device, x.start)
	lines := []string{
		"$ErrorActionPreference = 'Stop'",
		"Update-HostStorageCache",
		"$p = " + find,
		"if (-not $p) { throw 'the partition is not there' }",
		fmt.Sprintf("$to = [Math]::Min([uint64]%d, ($p | Get-PartitionSupportedSize).SizeMax)", int64(x.to)),
		"if ($p.Size -lt $to) { $p | Resize-Partition -Size $to }",
	}
	for _, moved := range b.recoveries {
		lines = append(lines, enableRecovery(moved)...)
	}
	b.recoveries = nil
	return strings.Join(lines, "\n")
}

// find returns a PowerShell expression for a partition: by its GUID, or by the disk's
// signature and the partition's offset.
func (b *builder) find(d *Device, start size.Bytes) string {
	t := b.before.tableOf(d)
	if t.Kind == table.GPT {
		p, _ := t.Partition(d.Number)
		return fmt.Sprintf("Get-Partition | Where-Object Guid -eq '{%s}'", strings.ToLower(p.GUID))
	}
	signature, _ := strconv.ParseUint(strings.TrimPrefix(t.ID, "0x"), 16, 32)
	return fmt.Sprintf("Get-Disk | Where-Object Signature -eq %d | Get-Partition | Where-Object Offset -eq %d", signature, int64(start))
}

// enableRecovery returns the lines that set the recovery environment's new place and enable
// it again, if it was enabled. They read that from ReAgent.xml, because reagentc prints in
// the user's language. Their failure does not fail the script: C: has grown.
func enableRecovery(find string) []string {
	return []string{
		"$ErrorActionPreference = 'Continue'",
		"$r = " + find,
		`$on = ([xml](Get-Content (Join-Path $env:windir 'System32\Recovery\ReAgent.xml'))).WindowsRE.InstallState.state -eq 1`,
		`$path = '\\?\GLOBALROOT\device\harddisk{0}\partition{1}\Recovery\WindowsRE' -f $r.DiskNumber, $r.PartitionNumber`,
		"$global:LASTEXITCODE = 1",
		"if ($on) { reagentc.exe /disable | Out-Null }",
		"if ($on) { reagentc.exe /setreimage /path $path | Out-Null }",
		"if ($on) { reagentc.exe /enable | Out-Null }",
		"if ($on -and $LASTEXITCODE) { 'the recovery environment is off, and could not be switched on again: see reagentc /info' }",
	}
}

// PowerShell returns the program and its arguments that run a step's script.
func PowerShell(script string) []string {
	return []string{"powershell.exe", "-NoProfile", "-NonInteractive", "-ExecutionPolicy", "Bypass", "-Command", strings.ReplaceAll(script, "\n", "; ")}
}

// ByHand says what the user does in Windows in place of an extend step.
func (s Step) ByHand() string {
	what := strings.TrimPrefix(s.Summary, "Windows extends ")
	return fmt.Sprintf("in Windows, extend %s: Disk Management, Extend Volume; or as administrator in PowerShell:\n%s", what, s.Script)
}

// extends reports whether the agent can be asked for the extension. For a guest that is
// off, it is not known yet whether the agent may run programs.
func (g *Guest) extends() bool {
	return g != nil && (g.Running || g.Trial) && g.Health.Agent && (g.Exec || !g.Running)
}
