// Package private keeps tests from using files and services of the user who runs them: the
// state directory, the configuration, the libvirt, the caches and the home directory.
package private

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/virt-grow/virt-grow/testimages/level"
)

// Run runs the tests of a package in a private environment, and returns the exit code for
// os.Exit. The run fails if a test has changed files of the host, or has started an engine in
// a short run.
//
// The cache of test images is shared, because making them takes minutes.
func Run(m *testing.M) int {
	watched := hostPlaces()
	before := look(watched)
	home, err := os.MkdirTemp("", "virt-grow-home")
	if err == nil {
		err = enter(home)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "prepare an environment for the tests:", err)
		return 1
	}
	flag.Parse() // m.Run would only do it later
	started := ""
	if level.Current() == level.Short {
		if started, err = forbidEngines(home); err != nil {
			fmt.Fprintln(os.Stderr, "put something in the engines' place:", err)
			return 1
		}
	}
	code := m.Run()
	if names, err := os.ReadFile(started); err == nil {
		fmt.Fprintf(os.Stderr, "a test started an engine under -short, it needs level.Real:\n%s", names)
		code = 1
	}
	if err := os.RemoveAll(home); err != nil {
		fmt.Fprintln(os.Stderr, "remove the tests' home directory:", err)
		code = 1
	}
	if changed := difference(before, look(watched)); len(changed) > 0 {
		fmt.Fprintln(os.Stderr, "the tests have changed what belongs to the host:", strings.Join(changed, ", "))
		code = 1
	}
	return code
}

// engines are the programs that a short run must not start. supermin builds the appliance.
var engines = []string{"qemu-system-x86_64", "qemu-kvm", "libvirtd", "virtqemud", "supermin"}

// forbidEngines replaces the engines with scripts that only record their command line, in the
// file that it returns, and fail.
func forbidEngines(home string) (started string, err error) {
	dir, started := filepath.Join(home, "engines"), filepath.Join(home, "started")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	script := "#!/bin/sh\necho \"$0 $*\" >>'" + started + "'\nexit 1\n"
	for _, name := range engines {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o700); err != nil {
			return "", err
		}
	}
	return started, errors.Join(
		os.Setenv("PATH", dir+":"+os.Getenv("PATH")),
		os.Setenv("LIBGUESTFS_HV", filepath.Join(dir, engines[0])), // libguestfs does not look for QEMU in PATH
	)
}

// hostPlaces returns the directories that the program uses by default.
func hostPlaces() []string {
	places := []string{"/var/lib/virt-grow", "/etc/virt-grow"}
	if home, err := os.UserHomeDir(); err == nil {
		places = append(places, filepath.Join(home, ".local", "state", "virt-grow"), filepath.Join(home, ".config", "virt-grow"))
	}
	for variable, name := range map[string]string{"XDG_STATE_HOME": "virt-grow", "XDG_CONFIG_HOME": "virt-grow"} {
		if dir := os.Getenv(variable); filepath.IsAbs(dir) {
			places = append(places, filepath.Join(dir, name))
		}
	}
	return places
}

// enter sets the environment. Go's own directories, which are below the home directory by
// default, stay the same.
func enter(home string) error {
	cache, err := os.UserCacheDir()
	if err != nil {
		return err
	}
	images := filepath.Join(cache, "virt-grow", "testimages")
	if dir := os.Getenv("VIRT_GROW_TEST_CACHE"); dir != "" {
		images = dir
	}
	// libvirt's test driver with a host that has no domains: one that a test did not
	// define is not found.
	empty := filepath.Join(home, "libvirt.xml")
	if err := os.WriteFile(empty, []byte("<node/>\n"), 0o600); err != nil {
		return err
	}
	env := map[string]string{
		"HOME": home, "VIRT_GROW_TEST_CACHE": images,
		"VIRT_GROW_STATE_DIR": filepath.Join(home, "state"),
		"XDG_STATE_HOME":      filepath.Join(home, ".local", "state"),
		"XDG_CONFIG_HOME":     filepath.Join(home, ".config"),
		"XDG_DATA_HOME":       filepath.Join(home, ".local", "share"),
		// Runs share the unpacked kernel of the appliance.
		"XDG_CACHE_HOME":      filepath.Join(images, "cache"),
		"LIBVIRT_DEFAULT_URI": "test://" + empty,
	}
	for _, name := range []string{"GOENV", "GOCACHE", "GOMODCACHE", "GOPATH"} {
		out, err := exec.Command("go", "env", name).Output()
		if err != nil {
			return fmt.Errorf("go env %s: %w", name, err)
		}
		env[name] = strings.TrimSpace(string(out))
	}
	var errs []error
	for name, value := range env {
		errs = append(errs, os.Setenv(name, value))
	}
	return errors.Join(errs...)
}

// look returns the size, mode and time of all files in the directories.
func look(places []string) map[string]string {
	seen := map[string]string{}
	for _, place := range places {
		_ = filepath.WalkDir(place, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return nil // it does not exist, or this user may not read it
			}
			if info, err := d.Info(); err == nil {
				seen[path] = fmt.Sprint(info.Size(), info.Mode(), info.ModTime().UnixNano())
			}
			return nil
		})
	}
	return seen
}

// difference lists the paths that are in only one of the maps, or differ.
func difference(before, after map[string]string) []string {
	var changed []string
	for path := range after {
		if after[path] != before[path] {
			changed = append(changed, path)
		}
	}
	for path := range before {
		if _, ok := after[path]; !ok {
			changed = append(changed, path)
		}
	}
	return changed
}
