package main

import (
	"bytes"
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/testimages/lab"
	"github.com/virt-grow/virt-grow/testimages/level"
)

// sshHost is another host: a network namespace with an sshd. It has this host's files and
// processes.
type sshHost struct {
	dir, link, address string
	programs           int
}

// newSSHHost makes a host, which ends with the test.
func newSSHHost(t *testing.T, dir string) *sshHost {
	t.Helper()
	sshd, err := exec.LookPath("sshd")
	if err != nil {
		t.Fatal("sshd is missing; install openssh-server (it starts a server on port 22 of this machine, which the test does not need)")
	}
	space, here := fmt.Sprintf("vgs-%d", os.Getpid()), "198.18.7.1"
	h := &sshHost{dir: dir, link: fmt.Sprintf("vgs%d", os.Getpid()), address: "198.18.7.2"}
	runDirectory(t)
	t.Cleanup(func() { shell(t, dir, "ip netns pids "+space+" | xargs -r kill -9; ip netns del "+space) })
	shell(t, dir, `ip netns add `+space+`
		ip link add `+h.link+` type veth peer name eth0 netns `+space+`
		ip addr add `+here+`/30 dev `+h.link+`
		ip link set `+h.link+` up
		ip -n `+space+` addr add `+h.address+`/30 dev eth0
		ip -n `+space+` link set eth0 up
		ssh-keygen -q -t ed25519 -N '' -f client
		ssh-keygen -q -t ed25519 -N '' -f hostkey
		echo "`+h.address+` $(cut -d ' ' -f 1-2 hostkey.pub)" >known_hosts
		printf '#!/bin/sh\nexec ssh -F /dev/null -o UserKnownHostsFile=%s/known_hosts -o ControlPath=none "$@"\n' "$PWD" >ssh
		chmod +x ssh
		printf '%s\n' "ListenAddress `+h.address+`" "HostKey $PWD/hostkey" "AuthorizedKeysFile $PWD/client.pub" \
			"PidFile none" "UsePAM no" "StrictModes no" "PasswordAuthentication no" >sshd_config`)
	server := exec.Command("nsenter", "--net=/run/netns/"+space, sshd, "-D", "-e", "-f", filepath.Join(dir, "sshd_config"))
	var log bytes.Buffer
	server.Stderr = &log
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
		if t.Failed() {
			t.Logf("sshd: %s", &log)
		}
	})
	h.await(t)
	return h
}

// runDirectory makes sshd's directory for the separation of privileges, if the host has none.
func runDirectory(t *testing.T) {
	t.Helper()
	err := os.Mkdir("/run/sshd", 0o755)
	switch {
	case err == nil:
		t.Cleanup(func() { _ = os.Remove("/run/sshd") })
	case !os.IsExist(err):
		t.Fatal(err)
	}
}

// await waits until sshd answers.
func (h *sshHost) await(t *testing.T) {
	t.Helper()
	var out []byte
	var err error
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if out, err = exec.Command(filepath.Join(h.dir, "ssh"), "-i", filepath.Join(h.dir, "client"), "root@"+h.address, "true").CombinedOutput(); err == nil {
			return
		}
	}
	t.Fatalf("sshd does not answer: %v\n%s", err, out)
}

// uri returns the URI of the host's libvirt, where the program has these variables besides
// those of this test.
func (h *sshHost) uri(t *testing.T, program, connect string, variables ...string) string {
	t.Helper()
	h.programs++
	script := "#!/bin/sh\n"
	for _, v := range append(os.Environ(), variables...) {
		name, value, _ := strings.Cut(v, "=")
		if strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789") == "" && name != "LIBVIRT_DEFAULT_URI" {
			script += "export " + name + "=" + quoted(value) + "\n"
		}
	}
	path := filepath.Join(h.dir, "program"+strconv.Itoa(h.programs))
	if err := os.WriteFile(path, []byte(script+"exec "+quoted(program)+" \"$@\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	there, err := url.Parse(connect)
	if err != nil {
		t.Fatal(err)
	}
	parameters := there.Query()
	parameters.Set("program", path)
	parameters.Set("command", filepath.Join(h.dir, "ssh"))
	parameters.Set("keyfile", filepath.Join(h.dir, "client"))
	return "qemu+ssh://root@" + h.address + there.Path + "?" + parameters.Encode()
}

// cut takes the host's cable away, which ends no connection, and mend puts it back.
func (h *sshHost) cut(t *testing.T)  { shell(t, h.dir, "ip link set "+h.link+" down") }
func (h *sshHost) mend(t *testing.T) { shell(t, h.dir, "ip link set "+h.link+" up"); h.await(t) }

// relayedBy returns the pid of the program that runs for another host; 0 if there is none.
func relayedBy(program string) int {
	procs, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range procs {
		if line, _ := os.ReadFile(p); string(line) == program+"\x00__relay\x00" {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(p)))
			return pid
		}
	}
	return 0
}

// launch starts a command line on the other host.
func (h *sshHost) launch(t *testing.T, program, state, uri string, args ...string) *underway {
	t.Helper()
	u := &underway{done: make(chan struct{})}
	u.cmd = exec.Command(program, append([]string{"--state-dir", state, "--connect", uri}, args...)...)
	u.cmd.Stdout, u.cmd.Stderr = &u.out, &u.out
	if err := u.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = u.cmd.Wait(); close(u.done) }()
	t.Cleanup(func() { _ = u.cmd.Process.Kill(); <-u.done })
	return u
}

// TestElsewhereOverSSH checks that a command reaches the host over a real ssh, and that ssh's
// own words are shown if it does not.
func TestElsewhereOverSSH(t *testing.T) {
	level.Need(t, level.All)
	dir := newDir(t)
	h, program, state := newSSHHost(t, dir), buildWithFaults(t), filepath.Join(dir, "state")
	for _, c := range []struct {
		uri, line, says string
		exit            int
	}{
		{h.uri(t, program, "qemu:///system"), "jobs", "no jobs\n", 0},
		{h.uri(t, program, "qemu:///system"), "grow ./nix --size +1G --yes --json", `"reason":"not-found"`, exitRefused},
		{h.uri(t, "/nowhere/virt-grow", "qemu:///system"), "jobs", "install virt-grow there", exitRefused},
		{strings.Replace(h.uri(t, program, "qemu:///system"), "root@"+h.address, "root@"+h.address+":1", 1), "jobs", "Connection refused", exitRefused},
	} {
		u := h.launch(t, program, state, c.uri, strings.Fields(c.line)...)
		if code := u.end(t); code != c.exit || !strings.Contains(u.out.String(), c.says) {
			t.Errorf("%s: exit %d\n%s", c.line, code, &u.out)
		}
	}
}

// TestElsewhereGuest grows a guest of another host twice: the network fails during the edit,
// and the laptop is closed during the trial. Both growths end as if nothing had happened, and
// the status from here says so.
func TestElsewhereGuest(t *testing.T) {
	level.Need(t, level.All)
	env := newEnv(t)
	h := newSSHHost(t, env.dir)
	x := env.start(t, "far", lab.Spec{}, false, labDisk{"xfs", "qcow2"})
	for _, c := range []struct {
		step string
		want int64
		lose func(u *underway)
		code int
	}{
		{"fs:sda2", gib, func(*underway) { h.cut(t) }, exitUnrestored},
		{string(plan.StepHealth), gib + gib/2, func(u *underway) { _ = u.cmd.Process.Kill() }, -1},
	} {
		x.want = c.want
		x.note(t)
		uri := h.uri(t, env.program, env.URI(), "VIRT_GROW_FAULT="+c.step+"/before=stop")
		u := h.launch(t, env.program, x.state, uri, "grow", x.Name, "--size", fmt.Sprintf("%dB", c.want), "--yes", "--boot-timeout", "90s", "--shutdown-timeout", "60s")
		pid := awaitStopped(t, env.program, u)
		c.lose(u)
		if code := u.end(t); code != c.code {
			t.Errorf("%s: exit %d\n%s", c.step, code, &u.out)
		}
		if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		awaitEnd(t, env.program)
		h.mend(t)
		id, state := x.job(t)
		if c.code == exitUnrestored && !strings.Contains(u.out.String(), "status "+id+" shows how it ends") {
			t.Errorf("%s", &u.out)
		}
		s := h.launch(t, env.program, x.state, h.uri(t, env.program, env.URI()), "status", id)
		if code := s.end(t); code != 0 || state != "done" || !strings.Contains(s.out.String(), "done") {
			t.Errorf("%s: status: exit %d, %s\n%s", c.step, code, state, &s.out)
		}
		x.checkGrown(t)
	}
}

// awaitStopped waits until the program on the other host has stopped itself, and returns its
// pid.
func awaitStopped(t *testing.T, program string, u *underway) int {
	t.Helper()
	for end := time.Now().Add(3 * time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		select {
		case <-u.done:
			t.Fatalf("it ended before:\n%s", &u.out)
		default:
		}
		if pid := relayedBy(program); pid != 0 && stopped(pid) {
			return pid
		}
	}
	t.Fatal("it does not get there")
	return 0
}

// awaitEnd waits until no program runs for another host.
func awaitEnd(t *testing.T, program string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	for relayedBy(program) != 0 {
		if ctx.Err() != nil {
			t.Fatal("the program there does not end")
		}
		time.Sleep(100 * time.Millisecond)
	}
}
