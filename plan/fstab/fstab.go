// Package fstab adds lines to the text of an fstab(5), and removes them. It changes no other
// byte. It is pure: it turns text into text.
//
// It reads lines like mount(8): it ignores blank lines, comments and lines that it does not
// understand, and keeps them.
package fstab

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Path is the path of the fstab.
const Path = "/etc/fstab"

// Entry is one line: what is mounted, where and how.
type Entry struct {
	Spec    string `json:"spec"`    // "UUID=…", "LABEL=…", "/dev/vda1", "server:/share"
	Mount   string `json:"mount"`   // "/data"; "none" for swap
	Type    string `json:"type"`    // "xfs"
	Options string `json:"options"` // "defaults,nofail"
	// Dump and Pass are the last two fields: whether dump(8) saves the file system, and
	// when fsck(8) checks it at boot; 0 is never.
	Dump int `json:"dump"`
	Pass int `json:"pass"`
}

// String returns the entry's line, without a newline.
func (e Entry) String() string {
	fields := []string{e.Spec, e.Mount, e.Type, e.Options}
	for i, f := range fields {
		fields[i] = escape(f)
	}
	return fmt.Sprintf("%s %d %d", strings.Join(fields, " "), e.Dump, e.Pass)
}

// Entries returns the lines that mount something.
func Entries(text []byte) []Entry {
	var all []Entry
	for line := range bytes.Lines(text) {
		if e, ok := parse(string(line)); ok {
			all = append(all, e)
		}
	}
	return all
}

// Naming lists the entries that mount one of the specs.
func Naming(text []byte, specs ...string) []Entry {
	return slices.DeleteFunc(Entries(text), func(e Entry) bool {
		return !slices.ContainsFunc(specs, func(s string) bool { return SameSpec(e.Spec, s) })
	})
}

// parse reads a line. The options and the two numbers may be missing; an invalid number
// counts as 0.
func parse(line string) (Entry, bool) {
	fields := strings.FieldsFunc(strings.TrimRight(line, "\r\n"), func(r rune) bool { return r == ' ' || r == '\t' })
	if len(fields) < 3 || strings.HasPrefix(fields[0], "#") {
		return Entry{}, false
	}
	e := Entry{Spec: unescape(fields[0]), Mount: unescape(fields[1]), Type: unescape(fields[2]), Options: "defaults"}
	if len(fields) > 3 {
		e.Options = unescape(fields[3])
	}
	if len(fields) > 4 {
		e.Dump, _ = strconv.Atoi(fields[4])
	}
	if len(fields) > 5 {
		e.Pass, _ = strconv.Atoi(fields[5])
	}
	return e, true
}

// Errors of Add and Remove.
var (
	// ErrTaken reports that there is a line for the mount point or the file system already.
	ErrTaken = errors.New("fstab has the entry already")
	// ErrAbsent reports that there is no such line.
	ErrAbsent = errors.New("fstab has no such line")
	// ErrInvalid reports that the entry cannot be written.
	ErrInvalid = errors.New("cannot be written into fstab")
)

// Add adds the entry after the last line. If the text does not end with a newline, neither
// does the result, so that Remove restores the same bytes.
func Add(text []byte, e Entry) ([]byte, error) {
	if err := e.check(); err != nil {
		return nil, err
	}
	if other, ok := Conflict(text, e); ok {
		return nil, fmt.Errorf("%w: %s", ErrTaken, other)
	}
	if len(text) > 0 && !bytes.HasSuffix(text, []byte("\n")) {
		return fmt.Appendf(slices.Clip(text), "\n%s", e), nil
	}
	return fmt.Appendf(slices.Clip(text), "%s\n", e), nil
}

// Conflict returns an entry for the same mount point or the same file system, if any.
func Conflict(text []byte, e Entry) (Entry, bool) {
	for _, other := range Entries(text) {
		sameMount := strings.HasPrefix(e.Mount, "/") && strings.HasPrefix(other.Mount, "/") && path.Clean(e.Mount) == path.Clean(other.Mount)
		if sameMount || SameSpec(e.Spec, other.Spec) {
			return other, true
		}
	}
	return Entry{}, false
}

// SameSpec reports whether two lines mount the same. A UUID may be in quotes, in upper or
// lower case, or a path in /dev/disk/by-uuid.
func SameSpec(a, b string) bool { return normal(a) == normal(b) }

func normal(spec string) string {
	for _, by := range []string{"uuid", "label", "partuuid", "partlabel"} {
		if rest, ok := strings.CutPrefix(spec, "/dev/disk/by-"+by+"/"); ok {
			spec = strings.ToUpper(by) + "=" + rest
		}
	}
	tag, value, ok := strings.Cut(spec, "=")
	if !ok || strings.HasPrefix(spec, "/") {
		return spec
	}
	value = strings.Trim(value, `"'`)
	if tag = strings.ToUpper(tag); strings.HasSuffix(tag, "UUID") {
		value = strings.ToLower(value)
	}
	return tag + "=" + value
}

// Remove removes the last line that mounts the same file system at the same mount point.
// Its options may have been changed.
func Remove(text []byte, e Entry) ([]byte, error) {
	lines := slices.Collect(bytes.Lines(text))
	for i, line := range slices.Backward(lines) {
		other, ok := parse(string(line))
		if !ok || other.Mount != e.Mount || !SameSpec(other.Spec, e.Spec) {
			continue
		}
		last := i == len(lines)-1 && !bytes.HasSuffix(line, []byte("\n"))
		rest := bytes.Join(slices.Delete(slices.Clone(lines), i, i+1), nil)
		if last {
			rest = bytes.TrimSuffix(rest, []byte("\n"))
		}
		return rest, nil
	}
	return nil, fmt.Errorf("%w: %s on %s", ErrAbsent, e.Spec, e.Mount)
}

// RemoveAll removes the line of each entry.
func RemoveAll(text []byte, entries []Entry) ([]byte, error) {
	for _, e := range entries {
		var err error
		if text, err = Remove(text, e); err != nil {
			return nil, err
		}
	}
	return text, nil
}

// check refuses an entry that would be read back as another one, or would damage the text.
func (e Entry) check() error {
	for _, f := range []string{e.Spec, e.Mount, e.Type, e.Options} {
		if f == "" || strings.ContainsRune(f, 0) {
			return fmt.Errorf("%w: a field is empty or contains a zero byte: %q", ErrInvalid, f)
		}
	}
	if back, ok := parse(e.String()); !ok || back != e {
		return fmt.Errorf("%w: %s", ErrInvalid, e)
	}
	return nil
}

// escaped are the characters that fstab(5) writes as a backslash and three octal digits.
const escaped = " \t\n\r\\#"

func escape(field string) string {
	var b strings.Builder
	for i := range len(field) {
		if strings.IndexByte(escaped, field[i]) >= 0 {
			fmt.Fprintf(&b, `\%03o`, field[i])
			continue
		}
		b.WriteByte(field[i])
	}
	return b.String()
}

// unescape decodes octal escapes; any other backslash stands for itself.
func unescape(field string) string {
	var b strings.Builder
	for i := 0; i < len(field); i++ {
		if field[i] == '\\' && i+3 < len(field) {
			if n, err := strconv.ParseUint(field[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(field[i])
	}
	return b.String()
}

// types are the types of file system that For supports, by blkid's names.
var types = []string{"xfs", "ext2", "ext3", "ext4", "btrfs", "ntfs", "vfat", "exfat", "f2fs"}

var validUUID = regexp.MustCompile(`^[0-9A-Fa-f-]{4,36}$`)

// Mountable reports whether For supports a file system of that type and UUID.
func Mountable(fs, uuid string) bool {
	return slices.Contains(types, fs) && validUUID.MatchString(uuid)
}

// For returns the entry that mounts a file system by its UUID. fs is its type by blkid's
// names. The guest also boots without the file system (nofail). options, if not empty,
// replace "defaults".
func For(uuid, fs, mount, options string) Entry {
	e := Entry{Spec: "UUID=" + uuid, Mount: mount, Type: fs, Options: "defaults"}
	switch fs {
	case "ext2", "ext3", "ext4":
		e.Pass = 2 // fsck(8); XFS and btrfs check themselves when they are mounted
	case "ntfs":
		// This is the kernel's driver. Without a mask, every user may write every file.
		e.Type, e.Options = "ntfs3", "defaults,umask=022"
	}
	if options != "" {
		e.Options = options
	}
	if !slices.Contains(strings.Split(e.Options, ","), "nofail") {
		e.Options += ",nofail"
	}
	return e
}
