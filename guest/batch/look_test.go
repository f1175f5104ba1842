package batch

import (
	"testing"

	"github.com/virt-grow/virt-grow/plan/size"
)

func TestAppliances(t *testing.T) {
	for _, test := range []struct {
		processors int
		memory     size.Bytes
		want       int
	}{
		{1, 0, 1}, {2, 64 * size.GiB, 1}, {4, 64 * size.GiB, 2}, {8, 5 * size.GiB, 2}, {8, size.GiB, 1}, {8, 0, 4}, {128, 512 * size.GiB, 8},
	} {
		if got := appliances(test.processors, test.memory); got != test.want {
			t.Errorf("%d processors, %v: got %d, want %d", test.processors, test.memory, got, test.want)
		}
	}
}
