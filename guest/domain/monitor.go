package domain

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"libvirt.org/go/libvirt"

	"github.com/virt-grow/virt-grow/plan/size"
)

// Drive is a disk of the guest's QEMU, whether or not libvirt knows it.
type Drive struct {
	// Alias is the name of a drive made with -drive ("drive-virtio-disk1"), the only
	// kind that HMP can name; "" for one made with -blockdev.
	Alias string
	// Device is the guest's device ("/machine/peripheral/virtio-disk1/virtio-backend",
	// "scsi0-0-0-0"), Node the block node right below it.
	Device, Node string
	// File is the image, Format the driver it is opened with.
	File, Format string
	Size         size.Bytes
	ReadOnly     bool
}

// monitorChannel sends commands to QEMU's monitor.
type monitorChannel interface {
	QemuMonitorCommand(command string, flags libvirt.DomainQemuMonitorCommandFlags) (string, error)
}

// maxMonitor limits the size of a monitor's reply.
const maxMonitor = 8 << 20

// Drives asks QEMU for its disks (QMP query-block). libvirt marks the domain as tainted,
// because its monitor was used.
func (d *Domain) Drives(ctx context.Context) ([]Drive, error) {
	var blocks []struct {
		Device   string
		QDev     string
		Inserted *struct {
			Node  string `json:"node-name"`
			File  string
			Drv   string
			RO    bool
			Image struct {
				Size size.Bytes `json:"virtual-size"`
			}
		}
	}
	if err := d.qmp(ctx, "query-block", nil, &blocks); err != nil {
		return nil, err
	}
	var drives []Drive
	for _, b := range blocks {
		if in := b.Inserted; in != nil {
			drives = append(drives, Drive{Alias: b.Device, Device: b.QDev, Node: in.Node, File: in.File, Format: in.Drv, Size: in.Image.Size, ReadOnly: in.RO})
		}
	}
	return drives, nil
}

// qmp sends one QMP command and decodes what it returns; into may be nil.
func (d *Domain) qmp(ctx context.Context, name string, arguments, into any) error {
	request, err := qmpRequest(name, arguments)
	if err != nil {
		return err
	}
	text, err := d.monitor(ctx, request, libvirt.DOMAIN_QEMU_MONITOR_COMMAND_DEFAULT)
	if err != nil {
		return err
	}
	var reply struct {
		Return json.RawMessage
		Error  *struct{ Desc string }
	}
	if err := json.Unmarshal([]byte(text), &reply); err != nil {
		return fmt.Errorf("QEMU's reply to %s: %w", name, err)
	}
	if reply.Error != nil {
		return &MonitorError{Command: request, Message: reply.Error.Desc}
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(reply.Return, into)
}

func qmpRequest(name string, arguments any) (string, error) {
	request, err := json.Marshal(struct {
		Execute   string `json:"execute"`
		Arguments any    `json:"arguments,omitempty"`
	}{name, arguments})
	return string(request), err
}

// hmp sends a line to the human monitor. HMP reports an error as the text of a reply that
// succeeds, so the caller has to read the text.
func (d *Domain) hmp(ctx context.Context, line string) (string, error) {
	text, err := d.monitor(ctx, line, libvirt.DOMAIN_QEMU_MONITOR_COMMAND_HMP)
	return strings.TrimSpace(strings.ReplaceAll(text, "\r\n", "\n")), err
}

func (d *Domain) monitor(ctx context.Context, text string, flags libvirt.DomainQemuMonitorCommandFlags) (string, error) {
	reply, err := ask(ctx, d, func(l handle) (string, error) { return l.QemuMonitorCommand(text, flags) })
	if err == nil && len(reply) > maxMonitor {
		err = fmt.Errorf("QEMU's reply to %.40s is too long: %d bytes", text, len(reply))
	}
	return reply, err
}

// MonitorError is the error with which the monitor refused a command.
type MonitorError struct{ Command, Message string }

func (e *MonitorError) Error() string {
	return fmt.Sprintf("QEMU refuses %s: %s", e.Command, e.Message)
}

// InconsistentBitmaps asks QEMU which persistent bitmaps of an image it found to be
// inconsistent when it opened the image (QMP query-named-block-nodes). Like Drives, it
// marks the domain as tainted.
func (d *Domain) InconsistentBitmaps(ctx context.Context, path string) ([]string, error) {
	var nodes []struct {
		File    string
		Drv     string
		Bitmaps []struct {
			Name         string
			Inconsistent bool
		} `json:"dirty-bitmaps"`
	}
	if err := d.qmp(ctx, "query-named-block-nodes", nil, &nodes); err != nil {
		return nil, err
	}
	var names []string
	for _, n := range nodes {
		for _, b := range n.Bitmaps {
			if b.Inconsistent && n.Drv == "qcow2" && sameFile(n.File, path) {
				names = append(names, b.Name)
			}
		}
	}
	return names, nil
}

// sameFile reports whether two paths lead to one file.
func sameFile(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return a == b
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}
