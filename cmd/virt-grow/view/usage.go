package view

import (
	"cmp"
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/virt-grow/virt-grow/guest/usage"
)

// GuestUsage shows how full the file systems of one guest are.
type GuestUsage struct {
	usage.Guest
	// Trouble is the error, if the guest could not be read.
	*Trouble
}

// UsageDocument is what df --json prints.
type UsageDocument struct {
	Schema string       `json:"schema"`
	Guests []GuestUsage `json:"guests"`
}

// UsageJSON writes the document of df.
func UsageJSON(w io.Writer, guests []GuestUsage) error {
	for i := range guests {
		if guests[i].FileSystems == nil {
			guests[i].FileSystems = []usage.FileSystem{}
		}
	}
	return Document(w, UsageDocument{Schema("df"), guests})
}

// Usage prints how full file systems are, a table for each guest.
func Usage(w io.Writer, s Style, guests []GuestUsage) error {
	p := &page{Style: s}
	for _, g := range guests {
		if g.Trouble != nil {
			continue // its error has been printed
		}
		p.head("%s%s", g.Name, map[bool]string{true: " (running: as of this moment, may be inconsistent)"}[g.Running])
		if len(g.FileSystems) == 0 {
			p.line("no file system")
			continue
		}
		t := table{heads: []string{"DEVICE", "TYPE", "SIZE", "USED", "FREE", "USE", "MOUNTED", "LABEL"},
			right: map[int]bool{2: true, 3: true, 4: true, 5: true}}
		for _, fs := range g.FileSystems {
			row := append([]string{fs.Device, fs.Type}, sizes(fs)...)
			t.add(append(row, strings.Join(fs.Mounted, ", "), fs.Label)...)
		}
		p.table(t)
		for _, fs := range g.FileSystems {
			if fs.Problem != nil {
				p.paragraph("", "%s", fs.Problem)
			}
		}
		for _, note := range g.Notes {
			p.paragraph("", "%s", note)
		}
	}
	_, err := io.WriteString(w, p.b.String())
	return err
}

// sizes returns the cells for size, used, free and the used share, which are empty if they
// are not known.
func sizes(fs usage.FileSystem) []string {
	if fs.Problem != nil {
		return make([]string, 4)
	}
	share := ""
	if percent, known := fs.Percent(); known {
		share = fmt.Sprintf("%d%%", percent)
	}
	return []string{fs.Size.String(), fs.Used.String(), fs.Free.String(), share}
}

// Fleet prints how full the file systems of many guests are, in one table, and which guests
// could not be asked. nothing is printed if there is no file system to show.
func Fleet(w io.Writer, s Style, guests []usage.Guest, by usage.Order, nothing string) error {
	p := &page{Style: s}
	rows := usage.Rows(guests)
	usage.SortRows(rows, by)
	t := table{heads: []string{"GUEST", "FILE SYSTEM", "DEVICE", "TYPE", "SIZE", "USED", "FREE", "USE", "FORECAST"},
		right: map[int]bool{4: true, 5: true, 6: true, 7: true}, spare: []int{2, 3, 5}}
	for _, r := range rows {
		device := r.FS.Device
		if len(r.FS.Mounted) == 0 {
			device = ""
		}
		row := append([]string{p.short(r.Guest.Name), p.short(r.FS.Where()), p.short(device), p.short(r.FS.Type)}, sizes(*r.FS)...)
		forecast := ""
		if r.FS.Forecast != nil {
			forecast = r.FS.Forecast.String()
		}
		t.add(append(row, forecast)...)
	}
	if len(rows) == 0 {
		p.line("%s", nothing)
	} else {
		p.table(t)
	}
	p.remarks(guests, rows)
	p.unread(guests)
	_, err := io.WriteString(w, p.b.String())
	return err
}

// longest is the width in columns of the longest name in a table of many guests.
const longest = 32

// short shortens a name at its beginning: the end of a mount point says more.
func (p *page) short(name string) string {
	name = p.clean(name)
	if n := columns(name); n > longest {
		return p.glyphs().cut + string([]rune(name)[n-longest+1:])
	}
	return name
}

// remarks prints the problems and notes of the guests.
func (p *page) remarks(guests []usage.Guest, rows []usage.Row) {
	for _, r := range rows {
		if r.FS.Problem != nil {
			p.paragraph("", "%s: %s: %s", r.Guest.Name, r.FS.Where(), r.FS.Problem)
		}
	}
	for _, g := range guests {
		for _, note := range g.Notes {
			p.paragraph("", "%s: %s", g.Name, note)
		}
	}
}

// unread prints the guests of which nothing is known.
func (p *page) unread(guests []usage.Guest) {
	t := table{heads: []string{"NOT ASKED", "WHY"}}
	for _, g := range guests {
		if g.Unread != "" && g.Source == "" && g.Err == nil {
			t.add(p.short(g.Name), g.Why)
		}
	}
	if len(t.rows) == 0 {
		return
	}
	p.b.WriteByte('\n')
	p.table(t)
}

// UsageCSV writes one line for each file system, and one for each guest without any. A cell
// that a spreadsheet would take for a formula begins with an apostrophe.
func UsageCSV(w io.Writer, guests []usage.Guest, by usage.Order) error {
	out := csv.NewWriter(w)
	_ = out.Write([]string{"guest", "uuid", "source", "unread", "filesystem", "device", "type", "label", "size_bytes", "used_bytes", "free_bytes",
		"used_percent", "disks", "outlook", "days_to_full", "samples"})
	rows := usage.Rows(guests)
	usage.SortRows(rows, by)
	for _, r := range rows {
		_ = out.Write(csvRow(r))
	}
	for _, g := range guests {
		if len(g.FileSystems) == 0 && g.Source == "" {
			unread := cmp.Or(string(g.Unread), string(ReasonFailed))
			_ = out.Write(append([]string{sheetCell(g.Name), sheetCell(g.UUID), "", unread}, make([]string, 12)...))
		}
	}
	out.Flush()
	return out.Error()
}

func csvRow(r usage.Row) []string {
	f := r.FS
	row := []string{sheetCell(r.Guest.Name), sheetCell(r.Guest.UUID), string(r.Guest.Source), "", sheetCell(f.Where()), sheetCell(f.Device), sheetCell(f.Type), sheetCell(f.Label)}
	figures := make([]string, 4)
	if percent, known := f.Percent(); known {
		figures = []string{number(int64(f.Size)), number(int64(f.Used)), number(int64(f.Free)), strconv.Itoa(percent)}
	}
	row = append(append(row, figures...), sheetCell(strings.Join(f.Disks, " ")))
	if f.Forecast == nil {
		return append(row, "", "", "")
	}
	days := ""
	if f.Forecast.Fills() {
		days = strconv.FormatFloat(f.Forecast.Days, 'f', 1, 64)
	}
	return append(row, string(f.Forecast.Outlook), days, strconv.Itoa(f.Forecast.Samples))
}

func number(n int64) string { return strconv.FormatInt(n, 10) }

// sheetCell makes text safe in a spreadsheet and on a terminal.
func sheetCell(text string) string {
	text = Style{Unicode: true}.clean(strings.ToValidUTF8(text, "\ufffd"))
	first, _ := utf8.DecodeRuneInString(strings.TrimLeft(text, " "))
	if strings.ContainsRune("=+-@＝＋－＠", first) {
		return "'" + text
	}
	return text
}
