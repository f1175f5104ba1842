package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// blockDevices returns the device nodes of all disks and partitions.
func blockDevices() []string {
	entries, _ := os.ReadDir("/sys/class/block")
	var nodes []string
	for _, e := range entries {
		nodes = append(nodes, "/dev/"+e.Name())
	}
	return nodes
}

// identify returns the content of a block device: "xfs" or "ext4" and the label, "lvm",
// "ntfs", or "" for any other.
func identify(dev string) (kind, label string) {
	f, err := os.Open(dev)
	if err != nil {
		return "", ""
	}
	defer f.Close()
	head := make([]byte, 4096)
	if _, err := f.ReadAt(head, 0); err != nil {
		return "", ""
	}
	text := func(at, length int) string { return string(bytes.TrimRight(head[at:at+length], "\x00 ")) }
	switch {
	case text(0, 4) == "XFSB":
		return "xfs", text(108, 12)
	case text(0x438, 2) == "\x53\xef":
		return "ext4", text(0x478, 16)
	case text(512, 8) == "LABELONE":
		return "lvm", ""
	case text(3, 8) == "NTFS":
		return "ntfs", ""
	}
	return "", ""
}

// rootDisk returns the sysfs directory of the disk below the root file system: down
// from a logical volume to its first partition, up from there to the disk.
func rootDisk() (string, error) {
	var st syscall.Stat_t
	if err := syscall.Stat("/", &st); err != nil {
		return "", err
	}
	major, minor := st.Dev>>8&0xfff, st.Dev&0xff|st.Dev>>12&0xfff00
	dir, err := filepath.EvalSymlinks(fmt.Sprintf("/sys/dev/block/%d:%d", major, minor))
	if err != nil {
		return "", err
	}
	if below, _ := filepath.Glob(dir + "/slaves/*"); len(below) > 0 {
		if dir, err = filepath.EvalSymlinks(below[0]); err != nil {
			return "", err
		}
	}
	if _, err := os.Stat(dir + "/partition"); err == nil {
		dir = filepath.Dir(dir)
	}
	return dir, nil
}

// diskSize returns the size of a disk in bytes; sysfs counts 512-byte sectors.
func diskSize(dir string) (int64, error) {
	b, err := os.ReadFile(dir + "/size")
	if err != nil {
		return 0, err
	}
	sectors, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	return sectors * 512, err
}

// rootSize returns the size of the root file system in bytes, from statfs(2).
func rootSize() (int64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs("/", &st); err != nil {
		return 0, err
	}
	return int64(st.Blocks) * st.Bsize, nil
}
