package remote

import (
	"encoding/binary"
	"fmt"
	"io"
)

// Protocol is the number of the protocol. It changes with every change of the frames or of
// Start that the other end must know.
const Protocol = 1

// maxPayload is the most that a frame may have; longer data takes several frames.
const maxPayload = 64 << 10

// kind is the kind of a frame.
type kind byte

// The frames of both ends.
const (
	alive kind = 'a' // nothing but a sign of life
)

// The frames that are sent to the host.
const (
	start     kind = 's' // Start, as JSON; the first frame
	input     kind = 'i' // the answer to wantInput: what was read; empty at the end of the input
	key       kind = 'k' // the answer to wantKey, as JSON
	interrupt kind = 'c' // Ctrl-C
	closed    kind = 'z' // standard output is closed: nobody reads it
)

// The frames that the host sends.
const (
	output     kind = 'o' // written to standard output
	messages   kind = 'm' // written to standard error
	wantInput  kind = 'r' // the command reads standard input
	wantKey    kind = 'q' // the command needs the key of a LUKS container; its ID
	job        kind = 'j' // the ID of the command's job
	exitStatus kind = 'x' // one byte, the exit code; the last frame
)

// frame is one message: a byte with its kind, the length of the payload in four bytes, and
// the payload.
type frame struct {
	kind    kind
	payload []byte
}

const headSize = 5

func (f frame) bytes() []byte {
	b := make([]byte, headSize, headSize+len(f.payload))
	b[0] = byte(f.kind)
	binary.BigEndian.PutUint32(b[1:], uint32(len(f.payload)))
	return append(b, f.payload...)
}

// readFrame reads one frame. It returns io.EOF only between two frames.
func readFrame(r io.Reader) (frame, error) {
	var head [headSize]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return frame{}, err
	}
	n := binary.BigEndian.Uint32(head[1:])
	if n > maxPayload {
		return frame{}, fmt.Errorf("a frame of %d bytes, at most %d are allowed", n, maxPayload)
	}
	f := frame{kind: kind(head[0]), payload: make([]byte, n)}
	if _, err := io.ReadFull(r, f.payload); err != nil {
		return frame{}, io.ErrUnexpectedEOF
	}
	return f, nil
}
