package appliance

import (
	"context"
	"slices"
	"strings"
)

// guestRoots returns the roots of the installed systems. Inspection returns every btrfs
// subvolume with a system as a root, snapshots included. Of several on one btrfs,
// guestRoots returns the default subvolume, which is booted; else the only one that is not
// a snapshot.
func (a *Appliance) guestRoots(ctx context.Context, roots []string) ([]string, error) {
	var kept []string
	for _, root := range roots {
		same := slices.DeleteFunc(slices.Clone(roots), func(r string) bool { return a.deviceHere(r) != a.deviceHere(root) })
		if len(same) > 1 {
			var err error
			if same, err = a.rootsOf(ctx, a.path(a.deviceHere(root)), same); err != nil {
				return nil, err
			}
		}
		if slices.Contains(same, root) {
			kept = append(kept, root)
		}
	}
	return kept, nil
}

// rootsOf is guestRoots for the roots on one btrfs. libguestfs names the default subvolume
// by the device alone, others by their path.
func (a *Appliance) rootsOf(ctx context.Context, device string, roots []string) ([]string, error) {
	if slices.Contains(roots, device) {
		return []string{device}, nil
	}
	paths, snapshots := map[string]string{}, map[string]bool{}
	for _, root := range roots {
		paths[root] = pathOfSubvolume(root)
		snapshots[root] = isSnapshot(paths[root])
	}
	if err := a.noteCopies(ctx, device, paths, snapshots); err != nil {
		return nil, err
	}
	left := slices.DeleteFunc(slices.Clone(roots), func(r string) bool { return snapshots[r] })
	if len(left) == 0 {
		return roots, nil
	}
	return left, nil
}

// pathOfSubvolume returns the path in the name btrfsvol:/dev/sda1/PATH.
func pathOfSubvolume(mountable string) string {
	_, path, _ := strings.Cut(strings.TrimPrefix(mountable, subvolume+"/dev/"), "/")
	return path
}

// isSnapshot reports whether a subvolume lies where snapper or Timeshift keeps
// snapshots.
func isSnapshot(subvolume string) bool {
	for part := range strings.SplitSeq(subvolume, "/") {
		if part == ".snapshots" || part == "timeshift-btrfs" || part == "@snapshots" || part == "@.snapshots" {
			return true
		}
	}
	return false
}

// noteCopies notes the subvolumes that were made as snapshots of another one of them.
func (a *Appliance) noteCopies(ctx context.Context, device string, paths map[string]string, snapshots map[string]bool) error {
	// The top subvolume always has the ID 5.
	if err := a.do(ctx, func() error { return a.g.Mount_options("ro,subvolid=5", device, "/") }); err != nil {
		return ctx.Err()
	}
	defer func() { _ = silently(a.g, a.g.Umount_all) }()
	uuid, parent := map[string]string{}, map[string]string{}
	for root, p := range paths {
		var facts map[string]string
		err := a.do(ctx, func() (e error) { facts, e = a.g.Btrfs_subvolume_show("/" + p); return })
		if ctx.Err() != nil {
			return err
		}
		uuid[facts["UUID"]], parent[root] = root, facts["Parent UUID"]
	}
	for root := range paths {
		if of := uuid[parent[root]]; of != "" && of != root && len(parent[root]) > 1 {
			snapshots[root] = true
		}
	}
	return nil
}
