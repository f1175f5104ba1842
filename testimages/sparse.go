package testimages

import (
	"bytes"
	"errors"
	"io"
	"os"
	"syscall"
)

const (
	seekData = 3 // lseek(2)
	block    = 4096
)

// sparseCopy copies length bytes from src at srcOff to dst at dstOff, which
// must be a hole there: holes and zero blocks are left out.
func sparseCopy(dst io.WriterAt, dstOff int64, src *os.File, srcOff, length int64) error {
	buf := make([]byte, 1<<20)
	for pos, end := srcOff, srcOff+length; pos < end; {
		data, err := src.Seek(pos, seekData)
		if errors.Is(err, syscall.ENXIO) || err == nil && data >= end {
			return nil
		}
		if err != nil {
			return err
		}
		pos = data - (data-srcOff)%block
		n, err := src.ReadAt(buf[:min(int64(len(buf)), end-pos)], pos)
		if err != nil && err != io.EOF {
			return err
		}
		if n == 0 {
			return nil
		}
		if err := writeBlocks(dst, dstOff+pos-srcOff, buf[:n]); err != nil {
			return err
		}
		pos += int64(n)
	}
	return nil
}

// writeBlocks writes the runs of blocks of b which are not zero.
func writeBlocks(dst io.WriterAt, off int64, b []byte) error {
	var zero [block]byte
	for start := 0; start < len(b); {
		end := start
		for end < len(b) && !bytes.Equal(b[end:min(end+block, len(b))], zero[:min(block, len(b)-end)]) {
			end = min(end+block, len(b))
		}
		if end > start {
			if _, err := dst.WriteAt(b[start:end], off+int64(start)); err != nil {
				return err
			}
		}
		start = end + block
	}
	return nil
}

// sparseFile copies a whole file to dst, which is created or replaced.
func sparseFile(dst, src string) (err error) {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	st, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(dst, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if err := out.Truncate(st.Size()); err != nil {
		return err
	}
	return sparseCopy(out, 0, in, 0, st.Size())
}
