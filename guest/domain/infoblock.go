package domain

import (
	"regexp"
	"strings"
)

// infoBlock parses the output of HMP's "info block", which has three forms:
//
//	ide0-hd0: type=hd removable=0 file=/a.img ro=0 drv=raw encrypted=0      QEMU 0.10
//	drive-virtio-disk1: removable=0 io-status=ok file=/a.img ro=0 drv=raw … QEMU 0.14 to 1.4
//	virtio0: /a.img (raw)                                                   QEMU 1.5
//	    Backing file: /b.img (chain depth: 1)
//	drive-virtio-disk1 (#block360): /a.img (qcow2, read-only)               QEMU 2.3
//	libvirt-1-format: /a.img (qcow2)                                        with -blockdev
//	    Attached to:      /machine/peripheral/virtio-disk1/virtio-backend   QEMU 2.10
//
// Paths are printed without quoting. Other lines are ignored, and so are drives without a
// medium.
func infoBlock(text string) []Drive {
	var drives []Drive
	inserted := false // the last head was of a drive with a medium
	for line := range strings.Lines(strings.ReplaceAll(text, "\r", "")) {
		line = strings.TrimRight(line, "\n")
		if strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t") {
			// QEMU versions that print this line give every node a name: a drive that
			// has only a node's name was made with -blockdev.
			if last := len(drives) - 1; inserted && strings.HasPrefix(strings.TrimSpace(line), "Attached to:") && drives[last].Node == "" {
				drives[last].Node, drives[last].Alias = drives[last].Alias, ""
			}
			continue
		}
		d, ok := infoBlockHead(line)
		if ok {
			drives = append(drives, d)
		}
		inserted = ok
	}
	return drives
}

var (
	blockHead  = regexp.MustCompile(`^([A-Za-z0-9_.#-]+)(?: \(([^() ]+)\))?: (.+)$`)
	blockTail  = regexp.MustCompile(`^(.+) \(([A-Za-z0-9_-]+)((?:, [a-z -]+)*)\)$`)
	blockPairs = regexp.MustCompile(`^(?:type=[a-z]+ )?removable=[01] `)
	blockFile  = regexp.MustCompile(`(?:^| )file=(.+?)(?: backing_file=.*)? ro=([01]) drv=([^ ]+)(?: |$)`)
)

func infoBlockHead(line string) (Drive, bool) {
	m := blockHead.FindStringSubmatch(line)
	if m == nil {
		return Drive{}, false
	}
	d := Drive{Alias: m[1], Node: m[2]}
	rest := m[3]
	if blockPairs.MatchString(rest) {
		f := blockFile.FindStringSubmatch(rest)
		if f == nil {
			return d, false // [not inserted]
		}
		d.File, d.ReadOnly, d.Format = f[1], f[2] == "1", f[3]
		return d, true
	}
	f := blockTail.FindStringSubmatch(rest)
	if f == nil {
		return d, false
	}
	d.File, d.Format, d.ReadOnly = f[1], f[2], strings.Contains(f[3], ", read-only")
	return d, true
}
