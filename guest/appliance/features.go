package appliance

import (
	"context"
	"time"

	"libguestfs.org/guestfs"

	"github.com/virt-grow/virt-grow/plan/size"
)

// Facts describe this host's appliance and what it supports.
type Facts struct {
	Used Accel
	// KVMError is why Used is TCG although there is a /dev/kvm; else nil.
	KVMError error
	// Launch is how long it took to boot.
	Launch time.Duration
	// Version is the version of libguestfs, Kernel the release of the appliance's kernel.
	Version, Kernel string
	// Lacking are the file systems and containers that it does not support.
	Lacking []string
	// NTFSError is why NTFS does not work although it seems to be supported: some builds
	// reserve it for virt-v2v. It is nil if NTFS is in Lacking.
	NTFSError error
}

// scratchSize is large enough for an NTFS.
const scratchSize = 32 * size.MiB

// Features starts an appliance on an empty disk, and finds out what it supports.
func Features(ctx context.Context, accel Accel, limit time.Duration) (_ *Facts, err error) {
	begun := time.Now()
	a, err := Launch(ctx, Options{Accel: accel, Limit: limit, scratch: scratchSize})
	if err != nil {
		return nil, err
	}
	defer a.Kill() // the disk is not needed any more
	f := &Facts{Used: a.Used, KVMError: a.KVMError, Launch: time.Since(begun)}
	for _, ask := range []func(context.Context, *Facts) error{a.askVersions, a.askFeatures} {
		if err := ask(ctx, f); err != nil {
			return nil, err
		}
	}
	return f, nil
}

func (a *Appliance) askVersions(ctx context.Context, f *Facts) error {
	var version *guestfs.Version
	var kernel *guestfs.UTSName
	for _, ask := range []func() error{
		func() (e error) { version, e = a.g.Version(); return },
		func() (e error) { kernel, e = a.g.Utsname(); return },
	} {
		if err := a.do(ctx, ask); err != nil {
			return err
		}
	}
	f.Version = versionText(version)
	f.Kernel = kernel.Uts_release
	return nil
}

// featureOf has the feature groups of libguestfs (guestfs(3), "AVAILABILITY") for content
// that needs more than a file system in the kernel.
var featureOf = []struct{ content, group string }{
	{"xfs", "xfs"}, {"btrfs", "btrfs"}, {"ntfs", "ntfs3g"}, {"ntfs", "ntfsprogs"},
	{"LUKS", "luks"}, {"LVM", "lvm2"},
}

func (a *Appliance) askFeatures(ctx context.Context, f *Facts) error {
	lacking := map[string]bool{}
	for _, kind := range []string{"ext4", "xfs", "btrfs"} {
		var there bool
		if err := a.do(ctx, func() (e error) { there, e = a.g.Filesystem_available(kind); return }); err != nil {
			return err
		}
		lacking[kind] = !there
	}
	for _, feature := range featureOf {
		var there bool
		if err := a.do(ctx, func() (e error) { there, e = a.g.Feature_available([]string{feature.group}); return }); err != nil {
			return err
		}
		lacking[feature.content] = lacking[feature.content] || !there
	}
	for _, content := range []string{"ext4", "xfs", "btrfs", "ntfs", "LUKS", "LVM"} {
		if lacking[content] {
			f.Lacking = append(f.Lacking, content)
		}
	}
	if lacking["ntfs"] {
		return nil
	}
	f.NTFSError = a.tryNTFS(ctx)
	return ctx.Err()
}

// tryNTFS edits an empty NTFS: no other check shows whether that works.
func (a *Appliance) tryNTFS(ctx context.Context) error {
	for _, call := range []func() error{
		func() error { return a.g.Mkfs("ntfs", "/dev/sda", nil) },
		func() error { return a.g.Ntfsresize_size("/dev/sda", int64(scratchSize)) },
		func() error { return a.g.Mount_ro("/dev/sda", "/") },
	} {
		if err := a.do(ctx, call); err != nil {
			return err
		}
	}
	return nil
}
