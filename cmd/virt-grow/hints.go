package main

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/virt-grow/virt-grow/guest"
	"github.com/virt-grow/virt-grow/guest/growth"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/journal"
	"github.com/virt-grow/virt-grow/plan/size"
)

// hints say for every reason what to do, with the command to run. In them,
// SUBJECT is what the refusal is about, VIRT-GROW is the program with the flags that
// this run needed to find its jobs, and OFFLINE is the command that does what online
// was to do while the guest is off.
var hints = map[plan.Reason]string{
	plan.Shrink:            "give a size above the present one (virt-grow inspect shows it), or +10G for that much more",
	plan.FormatMissing:     "look the format up in the guest's configuration (virsh dumpxml: driver type=…) and say --format qcow2 or --format raw; for a backing file: qemu-img rebase -u -b BACKING -F FORMAT IMAGE",
	plan.FormatMismatch:    "check the guest's configuration (virsh dumpxml: driver type=…): a raw driver on a qcow2 file shows the guest a tiny disk. Correct the driver there, and use --format with the format the file really has",
	plan.FormatUnsupported: "convert it first: qemu-img convert -O qcow2 SUBJECT NEW.qcow2",
	plan.UnknownContent:    "grow the container only with --grow none, or a partition without its content with --grow SUBJECT --partition-only, and let the guest do the rest",
	plan.UnsupportedLayout: "see virt-grow inspect; what lies on several disks, is no plain volume, or has a feature that cannot be grown here, has to grow from inside the guest or be made anew: --grow none makes only the container bigger, --partition-only a partition as well",
	plan.NewerFeature:      "update libguestfs and its appliance (virt-grow doctor shows what it supports), or use --partition-only and grow the file system inside the guest",
	plan.NoDriver:          "install what the host's appliance needs (libguestfs-xfs for XFS; ntfs-3g, or on RHEL libguestfs-winsupport, for NTFS; a kernel that has SUBJECT), and see virt-grow doctor; or grow the partition alone with --partition-only and the file system inside the guest",
	plan.LUKSLocked:        "give the key: --key SUBJECT:file:PATH or --key SUBJECT:prompt",
	plan.BitLocker:         "in Windows: manage-bde -off C: decrypts; or grow the partition alone with --grow SUBJECT --partition-only after manage-bde -protectors -disable C:, and extend the volume in Windows (Resize-Partition)",
	plan.DynamicDisk:       "grow the container only with --grow none, then extend the volume in Windows with diskpart",
	plan.StorageSpaces:     "grow the container only with --grow none, then in Windows: Resize-VirtualDisk and Resize-Partition",
	plan.NTFSHibernated:    "shut Windows down fully: shutdown /s /f /t 0; or turn fast startup off for good: powercfg /h off",
	plan.Hibernated:        "start the guest, let it wake up, and shut it down; or, if its memory may be lost, make the swap anew (mkswap -U UUID), or delete hiberfil.sys (powercfg /h off)",
	plan.NTFSDirty:         "start Windows, run chkdsk /f on the drive, and shut down with shutdown /s /f /t 0; or have Windows extend it by itself: --ntfs guest",
	plan.NTFSBadClusters:   "have Windows extend it by itself: --ntfs guest. A disk image has no bad sectors of its own: they were copied from a real disk, and chkdsk C: /b in Windows clears those that are none",
	plan.FSDamaged:         "repair it with the guest's own tools, on a copy first: e2fsck -f (ext), xfs_repair (XFS), btrfs scrub (btrfs), chkdsk /f (NTFS)",
	plan.FSLimit:           "ask for a smaller size: --size, or --grow WHERE=SIZE; more needs a new file system",
	plan.TableDamaged:      "repair the table first, on a copy: gdisk (GPT: r, then b or d; x, then e moves the backup) or fdisk (MBR)",
	plan.ImmovableNeighbor: "leave --no-move out, and what can move does; else delete SUBJECT inside the guest first (swap can be made anew elsewhere), or grow what stands last",
	plan.MBRLimit:          "an MBR ends at 2 TiB with sectors of 512 bytes: keep the disk below, add a second disk, or convert the table to GPT (Windows: mbr2gpt; Linux: gdisk)",
	plan.AmbiguousTarget:   "say which: --grow with a mount point (--grow /data), a drive letter (--grow C:), a device (--grow sda3), a volume (--grow vg/lv), UUID=…, LABEL=… or PARTLABEL=…; --grow none grows the container only",
	plan.NotFound:          "virt-grow inspect lists what is on the disk",
	plan.InternalSnapshot:  "make it version 3: qemu-img amend -f qcow2 -o compat=1.1 SUBJECT; or delete the snapshots: qemu-img snapshot -l SUBJECT lists them, -d NAME deletes one",
	plan.NoSpace:           "make room in SUBJECT, or put the overlay elsewhere with --scratch-dir",
	plan.NoRoom:            "ask for more with --size, or for less with --grow WHERE=SIZE; virt-grow inspect shows what is free",
	plan.InUse:             "shut the guest down first (virsh list shows what runs; fuser -v SUBJECT who has it open)",
	plan.Locked:            "wait for the other run to end; VIRT-GROW jobs shows it",
	plan.JobActive:         "VIRT-GROW status SUBJECT says what it is at and what to run: resume finishes it, accept commits one that waits, rollback takes it back",
	plan.JobState:          "VIRT-GROW status SUBJECT says what can be run now: accept commits a waiting job, rollback takes an unfinished one back",
	plan.NewerJob:          "use the version of virt-grow that began the job, or a later one; nothing of the job was changed",
	plan.StalePlan:         "make a new plan with virt-grow plan, and review it",
	plan.ImageDamaged:      "look closer with qemu-img check SUBJECT, copy the image, and repair it: qemu-img check -r all SUBJECT",
	plan.ImageChanged:      "the overlay no longer fits the image: VIRT-GROW rollback SUBJECT drops it, and a new run begins on the image as it is now",
	plan.BitmapInUse:       "remove it, and begin the next series of incremental backups with a full one: qemu-img bitmap --remove SUBJECT ITEM; the guest has to be off for that",
	plan.ContainerLimit:    "ask for less with --size, raise the limit (ulimit -f), or copy the image onto a file system without it",
	plan.NotWritable:       "mount the file system read-write, take the attribute off (lsattr SUBJECT shows it, chattr -i takes it off), or become the user who may write there; --scratch-dir puts overlays elsewhere",
	plan.FileExists:        "give another name, or move SUBJECT away yourself: nothing is overwritten",
	plan.TooSmall:          "give more with --size, or take another file system: --fs ext4",
	plan.TooLarge:          "give less with --size, or take another file system: --fs xfs",
	plan.BadLabel:          "give a shorter one with --label, or none",
	plan.NotAFile:          "VIRT-GROW ls lists what is in a folder, copy-out copies one out; larger files: copy-out, change it, copy-in",
	plan.CacheUnsafe:       "virsh edit: take cache='unsafe' out of the driver, or make it writeback",
	plan.DefinitionsDiffer: "compare them: virsh dumpxml SUBJECT, and with --inactive; virsh update-device --config brings the definition up to date",
	plan.BackingMissing:    "put SUBJECT back from a backup, or if it has moved: qemu-img rebase -u -b BACKING -F FORMAT IMAGE",
	plan.Unreadable:        "qemu-img info -U SUBJECT says more",
	plan.TransientDomain:   "make it persistent: virsh dumpxml SUBJECT --security-info > SUBJECT.xml; virsh define SUBJECT.xml",
	plan.ManagedSave:       "start the guest (virsh start SUBJECT) and shut it down, or drop the saved state: virsh managedsave-remove SUBJECT",
	plan.DomainState:       "let it run (virsh resume SUBJECT), or shut it down; what it does after a power-off: virsh edit SUBJECT, on_poweroff destroy",
	plan.DomainJob:         "wait for it to end: virsh domjobinfo SUBJECT, virsh blockjob SUBJECT DISK",
	plan.DomainChanged:     "VIRT-GROW status SUBJECT says what it is at; rollback drops the overlay and leaves the guest as it is, then begin anew",
	plan.Checkpoint:        "do without the trial, which keeps the checkpoints and marks in them what changes: --no-trial; or grow it while it runs: virt-grow online SUBJECT. Else delete them (virsh checkpoint-list SUBJECT, virsh checkpoint-delete), and take a full backup after the growth",
	plan.NoLibvirt:         "start it (systemctl start libvirtd; on RHEL and Fedora virtqemud), or name another with --connect; if an image was meant, give its path with a / in it: ./NAME",
	plan.RemoteHost:        "run virt-grow on that host, with --connect qemu:///system",
	plan.AmbiguousDisk:     "say which: --disk vda (virsh domblklist SUBJECT)",
	plan.DiskShared:        "only a disk that belongs to one guest can be grown: virsh domblklist SUBJECT",
	plan.DiskReadOnly:      "the guest cannot write to it: take <readonly/> out of the disk first (virsh edit SUBJECT)",
	plan.DiskUnsupported:   "grow it where it lies, and then inside the guest",
	plan.ChainShared:       "give that domain an image of its own first: virsh blockpull, or qemu-img convert",
	plan.NoScratch:         "say where the overlay goes with --scratch-dir FOLDER, which QEMU has to be able to reach; or do without the trial: --no-trial",
	plan.NoRehearsal:       "virt-grow plan SUBJECT estimates without one",
	plan.NoAgent:           "start qemu-guest-agent in the guest, give the domain its channel (org.qemu.guest_agent.0), and let it run programs (RHEL: /etc/sysconfig/qemu-ga); or do without: online --in-guest print, attach without --mount, detach with --even-mounted",
	plan.HMPUnnamed:        "leave --via out, or use --via libvirt or --via qmp",
	plan.ToolMissing:       "install SUBJECT in the guest, or grow it while it is off: virt-grow grow",
	plan.ShutdownTimeout:   "see what it is busy with (virsh console SUBJECT), give it longer with --shutdown-timeout, or allow --force-off. It runs on as before; a guest that still follows the request later has to be started: virsh start SUBJECT",
	plan.HealthCheck:       "the guest has its old image again. Give it longer with --boot-timeout, or see on its console why it did not come up",
	plan.TargetTaken:       "take another --target, or leave it out: the next free one is taken (virsh domblklist SUBJECT)",
	plan.MountTaken:        "take another mount point, or remove that line from the guest's /etc/fstab first",
	plan.Mounted:           "unmount it in the guest first, and what is stacked on it (vgchange -an, cryptsetup close); --unmount does both for plain file systems. --even-mounted does not ask",
	plan.NotReleased:       "see in the guest what keeps it busy, or give it longer with --timeout. A request that it follows later still takes the disk out of the running guest: then it is in the definition alone (virsh domblklist), and --live attaches it again",
	plan.NoHotplug:         "--config changes the definition alone, for the next start; buses that take disks while a guest runs are virtio and scsi",
	plan.IsISO:             "put it into a drive: virt-grow media insert DOMAIN SUBJECT",
	plan.NotISO:            "a disk image is attached with virt-grow disk attach; a broken download is seen with file SUBJECT",
	plan.Window:            "take a longer window (--window-end, --max-outage), or a smaller change",
}

// hintsOfWay are those of refusals that name another way to the goal. In them, ONLINE is the
// same growth as a run of the online command.
var hintsOfWay = map[plan.Way]string{
	plan.WayEvenUnknown:    "if you know that it finds its own size and keeps nothing there: add --even-unknown; else --grow none makes the container bigger, and the rest is the guest's",
	plan.WayRemake:         "inside the guest, take SUBJECT out of its array or volume first, grow it, and put it in again: what is on it is kept by the other half, or has to be copied",
	plan.WayUnmount:        "shut down whatever has it mounted. If nothing has, its guest was ended without a shutdown: start it, and shut it down",
	plan.WayClearMMP:       "let that e2fsck end. If none runs any more, and no other host has the file system mounted, say so in the guest: tune2fs -f -E clear_mmp DEVICE",
	plan.WayLargerClusters: "ask for less with --size, or copy the image into one with larger clusters: qemu-img convert -O qcow2 -o cluster_size=64k SUBJECT NEW.qcow2",
	plan.WayStartPool:      "start the pool: virsh pool-start SUBJECT",
	plan.WayOnline:         "the guest has all of it, and can grow it while it runs: ONLINE; or --grow none makes only the container bigger",
}

// hintOnline is the command that has the guest grow what is in a volume group.
func (p *program) hintOnline(r *plan.Refusal) string {
	online := p.atRunTime
	if online == "" {
		online = "virt-grow online DOMAIN --disk DISK --size SIZE --grow " + quoted(r.Subject) + "/LV"
	}
	return strings.Replace(hintsOfWay[plan.WayOnline], "ONLINE", online, 1)
}

// hintsOf are those of a command, where they are others.
var hintsOf = map[string]map[plan.Reason]string{
	"disk create": {
		plan.NoSpace:  "make room in SUBJECT, or put it elsewhere",
		plan.MBRLimit: "take --table gpt, or a smaller --size",
	},
	"disk convert": {
		plan.NoSpace:           "make room in SUBJECT, or put it elsewhere",
		plan.FormatMissing:     "look the format up (virsh dumpxml: driver type=…) and say it with --from; for a backing file: qemu-img rebase -u -b BACKING -F FORMAT IMAGE",
		plan.FormatMismatch:    "check the domain's definition (virsh dumpxml: driver type=…), and give the format the file really has with --from",
		plan.FormatUnsupported: "give an image file that is not encrypted: qemu-img info SUBJECT",
	},
	"disk list": {
		plan.FormatMissing:  "virsh edit adds the driver's type; in a file that has a backing file: qemu-img rebase -u -b BACKING -F FORMAT SUBJECT",
		plan.FormatMismatch: "compare with virsh edit what the driver's type is to be: a raw driver on a qcow2 file shows the guest a tiny disk",
		plan.DiskShared:     "two guests that write to one image destroy it: give one of them an image of its own (virsh domblklist SUBJECT)",
		plan.ChainShared:    "what is written to an image breaks those on top of it: virsh blockpull makes one independent of it",
	},
	"disk attach": attachHints, "disk add": attachHints,
	"online": {
		plan.ImmovableNeighbor: "OFFLINE moves what stands behind, with the guest off for it",
		plan.UnsupportedLayout: "OFFLINE grows what can be grown while the guest is off; --in-guest none grows the disk alone, and leaves what is inside to you",
		plan.UnknownContent:    "name what is to grow with --grow (lsblk in the guest lists it); --in-guest none grows the disk alone",
		plan.ToolMissing:       "install SUBJECT in the guest; or do it while the guest is off: OFFLINE",
	},
	"disk detach": {
		plan.DiskUnsupported: "virsh detach-disk takes it out of the definition",
		plan.DiskShared:      "the image is somebody else's as well: detach it without --delete",
		plan.ChainShared:     "somebody else's image stands on it: detach it without --delete",
	},
}

// attachHints are those of the commands that give a domain a disk.
var attachHints = map[plan.Reason]string{
	plan.DiskShared:     "an image belongs to one domain. Give this one a copy (virt-grow disk convert), or, if both know how to share it, a raw one with --shareable",
	plan.UnknownContent: "make a file system first (virt-grow disk create --fs), or leave --mount out and mount it by hand",
	plan.NoSpace:        "make room in SUBJECT, or put the image elsewhere with --path",
	plan.MBRLimit:       "take --table gpt, or a smaller --size",
}

// hint says what to do about an error; "" where nothing helps but the error's
// own text. A job that neither goes on nor back can still be closed.
func (p *program) hint(err error) string {
	text := p.hintAlone(err)
	r, refused := refusal(err)
	if p.job == "" || !isOneOf(p.command, "resume", "rollback") || isInterrupt(err) || refused && isOneOf(string(r.Reason), string(plan.JobState), string(plan.JobActive), string(plan.Locked)) {
		return text
	}
	if text != "" {
		text += ". "
	}
	return text + "If nothing else ends it: " + p.line("accept", p.job, "--as-is") + " closes it as it is"
}

func (p *program) hintAlone(err error) string {
	var failure *guest.Failure
	if errors.As(err, &failure) && !failure.Restored {
		return p.hintUnrestored(failure)
	}
	if isInterrupt(err) {
		return ""
	}
	if errors.As(err, new(*growth.Unhealthy)) {
		return hints[plan.HealthCheck]
	}
	if r, ok := refusal(err); ok {
		return p.hintFor(r)
	}
	switch {
	case errors.Is(err, journal.ErrDamaged):
		return "keep the job's folder and its overlay; virt-grow status says where they are, and accept JOB --as-is moves the folder out of the way"
	case errors.As(err, new(*usageError)):
		return strings.TrimSpace("virt-grow "+p.command) + " --help shows how"
	}
	return ""
}

// hintUnrestored is what a person has to run.
func (p *program) hintUnrestored(f *guest.Failure) string {
	back := p.line("rollback", f.Job)
	if f.Forward {
		return "when the cause is mended: " + p.line("resume", f.Job) + " finishes it. If it cannot be: " + p.line("accept", f.Job) + " closes it as it is, and lists what is left"
	}
	if f.Stepwise && f.Begun {
		return "when the cause is mended: " + back + " takes it back, " + p.line("resume", f.Job) + " finishes it"
	}
	if f.Begun {
		return "when the cause is mended: " + back + " puts the saved bytes back, " + p.line("resume", f.Job) + " finishes the commit"
	}
	return "when the cause is mended: " + back
}

func (p *program) hintFor(r *plan.Refusal) string {
	switch {
	case r.Reason == plan.NotFound:
		return p.hintNotFound(r)
	case r.Way == plan.WayOnline:
		return p.hintOnline(r)
	case r.Way != "":
		return strings.ReplaceAll(hintsOfWay[r.Way], "SUBJECT", quoted(r.Subject))
	case r.Reason == plan.AmbiguousTarget && isOneOf(p.command, inFiles...):
		return "say which with --mount DEVICE: its files are then below /; virt-grow df " + quoted(p.subject) + " lists them"
	}
	if r.Reason == plan.FSLimit && r.Size > 0 {
		return "--grow " + quoted(r.Subject+"="+argument(r.Size)) + " grows it that far; more needs a new file system"
	}
	subject := r.Subject
	if subject == "" {
		subject = "IMAGE"
		if r.Reason == plan.JobActive || r.Reason == plan.JobState {
			subject = "JOB"
		}
	}
	if r.Reason == plan.UnknownContent && !aPartition.MatchString(subject) {
		subject = "WHERE"
	}
	hint, ok := hintsOf[p.command][r.Reason]
	if !ok {
		hint = hints[r.Reason]
	}
	text := strings.ReplaceAll(hint, "SUBJECT", quoted(subject))
	text = strings.ReplaceAll(text, "ITEM", quoted(r.Item))
	text = strings.ReplaceAll(text, "OFFLINE", p.offline)
	return strings.ReplaceAll(text, "VIRT-GROW", p.line())
}

// aPartition is the name of one. A volume or a whole disk is none that could grow
// without its content.
var aPartition = regexp.MustCompile(`^sda[0-9]+$`)

// argument is a size as --size and --grow take it.
func argument(n size.Bytes) string {
	if n%size.GiB == 0 {
		return fmt.Sprintf("%dG", n/size.GiB)
	}
	return fmt.Sprintf("%dM", n/size.MiB)
}

// hintNotFound knows what was looked for by the command: a job, the image, or
// something on it.
func (p *program) hintNotFound(r *plan.Refusal) string {
	switch {
	case isOneOf(p.command, "resume", "accept", "rollback") && p.job != "":
		return "put " + quoted(r.Subject) + " back, and run it again" // what the job needs is gone
	case isOneOf(p.command, "status", "resume", "accept", "rollback"):
		return p.line("jobs") + " lists the jobs"
	case p.command == "disk list" && r.Subject != p.subject:
		return "put " + quoted(r.Subject) + " back, or take the disk out of the domain: virsh detach-disk " + quoted(p.subject) + " DISK --config"
	case isOneOf(p.command, "disk create", "disk convert"):
		return "give the path of an image, in a folder that is there"
	case r.Subject != "" && r.Subject == p.path:
		return p.line("ls", p.subject+":"+parentOf(r.Subject)) + " lists what is there"
	case r.Subject == p.subject:
		return "an image is named by its path, with a / in it; a domain by its name or UUID (virsh list --all), in the libvirt that --connect names"
	}
	return "virt-grow inspect " + quoted(p.subject) + " lists what is on the disk"
}

func isOneOf(name string, words ...string) bool { return slices.Contains(words, name) }
