package appliance

import (
	"context"
	"slices"
	"strings"

	"github.com/virt-grow/virt-grow/plan"
)

// On returns the file systems on the disk with an index, with type, UUID and label. It
// must be called before OpenTree.
func (a *Appliance) On(ctx context.Context, disk int) ([]plan.Content, error) {
	found, _, err := a.openAll(ctx)
	if err != nil {
		return nil, err
	}
	var all []plan.Content
	for _, v := range found {
		if strings.HasPrefix(v.mountable, subvolume) || v.kind == plan.ContentLUKS || v.kind == plan.ContentPV {
			continue
		}
		disks, err := a.disksOf(ctx, v.name)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(disks, disk) {
			continue
		}
		var tags map[string]string
		_ = a.do(ctx, func() (e error) { tags, e = a.g.Blkid(a.path(v.name)); return })
		all = append(all, plan.Content{Type: v.kind, UUID: tags["UUID"], Label: tags["LABEL"]})
	}
	return all, nil
}
