package files

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// pack makes a tar stream of headers. The content of a file is its name.
func pack(t *testing.T, headers ...tar.Header) *bytes.Buffer {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, h := range headers {
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(h.Name))
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := w.Write([]byte(h.Name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &out
}

// TestUnpack checks that a guest's tar stream is unpacked into files of this user,
// without set-user-ID bits, devices, or unreadable directories.
func TestUnpack(t *testing.T) {
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	left, err := unpack(root, pack(t,
		tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755},
		tar.Header{Name: "./d/", Typeflag: tar.TypeDir, Mode: 0o500},
		tar.Header{Name: "./d/su", Typeflag: tar.TypeReg, Mode: 0o4755},
		tar.Header{Name: "./d/same", Typeflag: tar.TypeLink, Linkname: "./d/su"},
		tar.Header{Name: "./d/away", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"},
		tar.Header{Name: "./null", Typeflag: tar.TypeChar, Mode: 0o666, Devmajor: 1, Devminor: 3},
		tar.Header{Name: "./pipe", Typeflag: tar.TypeFifo}))
	if err != nil {
		t.Fatal(err)
	}
	if len(left) != 2 {
		t.Errorf("left out: %v", left)
	}
	for name, mode := range map[string]os.FileMode{"d": os.ModeDir | 0o700, "d/su": 0o755, "d/same": 0o755} {
		info, err := os.Lstat(filepath.Join(dir, name))
		if err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	if link, err := os.Readlink(filepath.Join(dir, "d/away")); err != nil || link != "/etc/passwd" {
		t.Errorf("the link is %q, %v", link, err)
	}
}

// TestUnpackStaysInside checks that no name or link in the stream makes, reads or
// changes a file outside of the directory.
func TestUnpackStaysInside(t *testing.T) {
	file := func(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o666} }
	link := func(name, to string) tar.Header {
		return tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: to}
	}
	hard := func(name, to string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeLink, Linkname: to} }
	for name, headers := range map[string][]tar.Header{
		"parent":            {file("../out")},
		"deep parent":       {file("a/../../out")},
		"absolute":          {file("/out")},
		"through a link":    {link("a", ".."), file("a/out")},
		"through two":       {link("a", ".."), link("b", "a"), file("b/out")},
		"over a link":       {link("out", "../out"), file("out")},
		"link through link": {link("a", ".."), link("a/out", "/etc/passwd")},
		"hard out":          {hard("in", "../secret")},
		"hard through":      {link("a", ".."), hard("in", "a/secret")},
		"hard to link":      {link("a", "../secret"), hard("in", "a"), file("in")},
		"folder":            {{Name: "../out/", Typeflag: tar.TypeDir, Mode: 0o777}},
		"folder through":    {link("a", ".."), {Name: "a/out/", Typeflag: tar.TypeDir, Mode: 0o777}},
		"folder's mode":     {link("a", ".."), {Name: "a/", Typeflag: tar.TypeDir, Mode: 0o777}},
	} {
		t.Run(name, func(t *testing.T) {
			outer := t.TempDir()
			if err := os.Chmod(outer, 0o750); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(outer, "secret"), []byte("secret"), 0o600); err != nil {
				t.Fatal(err)
			}
			inner := filepath.Join(outer, "inner")
			if err := os.Mkdir(inner, 0o700); err != nil {
				t.Fatal(err)
			}
			root, err := os.OpenRoot(inner)
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close()
			_, err = unpack(root, pack(t, headers...))
			if err == nil {
				t.Error("nothing is said")
			}
			found, _ := os.ReadDir(outer)
			info, _ := os.Stat(outer)
			secret, _ := os.Stat(filepath.Join(outer, "secret"))
			if len(found) != 2 || info.Mode().Perm() != 0o750 || secret.Mode().Perm() != 0o600 {
				t.Errorf("%v, mode %v, the secret %v", found, info.Mode(), secret.Mode())
			}
			if info, err := os.Lstat(filepath.Join(inner, "in")); err == nil && os.SameFile(info, secret) {
				t.Error("the secret is inside")
			}
		})
	}
}
