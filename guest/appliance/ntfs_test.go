package appliance

import (
	"testing"

	"github.com/virt-grow/virt-grow/plan/size"
)

// TestSameNTFSSize compares the computed size with the arithmetic of ntfsresize: the
// results have the same number of clusters.
func TestSameNTFSSize(t *testing.T) {
	for cluster := size.Bytes(512); cluster <= 2*size.MiB; cluster *= 2 {
		for _, sector := range []size.Bytes{512, 4096} {
			if sector > cluster {
				continue
			}
			for _, spare := range []size.Bytes{sector, sector + 512, cluster, cluster + sector - 512} {
				if spare < sector {
					continue
				}
				volume := 1000 * cluster
				got := sameNTFSSize(volume, cluster, volume+spare)
				if clusters := (got - sector) / cluster; clusters != 1000 || got > volume+spare {
					t.Errorf("clusters of %s, sectors of %s, %d bytes behind: asks for %d clusters", cluster, sector, spare, clusters)
				}
			}
		}
	}
}
