package block

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/virt-grow/virt-grow/plan/journal"
	"github.com/virt-grow/virt-grow/plan/size"
)

// Watch reports the progress of a long-running program.
type Watch struct {
	// Started is called with the process, Percent with its progress; both may be nil.
	Started func(journal.Proc)
	Percent func(float64)
}

// CreateImage creates an empty image. The path must not exist.
func CreateImage(ctx context.Context, w Watch, path, format string, to size.Bytes, prealloc string) error {
	args := []string{"create", "-q", "-f", format}
	if prealloc != "" {
		args = append(args, "-o", "preallocation="+prealloc)
	}
	return runWatched(ctx, w, "qemu-img", append(args, path, strconv.FormatInt(int64(to), 10))...)
}

// Copy is a copy of a whole image, backing files included, in another format.
type Copy struct {
	Source, From string
	Target, To   string
}

// Make writes the copy. Empty parts of the source take no space in the copy.
func (c Copy) Make(ctx context.Context, w Watch) error {
	err := runWatched(ctx, w, "qemu-img", "convert", "-p", "-f", c.From, "-O", c.To, c.Source, c.Target)
	if err != nil {
		return asInUse(err)
	}
	return syncFile(c.Target)
}

// Compare reads both images, and returns ErrCopyDiffers if a guest would see different
// bytes. One of them may be longer if the additional bytes are zeros.
func (c Copy) Compare(ctx context.Context, w Watch) error {
	err := runWatched(ctx, w, "qemu-img", "compare", "-p", "-f", c.From, "-F", c.To, c.Source, c.Target)
	var exit *ExecError
	if errors.As(err, &exit) && exit.Code() == 1 {
		return ErrCopyDiffers
	}
	return asInUse(err)
}

// Needs returns approximately how much space the copy will take. qemu-img measures it for
// raw and qcow2; other formats have clusters like qcow2.
func (c Copy) Needs(ctx context.Context) (size.Bytes, error) {
	to := "qcow2"
	if c.To == "raw" {
		to = "raw"
	}
	out, err := Run(ctx, "qemu-img", "measure", "--output=json", "-f", c.From, "-O", to, c.Source)
	if err != nil {
		return 0, asInUse(err)
	}
	var needs struct{ Required size.Bytes }
	if err := json.Unmarshal(out, &needs); err != nil {
		return 0, fmt.Errorf("qemu-img measure: %w", err)
	}
	return needs.Required, nil
}

// runWatched runs a program to its end. The program is killed when this process ends,
// because nothing would use its output.
func runWatched(ctx context.Context, w Watch, name string, args ...string) error {
	cmd := command(ctx, name, args...)
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	var stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &percents{tell: w.Percent}, &stderr
	ended := make(chan error)
	go func() {
		// The signal is sent when the thread that started the program ends
		// (PR_SET_PDEATHSIG(2const)).
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		if err == nil {
			if p, e := Identify(name, cmd.Process.Pid); e == nil && w.Started != nil {
				w.Started(p)
			}
			err = cmd.Wait()
		}
		ended <- err
	}()
	return failed(ctx, cmd, <-ended, stderr.String())
}

// percents reads the progress that qemu-img -p prints: "    (12.34/100%)\r", repeatedly.
type percents struct {
	tell func(float64)
	rest []byte
}

var percent = regexp.MustCompile(`\((\d{1,3}\.\d\d)/100%\)`)

// Write implements io.Writer.
func (p *percents) Write(data []byte) (int, error) {
	if p.tell == nil {
		return len(data), nil
	}
	p.rest = append(p.rest, data...)
	end := 0
	for _, found := range percent.FindAllSubmatchIndex(p.rest, -1) {
		if n, err := strconv.ParseFloat(string(p.rest[found[2]:found[3]]), 64); err == nil && n <= 100 {
			p.tell(n)
		}
		end = found[1]
	}
	// An incomplete message is not longer than this.
	p.rest = bytes.Clone(p.rest[max(end, len(p.rest)-32):])
	return len(data), nil
}

// RenameNew renames a file to a name that does not exist yet, and returns fs.ErrExist
// if it does. The new name is durable afterwards.
func RenameNew(from, to, dir string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		// Some network file systems do not support this rename.
		if err = os.Link(from, to); err == nil {
			err = os.Remove(from)
		}
	}
	if err != nil {
		return err
	}
	return syncFile(dir)
}

// SyncFile flushes a file's bytes, or a directory's names, to the disk.
func SyncFile(path string) error { return syncFile(path) }
