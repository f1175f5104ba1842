package disk

import (
	"context"
	"path/filepath"
	"slices"
	"strings"

	"github.com/virt-grow/virt-grow/guest/block"
	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/guest/image"
	"github.com/virt-grow/virt-grow/plan"
)

// Use is a file's place in the backing chain of a domain's disk.
type Use struct {
	domain.User
	// Depth is 0 for the disk's own file, and greater for a backing file.
	Depth int
}

// Users are the disks that use each file, directly or as a backing file. It is the
// one answer to the question who else uses an image.
type Users struct {
	byIdentity map[string][]Use
}

// FindUsers finds the files of some domains' disks. A chain is followed as far as
// possible; what is wrong with it is not reported, because it is another guest's.
func FindUsers(ctx context.Context, inspect image.Inspector, disks []domain.User) Users {
	u := Users{map[string][]Use{}}
	for _, user := range disks {
		for depth, path := range filesOf(ctx, inspect, user.Disk) {
			u.add(path, Use{user, depth})
		}
	}
	for _, uses := range u.byIdentity {
		slices.SortStableFunc(uses, func(a, b Use) int { return strings.Compare(a.Domain+" "+a.Target, b.Domain+" "+b.Target) })
	}
	return u
}

// add notes a use of a file, once for each disk: a disk's running and persistent
// definitions mostly name the same files.
func (u Users) add(path string, use Use) {
	stamp, err := image.StampOf(path)
	if err != nil {
		return
	}
	id := stamp.Identity()
	same := func(other Use) bool { return other.Domain == use.Domain && other.Target == use.Target }
	if i := slices.IndexFunc(u.byIdentity[id], same); i < 0 {
		u.byIdentity[id] = append(u.byIdentity[id], use)
	} else if use.Live {
		u.byIdentity[id][i].Live = true
	}
}

// filesOf returns a disk's own file and its backing files, those that its definition
// lists as well as those that the images name.
func filesOf(ctx context.Context, inspect image.Inspector, d domain.Disk) []string {
	if !filepath.IsAbs(d.Source) {
		return nil
	}
	files := append([]string{d.Source}, d.Lower...)
	if d.Format == "" {
		return files
	}
	// A raw image has no backing file, so it need not be read.
	skipRaw := func(ctx context.Context, path, format string, access block.Access) (block.Info, error) {
		if format == "raw" {
			return block.Info{}, nil
		}
		return inspect(ctx, path, format, access)
	}
	chain, _ := image.ReadChain(ctx, skipRaw, d.Source, d.Format, block.Shared)
	for _, link := range chain {
		if link.Info.Backing != "" {
			files = append(files, link.Info.Backing)
		}
	}
	return files
}

// Of returns the uses of a file, sorted by domain and target.
func (u Users) Of(path string) []Use {
	stamp, err := image.StampOf(path)
	if err != nil {
		return nil
	}
	return u.byIdentity[stamp.Identity()]
}

// checkNone refuses images that any disk uses.
func (u Users) checkNone(paths []string) error {
	for _, path := range paths {
		uses := u.Of(path)
		if len(uses) == 0 {
			continue
		}
		use := uses[0]
		if use.Depth == 0 {
			return plan.Refuse(plan.DiskShared, use.Domain, "%s is also disk %s of domain %s", path, use.Target, use.Domain)
		}
		return plan.Refuse(plan.ChainShared, use.Domain, "%s is a backing file of disk %s of domain %s (%s)", path, use.Target, use.Domain, use.Disk.Source)
	}
	return nil
}

// Lister lists the disks of all domains but one.
type Lister interface {
	Others(ctx context.Context) ([]domain.User, error)
}

// CheckNotShared refuses images that another domain uses, directly or as a backing
// file: a commit would corrupt that domain's disk.
func CheckNotShared(ctx context.Context, d Lister, paths ...string) error {
	others, err := d.Others(ctx)
	if err != nil {
		return err
	}
	return FindUsers(ctx, block.Inspect, others).checkNone(paths)
}

// CheckNotOwn refuses an image that the domain uses already, directly or as a
// backing file.
func CheckNotOwn(ctx context.Context, domainName string, disks []domain.Disk, path string) error {
	var own []domain.User
	for _, d := range disks {
		own = append(own, domain.User{Domain: domainName, Target: d.Target, Disk: d})
	}
	for _, use := range FindUsers(ctx, block.Inspect, own).Of(path) {
		return plan.Refuse(plan.DiskShared, domainName, "%s is already disk %s of %s, or a backing file of that disk", path, use.Target, domainName)
	}
	return nil
}

// CheckNotRunning refuses an image that a running domain writes to. users are the
// disks of all domains.
func CheckNotRunning(ctx context.Context, users []domain.User, path string) error {
	writing := slices.DeleteFunc(slices.Clone(users), func(u domain.User) bool { return !u.Live || u.Disk.Fixed })
	for _, use := range FindUsers(ctx, block.Inspect, writing).Of(path) {
		if use.Depth == 0 {
			return plan.Refuse(plan.InUse, path, "%s is disk %s of domain %s, which is running", path, use.Target, use.Domain)
		}
	}
	return nil
}
