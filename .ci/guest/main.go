// Guest runs a test guest in a private libvirt, for demonstrations and
// benchmarks:
//
//	go run ./.ci/guest up DIR VARIANT   start both; print the URI; the guest is called demo, its disk DIR/disk.qcow2
//	go run ./.ci/guest gap DIR          print the longest gap between two signs of life of the guest, in seconds
//	go run ./.ci/guest down DIR         end both, and remove DIR
//	go run ./.ci/guest export DIR AT VARIANT   write the files of the guest and its definition to DIR, for a host that has them in AT
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
		err = up(ctx, args[1], args[2])
	case len(args) == 2 && args[0] == "gap":
		err = gap(args[1])
	case len(args) == 2 && args[0] == "down":
		err = down(args[1])
	case len(args) == 4 && args[0] == "export":
		err = lab.Export(ctx, args[1], args[2], name, args[3])
	default:
		fmt.Fprintln(os.Stderr, "usage: guest up DIR VARIANT | gap DIR | down DIR | export DIR AT VARIANT")
		os.Exit(64)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "guest:", err)
		os.Exit(1)
	}
}

func up(ctx context.Context, dir, variant string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	say("starting a private libvirt")
	l, err := lab.StartDetached(ctx, dir)
	if err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	if err := boot(ctx, l, dir, variant); err != nil {
		return errors.Join(err, l.Stop(), os.RemoveAll(dir))
	}
	fmt.Println(l.URI())
	return nil
}

func boot(ctx context.Context, l *lab.Libvirt, dir, variant string) error {
	say("creating the disk of the guest: a small Linux on " + variant)
	disk := lab.Disk{Path: filepath.Join(dir, "disk.qcow2"), Format: "qcow2", Target: "vda"}
	if err := lab.Image(ctx, variant, disk.Format, disk.Path); err != nil {
		return err
	}
	say("creating the guest's kernel and initramfs")
	g, err := l.Define(ctx, lab.Spec{Name: name, Disks: []lab.Disk{disk}})
	if err != nil {
		return err
	}
	say("booting the guest, until its agent answers")
	if err := g.Start(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	return g.WaitAgent(ctx)
}

// say reports progress on standard error; standard output is for the URI.
func say(what string) { fmt.Fprintln(os.Stderr, what) }

func gap(dir string) error {
	l, err := lab.Attach(dir)
	if err != nil {
		return err
	}
	gap, err := l.Guest(name).Outage(time.Time{})
	if err != nil {
		return err
	}
	fmt.Printf("%.1f\n", gap.Length().Seconds())
	return nil
}

func down(dir string) error {
	l, err := lab.Attach(dir)
	if err != nil {
		return err
	}
	return errors.Join(l.Stop(), os.RemoveAll(dir))
}
