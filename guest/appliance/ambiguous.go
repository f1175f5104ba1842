package appliance

import (
	"context"
	"fmt"
	"strings"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/superblock"
)

// ambiguous returns a refusal with the signatures that blkid cannot choose between.
func (a *Appliance) ambiguous(ctx context.Context, name string, failure error) (*plan.Refusal, error) {
	n, err := a.deviceSize(ctx, name)
	if err != nil {
		return nil, err
	}
	head, err := a.block(ctx, name, int(min(n, superblock.SignatureHead)), 0)
	if err != nil {
		return nil, err
	}
	tail, err := a.block(ctx, name, int(min(n, superblock.SignatureTail)), int(max(n-superblock.SignatureTail, 0)))
	if err != nil {
		return nil, err
	}
	found := superblock.Signatures(head, tail, n)
	if len(found) < 2 {
		return plan.Refuse(plan.UnknownContent, name, "cannot tell what %s holds: %v", name, failure), nil
	}
	var types, commands []string
	for _, s := range found {
		types = append(types, s.Type)
		commands = append(commands, fmt.Sprintf("wipefs --backup --offset %#x DEVICE removes that of %s", int64(s.Offset), s.Type))
	}
	return plan.Refuse(plan.UnknownContent, name, "%s has the signatures of %s, and only its owner knows which is left over from before; in the guest, or on a copy: %s",
		name, strings.Join(types, " and "), strings.Join(commands, ", ")), nil
}
