// Package image is about one image file or block device on this host: its
// identity, format, backing chain and limits, the free space around it, and new
// image files. It knows no domain and no job, and opens images read-only, except
// those that it creates itself.
package image
