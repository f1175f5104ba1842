package domain

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"libvirt.org/go/libvirt"
	"libvirt.org/go/libvirtxml"

	"github.com/virt-grow/virt-grow/guest/poll"
)

// backups begins and ends a backup job.
type backups interface {
	BackupBegin(backupXML, checkpointXML string, flags libvirt.DomainBackupBeginFlags) error
	BackupGetXMLDesc(flags uint32) (string, error)
	AbortJob() error
}

// DiskSnapshot is a disk of a running guest as it was at one moment. The guest's QEMU
// exports it over NBD until EndSnapshot, and copies what the guest overwrites to Scratch
// (libvirt: a backup in pull mode).
type DiskSnapshot struct {
	Target string `json:"target"` // "vda"
	Socket string `json:"socket"`
	// Scratch is a file that libvirt creates and deletes.
	Scratch string `json:"scratch"`
	// More are other disks, as they were at the same moment.
	More []SnapshotDisk `json:"more_disks,omitempty"`
}

// SnapshotDisk is one disk of a snapshot.
type SnapshotDisk struct {
	Target  string `json:"target"`
	Scratch string `json:"scratch"`
}

// Disks returns all disks of the snapshot.
func (v DiskSnapshot) Disks() []SnapshotDisk {
	return append([]SnapshotDisk{{v.Target, v.Scratch}}, v.More...)
}

// URI returns the name of a disk of the snapshot for QEMU's block layer, to which it is a
// raw disk.
func (v DiskSnapshot) URI(target string) string {
	return fmt.Sprintf("nbd+unix:///%s?socket=%s", url.PathEscape(target), url.QueryEscape(v.Socket))
}

// xml returns libvirt's description of the backup (formatbackup).
func (v DiskSnapshot) xml(def Definition) string {
	var b strings.Builder
	fmt.Fprintf(&b, "<domainbackup mode='pull'><server transport='unix' socket='%s'/><disks>", escaped(v.Socket))
	for _, disk := range def.Disks {
		i := slices.IndexFunc(v.Disks(), func(d SnapshotDisk) bool { return d.Target == disk.Target })
		if i < 0 {
			fmt.Fprintf(&b, "<disk name='%s' backup='no'/>", escaped(disk.Target))
			continue
		}
		fmt.Fprintf(&b, "<disk name='%s' backup='yes' type='file' exportname='%s'><driver type='qcow2'/><scratch file='%s'/></disk>",
			escaped(disk.Target), escaped(disk.Target), escaped(v.Disks()[i].Scratch))
	}
	b.WriteString("</disks></domainbackup>")
	return b.String()
}

// canBackUp reports whether libvirt and that QEMU can take a snapshot of a running guest. A
// libvirt that does not tell cannot.
func (d *Domain) canBackUp(ctx context.Context, emulator string) (bool, error) {
	x, err := d.capabilities(ctx, emulator, libvirtxml.DomainOSType{})
	return x.Features != nil && x.Features.Backup != nil && x.Features.Backup.Supported == "yes", err
}

// capabilities returns what libvirt and that QEMU can do for a machine; nothing if libvirt
// does not tell.
func (d *Domain) capabilities(ctx context.Context, emulator string, machine libvirtxml.DomainOSType) (x libvirtxml.DomainCaps, err error) {
	var text string
	err = d.conn.do(ctx, func(l connection) error {
		t, err := l.GetDomainCapabilities(emulator, machine.Arch, machine.Machine, "", 0)
		if err != nil {
			return stillAlive(l)
		}
		text = t
		return nil
	})
	if err != nil || text == "" {
		return x, err
	}
	if err := x.Unmarshal(text); err != nil {
		return x, fmt.Errorf("cannot read libvirt's domain capabilities: %w", err)
	}
	return x, nil
}

// BeginSnapshot takes the snapshot.
func (d *Domain) BeginSnapshot(ctx context.Context, v DiskSnapshot) error {
	def, err := d.Live(ctx)
	if err != nil {
		return err
	}
	err = d.call(ctx, func(l handle) error { return l.BackupBegin(v.xml(def), "", 0) })
	if err == nil {
		return nil
	}
	if begun, asked := d.exists(ctx, v); asked == nil && begun {
		return nil // a call whose answer was lost has begun it
	}
	return err
}

// EndSnapshot ends the snapshot, and returns when the guest's QEMU has closed it. Another
// program's backup goes on.
func (d *Domain) EndSnapshot(ctx context.Context, v DiskSnapshot) error {
	ours, err := d.exists(ctx, v)
	if err != nil || !ours {
		return err
	}
	if err := d.call(ctx, handle.AbortJob); err != nil && !isCode(err, libvirt.ERR_OPERATION_INVALID) {
		return err
	}
	w := poll.Wait{For: "the end of the backup of " + v.Target, Every: d.conn.pace.backup}
	return poll.Until(ctx, w, func() (bool, error) {
		ours, err := d.exists(ctx, v)
		return !ours, err
	})
}

// exists reports whether the snapshot exists.
func (d *Domain) exists(ctx context.Context, v DiskSnapshot) (bool, error) {
	text, err := ask(ctx, d, func(l handle) (string, error) { return l.BackupGetXMLDesc(0) })
	if isCode(err, libvirt.ERR_NO_DOMAIN_BACKUP, libvirt.ERR_OPERATION_INVALID) {
		return false, nil // none, or the guest is off
	}
	return strings.Contains(text, escaped(v.Socket)), err
}

// Freeze makes the agent flush all file systems and freeze them until Thaw.
func (d *Domain) Freeze(ctx context.Context) error {
	var frozen int
	return d.command(ctx, "guest-fsfreeze-freeze", nil, &frozen)
}

// Thaw makes the agent thaw the file systems.
func (d *Domain) Thaw(ctx context.Context) error {
	var thawed int
	return d.command(ctx, "guest-fsfreeze-thaw", nil, &thawed)
}
