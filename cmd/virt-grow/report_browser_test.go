package main

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/virt-grow/virt-grow/guest/record/recordtest"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
	"github.com/virt-grow/virt-grow/testimages/level"
)

// browser is a Chromium without a window, and a web server that counts its requests.
type browser struct {
	dir    string
	server *httptest.Server
	asked  atomic.Int32
}

func newBrowser(t *testing.T) *browser {
	b := &browser{dir: t.TempDir()}
	b.server = httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { b.asked.Add(1) }))
	t.Cleanup(b.server.Close)
	return b
}

// open opens a page, and returns Chromium's standard output and the messages on its console.
func (b *browser) open(t *testing.T, page string, options ...string) (out string, console []string) {
	t.Helper()
	file := filepath.Join(b.dir, "page.html")
	if err := os.WriteFile(file, []byte(page), 0o600); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--enable-logging=stderr", "--user-data-dir=" + t.TempDir()}, options...)
	program, err := exec.LookPath("chromium")
	if err != nil {
		program = "chromium-browser" // on Fedora
	}
	cmd := exec.CommandContext(t.Context(), program, append(args, "file://"+file)...)
	// Chromium's other processes are in its process group.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 10 * time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("chromium: %v\n%s", err, &stderr)
	}
	for line := range strings.Lines(stderr.String()) {
		if strings.Contains(line, "CONSOLE") {
			console = append(console, line)
		}
	}
	return stdout.String(), console
}

// TestReportBrowser opens reports in Chromium: there is no message on the console and no
// request, and what guests have chosen is text. A page without protection shows that the
// test would see it otherwise.
func TestReportBrowser(t *testing.T) {
	level.Need(t, level.Real)
	b := newBrowser(t)
	state := sampleJobs(t)
	hostile := strings.ReplaceAll(sampleReport(t, state, recordtest.Hostile, "html"), "https://evil.example", b.server.URL)
	for name, page := range map[string]string{"done": sampleReport(t, state, recordtest.Done, "html"), "hostile": hostile} {
		dom, console := b.open(t, page, "--dump-dom")
		if len(console) > 0 || b.asked.Load() > 0 {
			t.Errorf("%s: %d requests, and on the console:\n%s", name, b.asked.Load(), console)
		}
		checkInert(t, name, dom)
		checkNumbers(t, name, dom)
	}
	unsafe := fmt.Sprintf(`<title>x</title><img src="%s/b"><script>document.title = "run"; console.error("seen")</script>`, b.server.URL)
	dom, console := b.open(t, unsafe, "--dump-dom")
	if b.asked.Load() == 0 || len(console) == 0 || !strings.Contains(dom, "<title>run</title>") {
		t.Errorf("the test does not notice an unsafe page: %d requests, console %q\n%s", b.asked.Load(), console, dom)
	}
}

// elements are all that a report may have, attributes all that its elements may have.
var (
	elements   = strings.Fields("html head meta title style body svg defs pattern rect circle path line text desc g header main section footer h1 h2 p span dl dt dd ul li pre figure figcaption div table caption thead tbody tr th td data")
	attributes = strings.Fields(`lang charset http-equiv content name class aria-hidden aria-label focusable role tabindex scope value id width height x y x1 y1 x2 y2 cx cy r d
		patternunits patternUnits patternTransform overflow fill-opacity`)
)

// checkInert checks that a page has nothing that loads, runs or links anything.
func checkInert(t *testing.T, name, dom string) {
	t.Helper()
	root, err := html.Parse(strings.NewReader(dom))
	if err != nil {
		t.Fatal(err)
	}
	for n := range root.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		if !slices.Contains(elements, n.Data) {
			t.Errorf("%s: the page has an element <%s>", name, n.Data)
		}
		for _, a := range n.Attr {
			if !slices.Contains(attributes, a.Key) {
				t.Errorf("%s: <%s> has the attribute %s", name, n.Data, a.Key)
			}
		}
	}
}

// checkNumbers checks that the page has the place and size of every partition, as the plan of
// the samples has them.
func checkNumbers(t *testing.T, name, dom string) {
	t.Helper()
	p := recordtest.GrowthPlan()
	for _, d := range append(p.Before.Devices, p.After.Devices...) {
		for _, n := range []size.Bytes{d.Start, d.Size} {
			if value := fmt.Sprintf(`<data value="%d">%s</data>`, int64(n), n); d.Kind == plan.Partition && !strings.Contains(dom, value) {
				t.Errorf("%s: the page does not have %s of %s", name, value, d.Name)
			}
		}
	}
}

var (
	pageBox  = regexp.MustCompile(`/MediaBox\s*\[\s*0 0 ([0-9.]+) ([0-9.]+)\s*\]`)
	pagesPDF = regexp.MustCompile(`/Type\s*/Page\b`)
)

// TestReportPrinted prints a report: its pages have the size A4.
func TestReportPrinted(t *testing.T) {
	level.Need(t, level.Real)
	b := newBrowser(t)
	file := filepath.Join(b.dir, "page.pdf")
	b.open(t, sampleReport(t, sampleJobs(t), recordtest.Done, "html"), "--no-pdf-header-footer", "--print-to-pdf="+file)
	pdf, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	boxes := pageBox.FindAllSubmatch(pdf, -1)
	if n := len(pagesPDF.FindAll(pdf, -1)); n < 2 || n > 6 || len(boxes) == 0 {
		t.Errorf("the report has %d pages and %d page sizes", n, len(boxes))
	}
	for _, box := range boxes {
		// 210 mm × 297 mm are 595.28 × 841.89 points.
		var w, h float64
		fmt.Sscan(string(box[1]), &w)
		fmt.Sscan(string(box[2]), &h)
		if w < 594 || w > 596 || h < 841 || h > 843 {
			t.Errorf("a page has %g × %g points", w, h)
		}
	}
}
