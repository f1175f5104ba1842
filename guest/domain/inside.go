package domain

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/virt-grow/virt-grow/plan/size"
)

// GuestDisk is a whole disk as the guest's agent names it. All of it is the
// guest's word.
type GuestDisk struct {
	Name   string // "/dev/vdb", `\\.\PhysicalDrive1`
	Serial string
	// PCI and Unit are as in Device; PCI is "" where the agent does not say.
	PCI  string
	Unit [3]uint
}

// diskAddress is a disk's as the agent has it (qemu-ga: GuestDiskAddress). What is
// not known is -1 there.
type diskAddress struct {
	PCI    pciAddress `json:"pci-controller"`
	Bus    int        `json:"bus"`
	Target int        `json:"target"`
	Unit   int        `json:"unit"`
	Serial string     `json:"serial"`
	Dev    string     `json:"dev"`
}

// place gives the address in a device's words.
func (a diskAddress) place() (pci string, unit [3]uint) {
	if a.PCI.Domain >= 0 {
		pci = a.PCI.String()
	}
	for i, n := range []int{a.Bus, a.Target, a.Unit} {
		unit[i] = uint(max(0, n))
	}
	return pci, unit
}

// GuestDisks are the guest's disks (qemu-ga: guest-get-disks, since 5.2), as
// far as an older agent goes by lsblk(8).
func (d *Domain) GuestDisks(ctx context.Context) ([]GuestDisk, error) {
	var all []struct {
		Name      string
		Partition bool
		Address   *diskAddress
	}
	if err := d.command(ctx, "guest-get-disks", nil, &all); err != nil {
		return d.disksByLsblk(ctx)
	}
	var disks []GuestDisk
	for _, x := range all {
		if x.Partition || !isGuestDisk(x.Name) {
			continue
		}
		g := GuestDisk{Name: x.Name}
		if x.Address != nil {
			g.Serial = x.Address.Serial
			g.PCI, g.Unit = x.Address.place()
		}
		disks = append(disks, g)
	}
	return disks, nil
}

// isGuestDisk leaves out what is made of disks, or is none.
func isGuestDisk(name string) bool {
	for _, prefix := range []string{"/dev/loop", "/dev/dm-", "/dev/md", "/dev/ram", "/dev/zram", "/dev/sr", "/dev/fd", "/dev/nbd"} {
		if strings.HasPrefix(name, prefix) {
			return false
		}
	}
	return name != ""
}

func (d *Domain) disksByLsblk(ctx context.Context) ([]GuestDisk, error) {
	blocks, err := d.Blocks(ctx, "")
	var disks []GuestDisk
	for _, b := range blocks {
		if b.Type == "disk" && isGuestDisk(b.Name) {
			disks = append(disks, GuestDisk{Name: b.Name, Serial: b.Serial})
		}
	}
	return disks, err
}

// Is says whether a disk of the guest is a device of the domain, if that can be
// known: by serial, else by address.
func (g GuestDisk) Is(device Device) bool {
	if device.Serial != "" && g.Serial != "" {
		// virtio-blk has room for 20 bytes; udev puts the vendor in front of others.
		return g.Serial == device.Serial || strings.HasSuffix(g.Serial, "_"+device.Serial) ||
			len(device.Serial) > 20 && g.Serial == device.Serial[:20]
	}
	return g.PCI != "" && g.PCI == device.PCI && (device.Bus == "virtio" || g.Unit == device.Unit)
}

// Block is a block device in a Linux guest, as its lsblk(8) has it.
type Block struct {
	Name string     `json:"name"` // "/dev/vdb1"
	Type string     `json:"type"` // "disk", "part", "lvm", "crypt"
	Size size.Bytes `json:"size"`
	FS   string     `json:"fs"`
	UUID string     `json:"uuid"`
	// Mount is where it is mounted; "[SWAP]" for swap.
	Mount  string  `json:"mount"`
	Serial string  `json:"serial"`
	Below  []Block `json:"below"` // those on it
}

// lsblk's JSON. Before util-linux 2.33 numbers are strings.
type lsblk struct {
	Name, Type, FSType, UUID, Mountpoint, Serial string
	Size                                         json.Number
	Children                                     []lsblk
}

func (l lsblk) block() Block {
	n, _ := l.Size.Int64()
	b := Block{Name: l.Name, Type: l.Type, Size: size.Bytes(n), FS: l.FSType, UUID: l.UUID, Mount: l.Mountpoint, Serial: l.Serial}
	for _, child := range l.Children {
		b.Below = append(b.Below, child.block())
	}
	return b
}

// Blocks are a guest's block devices, or one and those on it.
func (d *Domain) Blocks(ctx context.Context, device string) ([]Block, error) {
	command := []string{"lsblk", "--json", "--bytes", "--paths", "--output", "NAME,TYPE,SIZE,FSTYPE,UUID,MOUNTPOINT,SERIAL"}
	if device != "" {
		command = append(command, device)
	}
	out, err := d.Output(ctx, "", command...)
	if err != nil {
		return nil, err
	}
	blocks, err := parseBlocks(out)
	if err == nil && device != "" {
		d.probe(ctx, blocks)
	}
	return blocks, err
}

// probe asks blkid(8) what is on those that lsblk says nothing about: without udev it
// does not know.
func (d *Domain) probe(ctx context.Context, blocks []Block) {
	for i := range blocks {
		b := &blocks[i]
		d.probe(ctx, b.Below)
		if b.FS != "" || len(b.Below) > 0 {
			continue
		}
		out, _ := d.Output(ctx, "", "blkid", "-o", "export", b.Name) // fails where there is nothing
		for line := range strings.Lines(string(out)) {
			switch key, value, _ := strings.Cut(strings.TrimSpace(line), "="); key {
			case "TYPE":
				b.FS = value
			case "UUID":
				b.UUID = value
			}
		}
	}
}

func parseBlocks(text []byte) ([]Block, error) {
	var list struct{ BlockDevices []lsblk }
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, fmt.Errorf("the guest's lsblk: %w", err)
	}
	var blocks []Block
	for _, l := range list.BlockDevices {
		blocks = append(blocks, l.block())
	}
	return blocks, nil
}

// All are the blocks and everything on them, each once.
func All(blocks []Block) []Block {
	var all []Block
	for _, b := range blocks {
		for _, x := range append([]Block{b}, All(b.Below)...) {
			if !slices.ContainsFunc(all, func(o Block) bool { return o.Name == x.Name }) {
				all = append(all, x)
			}
		}
	}
	return all
}

// MountsOn are the mount points of the file systems on a disk of the guest, by
// what its agent says of their addresses (guest-get-fsinfo).
func (d *Domain) MountsOn(ctx context.Context, g GuestDisk) ([]string, error) {
	var all []struct {
		MountPoint string
		Disk       []diskAddress
	}
	if err := d.command(ctx, "guest-get-fsinfo", nil, &all); err != nil {
		return nil, err
	}
	var mounts []string
	for _, fs := range all {
		if slices.ContainsFunc(fs.Disk, func(a diskAddress) bool { return a.on(g) }) {
			mounts = append(mounts, fs.MountPoint)
		}
	}
	return mounts, nil
}

// on says whether an address is of the disk, or of a partition of it.
func (a diskAddress) on(g GuestDisk) bool {
	pci, unit := a.place()
	if pci != "" && pci == g.PCI && unit == g.Unit {
		return true
	}
	if a.Serial != "" && a.Serial == g.Serial {
		return true
	}
	rest, ok := strings.CutPrefix(a.Dev, g.Name)
	return ok && strings.Trim(strings.TrimPrefix(rest, "p"), "0123456789") == ""
}

// insideLimit is how long a short program in a guest may take, mount(8) of a file
// system with a journal to replay included.
const insideLimit = 90 * time.Second

// Output runs a short program in the guest and gives what it printed. One that
// fails is an ExecError.
func (d *Domain) Output(ctx context.Context, input string, command ...string) ([]byte, error) {
	ctx, stop := context.WithTimeoutCause(ctx, insideLimit, fmt.Errorf("%s in the guest takes longer than %s", command[0], insideLimit))
	defer stop()
	ran, err := d.Run(ctx, command, input)
	if err != nil {
		return nil, err
	}
	if ran.Status != 0 {
		return nil, &ExecError{Program: command[0], Status: ran.Status, Said: said(ran.Err, ran.Out)}
	}
	return ran.Out, nil
}

// Test runs a program in the guest that answers with its status: test(1).
func (d *Domain) Test(ctx context.Context, command ...string) (bool, error) {
	_, err := d.Output(ctx, "", command...)
	if errors.As(err, new(*ExecError)) {
		return false, nil
	}
	return err == nil, err
}
