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

// directory is a directory that virt-grow writes to.
type directory struct {
	name, path string
	// want is how much space should be free, use what the directory is for.
	want size.Bytes
	use  string
	// sockets is the longest path of a Unix socket in the directory (the second gate of
	// a guest); "" if it has none.
	sockets string
	// set says how to choose another directory.
	set string
}

// directories returns the directories that follow from the options and the environment.
// The rules for libguestfs are in guestfs(3), "ENVIRONMENT VARIABLES".
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
			// On Debian 12 an appliance takes 680 MiB, and an upgrade builds the
			// new one before it deletes the old one.
			want: size.GiB, use: "the appliance that libguestfs builds", set: "LIBGUESTFS_CACHEDIR",
		})
}

// examine checks the directory, or, if it does not exist yet, the one in which it will be
// created.
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

// existing returns the directory, or the nearest parent that exists.
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
