package lab

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"time"
)

// bootRecord is a record of utmp(5) as it is on 64-bit Linux.
type bootRecord struct {
	Type          int16
	_             int16
	Pid           int32
	Line          [32]byte
	ID            [4]byte
	User          [32]byte
	Host          [256]byte
	Exit          [2]int16
	Session       int32
	Seconds, Part int32
	Address       [4]int32
	_             [20]byte
}

// writeBootTime leaves libvirt a boot time, once. Beside the name of an image's
// owner it notes when the host booted, and forgets the owner if that differs. It
// looks into /run/utmp; without that it counts back from now, and a restarted
// daemon may come out a second off.
func writeBootTime(path string) error {
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	const bootTime = 2
	r := bootRecord{Type: bootTime, Seconds: int32(time.Now().Unix())} // any, if it stays
	copy(r.Line[:], "~")
	copy(r.ID[:], "~~")
	copy(r.User[:], "reboot")
	var b bytes.Buffer
	if err := binary.Write(&b, binary.NativeEndian, r); err != nil {
		return err
	}
	return os.WriteFile(path, b.Bytes(), 0o644)
}
