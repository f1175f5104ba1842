package main

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/virt-grow/virt-grow/testimages/level"
)

// TestFieldLogicalSwap uses the layout of Debian's and Ubuntu's installers for a BIOS:
// the extended partition begins two sectors before a multiple of 1 MiB, and the swap in
// it at the multiple.
func TestFieldLogicalSwap(t *testing.T) {
	p := newField(t, "deb.raw", "384M")
	p.sh(t, `printf 'label: dos\n1: start=2048,size=653312,type=83,bootable\n2: start=657406,size=126978,type=5\n5: start=657408,size=126976,type=82\n' | sfdisk -q "$image"
truncate -s 319M root; mkfs.ext4 -q root; put root 2048
truncate -s 62M sw; mkswap -q sw; put sw 657408`)
	_, before, after := p.grown(t, []int{1}, []int{2, 5}, "grow", p.image, "--format", "raw", "--size", "+512M", "--grow", "sda1", "--yes")
	same(t, before, after, 5)
	if after[5].start%2048 != 0 || after[2].start != after[5].start-2 {
		t.Errorf("sda2 begins at %d, sda5 at %d", after[2].start, after[5].start)
	}
	if gap := after[2].start - after[1].start - after[1].count; gap >= 8 {
		t.Errorf("%d sectors are free behind the root", gap)
	}
	p.sh(t, `dd if="$image" of=grown bs=1M skip=1 count=900 status=none; e2fsck -fn grown`)
}

// windowsField has two recovery partitions and an MSR behind C:. The size of one of them
// is no multiple of 1 MiB.
func windowsField(t *testing.T) *field {
	t.Helper()
	p := newField(t, "w.raw", "642M")
	p.sh(t, `sgdisk -n1:2048:+36M -t1:ef00 -n3:0:+400M -t3:0700 -n2:0:+16M -t2:0c01 -n4:0:+82433 -t4:2700 -n5:0:+30M -t5:2700 \
  -c3:"Basic data partition" -A4:set:0 -A4:set:63 -A5:set:0 -A5:set:63 "$image" >/dev/null
truncate -s 36M esp; mkfs.vfat esp >/dev/null; put esp $(first 1)
for n in 3 4 5; do
  truncate -s $(($(sectors $n)*512)) ntfs$n; mkntfs -F -Q -q -p $(first $n) -H 255 -S 63 ntfs$n; put ntfs$n $(first $n)
done`)
	return p
}

// TestFieldRecovery grows C: with OEM and WinRE partitions, and an MSR, behind it.
func TestFieldRecovery(t *testing.T) {
	p := windowsField(t)
	_, before, after := p.grown(t, []int{3}, []int{2, 4, 5}, "grow", p.image, "--format", "raw", "--size", "+1G", "--grow", "sda3", "--yes")
	same(t, before, after, 1, 2)
	for _, n := range []string{"4", "5"} {
		// The first sector of the volume, which contains its start, and its copy are
		// left out.
		p.sh(t, `n=`+n+`; dd if="$image" of=now bs=512 skip=$(first $n) count=$(sectors $n) status=none
[ $(od -An -tu4 -j28 -N4 now) = $(first $n) ]
put() { dd if="$1" of="$2" bs=512 count=1 seek=$3 conv=notrunc status=none; }
put ntfs$n now 0; dd if=ntfs$n of=now bs=512 skip=$(($(sectors $n)-1)) seek=$(($(sectors $n)-1)) conv=notrunc status=none; cmp ntfs$n now`)
	}
}

// TestFieldBadClusters checks that a volume that lists bad clusters, which ntfsresize
// cannot grow, is refused before any change, and that the message refers to Windows.
func TestFieldBadClusters(t *testing.T) {
	p := windowsField(t)
	markBad(t, filepath.Join(p.dir, "ntfs3"))
	p.sh(t, `put ntfs3 $(first 3)`)
	if out := p.sh(t, `ntfsresize --info -f ntfs3 || true`); !strings.Contains(out, "at least 1 bad sector") {
		t.Fatalf("ntfsresize does not see it:\n%s", out)
	}
	words := []string{"grow", p.image, "--format", "raw", "--size", "+1G", "--grow", "sda3", "--yes"}
	out := p.refused(t, "ntfs-bad-clusters", "sda3 lists 1 bad clusters", words...)
	if !strings.Contains(out, "--ntfs guest") {
		t.Errorf("the way is not told: %s", out)
	}
	_, before, after := p.grown(t, nil, []int{2, 4, 5}, append(words, "--ntfs", "guest")...)
	same(t, before, after, 1, 2)
}

// markBad adds a free cluster of an NTFS to $BadClus, as chkdsk /r does.
func markBad(t *testing.T, file string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	le := binary.LittleEndian
	cluster := int(le.Uint16(data[11:])) * int(data[13])
	mft := int(le.Uint64(data[48:])) * cluster
	attribute := func(number int, name string) (record, at []byte) {
		record = data[mft+number*1024:][:1024]
		for at = record[le.Uint16(record[20:]):]; le.Uint32(at) != 0xFFFFFFFF; at = at[le.Uint32(at[4:]):] {
			if le.Uint32(at) == 0x80 && string(at[le.Uint16(at[10:]):][:2*at[9]]) == name {
				return record, at
			}
		}
		t.Fatalf("record %d has no %q", number, name)
		return nil, nil
	}
	record, bad := attribute(8, "$\x00B\x00a\x00d\x00")
	clusters := int(le.Uint64(bad[24:])) + 1
	which := clusters * 3 / 4
	_, bitmap := attribute(6, "")
	runs := bitmap[le.Uint16(bitmap[32:]):]
	var place [8]byte
	copy(place[:], runs[1+runs[0]&15:][:runs[0]>>4])
	data[int(le.Uint64(place[:]))*cluster+which/8] |= 1 << (which % 8)

	pairs := []byte{0x04}
	pairs = le.AppendUint32(pairs, uint32(which))
	pairs = le.AppendUint32(append(pairs, 0x41, 1), uint32(which))
	pairs = append(le.AppendUint32(append(pairs, 0x04), uint32(clusters-which-1)), 0)
	at := int(le.Uint16(bad[32:]))
	length := (at + len(pairs) + 7) / 8 * 8
	copy(bad[at:], make([]byte, length-at+8))
	copy(bad[at:], pairs)
	le.PutUint32(bad[length:], 0xFFFFFFFF)
	used := len(record) - len(bad) + length + 8
	le.PutUint32(bad[4:], uint32(length))
	le.PutUint32(record[24:], uint32(used))
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// linuxTree makes the few files of a root file system in root/.
const linuxTree = `mkdir -p root/etc root/bin root/usr/bin root/var root/boot
printf 'ID=ubuntu\nNAME=Ubuntu\nVERSION_ID="24.04"\n' > root/etc/os-release
`

// TestFieldUbuntu uses the layout of the cloud image of Ubuntu 24: the root has the
// first number and the last place, and /boot is a partition. The image's name does not
// show its format, so --format is needed.
func TestFieldUbuntu(t *testing.T) {
	level.Need(t, level.All)
	p := newField(t, "noble.raw", "700M")
	p.sh(t, linuxTree+`printf 'LABEL=cloudimg-rootfs / ext4 defaults 0 1\nLABEL=BOOT /boot ext4 defaults 0 2\n' > root/etc/fstab
sgdisk -n14:2048:+4M -t14:ef02 -n15:0:+36M -t15:ef00 -n16:0:+64M -t16:ea00 -n1:0:0 -t1:8300 "$image" >/dev/null
truncate -s 36M esp; mkfs.vfat esp >/dev/null; put esp $(first 15)
truncate -s 64M boot; mkfs.ext4 -q -L BOOT boot; put boot $(first 16)
truncate -s $(($(sectors 1)*512)) rootfs; mkfs.ext4 -q -L cloudimg-rootfs -d root rootfs; put rootfs $(first 1)
qemu-img convert -f raw -O qcow2 "$image" noble.img`)
	_, before, after := p.grown(t, []int{1}, nil, "grow", p.image, "--format", "raw", "--size", "+512M", "--yes")
	same(t, before, after, 14, 15, 16)
	image := filepath.Join(p.dir, "noble.img")
	p.image = image
	p.refused(t, "format-missing", "", "grow", image, "--size", "+512M", "--yes")
	p.run(t, 0, "sda1", "grow", image, "--size", "+512M", "--format", "qcow2", "--yes")
	p.sh(t, `qemu-img check -q "$image"`)
}
