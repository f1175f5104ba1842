package recordtest

import (
	"encoding/json"
	"fmt"

	"github.com/virt-grow/virt-grow/guest/batch"
	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/inventory"
	"github.com/virt-grow/virt-grow/plan/size"
)

const gib, mib = size.GiB, size.MiB

// Origin is who runs the samples' commands.
var Origin = job.Origin{User: "root", Sudo: "alice", Login: "alice", Host: "kvm3.example.org",
	System: "Debian GNU/Linux 12 (bookworm)", Kernel: "6.1.0-37-amd64",
	Versions: []job.Version{{Name: "virt-grow", Version: "1.4.0"}, {Name: "QEMU", Version: "7.2.22"}, {Name: "libguestfs", Version: "1.48.6"}, {Name: "libvirt", Version: "9.0.0"}}}

// The samples' names.
const (
	Done        = "20260504-020000-d0e1"
	RolledBack  = "20260504-020000-0bac"
	Older       = "20260504-020000-01de"
	Hostile     = "20260504-020000-bad0"
	Attached    = "20260504-020000-a77a"
	Interrupted = "20260504-020000-1177"
	Waiting     = "20260504-020000-3a17"
	Batch       = "20260504-015900-ba7c"
)

// Samples returns jobs in every state, and a batch.
func Samples() []Job {
	return append(batched(), done(), rolledBack(), older(), hostile(), attached(), interrupted(), waiting())
}

// Guest returns the domain of the samples.
func Guest() *plan.Guest {
	return &plan.Guest{Connect: "qemu:///system", Name: "web3", UUID: "6e1e0f2c-5a0b-4d6e-9a51-0c7a54d3b1aa", Disk: "vda", Bus: "virtio", Running: true, Trial: true,
		Disks:    []plan.TrialDisk{{Target: "vda", Path: "/var/lib/libvirt/images/web3.qcow2", Format: "qcow2"}},
		Shutdown: []plan.ShutdownAttempt{{Method: "agent", Seconds: 180}, {Method: "acpi", Seconds: 180}},
		Health:   plan.Health{Agent: true, Limit: 300, Command: "/usr/local/bin/check-web web3"}, Snapshot: true}
}

// Layout returns a disk with LVM; root is the size of the volume of /, which takes what the
// disk has.
func Layout(disk size.Bytes) *plan.Layout {
	rest := disk - 1*gib - 514*mib
	root := rest - 6*gib
	device := func(name string, d plan.Device, c plan.Content) plan.Device {
		d.Name, d.Content = name, c
		return d
	}
	part := func(n int, start, bytes size.Bytes, kind string) plan.Device {
		return plan.Device{Kind: plan.Partition, Parent: "sda", Number: n, Start: start, Size: bytes, Type: kind}
	}
	return &plan.Layout{DiskLayout: plan.DiskLayout{Size: disk, Sector: 512}, OS: &plan.OS{Type: "linux", Product: "Debian GNU/Linux 12 (bookworm)", Root: "vg0/root"},
		Groups: []plan.Group{{Name: "vg0", Extent: 4 * mib, PVs: []string{"sda3"}}},
		Devices: []plan.Device{
			device("sda", plan.Device{Kind: plan.Disk, Size: disk}, plan.Content{}),
			device("sda1", part(1, mib, 512*mib, "EFI system"), plan.Content{Type: "vfat", Label: "EFI", Size: 512 * mib, Used: 12 * mib, Mounted: []string{"/boot/efi"}}),
			device("sda2", part(2, 513*mib, gib, "Linux file system"), plan.Content{Type: "ext4", Size: gib, Used: 220 * mib, Mounted: []string{"/boot"}}),
			device("sda3", part(3, 513*mib+gib, rest, "Linux LVM"), plan.Content{Type: plan.ContentPV, Group: "vg0", Size: rest, Used: rest}),
			device("vg0/root", plan.Device{Kind: plan.LV, Group: "vg0", Size: root}, plan.Content{Type: "ext4", Label: "root", Size: root, Used: 11 * gib, Mounted: []string{"/"}}),
			device("vg0/var", plan.Device{Kind: plan.LV, Group: "vg0", Size: 6 * gib}, plan.Content{Type: "xfs", Size: 6 * gib, Used: 3 * gib, Mounted: []string{"/var"}}),
		}}
}

// GrowthPlan returns the plan of the samples.
func GrowthPlan() *plan.Plan {
	before, after := Layout(20*gib), Layout(30*gib)
	return &plan.Plan{Schema: plan.Schema, Request: plan.Request{Size: plan.Amount{Mode: plan.Relative, Bytes: 10 * gib}, Grow: []plan.GrowTarget{{Name: "/", Amount: plan.Amount{Mode: plan.Fill}}}},
		Target:  plan.Target{Path: "/var/lib/libvirt/images/web3.qcow2", Format: "qcow2", SectorSize: 512, Guest: Guest()},
		OldSize: 20 * gib, NewSize: 30 * gib, Grows: "vg0/root", Before: before, After: after, Writes: 9 * mib,
		Fingerprint: "5f3b0c5d7e19a2f4c8d6b1e0937a4fd2c6e8b5a1097d3f2e4c6b8a0d1e3f5a79",
		Warnings:    []string{"web3 has 1 snapshot(s) in libvirt: reverting to one of them takes the growth back"},
		Steps: []plan.Step{
			{Kind: plan.StepSnapshotCheck, Summary: "check ext4 on vg0/root in full, on a snapshot", Seconds: 4.1},
			{Kind: plan.StepShutdown, Summary: "shut web3 down: agent, then acpi", Seconds: 6},
			{Kind: plan.StepOverlay, Summary: "create an overlay of 30 GiB; the image is only read from here on", Seconds: 0.1},
			{Kind: plan.StepCheck, Device: "vg0/root", Content: "ext4", Summary: "compare the superblock of ext4 on vg0/root", Seconds: 0.1},
			{Kind: plan.StepTable, Device: "sda", Summary: "write the GPT: sda3 18.5 GiB → 28.5 GiB, backup header to the disk's end", Seconds: 0.8},
			{Kind: plan.StepPV, Device: "sda3", Summary: "grow the PV sda3", Seconds: 0.5},
			{Kind: plan.StepLV, Device: "vg0/root", Summary: "grow vg0/root 12.5 GiB → 22.5 GiB", Seconds: 0.5},
			{Kind: plan.StepFS, Device: "vg0/root", Content: "ext4", Mounted: true, Summary: "grow ext4 on vg0/root", Seconds: 0.8},
			{Kind: plan.StepVerify, Device: "vg0/root", Content: "ext4", Summary: "mount ext4 on vg0/root read-only", Seconds: 0.5},
			{Kind: plan.StepSwitch, Summary: "point web3 at overlays of vda", Seconds: 0.3},
			{Kind: plan.StepStart, Summary: "start web3 for a trial: the images are only read", Seconds: 1},
			{Kind: plan.StepHealth, Summary: "health check: the agent answers within 300 s and sees the new size, the health command succeeds", Seconds: 15},
			{Kind: plan.StepPivot, Device: "vda", Summary: "commit vda live, and pivot to its image", Seconds: 1},
			{Kind: plan.StepRestore, Summary: "restore the domain's XML", Seconds: 0.2},
			{Kind: plan.StepClean, Summary: "delete the overlay", Seconds: 0.1},
		}}
}

// growth returns a job of the kind growth.
func growth(id string, p *plan.Plan, log string) Job {
	data := map[string]any{
		"request": p.Request, "old_size": p.OldSize, "new_size": p.NewSize, "keep": false,
		"overlay": "/var/lib/libvirt/images/web3.qcow2.virt-grow-" + id + ".qcow2", "undo": "/var/lib/libvirt/images/web3.qcow2.virt-grow-" + id + ".undo.qcow2",
		"before": []map[string]any{
			{"name": "dm-0", "mountpoint": "/", "type": "ext4", "total-bytes": 12*gib + 200*mib, "used-bytes": 11 * gib},
			{"name": "dm-1", "mountpoint": "/var", "type": "xfs", "total-bytes": 6*gib - 10*mib, "used-bytes": 3 * gib},
		},
	}
	text, err := json.Marshal(data)
	if err != nil {
		panic(err)
	}
	return Job{ID: id, Plan: p, Origin: Origin, Log: log, Header: job.Header{Kind: "growth", Target: p.Target, Agreed: true, Data: text}}
}

// upToTrial is what happens until the guest is started on its overlay.
const upToTrial = `
0 run grow
0.1 note starting the appliance; the guest keeps running
4 note inspecting the disk of the running guest
9 planned
9 begin snapshot-check
13.2 done snapshot-check
13.2 state editing
13.2 begin shutdown
17.5 done shutdown
17.5 begin overlay
17.6 done overlay
18.4 begin check:vg0/root
18.45 done check:vg0/root
18.5 begin table:sda
19.1 done table:sda
19.1 begin pv:sda3
19.5 done pv:sda3
19.5 begin lv:vg0/root
20 done lv:vg0/root
20 begin fs:vg0/root
20.7 done fs:vg0/root
20.7 begin verify:vg0/root
21.2 done verify:vg0/root
21.4 state trial
21.4 begin switch
21.7 done switch
21.7 begin start
22.9 done start
22.9 begin health
23 note waiting for the guest agent, up to 5m0s
`

const toTheEnd = `
42.2 state committing
42.2 begin pivot:vda
43.1 done pivot:vda
43.1 begin restore
43.2 done restore
43.2 begin clean-up
43.3 done clean-up
43.3 state done
`

// done is a growth that succeeded.
func done() Job {
	j := growth(Done, GrowthPlan(), upToTrial+"42.1 done health"+toTheEnd+"43.4 ended 0")
	j.Header.Data = withAfter(j.Header.Data)
	return j
}

// withAfter adds what the agent listed in the health check.
func withAfter(data json.RawMessage) json.RawMessage {
	var all map[string]any
	if err := json.Unmarshal(data, &all); err != nil {
		panic(err)
	}
	all["after"] = []map[string]any{
		{"name": "dm-0", "mountpoint": "/", "type": "ext4", "total-bytes": 22 * gib, "used-bytes": 11 * gib},
		{"name": "dm-1", "mountpoint": "/var", "type": "xfs", "total-bytes": 6*gib - 10*mib, "used-bytes": 3 * gib},
	}
	text, err := json.Marshal(all)
	if err != nil {
		panic(err)
	}
	return text
}

// rolledBack is a growth whose guest did not pass its health check.
func rolledBack() Job {
	return growth(RolledBack, GrowthPlan(), upToTrial+`
		82.9 failed health the health command failed: exit status 1: check-web: 502 Bad Gateway
		82.9 undoing health
		82.9 undoing start
		83.4 undone start
		83.4 undoing switch
		83.6 undone switch
		83.6 undoing overlay
		83.7 undone overlay
		83.7 undoing shutdown
		83.7 note starting web3 again
		84.9 undone shutdown
		84.9 state rolled-back
		85 ended 7 health: the health command failed: exit status 1: check-web: 502 Bad Gateway`)
}

// older is a growth of an image by a version that recorded neither commands nor messages.
func older() Job {
	p := GrowthPlan()
	p.Target = plan.Target{Path: "/srv/images/old.raw", Format: "raw", SectorSize: 512}
	p.Request, p.Warnings = plan.Request{Size: plan.Amount{Mode: plan.Absolute, Bytes: 30 * gib}}, nil
	p.Steps = append(p.Steps[2:9:9], plan.Step{Kind: plan.StepUndo, Summary: "save the bytes that the commit overwrites", Seconds: 0.1}, plan.Step{Kind: plan.StepCommit, Summary: "commit the overlay into the image", Seconds: 0.1}, p.Steps[14])
	j := growth(Older, p, `
		1 planned
		1 state editing
		1 begin overlay
		1.1 done overlay
		2 begin check:vg0/root
		2.1 done check:vg0/root
		2.1 begin table:sda
		3 done table:sda
		3 begin pv:sda3
		3.5 done pv:sda3
		3.5 begin lv:vg0/root
		4 done lv:vg0/root
		4 begin fs:vg0/root
		4.7 done fs:vg0/root
		4.7 begin verify:vg0/root
		5 done verify:vg0/root
		5 state committing
		5 begin save-undo
		5.1 done save-undo
		5.1 begin commit
		5.2 done commit
		5.2 begin clean-up
		5.3 done clean-up
		5.3 state done`)
	j.Header.Data = json.RawMessage(`{"request":{"size":{"mode":"absolute","bytes":32212254720}},"old_size":21474836480,"new_size":32212254720,"overlay":"/srv/images/o","undo":"/srv/images/u","keep":false}`)
	return j
}

// hostile has names and messages that a guest could choose to harm whoever reads the record.
func hostile() Job {
	const (
		label = "\x1b[2J</td><script>alert(1)</script>|`x`[a](https://evil.example/a) **b** \u202egnp"
		mount = `/mnt/"><img src=https://evil.example/b onerror=alert(2)>`
		more  = "<svg onload=alert(3)></svg> https://evil.example/c www.evil.example {{.}} ${x} &lt; \\"
	)
	p := GrowthPlan()
	for _, l := range []*plan.Layout{p.Before, p.After} {
		l.OS.Product = more
		for i := range l.Devices {
			if d := &l.Devices[i]; d.Kind != plan.Disk {
				d.Content.Label, d.Content.Mounted = label, []string{mount}
			}
		}
		l.Devices[1].Content.Type = "</text><script>alert(4)</script>"
	}
	p.Target.Guest.Name, p.Target.Guest.Health.Command = "web</title><script>alert(5)</script>", more
	p.Warnings = []string{label + more, "two\nlines"}
	j := growth(Hostile, p, upToTrial+"40 failed health "+more+"\n41 state rolled-back\n41 ended 7 "+more)
	j.Origin.Host = "kvm3<b>"
	return j
}

// attached is a job of a kind without a plan.
func attached() Job {
	g := Guest()
	g.Disk = "vdb"
	return Job{ID: Attached, Origin: Origin, Header: job.Header{Kind: "attach", Agreed: true, Data: json.RawMessage(`{}`),
		Target: plan.Target{Path: "/var/lib/libvirt/images/data.qcow2", Format: "qcow2", SectorSize: 512, Guest: g},
		Steps:  []plan.Step{{Kind: "define", Summary: "add vdb to the definition of web3"}, {Kind: "plug", Summary: "plug vdb into the running guest"}}},
		Log: `
		0 run disk-attach
		0.1 state working
		0.1 begin define
		0.2 done define
		0.2 begin plug
		1.5 done plug
		1.5 state done
		1.5 ended 0`}
}

// interrupted is a growth that was killed in the outage.
func interrupted() Job {
	return growth(Interrupted, GrowthPlan(), `
		0 run grow
		9 planned
		9 begin snapshot-check
		13.2 done snapshot-check
		13.2 state editing
		13.2 begin shutdown
		17.5 done shutdown
		17.5 begin overlay
		17.6 done overlay
		18.5 begin table:sda`)
}

// waiting is a trial that waits for the user's decision.
func waiting() Job {
	p := GrowthPlan()
	p.Target.Guest.Manual = true
	return growth(Waiting, p, upToTrial+"42.1 done health\n42.2 state waiting\n42.3 ended 0")
}

// batched is a batch of five guests and the jobs of those that have begun: one is grown, one
// failed and was restored, two are left, and one was refused by the planning.
func batched() []Job {
	guest := func(name string, n int) batch.Guest {
		p := GrowthPlan()
		g := p.Target.Guest
		g.Name, g.UUID = name, fmt.Sprintf("6e1e0f2c-0000-4000-8000-%012d", n)
		p.Target.Path = "/var/lib/libvirt/images/" + name + ".qcow2"
		return batch.Guest{Name: name, UUID: g.UUID, Plan: p, Outage: p.Outage().Seconds()}
	}
	web, db, mail, files := guest("web1", 1), guest("db1", 2), guest("mail", 3), guest("files", 4)
	b := &batch.Batch{Schema: batch.Schema, Inventory: batch.SourceOf("/root/may.yaml", []byte("guests:")), Made: Began.Add(-9e12), Connect: "qemu:///system",
		Window: inventory.Window{Start: "02:00", End: "02:04"}, Canary: []string{"web1"}, Parallel: 2, StopAfter: 1,
		Guests: []batch.Guest{web, db, mail, files, {Name: "old7", UUID: "6e1e0f2c-0000-4000-8000-000000000005",
			Refusal: &batch.Refusal{Reason: batch.Reason(plan.FSDamaged), Message: "e2fsck found errors on vda1", Hint: "repair the file system in the guest first"}}},
		Expected: batch.Expected{Seconds: 150, Window: 240, Fits: true}}
	first, second := done(), rolledBack()
	first.ID, first.Plan, first.Header.Target = "20260504-020000-0001", web.Plan, web.Plan.Target
	second.Delay = 44
	second.ID, second.Plan, second.Header.Target = "20260504-020000-0002", db.Plan, db.Plan.Target
	header := map[string]any{"parallel": 2, "stop_after": 1, "guests": []map[string]any{
		{"name": "web1", "canary": true, "expected": web.Outage}, {"name": "db1", "expected": db.Outage}, {"name": "mail", "expected": mail.Outage}, {"name": "files", "expected": files.Outage}}}
	data, err := json.Marshal(header)
	if err != nil {
		panic(err)
	}
	return []Job{first, second, {ID: Batch, Batch: b, Origin: Origin,
		Header: job.Header{Kind: batch.Kind, Target: plan.Target{Path: "/root/may.batch.json"}, Agreed: true, Data: data},
		Log: `
		0 run batch-apply
		0 state working
		0 part web1 {"outcome":"running","job":"20260504-020000-0001"}
		43.4 part web1 {"outcome":"done","job":"20260504-020000-0001","away":"2026-05-04T02:00:13.2Z","back":"2026-05-04T02:00:42.1Z"}
		44 part db1 {"outcome":"running","job":"20260504-020000-0002"}
		129 part db1 {"outcome":"restored","job":"20260504-020000-0002","reason":"health-check","error":"health: the health command failed: exit status 1: check-web: 502 Bad Gateway","away":"2026-05-04T02:00:57.2Z","back":"2026-05-04T02:02:08.9Z"}
		129 part mail {"outcome":"left","reason":"stopped","error":"guests have failed: no outage begins any more"}
		129 part files {"outcome":"left","reason":"stopped","error":"guests have failed: no outage begins any more"}
		129 state waiting
		129 ended 7 3 of 4 guests are not grown`}}
}
