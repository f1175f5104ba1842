// Package remote runs the program on another host, through the user's own ssh: Call is the
// end here, Server the end there. The two ends exchange frames on ssh's standard streams.
//
// The work belongs to the host: if the connection is lost, the command goes on there, as if
// its terminal had been closed, and its questions get no answer. The end here trusts nothing
// that the host sends: it bounds every frame, and leaves it to the caller's writers to keep
// control characters away from the terminal.
package remote

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// Host is another host, as a URI of libvirt names it.
type Host struct {
	// Connect is the URI of the libvirt on that host.
	Connect string

	uri         string
	destination string // [USER@]HOST
	options     []string
	ssh         string
	program     string
}

// scheme is that of the URIs that this package serves.
const scheme = "qemu+ssh"

// IsURI reports whether a URI names a libvirt on another host that ssh reaches.
func IsURI(uri string) bool {
	s, _, _ := strings.Cut(uri, ":")
	return strings.EqualFold(s, scheme)
}

// parameters are the parameters of a URI, in the order of their options. Those of libvirt
// have its meaning (https://libvirt.org/uri.html); program is the command on the host.
//
// netcat and proxy choose how libvirt reaches its socket through ssh, and have no use here.
var parameters = []string{"command", "keyfile", "mode", "netcat", "no_tty", "no_verify", "program", "proxy", "socket"}

// Parse reads a URI such as qemu+ssh://user@host:22/system.
func Parse(uri string) (*Host, error) {
	u, err := url.Parse(uri)
	if err != nil {
		return nil, fmt.Errorf("%s is not a URI", uri)
	}
	h := &Host{uri: uri, destination: u.Hostname(), ssh: "ssh", program: "virt-grow"}
	_, password := u.User.Password()
	switch {
	case u.Hostname() == "":
		return nil, fmt.Errorf("%s names no host", uri)
	case strings.HasPrefix(u.Hostname(), "-") || strings.HasPrefix(u.User.Username(), "-"):
		return nil, fmt.Errorf("%s: ssh would take a name that begins with - for an option", uri)
	case password:
		return nil, fmt.Errorf("a password in a URI is not supported: ssh asks for it")
	case u.Path != "/system" && u.Path != "/session":
		return nil, fmt.Errorf("%s must end with /system or /session", uri)
	}
	if name := u.User.Username(); name != "" {
		h.destination = name + "@" + h.destination
	}
	if u.Port() != "" {
		h.options = append(h.options, "-p", u.Port())
	}
	values, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, fmt.Errorf("%s: its parameters cannot be read", uri)
	}
	for name := range values {
		if !slices.Contains(parameters, name) {
			return nil, fmt.Errorf("%s: the parameter %s is not supported; supported are %s", uri, name, strings.Join(parameters, ", "))
		}
	}
	h.set(values)
	h.Connect = connectThere(u.Path, values)
	return h, nil
}

// set applies the parameters that are for ssh.
func (h *Host) set(values url.Values) {
	if file := values.Get("keyfile"); file != "" {
		h.options = append(h.options, "-i", file)
	}
	if on(values.Get("no_tty")) {
		h.options = append(h.options, "-o", "BatchMode=yes")
	}
	if on(values.Get("no_verify")) {
		h.options = append(h.options, "-o", "StrictHostKeyChecking=no")
	}
	if command := values.Get("command"); command != "" {
		h.ssh = command
	}
	if program := values.Get("program"); program != "" {
		h.program = program
	}
}

func on(value string) bool { return value != "" && value != "0" }

// connectThere returns the URI of the libvirt on the host.
func connectThere(path string, values url.Values) string {
	there := url.URL{Scheme: "qemu", Path: path}
	keep := url.Values{}
	for _, name := range []string{"socket", "mode"} {
		if v := values.Get(name); v != "" {
			keep.Set(name, v)
		}
	}
	text := "qemu://" + there.EscapedPath()
	if len(keep) > 0 {
		text += "?" + keep.Encode()
	}
	return text
}

// Name returns the host for messages: [USER@]HOST.
func (h *Host) Name() string { return h.destination }

// URI returns the URI that Parse has read.
func (h *Host) URI() string { return h.uri }

// arguments returns the arguments of ssh. The program's own command line is not among them:
// the remote shell sees two fixed words.
func (h *Host) arguments() []string {
	return append(slices.Concat([]string{"-T"}, h.options), "--", h.destination, h.program+" "+Command)
}

// Command is the hidden command that ssh starts on the host.
const Command = "__relay"
