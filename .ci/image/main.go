// Image makes a copy of one of the test images, for demonstrations:
//
//	go run ./.ci/image NAME FORMAT FILE
package main

import (
	"fmt"
	"os"

	"github.com/virt-grow/virt-grow/testimages"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: image NAME FORMAT FILE")
		os.Exit(64)
	}
	if err := testimages.Copy(os.Args[1], os.Args[3], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}
