package doctor

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/virt-grow/virt-grow/guest/block"
	"github.com/virt-grow/virt-grow/plan/size"
)

// directory is a place that virt-grow writes to.
type directory struct {
	name, path string
	// want is how much should be free, use what it is for.
	want size.Bytes
	use  string
	// sockets is the path of a guest's second gate below it, the longest one of a
	// Unix socket; "" if there is none.
	sockets string
	// set is how to take another directory.
	set string
}

// directories returns those for the options and the environment. The rules for
// libguestfs are in guestfs(3), "ENVIRONMENT VARIABLES".
func directories(o Options) []directory {
	temp := os.TempDir()
	list := []directory{{
		name: "state directory", path: o.StateDir, want: 256 * size.MiB, use: "journals, and overlays of block devices",
		sockets: "/jobs/20060102-150405-0000/1/gate.sock", set: "--state-dir",
	}}
	if o.ScratchDir != "" {
		list = append(list, directory{name: "scratch directory", path: o.ScratchDir, want: size.GiB, use: "overlays", set: "--scratch-dir"})
	}
	return append(list,
		directory{
			name: "temporary directory", path: temp, want: 256 * size.MiB, use: "overlays of inspect and plan",
			sockets: "/virt-grow-0000000000/1/gate.sock", set: "TMPDIR",
		},
		directory{
			name: "appliance cache", path: cmp.Or(os.Getenv("LIBGUESTFS_CACHEDIR"), os.Getenv("TMPDIR"), "/var/tmp"),
			// Built on Debian 12 it takes 680 MiB, and an upgrade builds the
			// new one beside the old.
			want: size.GiB, use: "the appliance that libguestfs builds", set: "LIBGUESTFS_CACHEDIR",
		})
}

// examine looks at the directory, or, where it is not made yet, at the one it
// will be made in.
func (f directory) examine() Finding {
	at, err := existing(f.path)
	if err != nil {
		return Finding{f.name, Fail, err.Error(), f.another()}
	}
	if err := unix.Access(at, unix.W_OK|unix.X_OK); err != nil {
		return Finding{f.name, Fail, fmt.Sprintf("cannot write to %s: %v", at, err), f.another()}
	}
	free, err := block.Free(at)
	if err != nil {
		return Finding{f.name, Fail, fmt.Sprintf("cannot read the free space in %s: %v", at, err), f.another()}
	}
	return f.judge(free)
}

// The longest path of a Unix socket (unix(7)), without the final zero.
const longestSocket = 107

func (f directory) judge(free size.Bytes) Finding {
	switch {
	case f.sockets != "" && len(f.path)+len(f.sockets) > longestSocket:
		return Finding{f.name, Fail, fmt.Sprintf("the path %s is too long for the sockets created in it: at most %d characters",
			f.path, longestSocket-len(f.sockets)), f.another()}
	case free < f.want:
		return Finding{f.name, Warn, fmt.Sprintf("%s has %s free, and %s may need %s", f.path, free, f.use, f.want),
			f.another()}
	}
	return Finding{Name: f.name, Level: OK, Text: fmt.Sprintf("%s, %s free", f.path, free)}
}

func (f directory) another() string {
	if strings.HasPrefix(f.set, "--") {
		return "virt-grow " + f.set + " DIRECTORY …   # another directory"
	}
	return "export " + f.set + "=DIRECTORY   # another directory"
}

// existing returns the first directory on the way up that is there.
func existing(path string) (string, error) {
	if path == "" {
		return "", errors.New("no directory is set")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	for {
		info, err := os.Stat(path)
		switch {
		case err == nil && !info.IsDir():
			return "", fmt.Errorf("%s is not a directory", path)
		case err == nil:
			return path, nil
		case !errors.Is(err, fs.ErrNotExist) || path == "/":
			return "", err
		}
		path = filepath.Dir(path)
	}
}
