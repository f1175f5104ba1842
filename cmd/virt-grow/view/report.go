package view

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/guest/record"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/journal"
	"github.com/virt-grow/virt-grow/plan/size"
)

// Report is the record of a job, with what can be run next.
type Report struct {
	record.Record
	// Commands are the commands that are possible now, the best first.
	Commands []Command `json:"commands,omitempty"`
	// GuestCommands are the same for the jobs of a batch, by the job's ID.
	GuestCommands map[string][]Command `json:"guest_commands,omitempty"`
}

// ReportDocument is the JSON of report.
type ReportDocument struct {
	Schema string `json:"schema"`
	// Made is when the report was made.
	Made time.Time `json:"made"`
	Report
}

// ReportJSON writes a report as JSON.
func ReportJSON(w io.Writer, r Report, made time.Time) error {
	return Document(w, ReportDocument{Schema("report"), made, r})
}

// reportPage is the content of a report, for all formats that people read. No text in it is
// escaped or cleaned.
type reportPage struct {
	Title    string
	Result   result
	Text     string // what happened, in sentences
	Facts    []fact
	Sections []section
	// Guests are the records of a batch's guests.
	Guests []reportPage
	Made   string
}

// result is how the job stands, in a word.
type result struct {
	Text string
	Kind string // "good", "bad" or "open"
}

// fact is a line with a name.
type fact struct{ Name, Text string }

// section is one part of a report, in the order of its fields.
type section struct {
	Title string
	// Maps are disks before and after, Outage compares the estimate with the measured time,
	// Away has the outages of a batch.
	Maps       []diskMaps
	Outage     *outageFigure
	Away       *awayFigure
	Facts      []fact
	Tables     []reportTable
	Paragraphs []string
	List       []string
	Commands   []Command
}

// reportTable is a table with a caption. Columns in Right hold numbers.
type reportTable struct {
	Caption string
	Heads   []string
	Right   map[int]bool
	Rows    [][]cell
	// Bars has the bars of each row, for formats that draw; nil for none.
	Bars []stepBar
}

// cell is a cell of a table. Value is the exact number, for programs; "" for none.
type cell struct{ Text, Value string }

// column adds a column, of numbers or of text.
func (t *reportTable) column(head string, numbers bool) {
	t.Heads = append(t.Heads, head)
	t.Right[len(t.Heads)-1] = numbers
}

func (t *reportTable) add(texts ...string) {
	var row []cell
	for _, text := range texts {
		row = append(row, cell{Text: text})
	}
	t.Rows = append(t.Rows, row)
}

// longWord is the length of a word that may be broken, in characters.
const longWord = 20

// Long reports that the cell has a word that could make its column too wide.
func (c cell) Long() bool {
	return slices.ContainsFunc(strings.Fields(c.Text), func(word string) bool { return columns(word) > longWord })
}

// bytesCell is the cell of a size or an offset.
func bytesCell(n size.Bytes) cell { return cell{n.String(), strconv.FormatInt(int64(n), 10)} }

// reportOf returns the content of a report.
func reportOf(r Report, made time.Time) reportPage {
	page := pageOf(&r.Record, r.Commands)
	page.Made = moment(made)
	for _, g := range r.Guests {
		page.Guests = append(page.Guests, guestPage(g, r.GuestCommands[g.Job]))
	}
	return page
}

func pageOf(r *record.Record, commands []Command) reportPage {
	page := reportPage{Title: titleOf(r), Result: resultOf(r), Text: r.Text, Facts: summaryOf(r)}
	page.add(batchPlan(r), guestTable(r), asked(r), outage(r), disksChanged(r.Plan, r.State == journal.Finished), fileSystems(r), healthCheck(r),
		stepTable(r), warnings(r.Plan), manual(r.Plan), wayBack(r, commands), runTable(r), versions(r), messages(r))
	return page
}

// add adds the sections that have any content.
func (p *reportPage) add(sections ...section) {
	for _, s := range sections {
		if s.filled() {
			p.Sections = append(p.Sections, s)
		}
	}
}

func (s section) filled() bool {
	return len(s.Maps)+len(s.Facts)+len(s.Tables)+len(s.Paragraphs)+len(s.List)+len(s.Commands) > 0 || s.Outage != nil || s.Away != nil
}

// titleOf names what the job was for.
func titleOf(r *record.Record) string {
	title := strings.ReplaceAll(cmp.Or(r.Kind, "job"), "-", " ")
	title = strings.ToUpper(title[:1]) + title[1:]
	if r.Target != nil && r.Target.Guest != nil && len(r.Target.Guest.Moves) > 0 {
		title = "Move to another bus"
	}
	switch {
	case r.Guests != nil:
		return fmt.Sprintf("%s of %d guests", title, len(r.Guests))
	case r.Target == nil:
		return title + " " + r.Job
	case r.Target.Guest == nil:
		return title + " of " + r.Target.Path
	case len(r.Target.More) > 0:
		return title + " of " + r.Target.Guest.Name + ", disks " + strings.Join(r.Target.Disks(), ", ")
	}
	return title + " of " + r.Target.Guest.Name + ", disk " + r.Target.Guest.Disk
}

// results are the words for the states of a job that is not running.
var results = map[journal.JobState]result{
	journal.Finished:   {"Done", "good"},
	journal.RolledBack: {"Rolled back", "bad"},
	journal.Cancelled:  {"Nothing was done", "open"},
	journal.Closed:     {"Closed as it was", "bad"},
	journal.Waiting:    {"Waits for a decision", "open"},
}

func resultOf(r *record.Record) result {
	if r.State == "" {
		return result{"Cannot be read", "bad"}
	}
	if r.Guests != nil {
		return batchResult(r)
	}
	if known, ok := results[r.State]; ok {
		return known
	}
	if r.Active {
		return result{"Running", "open"}
	}
	return result{"Interrupted", "bad"}
}

const notRecorded = "not recorded"

func summaryOf(r *record.Record) []fact {
	facts := []fact{{"Job", r.Job}}
	if t := r.Target; t != nil {
		if g := t.Guest; g != nil {
			facts = append(facts, fact{"Guest", g.Name + " (" + g.UUID + ", " + g.Connect + ")"})
		}
		for i, img := range t.Images() {
			name := "Image"
			if disks := t.Disks(); i < len(disks) {
				name = "Disk " + disks[i]
			}
			facts = append(facts, fact{name, img.Path + " (" + containerOf(img.Target()) + ")"})
		}
	}
	facts = append(facts, fact{"By", byWhom(r)}, fact{"On host", firstRun(r, func(o job.Origin) string { return o.Host })},
		fact{"Began", momentOr(r.Started)}, fact{"Ended", endOf(r)})
	if r.Outage != nil {
		facts = append(facts, fact{"Outage", outageText(r.Outage)})
	}
	if r.Plan != nil {
		facts = append(facts, fact{"Plan's fingerprint", r.Plan.Fingerprint})
	}
	facts = append(facts, fact{"Exit code", exitOf(r)})
	if r.Error != "" {
		facts = append(facts, fact{"Error", r.Error})
	}
	if r.Unreadable != "" {
		facts = append(facts, fact{"Cannot be read", r.Unreadable})
	}
	return facts
}

// firstRun returns something of the origin of the job.
func firstRun(r *record.Record, of func(job.Origin) string) string {
	if len(r.Runs) == 0 {
		return notRecorded
	}
	return cmp.Or(of(r.Runs[0].Origin), notRecorded)
}

func byWhom(r *record.Record) string { return firstRun(r, userOf) }

// userOf names the user, and who the user was before.
func userOf(o job.Origin) string {
	var earlier []string
	if o.Sudo != "" && o.Sudo != o.User {
		earlier = append(earlier, "through sudo by "+o.Sudo)
	}
	if o.Login != "" && o.Login != o.User {
		earlier = append(earlier, "logged in as "+o.Login)
	}
	if len(earlier) == 0 {
		return o.User
	}
	return o.User + " (" + strings.Join(earlier, ", ") + ")"
}

func endOf(r *record.Record) string {
	if r.State.Ended() {
		return momentOr(r.Changed)
	}
	return "not yet; the last change was at " + momentOr(r.Changed)
}

// exitOf returns the exit code of the last command that worked on the job.
func exitOf(r *record.Record) string {
	if len(r.Runs) == 0 {
		return notRecorded
	}
	last := r.Runs[len(r.Runs)-1]
	switch {
	case last.Ended.IsZero() && r.Active:
		return "none yet: the command is running"
	case last.Ended.IsZero():
		return "none: the command did not end by itself"
	case last.Exit == nil:
		return notRecorded
	}
	return strconv.Itoa(*last.Exit)
}

// moment returns a time for people, with its zone.
func moment(t time.Time) string { return t.Format("2006-01-02 15:04:05 -07:00") }

func momentOr(t time.Time) string {
	if t.IsZero() {
		return notRecorded
	}
	return moment(t)
}

func outageText(o *record.Outage) string {
	estimate := fmt.Sprintf("%s were estimated", Took(plan.Seconds(o.Estimate)))
	switch {
	case o.Began.IsZero():
		return "none; " + estimate
	case o.Ended.IsZero():
		return "began at " + moment(o.Began) + "; its end is not recorded; " + estimate
	case o.RolledBack:
		return Took(plan.Seconds(o.Seconds)) + ", until the guest was started again from its old image; " + estimate
	}
	return Took(plan.Seconds(o.Seconds)) + "; " + estimate
}

// asked says what the user asked for.
func asked(r *record.Record) section {
	s := section{Title: "What was asked"}
	if r.Plan == nil {
		if r.NewSize > 0 {
			s.Facts = append(s.Facts, fact{"Size", change(r.OldSize, r.NewSize)})
		}
		return s
	}
	q := r.Plan.Request
	add := func(name, text string) {
		if text != "" {
			s.Facts = append(s.Facts, fact{name, text})
		}
	}
	if g := r.Plan.Target.Guest; g != nil && len(g.Moves) > 0 {
		add("Other bus", movesOf(g))
	}
	if q.Size.Mode != plan.Keep {
		add("Size", q.Size.String())
	}
	for _, d := range q.More {
		add("Size of "+d.Disk, d.Size.String())
	}
	if q.Size.Mode != plan.Keep || len(q.More) > 0 {
		add("To grow", targetsAsked(r.Plan))
	}
	add("To delete", strings.Join(q.Delete, ", "))
	add("Checks", string(q.Check))
	add("NTFS is grown by", string(q.NTFS))
	if g := r.Plan.Target.Guest; g != nil {
		add("Guest", treatment(g))
		add("Health command", g.Health.Command)
	}
	return s
}

// movesOf names the moves of disks to another bus.
func movesOf(g *plan.Guest) string {
	var moves []string
	for _, m := range g.Moves {
		moves = append(moves, m.String())
	}
	return strings.Join(moves, ", ")
}

func targetsAsked(p *plan.Plan) string {
	var names []string
	for _, g := range p.Request.Grow {
		name := g.Name
		if g.Amount.Mode != plan.Fill {
			name += " by or to " + g.Amount.String()
		}
		names = append(names, name)
	}
	if names == nil {
		names = append(names, strings.Join(p.Targets(), ", ")+" (chosen by virt-grow)")
	}
	return strings.Join(names, ", ")
}

// treatment says how the guest was to be treated.
func treatment(g *plan.Guest) string {
	text := "off"
	if g.Running {
		text = "running, shut down for the growth"
	}
	switch {
	case !g.Trial:
		return text + ", without a trial"
	case g.Manual:
		return text + ", trial on overlays, then a person decides"
	}
	return text + ", trial on overlays, accepted if the health check passes"
}

func outage(r *record.Record) section {
	s := section{Title: "Outage"}
	if r.Outage == nil {
		return s
	}
	s.Outage = newOutageFigure(r.Outage)
	s.addTable(phaseTable(r.Outage))
	s.Facts = []fact{{"Measured", measured(r.Outage)}, {"Estimated", Took(plan.Seconds(r.Outage.Estimate))}}
	if !r.Outage.Began.IsZero() {
		s.Facts = append(s.Facts, fact{"From", moment(r.Outage.Began)}, fact{"Until", momentOr(r.Outage.Ended)})
	}
	if r.Outage.Second > 0 {
		s.Facts = append(s.Facts, fact{"Away once more", Took(plan.Seconds(r.Outage.Second)) + ", for the rollback of the trial"})
	}
	return s
}

// phaseNames are the names of an outage's phases.
var phaseNames = map[record.PhaseName]string{
	record.ShuttingDown: "Shut down", record.Editing: "Edit", record.Starting: "Start",
	record.Checking: "Health check", record.RollingBack: "Roll back",
}

func phaseTable(o *record.Outage) reportTable {
	t := reportTable{Caption: "The parts of the outage", Right: map[int]bool{0: true, 2: true, 3: true}, Heads: []string{"No.", "Part", "Estimated", "Measured"}}
	for i, p := range o.Phases {
		t.add(strconv.Itoa(i+1), phaseNames[p.Name], secondsOr(p.Estimate), secondsOr(p.Seconds))
	}
	return t
}

// secondsOr returns seconds, or a dash for none.
func secondsOr(s float64) string {
	if s == 0 {
		return "–"
	}
	return seconds(s)
}

func measured(o *record.Outage) string {
	switch {
	case o.Began.IsZero():
		return "there was no outage"
	case o.Ended.IsZero():
		return notRecorded
	}
	return Took(plan.Seconds(o.Seconds))
}

// disksChanged shows the disks before and after. done reports that they are as planned.
func disksChanged(pl *plan.Plan, done bool) section {
	s := section{Title: "Disks before, and after by the plan"}
	if done {
		s.Title = "Disks before and after"
	}
	if pl == nil {
		return s
	}
	after := pl.After.Disks()
	for i, before := range pl.Before.Disks() {
		name := before.Disk
		if g := pl.Target.Guest; name == "" && g != nil {
			name = g.Disk
		}
		d := newDiskMaps(name, pl, before, after[i])
		s.Maps, s.Tables = append(s.Maps, d), append(s.Tables, d.table())
	}
	return s
}

// fileSystems lists the file systems before and after: as planned, and as the guest sees
// them.
func fileSystems(r *record.Record) section {
	s := section{Title: "File systems before and after"}
	if r.Plan != nil {
		t := reportTable{Caption: "By the plan", Right: map[int]bool{4: true, 5: true, 6: true},
			Heads: []string{"Device", "Type", "Label", "Mounted at", "Used before", "Size before", "Size after"}}
		for _, d := range r.Plan.Before.Devices {
			after, kept := r.Plan.After.Find(d.Name)
			if !isFileSystem(d.Content) {
				continue
			}
			size := "deleted"
			if kept {
				size = sizeOf(after.Content.Size)
			}
			t.add(d.Name, d.Content.Type, d.Content.Label, strings.Join(d.Content.Mounted, ", "), sizeOf(d.Content.Used), sizeOf(d.Content.Size), size)
		}
		s.addTable(t)
	}
	t := reportTable{Caption: "As the guest's agent reported them, without what a file system keeps for itself", Right: map[int]bool{2: true, 3: true, 4: true, 5: true},
		Heads: []string{"Mounted at", "Type", "Used before", "Size before", "Used after", "Size after"}}
	for _, f := range r.Seen {
		before, after := seenSize(f.Before), seenSize(f.After)
		t.add(f.MountPoint, f.Type, before[0], before[1], after[0], after[1])
	}
	s.addTable(t)
	return s
}

// isFileSystem reports whether content is a file system, as far as that is known.
func isFileSystem(c plan.Content) bool {
	if c.Type == plan.ContentPV || c.Type == plan.ContentLUKS {
		return false
	}
	return c.Growable() || len(c.Mounted) > 0
}

func (s *section) addTable(t reportTable) {
	if len(t.Rows) > 0 {
		s.Tables = append(s.Tables, t)
	}
}

func sizeOf(n size.Bytes) string {
	if n == 0 {
		return "–"
	}
	return n.String()
}

func seenSize(s *record.SeenSize) [2]string {
	if s == nil {
		return [2]string{notRecorded, notRecorded}
	}
	return [2]string{sizeOf(s.Used), sizeOf(s.Total)}
}

func healthCheck(r *record.Record) section {
	s := section{Title: "Health check"}
	if r.Health == nil {
		return s
	}
	h := r.Health
	result := "not run"
	switch {
	case h.Passed:
		result = "passed after " + seconds(h.Seconds)
	case h.Error != "":
		result = "failed after " + seconds(h.Seconds)
	case h.State == record.Interrupted:
		result = "begun; its end is not recorded"
	}
	s.Facts = []fact{{"Check", strings.TrimPrefix(h.Check, "health check: ")}, {"Result", result}}
	if h.Error != "" {
		s.Facts = append(s.Facts, fact{"Error", h.Error})
	}
	return s
}

// stepStates are the words for the states of a step.
var stepStates = map[record.StepState]string{
	record.NotBegun: "not begun", record.Interrupted: "begun", record.Done: "done", record.Failed: "failed", record.Undone: "undone",
}

// stepTable lists the steps. Jobs without a plan have no estimates, and most have no outage.
func stepTable(r *record.Record) section {
	s := section{Title: "Steps"}
	t := reportTable{Caption: "The time of each step", Right: map[int]bool{0: true}, Heads: []string{"No.", "Step", "State"}}
	if r.Outage != nil {
		t.Caption += "; ● is in the outage"
		t.column("Outage", false)
	}
	if r.Plan != nil {
		t.column("Estimated", true)
		t.Bars = stepBars(r.Steps)
	}
	t.column("Measured", true)
	for i, step := range r.Steps {
		row := []string{strconv.Itoa(i + 1), step.Summary, stateText(step)}
		if r.Outage != nil {
			row = append(row, map[bool]string{true: "●"}[step.InOutage])
		}
		if r.Plan != nil {
			row = append(row, seconds(step.Estimate))
		}
		t.add(append(row, measuredStep(step))...)
	}
	s.addTable(t)
	return s
}

func measuredStep(s record.TimedStep) string {
	if s.Ended.IsZero() {
		return "–"
	}
	return seconds(s.Seconds)
}

func stateText(s record.TimedStep) string {
	text := stepStates[s.State]
	if s.Attempts > 1 {
		text += fmt.Sprintf(" (begun %d times)", s.Attempts)
	}
	if s.Error != "" {
		text += ": " + s.Error
	}
	return text
}

func warnings(pl *plan.Plan) section {
	s := section{Title: "Warnings"}
	if pl != nil {
		s.List = pl.Warnings
	}
	return s
}

func manual(pl *plan.Plan) section {
	s := section{Title: "Left to do by hand"}
	if pl != nil {
		s.List = pl.ManualSteps
	}
	return s
}

// wayBack says how the job can be undone, or that it is final.
func wayBack(r *record.Record, commands []Command) section {
	s := section{Title: "Rolling back", Commands: commands}
	text := ""
	switch {
	case r.State == journal.Finished:
		text = "The job is final: it cannot be rolled back any more."
	case r.State == journal.RolledBack:
		text = "Everything was undone: there is nothing to roll back."
	case r.State == journal.Cancelled:
		text = "Nothing was changed: there is nothing to roll back."
	case r.State == journal.Closed:
		text = "The job was closed as it was: virt-grow neither does nor undoes anything more."
	case r.Active:
		text = "A process is working on the job: what is possible is known when it has ended."
	case len(commands) == 0:
		text = "Nothing is possible with this version of virt-grow."
	default:
		text = "The job has not ended. What is possible now, the best first:"
	}
	s.Paragraphs = []string{text}
	return s
}

func runTable(r *record.Record) section {
	s := section{Title: "Who did what"}
	t := reportTable{Caption: "The commands that worked on the job", Right: map[int]bool{5: true}, Heads: []string{"Began", "Ended", "Command", "By", "Host", "Exit", "Error"}}
	for _, run := range r.Runs {
		exit := ""
		if run.Exit != nil {
			exit = strconv.Itoa(*run.Exit)
		}
		t.add(moment(run.Began), momentOr(run.Ended), cmp.Or(run.Command, string(run.Action)), userOf(run.Origin), run.Host, exit, run.Error)
	}
	s.addTable(t)
	if len(t.Rows) == 0 {
		s.Paragraphs = []string{"Who ran the job is not recorded: it was begun by an older version of virt-grow."}
	}
	return s
}

// versions lists the tools and the host of the last command.
func versions(r *record.Record) section {
	s := section{Title: "Versions"}
	if len(r.Runs) == 0 {
		s.Paragraphs = []string{"The versions are not recorded."}
		return s
	}
	o := r.Runs[len(r.Runs)-1].Origin
	for _, v := range o.Versions {
		s.Facts = append(s.Facts, fact{v.Name, v.Version})
	}
	for _, f := range []fact{{"Host's system", o.System}, {"Host's kernel", o.Kernel}} {
		if f.Text != "" {
			s.Facts = append(s.Facts, f)
		}
	}
	if r.Plan != nil && r.Plan.Before.OS != nil {
		s.Facts = append(s.Facts, fact{"Guest's system", r.Plan.Before.OS.Product})
	}
	return s
}

func messages(r *record.Record) section {
	s := section{Title: "Messages during the run"}
	for _, n := range r.Notes {
		s.List = append(s.List, n.Time.Format(time.TimeOnly)+" "+n.Text)
	}
	return s
}

// IsReport reports whether a file that begins with head is a report that this package has
// written, in any of the formats.
func IsReport(head []byte) bool {
	return bytes.HasPrefix(head, []byte(markdownHead)) ||
		bytes.Contains(head, []byte(`<meta name="generator" content="virt-grow">`)) ||
		bytes.Contains(head, []byte(`"virt-grow/report/`))
}
