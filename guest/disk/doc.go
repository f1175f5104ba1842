// Package disk is about the disks of a domain: which one is meant, whether it may
// be changed, and which other domains use its image. A disk holds an image, which
// itself knows no domain. Nothing is written here, neither to an image nor to a
// definition.
package disk
