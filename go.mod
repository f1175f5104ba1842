module github.com/virt-grow/virt-grow

go 1.24.0

replace libguestfs.org/guestfs => ./third_party/libguestfs

require (
	github.com/gofrs/flock v0.12.1
	github.com/google/go-cmp v0.7.0
	github.com/google/renameio/v2 v2.0.0
	github.com/urfave/cli/v2 v2.27.7
	golang.org/x/sync v0.19.0
	golang.org/x/sys v0.30.0
	golang.org/x/term v0.28.0
	libguestfs.org/guestfs v0.0.0
	libvirt.org/go/libvirt v1.11010.0
	libvirt.org/go/libvirtxml v1.11010.0
	pgregory.net/rapid v1.2.0
)

require (
	github.com/cpuguy83/go-md2man/v2 v2.0.7 // indirect
	github.com/russross/blackfriday/v2 v2.1.0 // indirect
	github.com/xrash/smetrics v0.0.0-20240521201337-686a1a2994c1 // indirect
)
