package testimages

import (
	"archive/tar"
	"bytes"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"strings"
	"time"
)

// entry is one file of a tree. A path that ends in "/" is a directory.
type entry struct {
	path     string
	mode     int64 // 0 = 0644, or 0755 for directories
	uid, gid int
	data     []byte
	link     string // target of a symbolic link
	xattrs   map[string]string
	hole     int64 // a sparse file of this size, with data at its end
}

// mtime is the modification time of every file in the zoo.
var mtime = time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC)

// files returns the tree of v, cut down to what its file system can hold.
func (img Image) files(v volume) []entry {
	r := newRandom(img.Name + "/" + v.Name)
	var es []entry
	switch v.Tree {
	case "data":
		es = dataTree(r)
	case "small":
		es = smallTree(r)
	case "debian", "fedora":
		es = linuxTree(r, img, v.Tree)
	default:
		es = fixedTree(r, img, v)
	}
	switch v.Kind {
	case "ntfs":
		return portable(es, 0o777, true)
	case "vfat":
		return portable(es, 0o755, false)
	}
	return es
}

// portable leaves out what Windows file systems lack. Modes are what the
// driver reports, so that tar changes none.
func portable(es []entry, mode int64, rich bool) []entry {
	var kept []entry
	for _, e := range es {
		ascii := strings.IndexFunc(e.path, func(r rune) bool { return r > 126 }) < 0
		if e.link != "" || !rich && !ascii || strings.ContainsAny(e.path, `\:*?"<>|`) {
			continue
		}
		if !rich {
			e.xattrs = nil
		}
		e.mode, e.uid, e.gid = mode, 0, 0
		kept = append(kept, e)
	}
	return kept
}

func smallTree(r *random) []entry {
	return []entry{
		{path: "README", data: []byte("a neighbour that must not change\n")},
		{path: "blob", data: r.bytes(100_000)},
	}
}

func dataTree(r *random) []entry {
	es := []entry{
		{path: "README.txt", data: []byte("virt-grow test data\n")},
		{path: "empty"},
		{path: "empty dir/", mode: 0o700, uid: 1000, gid: 1000},
		{path: "big.bin", mode: 0o600, data: r.bytes(512 << 10)},
		{path: "sparse.img", data: r.bytes(8192), hole: 1 << 20},
		{path: "name with  two spaces.txt", data: r.bytes(100)},
		{path: "-dash", data: r.bytes(10)},
		{path: "quote'and\"quote", data: r.bytes(10)},
		{path: "grüße-数据-🙂.txt", data: []byte("Unicode\n")},
		{path: strings.Repeat("long-name-", 20) + "end", data: r.bytes(50)},
		{path: "modes/", mode: 0o1777},
		{path: "modes/setuid", mode: 0o4755, data: r.bytes(1000)},
		{path: "modes/setgid", mode: 0o2750, gid: 50, data: r.bytes(1000)},
		{path: "modes/readonly", mode: 0o444, uid: 65534, gid: 65534, data: r.bytes(1000)},
		{path: "modes/none", mode: 0o1000, uid: 15_000_000, gid: 7, data: r.bytes(3)},
		{path: "xattrs", data: []byte("x"), xattrs: map[string]string{
			"user.comment": "grow me", "user.binary": "a\x01b", "user.long": strings.Repeat("v", 200)}},
		{path: "links/"},
		{path: "links/relative", link: "../README.txt"},
		{path: "links/absolute", link: "/big.bin"},
		{path: "links/dangling", link: "no/such file " + strings.Repeat("x", 80)},
		{path: "deep/"}, {path: "deep/er/"}, {path: "deep/er/still/"},
		{path: "deep/er/still/file", uid: 1000, gid: 100, data: r.bytes(5000)},
		{path: "numbered/", uid: 33, gid: 33},
	}
	for i := range 10 {
		es = append(es, entry{path: fmt.Sprintf("numbered/%02d.dat", i), uid: 33, gid: 33, data: r.bytes(1 << (6 + i))})
	}
	return es
}

func linuxTree(r *random, img Image, distro string) []entry {
	es := []entry{{path: "boot/"}, {path: "etc/"}, {path: "dev/"}, {path: "proc/"}, {path: "run/"},
		{path: "tmp/", mode: 0o1777}, {path: "root/", mode: 0o700}, {path: "usr/"}, {path: "usr/bin/"},
		{path: "usr/sbin/"}, {path: "usr/lib/"}, {path: "home/"}, {path: "var/"}, {path: "var/lib/"}, {path: "var/log/"},
		{path: "bin", link: "usr/bin"}, {path: "sbin", link: "usr/sbin"}, {path: "lib", link: "usr/lib"},
		{path: "usr/bin/bash", mode: 0o755, data: elf()},
		{path: "etc/hostname", data: []byte(img.Name + "\n")},
		{path: "etc/fstab", data: []byte(img.fstab())},
		{path: "etc/shadow", mode: 0o640, gid: 42, data: []byte("root:*:19000:0:99999:7:::\n")},
		{path: "etc/os-release", link: "../usr/lib/os-release"}}
	release := "NAME=\"Debian GNU/Linux\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID=\"12\"\nID=debian\n"
	if distro == "fedora" {
		release = "NAME=\"Fedora Linux\"\nPRETTY_NAME=\"Fedora Linux 40 (Server Edition)\"\nVERSION_ID=40\nID=fedora\n"
		es = append(es, entry{path: "etc/fedora-release", data: []byte("Fedora release 40 (Forty)\n")})
	} else {
		es = append(es, entry{path: "etc/debian_version", data: []byte("12.5\n")})
	}
	es = append(es, entry{path: "usr/lib/os-release", data: []byte(release)}, entry{path: "home/user/", mode: 0o700, uid: 1000, gid: 1000})
	for _, e := range dataTree(r) {
		e.path = "home/user/" + e.path
		es = append(es, e)
	}
	return es
}

// fstab mounts what the image has as installers write it: logical volumes by
// name, the rest by UUID.
func (img Image) fstab() string {
	points := map[string]string{"debian": "/", "fedora": "/", "boot": "/boot", "esp-linux": "/boot/efi"}
	var b strings.Builder
	img.walk(func(v volume) {
		what := "UUID=" + img.uuid(v)
		if vg, lv, ok := strings.Cut(v.Name, "/"); ok {
			what = "/dev/mapper/" + vg + "-" + lv
		}
		switch {
		case v.Tree == "by-offset":
			fmt.Fprintf(&b, "/dev/vda /old %s loop,offset=%d 0 0\n", v.Kind, v.start)
		case v.Kind == "swap":
			fmt.Fprintf(&b, "%s none swap defaults 0 0\n", what)
		case points[v.Tree] != "":
			fmt.Fprintf(&b, "%s %s %s defaults 0 0\n", what, points[v.Tree], v.Kind)
		}
	})
	return b.String()
}

func fixedTree(r *random, img Image, v volume) []entry {
	switch v.Tree {
	case "by-offset":
		return smallTree(r)
	case "boot":
		return []entry{{path: "grub2/"}, {path: "grub2/grub.cfg", mode: 0o600, data: []byte("set timeout=5\n")},
			{path: "vmlinuz-6.8.5", mode: 0o755, data: r.bytes(300 << 10)}, {path: "initramfs-6.8.5.img", mode: 0o600, data: r.bytes(500 << 10)}}
	case "esp-linux":
		return []entry{{path: "EFI/"}, {path: "EFI/BOOT/"}, {path: "EFI/BOOT/BOOTX64.EFI", data: r.bytes(90_000)}}
	case "esp-windows":
		return []entry{{path: "EFI/"}, {path: "EFI/Microsoft/"}, {path: "EFI/Microsoft/Boot/"},
			{path: "EFI/Microsoft/Boot/bootmgfw.efi", data: r.bytes(120_000)}, {path: "EFI/Microsoft/Boot/BCD", data: r.bytes(32_768)}}
	case "bootmgr":
		return []entry{{path: "bootmgr", data: r.bytes(400_000)}, {path: "Boot/"}, {path: "Boot/BCD", data: r.bytes(32_768)}}
	case "winre":
		return []entry{{path: "Recovery/"}, {path: "Recovery/WindowsRE/"}, {path: "Recovery/WindowsRE/Winre.wim", data: r.bytes(700_000)}}
	case "windows-gpt", "windows-mbr", "windows-hibernated":
		return windowsTree(r, img, v)
	}
	panic("recipe: no tree " + v.Tree)
}

// writeTar writes the entries, except sparse files, which tar cannot make here.
func writeTar(w io.Writer, es []entry) error {
	tw := tar.NewWriter(w)
	for _, e := range es {
		if e.hole != 0 {
			continue
		}
		if err := writeEntry(tw, e); err != nil {
			return fmt.Errorf("%s: %w", e.path, err)
		}
	}
	return tw.Close()
}

func writeEntry(tw *tar.Writer, e entry) error {
	h := &tar.Header{Name: e.path, Mode: e.mode, Uid: e.uid, Gid: e.gid, Size: int64(len(e.data)),
		Typeflag: tar.TypeReg, ModTime: mtime, Format: tar.FormatPAX}
	switch {
	case strings.HasSuffix(e.path, "/"):
		h.Typeflag = tar.TypeDir
		h.Mode = orDefault(e.mode, 0o755)
	case e.link != "":
		h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, e.link, 0o777
	default:
		h.Mode = orDefault(e.mode, 0o644)
	}
	for name, value := range e.xattrs {
		if h.PAXRecords == nil {
			h.PAXRecords = map[string]string{}
		}
		h.PAXRecords[xattrPrefix+name] = value
	}
	if err := tw.WriteHeader(h); err != nil {
		return err
	}
	_, err := io.Copy(tw, bytes.NewReader(e.data))
	return err
}

const xattrPrefix = "SCHILY.xattr."

func orDefault(mode, def int64) int64 {
	if mode == 0 {
		return def
	}
	return mode
}

// random makes the same incompressible bytes for the same name.
type random struct{ *rand.ChaCha8 }

func newRandom(name string) *random {
	h := fnv.New64a()
	io.WriteString(h, name)
	var seed [32]byte
	copy(seed[:], h.Sum(nil))
	return &random{rand.NewChaCha8(seed)}
}

func (r *random) bytes(n int) []byte {
	b := make([]byte, n)
	r.Read(b)
	return b
}

// elf is as much of an x86-64 ELF executable as file(1) looks at.
func elf() []byte {
	b := make([]byte, 4096)
	copy(b, "\x7fELF\x02\x01\x01")
	copy(b[16:], []byte{2, 0, 62, 0, 1, 0, 0, 0})
	b[52], b[54], b[58] = 64, 56, 64
	return b
}
