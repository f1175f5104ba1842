package domain

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"libvirt.org/go/libvirt"

	"github.com/virt-grow/virt-grow/plan/size"
)

// FS is a mounted file system as the guest's agent sees it.
type FS struct {
	Name       string     `json:"name"` // "vda2", "dm-0"; Windows: a volume's path
	MountPoint string     `json:"mountpoint"`
	Type       string     `json:"type"`
	Total      size.Bytes `json:"total-bytes"` // 0 from agents before QEMU 3.0
	Used       size.Bytes `json:"used-bytes"`
}

// maxAnswer bounds what is read of an agent's answer: the guest writes it.
const maxAnswer = 1 << 20

// agentLimit is how long an agent may take to answer; the call before it may
// have been answered late.
const agentLimit = 5 * time.Second

// command sends one command to the agent and decodes what it returns.
func (d *Domain) command(ctx context.Context, name string, into any) error {
	var text string
	err := d.call(ctx, func(l *libvirt.Domain) (err error) {
		text, err = l.QemuAgentCommand(`{"execute":"`+name+`"}`, libvirt.DomainQemuAgentCommandTimeout(agentLimit/time.Second), 0)
		return err
	})
	if err != nil {
		return err
	}
	if len(text) > maxAnswer {
		return fmt.Errorf("the guest agent's answer to %s has %d bytes", name, len(text))
	}
	var answer struct {
		Return json.RawMessage `json:"return"`
	}
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		return fmt.Errorf("the guest agent's answer to %s: %w", name, err)
	}
	return json.Unmarshal(answer.Return, into)
}

// Ping says whether the agent answers.
func (d *Domain) Ping(ctx context.Context) error {
	var nothing map[string]any
	return d.command(ctx, "guest-ping", &nothing)
}

// FileSystems are what the guest has mounted (qemu-ga: guest-get-fsinfo).
func (d *Domain) FileSystems(ctx context.Context) ([]FS, error) {
	var all []FS
	err := d.command(ctx, "guest-get-fsinfo", &all)
	return all, err
}
