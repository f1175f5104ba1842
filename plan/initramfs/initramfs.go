// Package initramfs lists the files in a Linux initramfs, without unpacking it.
//
// An initramfs is a sequence of archives in cpio's format newc, each of which may be
// compressed; microcode for the processor comes first, not compressed (Linux,
// Documentation/driver-api/early-userspace/buffer-format.rst). The package is pure, and does
// not trust the bytes: memory and the size of the content are limited.
package initramfs

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/cavaliergopher/cpio"
)

// Limits. The largest initramfs of a distribution, with the firmware of all graphics cards,
// is a fifth of maxSize.
const (
	maxSize = 2 << 30
	// maxWindow limits how much memory a decompressor may use. zstd -19 --long needs 128 MiB.
	maxWindow = 128 << 20
)

// Errors of Read.
var (
	// ErrFormat reports that the data is no initramfs, or has an unknown compression.
	ErrFormat = errors.New("not an initramfs in a known format")
	// ErrTooLarge reports that the content is larger than any usual initramfs.
	ErrTooLarge = errors.New("the content of the initramfs is too large")
)

// Read calls found with the path of each file, without a slash at the start. After an error,
// the paths before it have been found.
func Read(r io.Reader, found func(path string)) error { return read(r, found, maxSize) }

func read(r io.Reader, found func(path string), limit int64) error {
	s := &scanner{found: found, left: limit}
	return s.segments(bufio.NewReaderSize(&limited{r, &limit}, 64<<10), true)
}

type scanner struct {
	found func(string)
	// left is how many bytes of content the decompressors may still return.
	left int64
}

// segments reads archives up to the end of r. Compressed archives contain no others that are
// compressed.
func (s *scanner) segments(r *bufio.Reader, compressed bool) error {
	for {
		magic, err := start(r)
		switch {
		case err != nil:
			return err
		case magic == nil:
			return nil
		case bytes.HasPrefix(magic, []byte("07070")):
			err = s.archive(r)
		case compressed:
			err = s.decompress(r, magic)
		default:
			err = fmt.Errorf("%w: it begins with %x", ErrFormat, magic)
		}
		if err != nil {
			return err
		}
	}
}

// start skips the zeros between two archives, and returns the first bytes of the next one;
// nil at the end.
func start(r *bufio.Reader) ([]byte, error) {
	for {
		b, err := r.Peek(1)
		if err == io.EOF {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		if b[0] != 0 {
			break
		}
		if _, err := r.Discard(1); err != nil {
			return nil, err
		}
	}
	magic, err := r.Peek(6)
	if err == io.EOF {
		err = nil // too short for any archive; the magic does not match
	}
	return magic, err
}

// archive reads one archive, up to the entry that ends it.
func (s *scanner) archive(r *bufio.Reader) error {
	in := &endMarker{Reader: r}
	archive := cpio.NewReader(in)
	for {
		h, err := archive.Next()
		switch {
		case in.ended:
			return fmt.Errorf("an archive is cut off: %w", io.ErrUnexpectedEOF)
		case err == io.EOF:
			return nil
		case err != nil:
			return fmt.Errorf("an archive is damaged: %w", err)
		}
		s.found(strings.TrimLeft(strings.TrimPrefix(h.Name, "."), "/"))
	}
}

// endMarker notes that a read failed at the end: the reader of archives returns io.EOF there,
// and also at the entry that ends an archive.
type endMarker struct {
	io.Reader
	ended bool
}

func (e *endMarker) Read(p []byte) (int, error) {
	n, err := e.Reader.Read(p)
	e.ended = e.ended || err == io.EOF
	return n, err
}

// limited is a reader that fails when it has read too much.
type limited struct {
	io.Reader
	left *int64
}

func (l *limited) Read(p []byte) (int, error) {
	if *l.left <= 0 {
		return 0, ErrTooLarge
	}
	n, err := l.Reader.Read(p[:min(int64(len(p)), *l.left)])
	*l.left -= int64(n)
	return n, err
}
