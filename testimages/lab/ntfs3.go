package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// ntfs3 is the kernel's own NTFS driver, with which tests check the results of ntfsresize.
// For distributions whose kernels do not include it, it is built from the kernel's source.
const ntfs3 = "ntfs3"

// addNTFS3 adds the driver if the kernel has none, for guests that ask for it with
// load=ntfs3.
func (t tree) addNTFS3(ctx context.Context, k kernel) error {
	if _, err := output(ctx, "modinfo", "-k", k.version, ntfs3); err == nil {
		return nil // addModules adds it
	}
	dir, err := os.MkdirTemp("", "ntfs3")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	module, err := k.buildNTFS3(ctx, dir)
	if err != nil {
		return err
	}
	t.addFile("/modules/"+ntfs3, string(module))
	list := t["/modules/list"]
	list.data += ntfs3 + " " + ntfs3 + "\n"
	t["/modules/list"] = list
	return nil
}

// buildNTFS3 compiles it as kbuild does any module (Documentation/kbuild/modules.rst).
func (k kernel) buildNTFS3(ctx context.Context, dir string) ([]byte, error) {
	source, err := k.source()
	if err != nil {
		return nil, err
	}
	if _, err := output(ctx, "tar", "-xf", source, "-C", dir, "--strip-components=1", "--wildcards", "*/fs/ntfs3/*"); err != nil {
		return nil, err
	}
	at := filepath.Join(dir, "fs", ntfs3)
	if _, err := output(ctx, "make", "-C", "/lib/modules/"+k.version+"/build", "M="+at, "CONFIG_NTFS3_FS=m", "modules"); err != nil {
		return nil, fmt.Errorf("build %s: %w", ntfs3, err)
	}
	file := filepath.Join(at, ntfs3+".ko")
	if _, err := output(ctx, "strip", "--strip-debug", file); err != nil {
		return nil, err
	}
	return os.ReadFile(file)
}

// source returns the path of the kernel's source, as packaged by Debian.
func (k kernel) source() (string, error) {
	numbers := strings.SplitN(k.version, ".", 3)
	name := "linux-source-" + strings.Join(numbers[:min(2, len(numbers))], ".")
	path := filepath.Join("/usr/src", name+".tar.xz")
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("the kernel has no %s, and its source is not here to build it: install %s and linux-headers-%s (make deps does)", ntfs3, name, k.version)
	}
	if _, err := exec.LookPath("make"); err != nil {
		return "", err
	}
	return path, nil
}
