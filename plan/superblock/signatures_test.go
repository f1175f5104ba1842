package superblock

import (
	"fmt"
	"testing"

	"github.com/virt-grow/virt-grow/plan/size"
)

func TestSignatures(t *testing.T) {
	const n = size.GiB + 4096
	head, tail := make([]byte, SignatureHead), make([]byte, SignatureTail)
	copy(head[0x438:], "\x53\xef")
	copy(head, "XFSB")
	copy(tail[len(tail)-8192:], "\xfc\x4e\x2b\xa9")
	want := fmt.Sprint([]Signature{{"xfs", 0}, {"ext2/3/4", 0x438}, {"linux_raid_member", n - 8192}})
	if got := fmt.Sprint(Signatures(head, tail, n)); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func FuzzSignatures(f *testing.F) {
	f.Add([]byte("XFSB"), []byte("\xfc\x4e\x2b\xa9"), int64(8192))
	f.Add([]byte{}, []byte{}, int64(0))
	f.Fuzz(func(t *testing.T, head, tail []byte, n int64) {
		if n < 0 || int64(max(len(head), len(tail))) > n {
			return
		}
		for _, s := range Signatures(head, tail, size.Bytes(n)) {
			if s.Offset < 0 || int64(s.Offset) >= n || s.Type == "" {
				t.Errorf("%+v on %d bytes", s, n)
			}
		}
	})
}
