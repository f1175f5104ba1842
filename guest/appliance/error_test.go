package appliance

import "testing"

func TestError(t *testing.T) {
	for text, want := range map[string]string{
		"mount: no medium\n":   "mount: no medium",
		"resize2fs: it failed": "mount: resize2fs: it failed",
		"/usr/bin/qemu-system-x86_64 killed by signal 9 (Killed).\nTo see full error messages you may need to enable debugging.\nDo:\n  export LIBGUESTFS_DEBUG=1\nand run":                    "mount: /usr/bin/qemu-system-x86_64 killed by signal 9 (Killed).",
		"appliance closed the connection unexpectedly.\nThis usually means the libguestfs appliance crashed.\nDo:\n  export LIBGUESTFS_DEBUG=1 LIBGUESTFS_TRACE=1\nand run the command again.": "mount: appliance closed the connection unexpectedly. This usually means the libguestfs appliance crashed.",
	} {
		if got := (&Error{Op: "mount", Text: text}).Error(); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
