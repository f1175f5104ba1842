package initramfs

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/ulikunitz/xz/lzma"
)

const xzMagic = "\xfd7zXZ\x00"

// xzReader reads the content of a .xz file (The .xz File Format 1.2.1). The reader of
// ulikunitz/xz has no limit for the dictionary, which a damaged header may give a size of
// 4 GiB; so the container is read here, and only its LZMA2 data there. Checksums are not
// checked: Linux does that when it unpacks the initramfs.
type xzReader struct {
	in *bufio.Reader
	// block is the block that is being read; nil between two blocks.
	block *lzma.Reader2
	// read is how many bytes of the block's data were read, check the size of its checksum.
	read  *position
	check int
	ended bool
}

// position is a reader that knows how far it is.
type position struct {
	*bufio.Reader
	n int64
}

func (p *position) Read(b []byte) (int, error) {
	n, err := p.Reader.Read(b)
	p.n += int64(n)
	return n, err
}

func (p *position) ReadByte() (byte, error) {
	b, err := p.Reader.ReadByte()
	if err == nil {
		p.n++
	}
	return b, err
}

func (x *xzReader) Read(p []byte) (int, error) {
	for {
		if x.ended {
			return 0, io.EOF
		}
		if x.block == nil {
			if err := x.next(); err != nil {
				return 0, unexpected(err)
			}
			continue
		}
		n, err := x.block.Read(p)
		if err == io.EOF {
			err = x.endBlock()
		}
		if n > 0 || err != nil {
			return n, unexpected(err)
		}
	}
}

// unexpected returns the error of a file that ends too early.
func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// next reads what follows a block: a header of a stream, a header of a block, or the index
// that ends the stream.
func (x *xzReader) next() error {
	magic, err := x.in.Peek(len(xzMagic))
	if err == nil && string(magic) == xzMagic {
		var header [12]byte
		if _, err := io.ReadFull(x.in, header[:]); err != nil {
			return err
		}
		// Section 2.1.1.2: the sizes of the checks with the IDs 0 to 15.
		x.check = []int{0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64}[header[7]&15]
	}
	size, err := x.in.ReadByte()
	switch {
	case err != nil:
		return err
	case size == 0:
		return x.skipIndex()
	}
	header := make([]byte, 4*(int(size)+1)-1)
	if _, err := io.ReadFull(x.in, header); err != nil {
		return err
	}
	dictionary, err := dictionarySize(header)
	if err != nil {
		return err
	}
	x.read = &position{Reader: x.in}
	x.block, err = lzma.Reader2Config{DictCap: max(dictionary, lzma.MinDictCap)}.NewReader2(x.read)
	return err
}

var errBlock = errors.New("the header of a block is damaged, or has an unknown filter")

// dictionarySize returns the size of the dictionary of LZMA2, which must be the only filter
// (section 3.1). The header is without its first byte.
func dictionarySize(header []byte) (int, error) {
	flags, rest := header[0], header[1:]
	if flags&0x3f != 0 {
		return 0, errBlock
	}
	for _, bit := range []byte{0x40, 0x80} { // the compressed and the uncompressed size
		if flags&bit != 0 {
			_, n := binary.Uvarint(rest)
			if n <= 0 {
				return 0, errBlock
			}
			rest = rest[n:]
		}
	}
	if len(rest) < 3 || rest[0] != 0x21 || rest[1] != 1 {
		return 0, errBlock
	}
	n, err := lzma.DecodeDictCap(rest[2])
	if err == nil && n > maxWindow {
		err = fmt.Errorf("%w: its dictionary has %d bytes", ErrTooLarge, n)
	}
	return int(n), err
}

// endBlock skips the padding and the checksum of a block.
func (x *xzReader) endBlock() error {
	x.block = nil
	_, err := x.in.Discard(int(-x.read.n&3) + x.check)
	return err
}

// skipIndex skips the index, whose first byte was read, and the footer, and looks for another
// stream.
func (x *xzReader) skipIndex() error {
	in := &position{Reader: x.in, n: 1}
	records, err := binary.ReadUvarint(in)
	for ; records > 0 && err == nil; records-- {
		if _, err = binary.ReadUvarint(in); err == nil {
			_, err = binary.ReadUvarint(in)
		}
	}
	if err != nil {
		return err
	}
	if _, err := x.in.Discard(int(-in.n&3) + 4 + 12); err != nil {
		return err
	}
	magic, err := x.in.Peek(len(xzMagic))
	x.ended = err != nil || string(magic) != xzMagic
	return nil
}
