package block

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/virt-grow/virt-grow/plan/size"
)

// ErrTooBig reports that a container cannot have the requested size.
var ErrTooBig = errors.New("too large for its file or file system")

// CanResize checks whether a qcow2 with the same options can have a size: it lets QEMU
// resize an empty image. If that fails, the error is ErrTooBig with QEMU's message.
func (i Info) CanResize(ctx context.Context, to size.Bytes) error {
	dir, err := os.MkdirTemp("", "virt-grow-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	like := filepath.Join(dir, "like.qcow2")
	if _, err := Run(ctx, "qemu-img", "create", "-q", "-f", "qcow2", "-o", i.options(), like, bytesOf(i.VirtualSize)); err != nil {
		return fmt.Errorf("create an empty image like %s: %w", i.Path, err)
	}
	_, err = Run(ctx, "qemu-img", "resize", "-q", "-f", "qcow2", like, bytesOf(to))
	var failed *ExecError
	if errors.As(err, &failed) && ctx.Err() == nil {
		return fmt.Errorf("%w: %w", ErrTooBig, err)
	}
	return err
}

func bytesOf(n size.Bytes) string { return strconv.FormatInt(int64(n), 10) }

// options returns the options of qemu-img create with which the image was made, as far as
// they determine its largest size.
func (i Info) options() string {
	options := []string{"compat=1.1"}
	if i.Version == 2 {
		options[0] = "compat=0.10"
	}
	if i.Cluster > 0 {
		options = append(options, "cluster_size="+bytesOf(i.Cluster))
	}
	if i.Version != 2 && i.RefcountBits > 0 {
		options = append(options, fmt.Sprintf("refcount_bits=%d", i.RefcountBits))
	}
	if i.ExtendedL2 { // QEMU 5.2 and later
		options = append(options, "extended_l2=on")
	}
	return strings.Join(options, ",")
}

// Largest returns the largest virtual size of a qcow2 with these clusters: an L1 table of
// 32 MiB, whose entries name L2 tables of one cluster each (QEMU's block/qcow2.h,
// QCOW_MAX_L1_SIZE). It is 0 if the cluster size is not known.
func (i Info) Largest() size.Bytes {
	entry := size.Bytes(8)
	if i.ExtendedL2 {
		entry = 16
	}
	const l1Entries = 32 << 20 / 8
	return i.Cluster / entry * i.Cluster * l1Entries
}

// CanHold checks whether the file system of a directory allows a sparse file of a size,
// and whether this process may have such a file (setrlimit(2), RLIMIT_FSIZE). If the
// process may not create a file there, only the limit of the process is checked.
func CanHold(dir string, n size.Bytes) error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &limit); err == nil && limit.Cur < uint64(n) {
		return fmt.Errorf("%w: the file size limit of this process is %s (ulimit -f)", ErrTooBig, size.Bytes(limit.Cur))
	}
	f, err := os.CreateTemp(dir, ".virt-grow-*")
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	defer os.Remove(f.Name())
	err = unix.Ftruncate(int(f.Fd()), int64(n))
	switch {
	case errors.Is(err, unix.EFBIG), errors.Is(err, unix.EINVAL):
		return fmt.Errorf("%w: the file system of %s does not support files of %s", ErrTooBig, dir, n)
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return fmt.Errorf("%w: the file system of %s has no sparse files, and too little space for one of %s", ErrTooBig, dir, n)
	}
	return err
}
