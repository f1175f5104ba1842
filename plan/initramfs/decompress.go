package initramfs

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/ulikunitz/xz/lzma"
)

// formats are the compressions that Linux unpacks (lib/decompress.c), by their first bytes.
// There is no LZO: no distribution uses it for its initramfs.
var formats = []struct {
	name, magic string
	open        func(*bufio.Reader) (io.Reader, error)
}{
	{"gzip", "\x1f\x8b", openGzip},
	{"xz", xzMagic, func(r *bufio.Reader) (io.Reader, error) { return &xzReader{in: r}, nil }},
	{"zstd", "\x28\xb5\x2f\xfd", openZstd},
	{"lz4", "\x02\x21\x4c\x18", func(r *bufio.Reader) (io.Reader, error) { return lz4.NewReader(r), nil }},
	{"bzip2", "BZh", func(r *bufio.Reader) (io.Reader, error) { return bzip2.NewReader(r), nil }},
	{"lzma", "\x5d\x00\x00", func(r *bufio.Reader) (io.Reader, error) {
		return lzma.ReaderConfig{DictCap: maxWindow}.NewReader(r)
	}},
}

// decompress reads the archives in a compressed one.
func (s *scanner) decompress(r *bufio.Reader, magic []byte) error {
	for _, f := range formats {
		if !bytes.HasPrefix(magic, []byte(f.magic)) {
			continue
		}
		content, err := f.open(r)
		if err == nil {
			err = s.segments(bufio.NewReaderSize(&limited{content, &s.left}, 64<<10), false)
		}
		if c, ok := content.(io.Closer); ok {
			_ = c.Close()
		}
		if err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		return nil
	}
	return fmt.Errorf("%w: it begins with %x", ErrFormat, magic)
}

func openZstd(r *bufio.Reader) (io.Reader, error) {
	d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return nil, err
	}
	return d.IOReadCloser(), nil
}

func openGzip(r *bufio.Reader) (io.Reader, error) {
	z, err := gzip.NewReader(r)
	if err != nil {
		return nil, err
	}
	z.Multistream(false)
	return &gzipReader{z, r}, nil
}

// gzipReader reads all members of a gzip file. Unlike gzip.Reader, it accepts other data behind
// the last one.
type gzipReader struct {
	*gzip.Reader
	in *bufio.Reader
}

func (g *gzipReader) Read(p []byte) (int, error) {
	n, err := g.Reader.Read(p)
	if err != io.EOF {
		return n, err
	}
	if next, _ := g.in.Peek(2); string(next) != "\x1f\x8b" {
		return n, io.EOF
	}
	err = g.Reset(g.in)
	g.Multistream(false)
	return n, err
}
