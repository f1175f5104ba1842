package image

import (
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/virt-grow/virt-grow/plan"
)

// Stamp is a file's identity and the state of its content.
type Stamp struct {
	Device uint64    `json:"device"`
	Inode  uint64    `json:"inode"`
	Bytes  int64     `json:"bytes"`
	Time   time.Time `json:"time"`
}

// StampOf reads a file's stamp. That of a block device has no time: a write to the
// device does not change its node.
func StampOf(path string) (Stamp, error) {
	info, err := os.Stat(path)
	if err != nil {
		return Stamp{}, err
	}
	stat := info.Sys().(*syscall.Stat_t)
	if info.Mode()&fs.ModeDevice != 0 {
		return Stamp{Device: stat.Rdev}, nil
	}
	return Stamp{Device: stat.Dev, Inode: stat.Ino, Bytes: stat.Size, Time: info.ModTime().UTC()}, nil
}

// Identity returns a name of the file that does not depend on the path that leads to
// it. Locks have this name.
func (s Stamp) Identity() string { return fmt.Sprintf("disk-%x-%x", s.Device, s.Inode) }

// Stamps returns the stamps of an image and of its backing files, or nil if one of
// them cannot be read.
func Stamps(path string, backing []plan.Link) []Stamp {
	var stamps []Stamp
	for _, link := range append([]plan.Link{{Path: path}}, backing...) {
		stamp, err := StampOf(link.Path)
		if err != nil {
			return nil
		}
		stamps = append(stamps, stamp)
	}
	return stamps
}

// SameFile reports whether two paths lead to one file. What has no slash in it is
// not a path: it may be the name of a disk.
func SameFile(a, b string) bool {
	if a == "" || !strings.Contains(b, "/") {
		return false
	}
	x, errX := os.Stat(a)
	y, errY := os.Stat(b)
	return errX == nil && errY == nil && os.SameFile(x, y)
}

// Exists reports whether there is a file at path.
func Exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
