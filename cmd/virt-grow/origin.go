package main

import (
	"context"
	"os"
	"os/user"
	"strings"

	"github.com/virt-grow/virt-grow/guest/doctor"
	"github.com/virt-grow/virt-grow/guest/job"
)

// origin returns who runs this command, where, and with which versions, for the record of
// the job.
func (p *program) origin() job.Origin {
	o := job.Origin{Command: p.name, Sudo: p.env("SUDO_USER"), Login: loginUser(),
		System: doctor.SystemName(), Kernel: doctor.KernelRelease(),
		Versions: append([]job.Version{{Name: "virt-grow", Version: version}}, doctor.Versions(context.Background())...)}
	if u, err := user.Current(); err == nil {
		o.User = u.Username
	}
	o.Host, _ = os.Hostname()
	return o
}

// notLoggedIn is the login uid of a process that no login has started (proc_pid_loginuid(5)).
const notLoggedIn = "4294967295"

// loginUser returns the user who logged in, whatever the user has become since; "" if the
// kernel does not know. A user without a name is a number.
func loginUser() string {
	text, err := os.ReadFile("/proc/self/loginuid")
	id := strings.TrimSpace(string(text))
	if err != nil || id == "" || id == notLoggedIn {
		return ""
	}
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return id
}
