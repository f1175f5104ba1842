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

// Sort sorts the file systems of each guest, and the guests by their first file system. What
// has no figure comes last.
func Sort(guests []Guest, by Order) {
	figure := figures[by]
	for g := range guests {
		slices.SortStableFunc(guests[g].FileSystems, func(a, b FileSystem) int {
			return cmp.Or(compare(figure, &a, &b), cmp.Compare(a.Where(), b.Where()))
		})
	}
	slices.SortStableFunc(guests, func(a, b Guest) int {
		return cmp.Or(compare(figure, first(a), first(b)), cmp.Compare(a.Name, b.Name))
	})
}

// SortRows sorts file systems across guests.
func SortRows(rows []Row, by Order) {
	slices.SortStableFunc(rows, func(a, b Row) int {
		return cmp.Or(compare(figures[by], a.FS, b.FS), cmp.Compare(a.Guest.Name, b.Guest.Name), cmp.Compare(a.FS.Where(), b.FS.Where()))
	})
}

// figures are what the orders compare; the smallest one comes first. There is none if it is
// not known.
var figures = map[Order]func(*FileSystem) (float64, bool){
	ByName: func(*FileSystem) (float64, bool) { return 0, true },
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
		return f.Forecast.Days, f.Forecast.Fills()
	},
}

// first returns the first file system of a guest, nil if it has none.
func first(g Guest) *FileSystem {
	if len(g.FileSystems) == 0 {
		return nil
	}
	return &g.FileSystems[0]
}

func compare(figure func(*FileSystem) (float64, bool), a, b *FileSystem) int {
	value := func(f *FileSystem) (float64, int) {
		if f == nil {
			return 0, 2
		}
		if n, known := figure(f); known {
			return n, 0
		}
		return 0, 1
	}
	x, unknown := value(a)
	y, other := value(b)
	return cmp.Or(cmp.Compare(unknown, other), cmp.Compare(x, y))
}

// DropForecasts removes the forecasts.
func DropForecasts(guests []Guest) {
	for _, r := range Rows(guests) {
		r.FS.Forecast = nil
	}
}
