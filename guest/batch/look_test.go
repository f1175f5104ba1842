package batch

import (
	"testing"

	"github.com/virt-grow/virt-grow/plan/size"
)

func TestCapacity(t *testing.T) {
	for _, test := range []struct {
		processors int
		memory     size.Bytes
		want       Capacity
	}{
		{1, 0, Capacity{1, 0}}, {2, 64 * size.GiB, Capacity{1, 32}}, {4, 64 * size.GiB, Capacity{2, 32}},
		{8, 5 * size.GiB, Capacity{4, 2}}, {8, size.GiB, Capacity{4, 1}}, {128, 512 * size.GiB, Capacity{8, 256}},
	} {
		if got := capacity(test.processors, test.memory); got != test.want {
			t.Errorf("%d processors, %v: got %+v, want %+v", test.processors, test.memory, got, test.want)
		}
	}
}
