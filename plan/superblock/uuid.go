package superblock

import "fmt"

// uuid returns a UUID of 16 bytes as text, in blkid's form.
func uuid(b []byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}
