package domain

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"libvirt.org/go/libvirt"

	"github.com/virt-grow/virt-grow/guest/poll"
)

// backups is what begins and ends a backup job.
type backups interface {
	BackupBegin(backupXML, checkpointXML string, flags libvirt.DomainBackupBeginFlags) error
	BackupGetXMLDesc(flags uint32) (string, error)
	AbortJob() error
}

// View is a disk of a running guest as it was at one moment. The guest's QEMU
// exports it over NBD until the view is ended, and keeps in Scratch what the guest
// overwrites meanwhile (libvirt: a backup in pull mode).
type View struct {
	Target string `json:"target"` // "vda"
	Socket string `json:"socket"`
	// Scratch is made and deleted by libvirt.
	Scratch string `json:"scratch"`
}

// URI is the view for QEMU's block layer, a raw disk.
func (v View) URI() string {
	return fmt.Sprintf("nbd+unix:///%s?socket=%s", url.PathEscape(v.Target), url.QueryEscape(v.Socket))
}

// xml is libvirt's description of the backup (formatbackup).
func (v View) xml(def Definition) string {
	var b strings.Builder
	fmt.Fprintf(&b, "<domainbackup mode='pull'><server transport='unix' socket='%s'/><disks>", escaped(v.Socket))
	for _, disk := range def.Disks {
		if disk.Target != v.Target {
			fmt.Fprintf(&b, "<disk name='%s' backup='no'/>", escaped(disk.Target))
			continue
		}
		fmt.Fprintf(&b, "<disk name='%s' backup='yes' type='file' exportname='%s'><driver type='qcow2'/><scratch file='%s'/></disk>",
			escaped(v.Target), escaped(v.Target), escaped(v.Scratch))
	}
	b.WriteString("</disks></domainbackup>")
	return b.String()
}

// BeginView takes the view.
func (d *Domain) BeginView(ctx context.Context, v View) error {
	def, err := d.Live(ctx)
	if err != nil {
		return err
	}
	err = d.call(ctx, func(l handle) error { return l.BackupBegin(v.xml(def), "", 0) })
	if err == nil {
		return nil
	}
	if begun, asked := d.viewed(ctx, v); asked == nil && begun {
		return nil // a call whose answer was lost has begun it
	}
	return err
}

// EndView ends the view, and returns when the guest's QEMU has let it go. A backup
// that is somebody else's goes on.
func (d *Domain) EndView(ctx context.Context, v View) error {
	aborted := false
	w := poll.Wait{For: "the end of the backup of " + v.Target, Every: d.conn.pace.backup}
	return poll.Until(ctx, w, func() (bool, error) {
		ours, err := d.viewed(ctx, v)
		if err != nil || !ours || aborted {
			return !ours, err
		}
		aborted = true
		if err := d.call(ctx, handle.AbortJob); err != nil && !isCode(err, libvirt.ERR_OPERATION_INVALID) {
			return false, err
		}
		return false, nil
	})
}

// viewed says whether the view is there.
func (d *Domain) viewed(ctx context.Context, v View) (bool, error) {
	text, err := ask(ctx, d, func(l handle) (string, error) { return l.BackupGetXMLDesc(0) })
	if isCode(err, libvirt.ERR_NO_DOMAIN_BACKUP, libvirt.ERR_OPERATION_INVALID) {
		return false, nil // none, or the guest is off
	}
	return strings.Contains(text, escaped(v.Socket)), err
}

// Freeze has the agent write out and stop all file systems, until Thaw.
func (d *Domain) Freeze(ctx context.Context) error {
	var frozen int
	return d.command(ctx, "guest-fsfreeze-freeze", nil, &frozen)
}

// Thaw lets them go on.
func (d *Domain) Thaw(ctx context.Context) error {
	var thawed int
	return d.command(ctx, "guest-fsfreeze-thaw", nil, &thawed)
}
