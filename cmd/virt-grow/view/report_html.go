package view

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"time"
)

var (
	//go:embed report.html
	reportTemplate string
	//go:embed report.css
	reportCSS string
)

// reportHTML escapes every text by its place in the page. The style sheet is the program's
// own and is included as it is.
var reportHTML = template.Must(template.New("report").Funcs(template.FuncMap{
	"css":     func() template.CSS { return template.CSS(reportCSS) },
	"percent": func(x float64) string { return fmt.Sprintf("%.4g%%", x) },
	"clean":   Style{Unicode: true}.clean,
}).Parse(reportTemplate))

// ReportHTML writes a report as one HTML file, which needs no other file, no network and no
// script.
func ReportHTML(w io.Writer, r Report, made time.Time) error {
	return reportHTML.Execute(w, reportOf(r, made))
}
