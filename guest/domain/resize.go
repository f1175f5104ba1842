package domain

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"libvirt.org/go/libvirt"

	"github.com/virt-grow/virt-grow/plan/size"
)

// sizes reads and changes the size of a running disk.
type sizes interface {
	BlockResize(disk string, size uint64, flags libvirt.DomainBlockResizeFlags) error
	GetBlockInfo(disk string, flags uint32) (*libvirt.DomainBlockInfo, error)
}

// Channel is the interface through which QEMU resizes a running disk.
type Channel string

// The channels to the guest's QEMU.
const (
	ViaLibvirt Channel = "libvirt" // virDomainBlockResize
	ViaQMP     Channel = "qmp"     // block_resize by node name
	ViaHMP     Channel = "hmp"     // block_resize by drive, for one made with -drive
)

// Resize is a new size for a disk of a running guest. No channel refuses a size below the
// present one: the caller has to compare them.
type Resize struct {
	Via Channel `json:"via"`
	// Target is libvirt's name of the disk, Node is QEMU's name of the block node, and
	// Alias is QEMU's name of the drive. Each channel needs another one of them.
	Target string     `json:"target"`
	Node   string     `json:"node"`
	Alias  string     `json:"alias"`
	To     size.Bytes `json:"to"`
}

// Sent returns the command that is sent, for people.
func (r Resize) Sent() string {
	switch r.Via {
	case ViaQMP:
		text, _ := qmpRequest("block_resize", r.qmp()) // strings and a number always marshal
		return text
	case ViaHMP:
		return r.hmp()
	}
	return fmt.Sprintf("virDomainBlockResize(%q, %d, VIR_DOMAIN_BLOCK_RESIZE_BYTES)", r.Target, int64(r.To))
}

func (r Resize) qmp() any {
	return struct {
		Node string     `json:"node-name"`
		Size size.Bytes `json:"size"`
	}{r.Node, r.To}
}

// hmp returns the monitor's line. A number without a unit would be MiB.
func (r Resize) hmp() string { return fmt.Sprintf("block_resize %s %dB", r.Alias, int64(r.To)) }

// ErrNoAlias means that a disk has no name in HMP.
var ErrNoAlias = errors.New("the disk has no name in HMP")

// Resize resizes the disk.
func (d *Domain) Resize(ctx context.Context, r Resize) error {
	switch r.Via {
	case ViaLibvirt:
		return d.call(ctx, func(l handle) error {
			return l.BlockResize(r.Target, uint64(r.To), libvirt.DOMAIN_BLOCK_RESIZE_BYTES)
		})
	case ViaQMP:
		return d.qmp(ctx, "block_resize", r.qmp(), nil)
	case ViaHMP:
		if r.Alias == "" {
			return ErrNoAlias
		}
		said, err := d.hmp(ctx, r.hmp())
		if err == nil && said != "" {
			err = &MonitorError{Command: r.hmp(), Message: said}
		}
		return err
	}
	return fmt.Errorf("there is no channel %q to resize a disk", r.Via)
}

// SizeSeen returns the disk's present size in QEMU, through the same channel.
func (d *Domain) SizeSeen(ctx context.Context, r Resize) (size.Bytes, error) {
	if r.Via == ViaLibvirt {
		info, err := ask(ctx, d, func(l handle) (*libvirt.DomainBlockInfo, error) { return l.GetBlockInfo(r.Target, 0) })
		if err != nil {
			return 0, err
		}
		return size.Bytes(info.Capacity), nil
	}
	drives, err := d.Drives(ctx)
	if err != nil {
		return 0, err
	}
	i := slices.IndexFunc(drives, func(v Drive) bool { return v.Node == r.Node })
	if i < 0 {
		return 0, fmt.Errorf("QEMU no longer has the block node %s", r.Node)
	}
	return drives[i].Size, nil
}

// HMPDrives lists the disks through the human monitor, which does not report their sizes.
func (d *Domain) HMPDrives(ctx context.Context) ([]Drive, error) {
	text, err := d.hmp(ctx, "info block")
	if err != nil {
		return nil, err
	}
	return infoBlock(text), nil
}
