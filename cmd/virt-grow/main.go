// Command virt-grow gives a virtual machine a bigger disk, and everything
// inside the disk that should grow with it. Each command is a file: flags
// become a struct, the struct a call into package guest, the result a view.
package main

import "os"

// version is set by the linker: -ldflags "-X main.version=…".
var version = "dev"

func main() { os.Exit(execute(os.Args, standard())) }
