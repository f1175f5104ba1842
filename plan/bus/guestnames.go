package bus

import (
	"cmp"
	"slices"
)

// GuestNames returns the names that a Linux may give each of the guest's disks. Linux counts
// the disks of virtio, and together those of all other buses. If these are on several buses,
// their order is not known, and each disk may have each name.
func GuestNames(disks []Disk) [][]string {
	all := make([][]string, len(disks))
	order := make([]int, len(disks))
	for i := range disks {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		x, y := disks[a].Target, disks[b].Target
		return cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(x, y))
	})
	var others []int
	virtio, mixed := 0, false
	for _, i := range order {
		if disks[i].Bus == Virtio {
			all[i] = []string{"/dev/vd" + letters(virtio)}
			virtio++
			continue
		}
		others = append(others, i)
		mixed = mixed || disks[i].Bus != disks[others[0]].Bus
	}
	for n, i := range others {
		if disks[i].Bus == IDE { // Linux before 2.6.20 or so calls it by its place
			all[i] = append(all[i], "/dev/"+disks[i].Target)
		}
		for m := range others {
			if mixed || m == n {
				all[i] = append(all[i], "/dev/sd"+letters(m))
			}
		}
	}
	return all
}

// letters returns the letters of the disk with that index: a, b, …, z, aa.
func letters(i int) string {
	if i < 26 {
		return string(rune('a' + i))
	}
	return letters(i/26-1) + letters(i%26)
}
