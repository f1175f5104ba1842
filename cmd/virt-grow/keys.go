package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/virt-grow/virt-grow/guest/appliance"
)

// key is a key for the LUKS containers that id names.
type key struct {
	id    string
	value string
}

// keyring has the keys of a run. Only the appliance gets them: no plan, journal, log or
// program's argument contains a key.
type keyring []key

func (keyring) String() string   { return "(keys)" }
func (keyring) GoString() string { return "(keys)" }

func keyFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "key", Usage: "open LUKS with the passphrase `ID:file:PATH` (first line of a file) or ID:prompt, repeatable; ID is a device (sda3), a UUID, or all"},
		&cli.BoolFlag{Name: "insecure-key", Usage: "allow --key ID:key:STRING, which every user of this host can read in the list of processes", DisableDefaultText: true},
	}
}

// readKeys reads the keys that --key names. It prompts for keys at once, before the work
// begins.
func (p *program) readKeys(c *cli.Context) (keyring, error) {
	var keys keyring
	for _, text := range c.StringSlice("key") {
		k, err := p.readKey(text, c.Bool("insecure-key"))
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	return keys, nil
}

// readKey reads one --key. Errors never repeat more than its ID: the rest may
// be the key.
func (p *program) readKey(text string, insecure bool) (key, error) {
	id, rest, ok := strings.Cut(text, ":")
	how, what, _ := strings.Cut(rest, ":")
	if !ok || id == "" {
		return key{}, usage("--key must be ID:file:PATH or ID:prompt")
	}
	var value string
	var err error
	switch {
	case how == "prompt" && what == "":
		value, err = p.askKey(id)
	case how == "file" && what != "":
		value, err = keyFromFile(what)
	case how == "key" && !insecure:
		return key{}, usage("--key %s:key:…: a key on the command line can be read by every user of this host (ps) and stays in the shell's history; use %s:file:PATH or %s:prompt, or add --insecure-key", id, id, id)
	case how == "key" && what != "":
		value = what
	case how == "clevis":
		return key{}, usage("--key %s:clevis: the appliance has no network; use file or prompt", id)
	default:
		return key{}, usage("--key %s:…: must be ID:file:PATH or ID:prompt", id)
	}
	if err != nil {
		return key{}, fmt.Errorf("key for %s: %w", id, err)
	}
	return key{id: id, value: value}, nil
}

// maxKey is the longest passphrase that cryptsetup(8) accepts, in bytes.
const maxKey = 512

// keyFromFile reads the file's first line, as libguestfs's tools do.
func keyFromFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", usage("%v", err)
	}
	defer f.Close()
	head, err := io.ReadAll(io.LimitReader(f, 64<<10))
	if err != nil {
		return "", err
	}
	line, _, _ := bytes.Cut(head, []byte("\n"))
	switch {
	case len(line) == 0:
		return "", usage("%s is empty", path)
	case len(line) > maxKey:
		return "", usage("%s: a key has at most %d bytes", path, maxKey)
	}
	return string(line), nil
}

// guestDisk matches the names that guests use for a partition of a disk. The appliance
// calls the disk sda.
var guestDisk = regexp.MustCompile(`^(?:(?:[shv]|xv)d[a-z]+|(?:nvme\d+n|mmcblk)\d+p)(\d+)$`)

func deviceName(id string) string {
	name := strings.TrimPrefix(id, "/dev/")
	if m := guestDisk.FindStringSubmatch(name); m != nil {
		return "sda" + m[1]
	}
	return name
}

// naming returns the keys whose ID names the container on a device: by its name, by the
// name that a guest may use for it, or by its UUID.
func (keys keyring) naming(device, uuid string) []string {
	var found []string
	for _, k := range keys {
		if k.id == "all" || strings.TrimPrefix(k.id, "/dev/") == device || deviceName(k.id) == device || uuid != "" && strings.EqualFold(k.id, uuid) {
			found = append(found, k.value)
		}
	}
	return found
}

// find returns the keys for a LUKS container; none if no key names it.
func (keys keyring) find(device, uuid string) ([]string, error) {
	found := keys.naming(device, uuid)
	if len(found) == 0 {
		found = keys.naming(deviceName(device), uuid)
	}
	return found, nil
}

// finder returns the function that finds the keys for a LUKS container. If the command
// line names no key for it, and there is a terminal, the user is asked for one.
func (p *program) finder(keys keyring) appliance.KeyFinder {
	return func(device, uuid string) ([]string, error) {
		found, _ := keys.find(device, uuid)
		if len(found) > 0 || p.json || !p.asks || p.agreed {
			return found, nil
		}
		p.hold()
		defer p.release()
		value, err := p.askKey(device)
		if err != nil {
			return nil, nil // the container stays locked, which is reported later
		}
		return []string{value}, nil
	}
}
