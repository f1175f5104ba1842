package main

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/virt-grow/virt-grow/cmd/virt-grow/remote"
	"github.com/virt-grow/virt-grow/guest"
	"github.com/virt-grow/virt-grow/guest/batch"
	"github.com/virt-grow/virt-grow/guest/growth"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/journal"
	"github.com/virt-grow/virt-grow/plan/size"
)

// hints has the hint for every reason, with the command to run. SUBJECT stands
// for the subject of the refusal, VIRT-GROW for the program with the flags that this
// run needed to find its jobs, and OFFLINE for the command that does the work of an
// online run while the guest is off.
var hints = map[plan.Reason]string{
	plan.Shrink:            "give a size above the present one (virt-grow inspect shows it), or a relative one: +10G",
	plan.FormatMissing:     "look up the format in the guest's configuration (virsh dumpxml: driver type=…) and give it with --format qcow2 or --format raw; for a backing file: qemu-img rebase -u -b BACKING -F FORMAT IMAGE",
	plan.FormatMismatch:    "check the guest's configuration (virsh dumpxml: driver type=…): a raw driver on a qcow2 file shows the guest a tiny disk. Correct the driver there, and use --format with the format the file really has",
	plan.FormatUnsupported: "convert it first: qemu-img convert -O qcow2 SUBJECT NEW.qcow2",
	plan.UnknownContent:    "grow the container only with --grow none, or a partition without its content with --grow SUBJECT --partition-only, and let the guest do the rest",
	plan.UnsupportedLayout: "see virt-grow inspect. Content that spans several disks, is not a plain volume, or has an unsupported feature must be grown inside the guest or be recreated: --grow none grows only the container, --partition-only also a partition",
	plan.NewerFeature:      "update libguestfs and its appliance (virt-grow doctor shows what it supports), or use --partition-only and grow the file system inside the guest",
	plan.NoDriver:          "install what the host's appliance needs (libguestfs-xfs for XFS; ntfs-3g, or on RHEL libguestfs-winsupport, for NTFS; a kernel with SUBJECT), and run virt-grow doctor; or grow only the partition with --partition-only and the file system inside the guest",
	plan.LUKSLocked:        "give the key: --key SUBJECT:file:PATH or --key SUBJECT:prompt",
	plan.BitLocker:         "in Windows: manage-bde -off C: decrypts; or grow only the partition with --grow SUBJECT --partition-only after manage-bde -protectors -disable C:, and extend the volume in Windows (Resize-Partition)",
	plan.DynamicDisk:       "grow the container only with --grow none, then extend the volume in Windows with diskpart",
	plan.StorageSpaces:     "grow the container only with --grow none, then in Windows: Resize-VirtualDisk and Resize-Partition",
	plan.NTFSHibernated:    "shut Windows down fully: shutdown /s /f /t 0; or disable fast startup permanently: powercfg /h off",
	plan.Hibernated:        "start the guest, let it resume, and shut it down; or, if the saved memory may be lost, recreate the swap (mkswap -U UUID) or delete hiberfil.sys (powercfg /h off)",
	plan.NTFSDirty:         "start Windows, run chkdsk /f on the drive, and shut down with shutdown /s /f /t 0; or let Windows extend the volume: --ntfs guest",
	plan.NTFSBadClusters:   "let Windows extend the volume: --ntfs guest. A disk image has no bad sectors; these marks were copied from a real disk, and chkdsk C: /b in Windows removes them",
	plan.FSDamaged:         "repair it with the guest's own tools, on a copy first: e2fsck -f (ext), xfs_repair (XFS), btrfs scrub (btrfs), chkdsk /f (NTFS)",
	plan.CheckUnfinished:   "--check full checks during the outage, and --check quick checks nothing in full. If the time was too short, give more with --check-timeout. If memory was too small, close other programs on the host, or set the appliance's with LIBGUESTFS_MEMSIZE (in MiB)",
	plan.FSLimit:           "ask for a smaller size: --size, or --grow WHERE=SIZE; a larger size needs a new file system",
	plan.TableDamaged:      "repair the table first, on a copy: gdisk (GPT: r, then b or d; x, then e moves the backup) or fdisk (MBR)",
	plan.ImmovableNeighbor: "omit --no-move, so that partitions that can be moved are moved; or delete SUBJECT inside the guest first (swap can be recreated elsewhere), or grow the last partition",
	plan.MBRLimit:          "an MBR ends at 2 TiB with sectors of 512 bytes: keep the disk smaller, add a second disk, or convert the table to GPT (Windows: mbr2gpt; Linux: gdisk)",
	plan.AmbiguousTarget:   "choose one: --grow with a mount point (--grow /data), a drive letter (--grow C:), a device (--grow sda3), a volume (--grow vg/lv), UUID=…, LABEL=… or PARTLABEL=…; --grow none grows the container only",
	plan.NotFound:          "virt-grow inspect lists what is on the disk",
	plan.InternalSnapshot:  "upgrade the image to version 3: qemu-img amend -f qcow2 -o compat=1.1 SUBJECT; or delete the snapshots (qemu-img snapshot -l SUBJECT lists them, -d NAME deletes one)",
	plan.NoSpace:           "free some space in SUBJECT, or put the overlay elsewhere with --scratch-dir",
	plan.NoRoom:            "ask for more with --size, or for less with --grow WHERE=SIZE; virt-grow inspect shows the free space",
	plan.InUse:             "shut the guest down first (virsh list shows running guests; fuser -v SUBJECT shows which process has the image open)",
	plan.Locked:            "wait for the other run to end; VIRT-GROW jobs shows it",
	plan.JobActive:         "VIRT-GROW status SUBJECT shows its state and what to run: resume finishes the job, accept commits a waiting one, rollback undoes it",
	plan.JobState:          "VIRT-GROW status SUBJECT shows what can be run now: accept commits a waiting job, rollback undoes an unfinished one",
	plan.NewerJob:          "use the version of virt-grow that began the job, or a later one; nothing of the job was changed",
	plan.StalePlan:         "make a new plan with virt-grow plan, and review it",
	plan.ImageDamaged:      "look closer with qemu-img check SUBJECT, copy the image, and repair it: qemu-img check -r all SUBJECT",
	plan.ImageChanged:      "the overlay no longer fits the image: VIRT-GROW rollback SUBJECT deletes it, and a new run starts from the image as it is now",
	plan.BitmapInUse:       "remove it while the guest is off (qemu-img bitmap --remove SUBJECT ITEM), and start the next series of incremental backups with a full backup",
	plan.ContainerLimit:    "ask for less with --size, raise the limit (ulimit -f), or copy the image onto a file system without it",
	plan.NotWritable:       "mount the file system read-write, remove the immutable attribute (lsattr SUBJECT shows it, chattr -i removes it), or run as a user who may write there; --scratch-dir puts overlays elsewhere",
	plan.FileExists:        "give another name, or move SUBJECT away; existing files are never overwritten",
	plan.TooSmall:          "give a larger --size, or use another file system: --fs ext4",
	plan.TooLarge:          "give a smaller --size, or use another file system: --fs xfs",
	plan.BadLabel:          "give a shorter --label, or omit it",
	plan.NotAFile:          "VIRT-GROW ls lists a directory, and copy-out copies one. To change a large file: copy-out, edit it, copy-in",
	plan.CacheUnsafe:       "with virsh edit, remove cache='unsafe' from the driver, or change it to writeback",
	plan.DefinitionsDiffer: "compare virsh dumpxml SUBJECT with virsh dumpxml SUBJECT --inactive; virsh update-device --config brings the definition up to date",
	plan.BackingMissing:    "restore SUBJECT from a backup, or, if it was moved: qemu-img rebase -u -b BACKING -F FORMAT IMAGE",
	plan.Unreadable:        "run qemu-img info -U SUBJECT for details",
	plan.TransientDomain:   "make it persistent: virsh dumpxml SUBJECT --security-info > SUBJECT.xml; virsh define SUBJECT.xml",
	plan.ManagedSave:       "start the guest (virsh start SUBJECT) and shut it down, or remove the saved state: virsh managedsave-remove SUBJECT",
	plan.DomainState:       "let it run (virsh resume SUBJECT), or shut it down; if it does not stay off after a shutdown, set on_poweroff to destroy (virsh edit SUBJECT)",
	plan.DomainJob:         "wait for it to end: virsh domjobinfo SUBJECT, virsh blockjob SUBJECT DISK",
	plan.DomainChanged:     "VIRT-GROW status SUBJECT shows its state; rollback deletes the overlay and leaves the guest as it is, then start again",
	plan.Confined:          "run virt-grow as root; or omit the trial with --no-trial, which commits while the guest is off",
	plan.Checkpoint:        "omit the trial with --no-trial, which keeps the checkpoints and records the changes in them; or grow the disk while the guest runs: virt-grow online SUBJECT. Otherwise delete them (virsh checkpoint-list SUBJECT, virsh checkpoint-delete), and take a full backup after the growth",
	plan.NoLibvirt:         "start it (systemctl start libvirtd; on RHEL and Fedora virtqemud), or name another with --connect; if you meant an image, give a path that contains a /: ./NAME",
	plan.RemoteHost:        "--connect qemu+ssh://[USER@]HOST/system runs virt-grow on that host",
	plan.AmbiguousDisk:     "choose one, for example --disk vda (virsh domblklist SUBJECT lists them)",
	plan.DiskShared:        "only a disk that belongs to one guest can be grown; virsh domblklist SUBJECT lists a guest's disks",
	plan.ListedTwice:       "keep one of the two entries, with all disks of the guest",
	plan.DiskReadOnly:      "the guest cannot write to the disk: remove <readonly/> from it first (virsh edit SUBJECT)",
	plan.DiskUnsupported:   "grow the disk where it is stored, and then the content inside the guest",
	plan.ChainShared:       "give that domain an image of its own first: virsh blockpull, or qemu-img convert",
	plan.NoScratch:         "give a directory for the overlay that QEMU can access with --scratch-dir DIRECTORY; or omit the trial with --no-trial",
	plan.NoRehearsal:       "virt-grow plan SUBJECT estimates the times without a rehearsal; if the scratch file became too large, --max-scratch allows a larger one",
	plan.NoAgent:           "start qemu-guest-agent in the guest, give the domain its channel (org.qemu.guest_agent.0), and allow the agent to run programs (RHEL: /etc/sysconfig/qemu-ga); or work without the agent: online --in-guest print, attach without --mount, detach with --even-mounted",
	plan.HMPUnnamed:        "omit --via, or use --via libvirt or --via qmp",
	plan.ToolMissing:       "install SUBJECT in the guest, or grow the disk while the guest is off: virt-grow grow",
	plan.ShutdownTimeout:   "see what the guest is doing (virsh console SUBJECT), allow more time with --shutdown-timeout, or allow --force-off. The guest keeps running; if it shuts down later after all, start it again: virsh start SUBJECT",
	plan.HealthCheck:       "the guest uses its original image again. Allow more time with --boot-timeout, or find out on its console why it did not start",
	plan.TargetTaken:       "use another --target, or omit it to use the next free one (virsh domblklist SUBJECT lists them)",
	plan.MountTaken:        "use another mount point, or remove that line from the guest's /etc/fstab first",
	plan.Mounted:           "unmount it in the guest first, and deactivate what is stacked on it (vgchange -an, cryptsetup close); --unmount does this for plain file systems, and --even-mounted skips the check",
	plan.NotReleased:       "find out in the guest what uses the disk, or allow more time with --timeout. If the guest releases the disk later, the disk remains only in the definition (virsh domblklist), and --live attaches it again",
	plan.NoHotplug:         "--config changes only the definition, for the next start; disks can be attached to a running guest on virtio and scsi",
	plan.IsISO:             "insert it into a drive: virt-grow media insert DOMAIN SUBJECT",
	plan.NotISO:            "attach a disk image with virt-grow disk attach; use file SUBJECT to detect a broken download",
	plan.BusDriver:         "in the guest, install the driver, and make it start with the system. Linux: add ITEM to the initramfs (Debian: to /etc/initramfs-tools/modules, one name a line, then update-initramfs -u. RHEL: dracut -f --add-drivers ITEM. Alpine: the feature virtio in /etc/mkinitfs/mkinitfs.conf, then mkinitfs). Windows: attach a small disk on the new bus, then virt-grow media insert --virtio-win, and pnputil /add-driver E:\\*.inf /subdirs /install",
	plan.BusDisabled:       "in Windows, let the driver load at the start, and restart once: sc config ITEM start= boot; or attach a small disk on the new bus and start Windows, which then enables the driver itself",
	plan.BusNames:          "in the guest, replace the name by UUID=… (blkid lists them), and if the file is also in the initramfs or the boot loader, make that anew (update-initramfs -u or dracut -f; update-grub or grub2-mkconfig)",
	plan.BusUnclear:        "look in the guest whether the driver is loaded when it starts; then --even-unbootable lets the trial decide: a guest that does not start is back on its old bus by itself",
	plan.NoBus:             "virsh domcapabilities --machine MACHINE lists the buses that a machine type has",
	plan.BusSetting:        "remove the setting if the guest does without it (virsh edit SUBJECT), or move the disk to a bus that has it",
	plan.Window:            "allow a longer window (--window-end, --max-outage), or make a smaller change",
}

// hintsOfWay has the hints for refusals that name a way (plan.Way). ONLINE stands for the
// online command that grows the same, GROW for what to do with an image alone.
var hintsOfWay = map[plan.Way]string{
	plan.WayEvenUnknown:    "if you know that the content finds its own size and keeps nothing at the end of the partition, add --even-unknown; otherwise --grow none grows the container, and the guest does the rest",
	plan.WayRemake:         "inside the guest, remove SUBJECT from its array or volume first, grow it, and add it again; the other members keep its data, or it must be copied",
	plan.WayUnmount:        "shut down the system that has it mounted. If there is none, the guest was stopped without a shutdown: start it and shut it down",
	plan.WayClearMMP:       "wait for that e2fsck to end. If none is running, and no other host has the file system mounted, clear the mark in the guest: tune2fs -f -E clear_mmp DEVICE",
	plan.WayLargerClusters: "ask for less with --size, or copy the image into one with larger clusters: qemu-img convert -O qcow2 -o cluster_size=64k SUBJECT NEW.qcow2",
	plan.WayStartPool:      "start the pool: virsh pool-start SUBJECT",
	plan.WayOnline:         "GROWthe guest sees all disks of the group, and can grow it while it runs: ONLINE; or --grow none grows only the container",
}

// hintOnline returns the command with which the running guest grows a volume of the group.
func (p *program) hintOnline(r *plan.Refusal) string {
	online := p.atRunTime
	if online == "" {
		online = "virt-grow online DOMAIN --disk DISK --size SIZE --grow " + quoted(r.Subject) + "/LV"
	}
	// For an image without a domain, the other images of the guest are not known.
	grow := ""
	if p.atRunTime == "" {
		grow = "name the domain instead of the image, and the disks of the group are grown together; or "
	}
	return strings.NewReplacer("ONLINE", online, "GROW", grow).Replace(hintsOfWay[plan.WayOnline])
}

// hintsOf has the hints that differ for a command.
var hintsOf = map[string]map[plan.Reason]string{
	"batch plan": {
		plan.LUKSLocked: "give the key in the inventory: keys: [\"SUBJECT:file:PATH\"]",
		plan.JobActive:  "VIRT-GROW status SUBJECT shows its state and what to run: plan again when the job has ended",
		plan.Window:     "allow more time in the inventory, with window or with the guest's max-outage",
	},
	"bus": {
		plan.NoAgent:   "--accept manual lets a person decide whether the guest has started, --health-cmd a command on this host; or install the guest agent",
		plan.BitLocker: "in Windows, right before the shutdown: manage-bde -protectors -disable C: -RebootCount 1 (Windows suspends the protection until its next start)",
	},
	"disk create": {
		plan.NoSpace:  "free some space in SUBJECT, or put it elsewhere",
		plan.MBRLimit: "use --table gpt, or a smaller --size",
	},
	"disk convert": {
		plan.NoSpace:           "free some space in SUBJECT, or put it elsewhere",
		plan.FormatMissing:     "look up the format (virsh dumpxml: driver type=…) and give it with --from; for a backing file: qemu-img rebase -u -b BACKING -F FORMAT IMAGE",
		plan.FormatMismatch:    "check the domain's definition (virsh dumpxml: driver type=…), and give the format the file really has with --from",
		plan.FormatUnsupported: "give an image file that is not encrypted: qemu-img info SUBJECT",
	},
	"disk list": {
		plan.FormatMissing:  "add the driver's type with virsh edit; in a file with a backing file: qemu-img rebase -u -b BACKING -F FORMAT SUBJECT",
		plan.FormatMismatch: "correct the driver's type with virsh edit if it is wrong: a raw driver on a qcow2 file shows the guest a tiny disk",
		plan.DiskShared:     "two guests that write to one image destroy it: give each guest its own image (virsh domblklist SUBJECT)",
		plan.ChainShared:    "writing to an image breaks the overlays on top of it: virsh blockpull makes an overlay independent",
	},
	"disk attach": attachHints, "disk add": attachHints,
	"online": {
		plan.ImmovableNeighbor: "OFFLINE moves the partitions behind it, while the guest is off",
		plan.UnsupportedLayout: "OFFLINE grows what can be grown while the guest is off; --in-guest none grows only the disk, and leaves the content to you",
		plan.UnknownContent:    "name what is to grow with --grow (lsblk in the guest lists it); --in-guest none grows only the disk",
		plan.ToolMissing:       "install SUBJECT in the guest; or grow the disk while the guest is off: OFFLINE",
	},
	"disk detach": {
		plan.DiskUnsupported: "virsh detach-disk removes it from the definition",
		plan.DiskShared:      "another domain uses the image, too: detach it without --delete",
		plan.ChainShared:     "another image uses it as its backing file: detach it without --delete",
	},
}

// attachHints are the hints of the commands that attach a disk.
var attachHints = map[plan.Reason]string{
	plan.DiskShared:     "an image belongs to one domain. Give this one a copy (virt-grow disk convert), or, if both guests support sharing, a raw image with --shareable",
	plan.UnknownContent: "create a file system first (virt-grow disk create --fs), or omit --mount and mount it by hand",
	plan.NoSpace:        "free some space in SUBJECT, or put the image elsewhere with --path",
	plan.MBRLimit:       "use --table gpt, or a smaller --size",
}

// hint returns what to do about an error, or "" if the error's own text says enough.
// A job that can neither be resumed nor rolled back can still be closed.
func (p *program) hint(err error) string {
	text := p.hintAlone(err)
	r, refused := refusal(err)
	if p.job == "" || !isOneOf(p.name, "resume", "rollback") || isInterrupt(err) || refused && isOneOf(string(r.Reason), string(plan.JobState), string(plan.JobActive), string(plan.Locked)) {
		return text
	}
	if text != "" {
		text += ". "
	}
	return text + "If nothing else can end the job: " + p.line("accept", p.job, "--as-is") + " closes it as it is"
}

func (p *program) hintAlone(err error) string {
	var failure *guest.Failure
	if errors.As(err, &failure) && !failure.Restored {
		return p.hintUnrestored(failure)
	}
	var incomplete *batch.Incomplete
	if errors.As(err, &incomplete) {
		return p.hintBatch(incomplete)
	}
	var unusable *remote.Unusable
	switch {
	case isInterrupt(err):
		return ""
	case errors.As(err, new(*runLost)):
		return p.lookThere() + " shows how it ends"
	case errors.As(err, &unusable):
		return unusable.Hint
	}
	if errors.As(err, new(*growth.Unhealthy)) {
		return hints[plan.HealthCheck]
	}
	if r, ok := refusal(err); ok {
		return p.hintFor(r)
	}
	switch {
	case errors.Is(err, journal.ErrDamaged):
		return "keep the job's directory and its overlay; virt-grow status shows where they are, and accept JOB --as-is moves the directory away"
	case errors.As(err, new(*usageError)):
		return strings.TrimSpace("virt-grow "+p.name) + " --help shows the usage"
	}
	return ""
}

// hintUnrestored returns the commands for a failure that could not be undone.
func (p *program) hintUnrestored(f *guest.Failure) string {
	back := p.line("rollback", f.Job)
	if f.Forward {
		return "once the cause is fixed: " + p.line("resume", f.Job) + " finishes it. If it cannot be fixed: " + p.line("accept", f.Job) + " closes it as it is, and lists what is left"
	}
	if f.Stepwise && f.Begun {
		return "once the cause is fixed: " + back + " undoes it, " + p.line("resume", f.Job) + " finishes it"
	}
	if f.Begun {
		return "once the cause is fixed: " + back + " restores the saved bytes, " + p.line("resume", f.Job) + " finishes the commit"
	}
	return "once the cause is fixed: " + back
}

func (p *program) hintFor(r *plan.Refusal) string {
	switch {
	case r.Reason == plan.NotFound:
		return p.hintNotFound(r)
	case r.Way == plan.WayOnline:
		return p.hintOnline(r)
	case r.Way != "":
		return strings.ReplaceAll(hintsOfWay[r.Way], "SUBJECT", quoted(r.Subject))
	case r.Reason == plan.AmbiguousTarget && isOneOf(p.name, inFiles...):
		return "choose one with --mount DEVICE, and its files are below /; virt-grow df " + quoted(p.subject) + " lists them"
	}
	if r.Reason == plan.FSLimit && r.Size > 0 {
		return "--grow " + quoted(r.Subject+"="+argument(r.Size)) + " grows it to its limit; a larger size needs a new file system"
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
	hint, ok := hintsOf[p.name][r.Reason]
	if !ok {
		hint = hints[r.Reason]
	}
	text := strings.ReplaceAll(hint, "SUBJECT", quoted(subject))
	text = strings.ReplaceAll(text, "ITEM", quoted(r.Item))
	text = strings.ReplaceAll(text, "OFFLINE", p.offline)
	return strings.ReplaceAll(text, "VIRT-GROW", p.line())
}

// aPartition matches a partition's name. A volume or a whole disk cannot grow without
// its content.
var aPartition = regexp.MustCompile(`^sda[0-9]+$`)

// argument returns a size in the form of --size and --grow.
func argument(n size.Bytes) string {
	if n%size.GiB == 0 {
		return fmt.Sprintf("%dG", n/size.GiB)
	}
	return fmt.Sprintf("%dM", n/size.MiB)
}

// hintNotFound returns the hint for a job, an image, or something on an image that was
// not found; which of them is known from the command.
func (p *program) hintNotFound(r *plan.Refusal) string {
	switch {
	case isOneOf(p.name, "resume", "accept", "rollback") && p.job != "":
		return "restore " + quoted(r.Subject) + ", and run the command again" // a file of the job is missing
	case isOneOf(p.name, "status", "resume", "accept", "rollback", "batch status", "batch resume", "batch accept", "batch rollback"):
		return p.line("jobs") + " lists the jobs"
	case p.name == "disk list" && r.Subject != p.subject:
		return "restore " + quoted(r.Subject) + ", or remove the disk from the domain: virsh detach-disk " + quoted(p.subject) + " DISK --config"
	case isOneOf(p.name, "disk create", "disk convert"):
		return "give the path of an image in an existing directory"
	case r.Subject != "" && r.Subject == p.path:
		return p.line("ls", p.subject+":"+parentOf(r.Subject)) + " lists the directory"
	case r.Subject == p.subject && p.name == "batch plan":
		return "virsh list --all lists the domains by their names"
	case r.Subject == p.subject:
		return "give an image as a path that contains a /, or a domain by its name or UUID (virsh list --all), in the libvirt given by --connect"
	}
	return "virt-grow inspect " + quoted(p.subject) + " lists what is on the disk"
}

func isOneOf(name string, words ...string) bool { return slices.Contains(words, name) }
