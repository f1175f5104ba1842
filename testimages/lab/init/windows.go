package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// windowsAgent answers on the agent's port like the agent of a Windows guest (QEMU,
// qga/qapi-schema.json and qga/commands-win32.c) whose D: is the NTFS at /data. It runs only
// these programs: the echo of cmd.exe; a PowerShell script that extends a partition, which it
// really extends; and one that initialises a disk, for which it only writes a note.
type windowsAgent struct {
	heart *heart
	// mayNot and fails come from the kernel's command line: the agent refuses to run
	// programs; the extension fails.
	mayNot, fails bool

	mu   sync.Mutex
	last int
	runs map[int]*winProgram
}

// winProgram is a program that was started.
type winProgram struct {
	exited   bool
	code     int
	out, err []byte
}

// agentError is an error of the protocol.
type agentError struct{ class, desc string }

func (e *agentError) Error() string { return e.desc }

// serve answers until the port is closed. While no client is connected on the host, reading
// the port returns nothing.
func (a *windowsAgent) serve(port string) error {
	f, err := os.OpenFile(port, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	for {
		lines := bufio.NewReader(f)
		for {
			line, err := lines.ReadBytes('\n')
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return err
			}
			if reply := a.reply(line); reply != nil {
				if _, err := f.Write(reply); err != nil {
					return err
				}
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// reply returns the answer to one line; nil for a command without an answer. The answer to a
// delimited sync begins with the delimiter.
func (a *windowsAgent) reply(line []byte) []byte {
	var request struct {
		Execute   string
		Arguments map[string]any
	}
	line = bytes.TrimLeft(line, "\xff")
	if err := json.Unmarshal(line, &request); err != nil {
		return encode(map[string]any{"error": map[string]string{"class": "GenericError", "desc": "Invalid JSON syntax"}})
	}
	answer, err := a.execute(request.Execute, request.Arguments)
	var refused *agentError
	switch {
	case errors.As(err, &refused):
		return encode(map[string]any{"error": map[string]string{"class": refused.class, "desc": refused.desc}})
	case err != nil:
		return encode(map[string]any{"error": map[string]string{"class": "GenericError", "desc": err.Error()}})
	case request.Execute == "guest-shutdown":
		return nil
	}
	reply := encode(map[string]any{"return": answer})
	if request.Execute == "guest-sync-delimited" {
		reply = append([]byte{0xff}, reply...)
	}
	return reply
}

func encode(v any) []byte {
	b, _ := json.Marshal(v)
	return append(b, '\n')
}

var windowsCommands = []string{"guest-sync", "guest-sync-delimited", "guest-ping", "guest-info", "guest-get-osinfo",
	"guest-get-fsinfo", "guest-get-disks", "guest-exec", "guest-exec-status", "guest-shutdown", "guest-fsfreeze-status"}

func (a *windowsAgent) execute(name string, args map[string]any) (any, error) {
	if a.mayNot && strings.HasPrefix(name, "guest-exec") {
		return nil, &agentError{"CommandNotFound", fmt.Sprintf("Command %s has been disabled: the command is not allowed", name)}
	}
	switch name {
	case "guest-sync", "guest-sync-delimited":
		return args["id"], nil
	case "guest-ping":
		return struct{}{}, nil
	case "guest-info":
		return a.info(), nil
	case "guest-get-osinfo":
		return map[string]string{"id": "mswindows", "name": "Microsoft Windows", "pretty-name": "Windows Server 2019 Standard",
			"version": "Microsoft Windows Server 2019", "version-id": "2019", "variant": "server", "variant-id": "server",
			"kernel-release": "17763", "kernel-version": "10.0", "machine": "x86_64"}, nil
	case "guest-get-fsinfo":
		return fileSystems()
	case "guest-get-disks":
		return drives(), nil
	case "guest-fsfreeze-status":
		return "thawed", nil
	case "guest-exec":
		return a.start(args)
	case "guest-exec-status":
		return a.status(args)
	case "guest-shutdown":
		return nil, syscall.Kill(os.Getpid(), syscall.SIGTERM)
	}
	return nil, &agentError{"CommandNotFound", fmt.Sprintf("The command %s has not been found", name)}
}

func (a *windowsAgent) info() any {
	type command struct {
		Enabled bool   `json:"enabled"`
		Name    string `json:"name"`
		Answers bool   `json:"success-response"`
	}
	var all []command
	for _, name := range windowsCommands {
		all = append(all, command{!a.mayNot || !strings.HasPrefix(name, "guest-exec"), name, name != "guest-shutdown"})
	}
	return map[string]any{"version": "7.2.0", "supported_commands": all}
}

// fileSystems returns the volume at /data, with the size in its boot sector.
func fileSystems() (any, error) {
	type volume struct {
		Name       string `json:"name"`
		MountPoint string `json:"mountpoint"`
		Type       string `json:"type"`
		Total      int64  `json:"total-bytes"`
		Used       int64  `json:"used-bytes"`
		Disk       []any  `json:"disk"`
	}
	device, total, err := dataVolume()
	if err != nil {
		return []volume{}, nil
	}
	used := total / 10 // an arbitrary value
	return []volume{{`\\?\Volume{` + filepath.Base(device) + `}\`, `D:\`, "NTFS", total, used, []any{}}}, nil
}

// dataVolume finds the NTFS, and its size: sectors of 512 bytes at 0x28.
func dataVolume() (device string, bytes int64, err error) {
	for _, dev := range blockDevices() {
		if kind, _ := identify(dev); kind != "ntfs" {
			continue
		}
		f, err := os.Open(dev)
		if err != nil {
			return "", 0, err
		}
		defer f.Close()
		boot := make([]byte, 512)
		if _, err := f.ReadAt(boot, 0); err != nil {
			return "", 0, err
		}
		return dev, int64(binary.LittleEndian.Uint64(boot[0x28:])) * 512, nil
	}
	return "", 0, errors.New("no NTFS")
}

func (a *windowsAgent) start(args map[string]any) (any, error) {
	path, _ := args["path"].(string)
	var words []string
	list, _ := args["arg"].([]any)
	for _, w := range list {
		text, _ := w.(string)
		words = append(words, text)
	}
	var work func() (string, error)
	switch {
	case path == "cmd.exe" && len(words) > 1 && words[1] == "echo":
		work = func() (string, error) { return strings.Join(words[2:], " ") + "\r\n", nil }
	case path == "powershell.exe":
		work = func() (string, error) { return a.powerShell(words[len(words)-1]) }
	default:
		return nil, &agentError{"GenericError", "Guest agent command failed, error was 'Failed to execute helper program (Invalid argument)'"}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.last++
	p := &winProgram{}
	a.runs[a.last] = p
	go func() {
		out, err := work()
		a.mu.Lock()
		defer a.mu.Unlock()
		p.exited, p.out = true, []byte(out)
		if err != nil {
			p.code, p.err = 1, []byte(err.Error()+"\r\n")
		}
	}()
	return map[string]int{"pid": a.last}, nil
}

// status forgets a program that has ended, as the agent does.
func (a *windowsAgent) status(args map[string]any) (any, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	number, _ := args["pid"].(float64)
	p, ok := a.runs[int(number)]
	if !ok {
		return nil, &agentError{"GenericError", "Invalid parameter 'pid'"}
	}
	answer := map[string]any{"exited": p.exited}
	if !p.exited {
		return answer, nil
	}
	delete(a.runs, int(number))
	answer["exitcode"] = p.code
	if len(p.out) > 0 {
		answer["out-data"] = p.out
	}
	if len(p.err) > 0 {
		answer["err-data"] = p.err
	}
	return answer, nil
}

var (
	scriptGUID = regexp.MustCompile(`Guid -eq '\{([0-9a-f-]+)\}'`)
	scriptSize = regexp.MustCompile(`\[uint64\]([0-9]+)`)
	// scriptDisk is the size of the disk whose last partition must be extended.
	scriptDisk = regexp.MustCompile(`Get-Disk \| Where-Object Size -eq ([0-9]+)`)
	// scriptRecovery is the new place of the recovery environment.
	scriptRecovery = regexp.MustCompile(`\$r = Get-Partition \| Where-Object Guid -eq '\{([0-9a-f-]+)\}'`)
)

// drives returns the whole disks, numbered as Windows does.
func drives() any {
	type drive struct {
		Name      string `json:"name"`
		Partition bool   `json:"partition"`
	}
	all := []drive{}
	disks, _ := filepath.Glob("/sys/class/block/vd[a-z]")
	for i := range disks {
		all = append(all, drive{Name: fmt.Sprintf(`\\.\PhysicalDrive%d`, i)})
	}
	return all
}

// powerShell carries out one of the known scripts.
func (a *windowsAgent) powerShell(script string) (string, error) {
	if strings.Contains(script, "'disk|{0}") && strings.Contains(script, "'part|{0}") {
		return a.listDisks()
	}
	if !strings.Contains(script, "Get-Disk") || !strings.Contains(script, "Initialize-Disk") || !strings.Contains(script, "Format-Volume") {
		return a.extend(script)
	}
	a.heart.note("told to initialise a disk")
	if a.fails {
		return "", errors.New("Initialize-Disk : Access to a CIM resource was not available")
	}
	return "E\r\n", nil
}

// listDisks returns what is on the disk of the NTFS, in the words of the script that asks:
// everything behind the NTFS is a recovery partition.
func (a *windowsAgent) listDisks() (string, error) {
	device, disk, _, err := dataPartition()
	if err != nil {
		return "", err
	}
	number := func(of, what string) int64 {
		text, _ := os.ReadFile("/sys/class/block/" + filepath.Base(of) + "/" + what)
		n, _ := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
		return n
	}
	lines := []string{fmt.Sprintf("disk|1|%d|512|GPT|", number(disk, "size")*512)}
	parts, _ := filepath.Glob("/sys/class/block/" + filepath.Base(disk) + "[0-9]*")
	for _, part := range parts {
		kind, letter, fs := "Recovery", "\x00", ""
		switch at := number(part, "start"); {
		case filepath.Base(part) == filepath.Base(device):
			kind, letter, fs = "Basic", "D", "NTFS"
		case at < number(device, "start"):
			kind = "Reserved"
		}
		lines = append(lines, fmt.Sprintf("part|%d|%d|%d|%s|%s|%s", number(part, "partition"), number(part, "start")*512, number(part, "size")*512, kind, letter, fs))
	}
	return strings.Join(lines, "\r\n") + "\r\n", nil
}

// extend carries out the script: it grows the partition with a GUID, and its NTFS, to a size;
// or to the end of a disk that has grown while the guest ran.
func (a *windowsAgent) extend(script string) (string, error) {
	if disk := scriptDisk.FindStringSubmatch(script); disk != nil && strings.Contains(script, "Resize-Partition -Size $to") {
		return a.extendOnline(disk[1])
	}
	guid, size := scriptGUID.FindStringSubmatch(script), scriptSize.FindStringSubmatch(script)
	if guid == nil || size == nil || !strings.Contains(script, "Resize-Partition -Size $to") {
		return "", errors.New("this PowerShell only knows how to extend a partition")
	}
	a.heart.note("told to extend " + guid[1] + " to " + size[1])
	if a.fails {
		return "", errTooFull
	}
	device, disk, number, err := dataPartition()
	if err != nil {
		return "", err
	}
	if have, err := run("", "sfdisk", "--part-uuid", disk, number); err != nil || !strings.EqualFold(strings.TrimSpace(have), guid[1]) {
		return "", fmt.Errorf("the partition is not there: %s is %s (%v)", device, have, err)
	}
	bytes, err := strconv.ParseInt(size[1], 10, 64)
	if err != nil {
		return "", err
	}
	if err := a.resize(device, disk, number, fmt.Sprintf(", %d\n", bytes/512)); err != nil {
		return "", err
	}
	return a.recover(disk, script), mountNTFS(device)
}

var errTooFull = errors.New("Resize-Partition : Not enough available capacity")

// extendOnline extends the volume on a disk that now has a size.
func (a *windowsAgent) extendOnline(bytes string) (string, error) {
	device, disk, number, err := dataPartition()
	if err != nil {
		return "", err
	}
	a.heart.note("told to extend " + device + " on a disk of " + bytes)
	if a.fails {
		return "", errTooFull
	}
	sectors, _ := os.ReadFile("/sys/class/block/" + filepath.Base(disk) + "/size")
	if n, err := strconv.ParseInt(strings.TrimSpace(string(sectors)), 10, 64); err != nil || strconv.FormatInt(n*512, 10) != bytes {
		return "", fmt.Errorf("0 disks have %s bytes", bytes)
	}
	if err := a.resize(device, disk, number, ", +\n"); err != nil {
		return "", err
	}
	return "D: has the room\r\n", mountNTFS(device)
}

// dataPartition returns the NTFS, its disk, and its number there.
func dataPartition() (device, disk, number string, err error) {
	device, _, err = dataVolume()
	disk = strings.TrimRight(device, "0123456789")
	return device, disk, strings.TrimPrefix(device, disk), err
}

// resize gives the partition a size, in the syntax of sfdisk, and grows its NTFS.
func (a *windowsAgent) resize(device, disk, number, size string) error {
	_ = syscall.Unmount("/data", 0)
	for _, step := range []struct {
		input string
		words []string
	}{
		{size, []string{"sfdisk", "--force", "--no-reread", "-N", number, disk}},
		{"", []string{"partx", "-u", disk}},
		{"y\n", []string{"ntfsresize", "--force", "--force", device}},
		{"", []string{"ntfsfix", "--clear-dirty", device}},
	} {
		if out, err := run(step.input, step.words...); err != nil {
			return fmt.Errorf("%s: %w: %s", step.words[0], err, out)
		}
	}
	a.heart.note("extended")
	return nil
}

// recover enables the recovery environment again, if the script says so and its partition
// exists.
func (a *windowsAgent) recover(disk, script string) string {
	moved := scriptRecovery.FindStringSubmatch(script)
	if moved == nil || !strings.Contains(script, "reagentc.exe /enable") {
		return ""
	}
	for number := 1; number < 9; number++ {
		if have, err := run("", "sfdisk", "--part-uuid", disk, strconv.Itoa(number)); err == nil && strings.EqualFold(strings.TrimSpace(have), moved[1]) {
			a.heart.note(fmt.Sprintf("recovery is on partition %d", number))
			return ""
		}
	}
	return "the recovery environment is off\r\n"
}

func run(input string, words ...string) (string, error) {
	cmd := exec.Command("/sbin/"+words[0], words[1:]...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// startWindowsAgent runs the windowsAgent instead of qemu-ga.
func startWindowsAgent(h *heart, port, kind string) {
	a := &windowsAgent{heart: h, runs: map[int]*winProgram{}, mayNot: kind == "no-exec", fails: kind == "fails"}
	if err := a.serve(port); err != nil {
		h.note(fmt.Sprint("agent: ", err))
	}
}
