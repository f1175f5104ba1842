// Command virt-grow gives a virtual machine a bigger disk, and grows the partitions,
// volumes and file systems on the disk. Each command has a file of its own: it turns the
// flags into a struct, passes it to a package below guest, and shows the result with
// package view.
package main

import (
	"os"
	"slices"

	"github.com/virt-grow/virt-grow/cmd/virt-grow/remote"
)

// version is set by the linker: -ldflags "-X main.version=…".
var version = "dev"

func main() {
	if slices.Equal(os.Args[1:], []string{remote.Command}) {
		os.Exit(relay())
	}
	os.Exit(execute(os.Args, standard()))
}
