package remote

import (
	"errors"
	"io"
	"sync"
	"time"
)

// Pace has the times of a connection.
type Pace struct {
	// Beat is the time between two signs of life.
	Beat time.Duration
	// Silence is how long the other end may send nothing until the connection counts as
	// lost: a host that has vanished ends no connection.
	Silence time.Duration
}

// UsualPace is the pace of the program.
var UsualPace = Pace{Beat: 15 * time.Second, Silence: time.Minute}

// errSilent is the loss of a connection whose other end sends nothing.
var errSilent = errors.New("the other end has sent nothing for too long")

// link is a connection of the two ends. A link that is lost stays lost.
type link struct {
	r     io.Reader
	queue chan sending
	pace  Pace

	once  sync.Once
	lost  chan struct{} // closed when the link is lost
	cause error
}

type sending struct {
	bytes []byte
	done  chan struct{}
}

func newLink(r io.Reader, w io.Writer, pace Pace) *link {
	l := &link{r: r, queue: make(chan sending), pace: pace, lost: make(chan struct{})}
	go l.write(w)
	go l.beat()
	return l
}

// write writes all frames. It may block for ever in a connection that is lost, so no other
// goroutine writes. What cannot be written is dropped: the other end has gone, but what it
// has sent before is still to be read, and then the reader finds the end.
func (l *link) write(w io.Writer) {
	var failed error
	for {
		select {
		case s := <-l.queue:
			if failed == nil {
				_, failed = w.Write(s.bytes)
			}
			close(s.done)
		case <-l.lost:
			return
		}
	}
}

func (l *link) beat() {
	ticker := time.NewTicker(l.pace.Beat)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			_ = l.send(alive, nil)
		case <-l.lost:
			return
		}
	}
}

// send returns when the frame is written or dropped, or the link is lost.
func (l *link) send(k kind, payload []byte) error {
	s := sending{frame{k, payload}.bytes(), make(chan struct{})}
	select {
	case l.queue <- s:
	case <-l.lost:
		return l.cause
	}
	select {
	case <-s.done:
		return nil
	case <-l.lost:
		return l.cause
	}
}

// receive returns the next frame that is not a sign of life. After an error, the link is lost.
func (l *link) receive() (frame, error) {
	for {
		silence := time.AfterFunc(l.pace.Silence, func() { l.lose(errSilent) })
		f, err := readFrame(l.r)
		silence.Stop()
		if err != nil {
			l.lose(err)
			return frame{}, l.cause
		}
		if f.kind != alive {
			return f, nil
		}
	}
}

// lose ends the link; the first cause remains.
func (l *link) lose(cause error) {
	l.once.Do(func() {
		l.cause = cause
		close(l.lost)
	})
}
