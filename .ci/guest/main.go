// Guest runs a test guest in a private libvirt, for demonstrations and
// benchmarks:
//
//	go run ./.ci/guest up DIR VARIANT   start both; print the URI; the guest is called demo, its disk DIR/disk.qcow2
//	go run ./.ci/guest fleet DIR VARIANT NAME…   the same with several guests; the disk of a guest is DIR/NAME.qcow2
//	go run ./.ci/guest gap DIR [NAME [SINCE]]   print the longest gap between two signs of life of a guest, in seconds; SINCE is in seconds since 1970
//	go run ./.ci/guest down DIR         end all, and remove DIR
//	go run ./.ci/guest export DIR AT VARIANT   write the files of the guest and its definition to DIR, for a host that has them in AT
//	go run ./.ci/guest earlier FILE DAYS BYTES   add samples of earlier days to a file of samples, as daily calls of df would have: the fullest file system had BYTES fewer each day
//
// DIR is created by up. Its path must be short, and every user must be able to reach it. The
// program must run as root.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/virt-grow/virt-grow/testimages/lab"
)

const name = "demo"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	switch args := os.Args[1:]; {
	case len(args) == 3 && args[0] == "up":
		err = up(ctx, args[1], args[2], guest{name, filepath.Join(args[1], "disk.qcow2")})
	case len(args) > 3 && args[0] == "fleet":
		var guests []guest
		for _, name := range args[3:] {
			guests = append(guests, guest{name, filepath.Join(args[1], name+".qcow2")})
		}
		err = up(ctx, args[1], args[2], guests...)
	case len(args) > 1 && len(args) < 5 && args[0] == "gap":
		err = gap(args[1], args[2:]...)
	case len(args) == 4 && args[0] == "earlier":
		err = earlier(args[1], args[2], args[3])
	case len(args) > 2 && args[0] == "exec":
		err = run(ctx, args[1], args[2:])
	case len(args) == 2 && args[0] == "down":
		err = down(args[1])
	case len(args) == 4 && args[0] == "export":
		err = lab.Export(ctx, args[1], args[2], name, args[3])
	default:
		fmt.Fprintln(os.Stderr, "usage: guest up DIR VARIANT | fleet DIR VARIANT NAME… | gap DIR [NAME [SINCE]] | down DIR | export DIR AT VARIANT | earlier FILE DAYS BYTES")
		os.Exit(64)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "guest:", err)
		os.Exit(1)
	}
}

// guest is a guest with its disk.
type guest struct{ name, disk string }

func up(ctx context.Context, dir, variant string, guests ...guest) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	say("starting a private libvirt")
	l, err := lab.StartDetached(ctx, dir)
	if err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	for _, g := range guests {
		if err := boot(ctx, l, variant, g); err != nil {
			return errors.Join(err, l.Stop(), os.RemoveAll(dir))
		}
	}
	fmt.Println(l.URI())
	return nil
}

func boot(ctx context.Context, l *lab.Libvirt, variant string, made guest) error {
	say("creating the disk of " + made.name + ": a small Linux on " + variant)
	disk := lab.Disk{Path: made.disk, Format: "qcow2", Target: "vda"}
	if err := lab.Image(ctx, variant, disk.Format, disk.Path); err != nil {
		return err
	}
	say("creating its kernel and initramfs")
	g, err := l.Define(ctx, lab.Spec{Name: made.name, Disks: []lab.Disk{disk}})
	if err != nil {
		return err
	}
	say("booting " + made.name + ", until its agent answers")
	if err := g.Start(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	return g.WaitAgent(ctx)
}

// say reports progress on standard error; standard output is for the URI.
func say(what string) { fmt.Fprintln(os.Stderr, what) }

// gap prints the longest gap of a guest, "demo" if none is named, since a time.
func gap(dir string, of ...string) error {
	l, err := lab.Attach(dir)
	if err != nil {
		return err
	}
	named, since := name, time.Time{}
	if len(of) > 0 {
		named = of[0]
	}
	if len(of) > 1 {
		seconds, err := strconv.ParseFloat(of[1], 64)
		if err != nil {
			return err
		}
		since = time.Unix(0, int64(seconds*1e9))
	}
	gap, err := l.Guest(named).Outage(since)
	if err != nil {
		return err
	}
	fmt.Printf("%.1f\n", gap.Length().Seconds())
	return nil
}

func run(ctx context.Context, dir string, words []string) error {
	l, err := lab.Attach(dir)
	if err != nil {
		return err
	}
	out, err := l.Guest(name).Exec(ctx, words[0], words[1:]...)
	fmt.Print(out)
	return err
}

func down(dir string) error {
	l, err := lab.Attach(dir)
	if err != nil {
		return err
	}
	return errors.Join(l.Stop(), os.RemoveAll(dir))
}
