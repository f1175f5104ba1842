package view

import (
	"fmt"
	"io"
	"strconv"
	"syscall"
	"time"

	"github.com/virt-grow/virt-grow/guest/appliance"
	"github.com/virt-grow/virt-grow/guest/files"
	"github.com/virt-grow/virt-grow/plan/size"
)

// FileEntry is one file, directory or link of a guest.
type FileEntry struct {
	Name string `json:"name"`
	Type string `json:"type" jsonschema:"enum=file,enum=dir,enum=symlink,enum=block,enum=char,enum=fifo,enum=socket"`
	// Mode are the permissions, in octal: "0644".
	Mode  string     `json:"mode"`
	UID   int64      `json:"uid"` // the owner's number in the guest
	GID   int64      `json:"gid"` // the group's number in the guest
	Size  size.Bytes `json:"size"`
	MTime time.Time  `json:"mtime"`
	// Target is where a symlink points to.
	Target string `json:"target,omitempty"`
}

// kinds name the types of file of inode(7), with ls(1)'s letter.
var kinds = map[uint32]struct{ name, letter string }{
	syscall.S_IFREG: {"file", "-"}, syscall.S_IFDIR: {"dir", "d"}, syscall.S_IFLNK: {"symlink", "l"},
	syscall.S_IFBLK: {"block", "b"}, syscall.S_IFCHR: {"char", "c"}, syscall.S_IFIFO: {"fifo", "p"}, syscall.S_IFSOCK: {"socket", "s"},
}

// ListingDocument is what ls --json prints.
type ListingDocument struct {
	Schema string `json:"schema"`
	// Target is the domain or the image, as it was given.
	Target string `json:"target"`
	// Path is the file or directory in the guest.
	Path    string      `json:"path"`
	Entries []FileEntry `json:"entries"`
}

// ListingJSON writes the document of ls.
func ListingJSON(w io.Writer, target, path string, entries []appliance.Entry) error {
	all := []FileEntry{}
	for _, e := range entries {
		all = append(all, FileEntry{Name: e.Name, Type: kinds[e.Mode&syscall.S_IFMT].name, Mode: fmt.Sprintf("%04o", e.Mode&0o7777),
			UID: e.UID, GID: e.GID, Size: e.Size, MTime: e.Changed, Target: e.Link})
	}
	return Document(w, ListingDocument{Schema("ls"), target, path, all})
}

// Listing prints names, one a line; with long, also mode, owner, size and time.
func Listing(w io.Writer, s Style, entries []appliance.Entry, long bool) error {
	p := &page{Style: s}
	if !long {
		for _, e := range entries {
			p.raw(p.clean(e.Name))
		}
	} else if len(entries) > 0 {
		t := table{heads: []string{"MODE", "OWNER", "SIZE", "TIME", "NAME"}, right: map[int]bool{2: true}}
		for _, e := range entries {
			name := e.Name
			if e.Link != "" {
				name += " -> " + e.Link
			}
			t.add(modeText(e.Mode), fmt.Sprintf("%d:%d", e.UID, e.GID), strconv.FormatInt(int64(e.Size), 10), clock(e.Changed), name)
		}
		p.whole(t)
	}
	_, err := io.WriteString(w, p.b.String())
	return err
}

// modeText returns a mode as ls -l writes it.
func modeText(mode uint32) string {
	text := []byte("rwxrwxrwx")
	for i := range text {
		if mode&(1<<(8-i)) == 0 {
			text[i] = '-'
		}
	}
	for i, bit := range []uint32{syscall.S_ISUID, syscall.S_ISGID, syscall.S_ISVTX} {
		at := 2 + 3*i
		if mode&bit != 0 {
			runs := text[at] == 'x'
			text[at] = "sst"[i]
			if !runs {
				text[at] = "SST"[i]
			}
		}
	}
	return kinds[mode&syscall.S_IFMT].letter + string(text)
}

// CopiedDocument is what copy-out --json prints.
type CopiedDocument struct {
	Schema string `json:"schema"`
	// Target is the domain or the image, as it was given.
	Target string         `json:"target"`
	Copied []files.Copied `json:"copied"`
}

// CopiedJSON writes the document of copy-out.
func CopiedJSON(w io.Writer, target string, all []files.Copied) error {
	return Document(w, CopiedDocument{Schema("copy-out"), target, all})
}

// CopiedOut prints what was copied.
func CopiedOut(w io.Writer, s Style, all []files.Copied) error {
	p := &page{Style: s}
	for _, c := range all {
		p.line("%s -> %s", c.Path, c.To)
		for _, name := range c.LeftOut {
			p.line("  left out: %s is a device, a socket or a pipe", name)
		}
	}
	_, err := io.WriteString(w, p.b.String())
	return err
}
