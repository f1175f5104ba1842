package block

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/virt-grow/virt-grow/guest/poll"
	"github.com/virt-grow/virt-grow/plan/size"
)

// A window is a part of a disk that qemu-img reads or writes like a whole disk. Copying
// from window to window on the host keeps holes, and is many times faster than copying in
// the appliance.

// window returns the image options (--image-opts of qemu-img) for n bytes of an export of
// the gate, from at on.
func (g *Gate) window(export string, at, n size.Bytes) string {
	return fmt.Sprintf("driver=raw,offset=%d,size=%d,file.driver=nbd,file.export=%s,file.server.type=unix,file.server.path=%s",
		int64(at), int64(n), export, option(g.Socket))
}

// fileWindow returns the image options for a whole raw file.
func fileWindow(path string) string {
	return "driver=raw,file.driver=file,file.filename=" + option(path)
}

// option doubles the commas of a value: a single comma would end it.
func option(value string) string { return strings.ReplaceAll(value, ",", ",,") }

func convert(ctx context.Context, from, to string) error {
	_, err := Run(ctx, "qemu-img", "convert", "-n", "--image-opts", from, "--target-image-opts", to)
	return err
}

// Read reads n bytes of the export, fewer at its end, as a client. It sees what other
// clients have written and flushed.
func (g *Gate) Read(ctx context.Context, n, at size.Bytes) ([]byte, error) {
	n = min(n, g.size-at)
	if n <= 0 {
		return nil, nil
	}
	out := filepath.Join(g.dir, "window")
	defer os.Remove(out)
	if _, err := Run(ctx, "qemu-img", "convert", "--image-opts", "-O", "raw", g.window(g.Name, at, n), out); err != nil {
		return nil, err
	}
	return os.ReadFile(out)
}

// Write writes whole sectors to the export. Other clients must drop their caches.
func (g *Gate) Write(ctx context.Context, data []byte, at size.Bytes) error {
	if n := size.Bytes(len(data)); at < 0 || at+n > g.size {
		return fmt.Errorf("bytes %d to %d are outside the disk of %d bytes", at, at+n, g.size)
	}
	in := filepath.Join(g.dir, "window")
	defer os.Remove(in)
	if err := os.WriteFile(in, data, 0o600); err != nil {
		return err
	}
	return convert(ctx, fileWindow(in), g.window(g.Name, at, size.Bytes(len(data))))
}

// ErrCopyDiffers reports that a copy differs from its original.
var ErrCopyDiffers = errors.New("the copy differs from the original")

// CopyIn copies n bytes of the overlay's image to another offset of the export, and reads
// them back. Nothing writes to the image: so the two ranges may overlap, and the copy can be
// repeated.
func (g *Gate) CopyIn(ctx context.Context, o Overlay, n, from, to size.Bytes) (err error) {
	source, done, err := g.source(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	return inParts(ctx, n, func(ctx context.Context, at, part size.Bytes) error {
		source, target := source(from+at, part), g.window(g.Name, to+at, part)
		if err := convert(ctx, source, target); err != nil {
			return err
		}
		return compare(ctx, source, target)
	})
}

// inParts does the work on several parts of n bytes at the same time, because qemu-img
// compare reads without parallelism. The first error ends it.
func inParts(ctx context.Context, n size.Bytes, work func(ctx context.Context, at, part size.Bytes) error) error {
	part := max((n / 4).Up(size.MiB), 16*size.MiB)
	parts, ctx := errgroup.WithContext(ctx)
	for at := size.Bytes(0); at < n; at += part {
		parts.Go(func() error { return work(ctx, at, min(part, n-at)) })
	}
	return parts.Wait()
}

func compare(ctx context.Context, a, b string) error {
	_, err := Run(ctx, "qemu-img", "compare", "-q", "--image-opts", a, b)
	var exit *ExecError
	if errors.As(err, &exit) && exit.Code() == 1 {
		return ErrCopyDiffers
	}
	return err
}

// source returns a function for windows on the overlay's image: directly on the file, or,
// if the image has a backing file, on an export of the gate. On a direct window, qemu-img
// compare reads zeros for bytes that only the backing file contains (QEMU 7.2).
func (g *Gate) source(ctx context.Context, o Overlay) (window func(at, n size.Bytes) string, done func() error, err error) {
	if o.protocol()["driver"] != "nbd" && o.alone(ctx) {
		straight := func(at, n size.Bytes) string {
			return fmt.Sprintf("driver=raw,offset=%d,size=%d,file.driver=%s,file.file.driver=%s,file.file.filename=%s",
				int64(at), int64(n), o.Format, driverOf(o.Image), option(o.Image))
		}
		return straight, func() error { return nil }, nil
	}
	if err := g.offer(ctx, o); err != nil {
		return nil, nil, err
	}
	exported := func(at, n size.Bytes) string { return g.window(sourceNode, at, n) }
	return exported, func() error { return g.withdraw(ctx) }, nil
}

// alone reports whether the image has no backing file.
func (o Overlay) alone(ctx context.Context) bool {
	info, err := Inspect(ctx, o.Image, o.Format, Shared)
	return err == nil && info.Backing == ""
}

// sourceNode is the name of the overlay's image as an export.
const sourceNode = "source"

// offer exports the overlay's image read-only.
func (g *Gate) offer(ctx context.Context, o Overlay) error {
	err := g.run(ctx, "blockdev-add", map[string]any{
		"driver": o.Format, "node-name": sourceNode, "read-only": true,
		"file": o.protocol(),
	})
	if err != nil {
		return err
	}
	return g.run(ctx, "block-export-add", map[string]any{"type": "nbd", "id": sourceNode, "node-name": sourceNode, "name": sourceNode})
}

// withdraw ends the export, and closes the image when the last client has disconnected.
func (g *Gate) withdraw(ctx context.Context) error {
	if err := g.run(ctx, "block-export-del", map[string]any{"id": sourceNode, "mode": "hard"}); err != nil {
		return err
	}
	var last error
	wait := poll.Wait{For: "the clients of the image's export to leave", Every: 10 * time.Millisecond, Limit: 5 * time.Second}
	err := poll.Until(ctx, wait, func() (bool, error) {
		last = g.run(ctx, "blockdev-del", map[string]any{"node-name": sourceNode})
		return last == nil, nil
	})
	if errors.Is(err, poll.ErrTimeout) {
		return last
	}
	return err
}
