package growth

import (
	"context"
	"errors"

	"github.com/virt-grow/virt-grow/guest/block"
	"github.com/virt-grow/virt-grow/guest/image"
	"github.com/virt-grow/virt-grow/plan/size"
)

// hostImage is the image and the overlay of a growth, as plan/apply sees them.
type hostImage struct{ *growth }

func (h *hostImage) CreateOverlay(ctx context.Context, to size.Bytes) error {
	return image.RefuseInUse(h.Target().Path, h.overlay.Create(ctx, to))
}

// DropOverlay drops those of the domain's other disks as well.
func (h *hostImage) DropOverlay(context.Context) error {
	errs := []error{h.overlay.Drop(), h.overlay.DropBitmaps()}
	for _, side := range h.data.Overlays {
		errs = append(errs, side.overlay().Drop())
	}
	return errors.Join(errs...)
}

func (h *hostImage) SaveUndo(ctx context.Context) error {
	return image.RefuseInUse(h.Target().Path, h.overlay.SaveUndo(ctx, h.data.OldSize))
}

func (h *hostImage) DropUndo(context.Context) error { return h.overlay.DropUndo() }

func (h *hostImage) Commit(ctx context.Context) error {
	return image.RefuseInUse(h.Target().Path, h.overlay.Commit(ctx))
}

func (h *hostImage) Revert(ctx context.Context) error {
	return image.RefuseInUse(h.Target().Path, h.overlay.Revert(ctx, h.data.OldSize))
}

func (h *hostImage) Size(ctx context.Context) (size.Bytes, error) {
	access := block.Exclusive
	if h.Target().Guest != nil {
		access = block.Shared // the guest may run on it
	}
	info, err := block.Inspect(ctx, h.Target().Path, h.Target().Format, access)
	return info.VirtualSize, image.RefuseInUse(h.Target().Path, err)
}
