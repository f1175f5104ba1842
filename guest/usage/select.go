package usage

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Row is one file system of a list over several guests.
type Row struct {
	Guest *Guest
	FS    *FileSystem
}

// Rows lists the file systems of the guests, in the guests' order.
func Rows(guests []Guest) []Row {
	var rows []Row
	for g := range guests {
		for f := range guests[g].FileSystems {
			rows = append(rows, Row{&guests[g], &guests[g].FileSystems[f]})
		}
	}
	return rows
}

// ParseShare reads "80%" or "80".
func ParseShare(text string) (percent float64, err error) {
	percent, err = strconv.ParseFloat(strings.TrimSuffix(text, "%"), 64)
	if err != nil || !(percent >= 0 && percent <= 100) {
		return 0, fmt.Errorf("%q is not a percentage from 0%% to 100%%", text)
	}
	return percent, nil
}

// Above removes the file systems of which at most that many percent are used, and those
// whose sizes are not known.
func Above(guests []Guest, percent float64) {
	for g := range guests {
		guests[g].FileSystems = slices.DeleteFunc(guests[g].FileSystems, func(f FileSystem) bool {
			share, known := f.Share()
			return !known || share*100 <= percent
		})
	}
}

// Order is an order of rows.
type Order string

// The orders: by name, the largest used share first, the least free space first, the one
// that will be full first.
const (
	ByName Order = "name"
	ByUsed Order = "used"
	ByFree Order = "free"
	ByFull Order = "full"
)

// Orders are all orders.
var Orders = []string{string(ByUsed), string(ByFree), string(ByName), string(ByFull)}

// Sort sorts rows. Those of which the figure is not known come last.
func Sort(rows []Row, by Order) {
	figure := map[Order]func(*FileSystem) (float64, bool){
		ByUsed: func(f *FileSystem) (float64, bool) {
			share, known := f.Share()
			return -share, known
		},
		ByFree: func(f *FileSystem) (float64, bool) {
			_, known := f.Share()
			return float64(f.Free), known
		},
		ByFull: func(f *FileSystem) (float64, bool) {
			if f.Forecast == nil {
				return 0, false
			}
			return f.Forecast.Days, f.Forecast.Outlook == Full || f.Forecast.Outlook == Filling
		},
	}[by]
	slices.SortStableFunc(rows, func(a, b Row) int {
		if figure != nil {
			x, known := figure(a.FS)
			y, other := figure(b.FS)
			if known != other {
				return cmp.Compare(rank(known), rank(other))
			}
			if c := cmp.Compare(x, y); c != 0 {
				return c
			}
		}
		return cmp.Or(cmp.Compare(a.Guest.Name, b.Guest.Name), cmp.Compare(a.FS.Where(), b.FS.Where()))
	})
}

func rank(known bool) int {
	if known {
		return 0
	}
	return 1
}
