package appliance

import (
	"fmt"

	"libguestfs.org/guestfs"
)

// LibraryVersion returns the version of libguestfs, without starting an appliance.
func LibraryVersion() (string, error) {
	g, err := guestfs.Create()
	if err != nil {
		return "", err
	}
	defer g.Close()
	var v *guestfs.Version
	if err := silently(g, func() (e error) { v, e = g.Version(); return }); err != nil {
		return "", err
	}
	return versionText(v), nil
}

func versionText(v *guestfs.Version) string {
	return fmt.Sprintf("%d.%d.%d%s", v.Major, v.Minor, v.Release, v.Extra)
}
