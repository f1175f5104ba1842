package fstab

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// system is an fstab as an installer writes it.
const system = "# /etc/fstab: static file system information.\n" +
	"UUID=0b5c1f7e-6f0d-4e5b-8f5c-6a3c9d5f1a11 /               xfs     defaults        0 0\n" +
	"UUID=ABCD-1234\t/boot/efi\tvfat\tumask=0077\t0\t1\n" +
	"/dev/mapper/vg-swap none swap sw 0 0\n" +
	"\n" +
	"LABEL=old\\040data /mnt/old\\040data ext4\n" +
	"nonsense\n"

var data = For("11111111-2222-3333-4444-555555555555", "xfs", "/data", "")

func TestEntries(t *testing.T) {
	want := []Entry{
		{"UUID=0b5c1f7e-6f0d-4e5b-8f5c-6a3c9d5f1a11", "/", "xfs", "defaults", 0, 0},
		{"UUID=ABCD-1234", "/boot/efi", "vfat", "umask=0077", 0, 1},
		{"/dev/mapper/vg-swap", "none", "swap", "sw", 0, 0},
		{"LABEL=old data", "/mnt/old data", "ext4", "defaults", 0, 0},
	}
	if diff := cmp.Diff(want, Entries([]byte(system))); diff != "" {
		t.Error(diff)
	}
}

func TestFor(t *testing.T) {
	for _, c := range []struct{ fs, options, want string }{
		{"xfs", "", "UUID=u /data xfs defaults,nofail 0 0"},
		{"ext4", "", "UUID=u /data ext4 defaults,nofail 0 2"},
		{"btrfs", "noatime", "UUID=u /data btrfs noatime,nofail 0 0"},
		{"ntfs", "", "UUID=u /data ntfs3 defaults,umask=022,nofail 0 0"},
		{"xfs", "nofail,ro", "UUID=u /data xfs nofail,ro 0 0"},
	} {
		if got := For("u", c.fs, "/data", c.options).String(); got != c.want {
			t.Errorf("%s %s: %s, want %s", c.fs, c.options, got, c.want)
		}
	}
}

func TestAdd(t *testing.T) {
	got, err := Add([]byte(system), data)
	if err != nil || string(got) != system+data.String()+"\n" {
		t.Errorf("%v\n%s", err, got)
	}
	spaced := data
	spaced.Mount = "/my data"
	if got, err = Add(nil, spaced); err != nil || !strings.Contains(string(got), ` /my\040data `) {
		t.Errorf("%v\n%s", err, got)
	}
}

// TestTaken checks that a mount point or a file system cannot be in fstab twice.
func TestTaken(t *testing.T) {
	for _, c := range []Entry{
		{"UUID=new", "/boot/efi/", "xfs", "defaults", 0, 0},
		{"UUID=new", "/mnt/old data", "xfs", "defaults", 0, 0},
		{"UUID=abcd-1234", "/data", "xfs", "defaults", 0, 0},
		{"/dev/disk/by-uuid/abcd-1234", "/data", "xfs", "defaults", 0, 0},
		{`LABEL="old data"`, "/data", "xfs", "defaults", 0, 0},
	} {
		if _, err := Add([]byte(system), c); !errors.Is(err, ErrTaken) {
			t.Errorf("%s: %v", c, err)
		}
	}
	swap := Entry{"UUID=s", "none", "swap", "sw", 0, 0}
	if _, err := Add([]byte(system), swap); err != nil {
		t.Errorf("a second swap: %v", err)
	}
}

func TestInvalid(t *testing.T) {
	for _, c := range []Entry{
		{"", "/data", "xfs", "defaults", 0, 0},
		{"UUID=x", "", "xfs", "defaults", 0, 0},
		{"UUID=x", "/da\x00ta", "xfs", "defaults", 0, 0},
	} {
		if got, err := Add(nil, c); !errors.Is(err, ErrInvalid) {
			t.Errorf("%v: %v %s", c, err, got)
		}
	}
}

func TestRemove(t *testing.T) {
	changed := strings.Replace(system+data.String()+"\n", "defaults,nofail", "noatime", 1) + "# below\n"
	got, err := Remove([]byte(changed), data)
	if err != nil || string(got) != system+"# below\n" {
		t.Errorf("%v\n%s", err, got)
	}
	if _, err := Remove([]byte(system), data); !errors.Is(err, ErrAbsent) {
		t.Error(err)
	}
}

// word draws a field, with characters that fstab has to escape.
func word(t *rapid.T, name string) string {
	return rapid.StringMatching(`[a-zA-Z0-9/=_. \t\\#\n"'é-]{1,12}`).Draw(t, name)
}

// TestAddedAndRemoved checks that an added entry is read back, that the text before it
// is unchanged, and that removing the entry restores the original bytes.
func TestAddedAndRemoved(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := []byte(rapid.StringOf(rapid.SampledFrom([]rune("ab/=U# \t\n\\01"))).Draw(t, "text"))
		e := Entry{word(t, "spec"), word(t, "mount"), word(t, "type"), word(t, "options"),
			rapid.IntRange(0, 2).Draw(t, "dump"), rapid.IntRange(0, 2).Draw(t, "pass")}
		added, err := Add(text, e)
		if errors.Is(err, ErrTaken) || errors.Is(err, ErrInvalid) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		all := Entries(added)
		if !bytes.HasPrefix(added, text) || len(all) != len(Entries(text))+1 || all[len(all)-1] != e {
			t.Fatalf("%q became %q", text, added)
		}
		removed, err := Remove(added, e)
		if err != nil || !bytes.Equal(removed, text) {
			t.Fatalf("%q became %q, and %q (%v)", text, added, removed, err)
		}
	})
}

func FuzzFstab(f *testing.F) {
	f.Add([]byte(system))
	f.Add([]byte(`UUID=x /a\04 xfs \ 9999999999999999999 -1`))
	f.Add([]byte("a b c\r\n\\777 \\ \\1"))
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, e := range Entries(text) {
			without, err := Remove(text, e)
			if err != nil || len(without) >= len(text) {
				t.Fatalf("%v cannot be taken out of %q: %v", e, text, err)
			}
		}
		added, err := Add(text, data)
		if errors.Is(err, ErrTaken) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if back, err := Remove(added, data); err != nil || !bytes.Equal(back, text) {
			t.Fatalf("%q became %q (%v)", text, back, err)
		}
	})
}

// TestNaming checks that the lines of several file systems are found by any of their
// names, and are removed together.
func TestNaming(t *testing.T) {
	const text = "# c\nUUID=aaaa-1 / ext4\nLABEL=data /data xfs\n/dev/vdb1 /b xfs\nUUID=\"AAAA-1\" /bound none bind\n"
	entries := Naming([]byte(text), "UUID=AAAA-1", "LABEL=data", "/dev/vdc")
	if len(entries) != 3 || entries[0].Mount != "/" || entries[1].Mount != "/data" || entries[2].Mount != "/bound" {
		t.Errorf("%v", entries)
	}
	left, err := RemoveAll([]byte(text), entries)
	if want := "# c\n/dev/vdb1 /b xfs\n"; err != nil || string(left) != want {
		t.Errorf("%q (%v)", left, err)
	}
	if _, err := RemoveAll(left, entries); !errors.Is(err, ErrAbsent) {
		t.Errorf("removed twice: %v", err)
	}
}

func TestMountable(t *testing.T) {
	for _, c := range []struct {
		fs, uuid string
		want     bool
	}{{"xfs", "0c2e5b7a-0000-4000-8000-000000000001", true}, {"vfat", "CA5C-1F9C", true}, {"xfs", "", false}, {"xfs", "a b", false}, {"swap", "aaaa-1", false}, {"", "aaaa-1", false}} {
		if got := Mountable(c.fs, c.uuid); got != c.want {
			t.Errorf("%s %q: %v", c.fs, c.uuid, got)
		}
	}
}
