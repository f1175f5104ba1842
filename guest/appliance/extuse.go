package appliance

import (
	"context"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
	"github.com/virt-grow/virt-grow/plan/superblock"
)

// askExt refuses an ext file system that e2fsck or the appliance's kernel would refuse
// later, when the guest has been stopped.
func (a *Appliance) askExt(ctx context.Context, name string, e *superblock.Ext, c *plan.Content) (err error) {
	if c.Problem, err = a.askMMP(ctx, name, c.Type, e); err != nil || c.Problem != nil {
		return err
	}
	c.Problem, err = a.askMountable(ctx, name, c.Type, e)
	return err
}

// askMMP refuses an ext4 whose multiple mount protection reports that it is in use. The
// file systems of a running guest look like that until it is shut down.
func (a *Appliance) askMMP(ctx context.Context, name, kind string, e *superblock.Ext) (*plan.Refusal, error) {
	at, ok := e.MMPAt()
	if !ok {
		return nil, nil
	}
	block, err := a.block(ctx, name, superblock.MMPLen, int(at))
	if err != nil {
		return nil, err
	}
	var r *plan.Refusal
	switch state, host := superblock.ReadMMP(block); state {
	case superblock.MMPMounted:
		r = plan.Refuse(plan.InUse, name, "the multiple mount protection of the %s on %s reports that the host %q has it mounted, or did not unmount it", kind, name, host)
		r.Way = plan.WayUnmount
	case superblock.MMPChecked:
		r = plan.Refuse(plan.InUse, name, "the multiple mount protection of the %s on %s reports that the host %q is checking it, or did not finish a check", kind, name, host)
		r.Way = plan.WayClearMMP
	}
	return r, nil
}

// askMountable tries to mount an ext4 that e2fsprogs can grow, but that this kernel may
// not be able to mount: the check after the growth has to mount it.
func (a *Appliance) askMountable(ctx context.Context, name, kind string, e *superblock.Ext) (*plan.Refusal, error) {
	kernel := a.kernelOf(ctx)
	lacks := e.MayLack(kernel)
	if len(lacks) == 0 && !e.LargeBlocks() {
		return nil, nil
	}
	err := a.mounted(ctx, name, func() error { return nil })
	switch {
	case err == nil || ctx.Err() != nil:
		return nil, err
	case e.LargeBlocks():
		return plan.Refuse(plan.NewerFeature, name, "the %s on %s has blocks of %v, which the kernel %s of this host's appliance does not mount", kind, name, size.Bytes(e.BlockSize), kernel), nil
	case a.loggedFeatures(ctx, kind):
		return newer(kind, name, "the kernel "+kernel+" of this host's appliance", lacks), nil
	}
	return nil, nil // e2fsck reports damage
}
