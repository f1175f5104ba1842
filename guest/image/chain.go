package image

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/virt-grow/virt-grow/guest/block"
	"github.com/virt-grow/virt-grow/plan"
)

// Link is one image of a backing chain.
type Link struct {
	plan.Link
	Info block.Info
}

// Inspector describes one image, without its backing file, as block.Inspect does.
type Inspector func(ctx context.Context, path, format string, access block.Access) (block.Info, error)

// maxDepth is the number of backing files below an image that are followed.
const maxDepth = 64

// ReadChain follows the backing files of an image, one at a time: qemu-img would
// guess a missing format if it were asked for the whole chain. The chain begins
// with the image itself. If the chain cannot be followed to its end without a
// guess, the images that could be read are returned together with a refusal.
func ReadChain(ctx context.Context, inspect Inspector, path, format string, access block.Access) ([]Link, error) {
	var chain []Link
	read := map[string]bool{}
	next := plan.Link{Path: path, Format: format}
	for {
		info, err := inspect(ctx, next.Path, next.Format, access)
		if err != nil {
			return chain, RefuseInUse(next.Path, err)
		}
		chain = append(chain, Link{next, info})
		read[next.Path] = true
		switch {
		case info.Backing == "":
			return chain, nil
		case read[info.Backing]:
			return chain, plan.Refuse(plan.FormatUnsupported, path, "the backing chain of %s is a loop: %s is its own backing file", path, info.Backing)
		case len(chain) > maxDepth:
			return chain, plan.Refuse(plan.FormatUnsupported, path, "the backing chain of %s is longer than %d images", path, maxDepth)
		}
		if err := checkBacking(next.Path, info); err != nil {
			return chain, err
		}
		next = plan.Link{Path: info.Backing, Format: info.BackingFormat}
	}
}

// checkBacking refuses a backing file that cannot be opened without a guess.
func checkBacking(path string, info block.Info) error {
	if info.BackingFormat == "" {
		return plan.Refuse(plan.FormatMissing, path, "%s does not say which format its backing file %s has", path, info.Backing)
	}
	if !filepath.IsAbs(info.Backing) {
		return plan.Refuse(plan.FormatUnsupported, path, "the backing file of %s is not a local file: %s", path, info.Backing)
	}
	if _, err := os.Stat(info.Backing); errors.Is(err, fs.ErrNotExist) {
		return plan.Refuse(plan.NotFound, info.Backing, "the backing file of %s does not exist: %s", path, info.Backing)
	}
	return nil
}
