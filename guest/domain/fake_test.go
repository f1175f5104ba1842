package domain

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"libvirt.org/go/libvirt"
)

// quick is a pace at which no test waits.
var quick = pace{connect: 1, off: 1, commit: 1, removal: 1, backup: 1, program: 1, programMost: 1, grace: 1, patience: time.Minute}

// vm is a fake libvirt with one domain. A hook replaces the default behaviour of a call.
type vm struct {
	mu    sync.Mutex
	state libvirt.DomainState
	id    uint
	// live and config are the definitions, job is the block job, and backup the backup's
	// XML.
	live, config string
	job          *libvirt.DomainBlockJobInfo
	backup       string
	gone         bool
	// hooks are called with the number of the call of that name, from 1 on.
	hooks map[string]hook
	count map[string]int
	calls []string
	// started counts the daemon's starts; connections from before a start are dead. away
	// is how many attempts to connect still fail.
	started, away int
	tell          func(alias string, gone bool)
	// sent is the argument of the last call of each name, answers are the replies of
	// agent and monitor to each command.
	sent, answers map[string]string
	release       chan struct{}
}

type hook func(v *vm, n int) error

// errHang makes a call hang until the test is over.
var errHang = errors.New("hangs")

// failure is an error as libvirt's binding returns it.
func failure(code libvirt.ErrorNumber, text string) error {
	return libvirt.Error{Code: code, Message: text}
}

var (
	errEOF       = failure(libvirt.ERR_RPC, "End of file while reading data: Input/output error")
	errNotThere  = failure(libvirt.ERR_NO_DOMAIN, "Domain not found")
	errNotActive = failure(libvirt.ERR_OPERATION_INVALID, "domain is not running")
)

// fake returns a domain of the fake libvirt. The domain runs unless a hook says
// otherwise.
func fake(t *testing.T, hooks map[string]hook) (*Domain, *vm) {
	t.Helper()
	v := &vm{state: libvirt.DOMAIN_RUNNING, id: 1, live: definition, config: definition,
		hooks: hooks, count: map[string]int{}, sent: map[string]string{}, release: make(chan struct{})}
	t.Cleanup(func() { close(v.release) })
	c := &Conn{uri: "fake:///", dial: v.dial, pace: quick}
	if err := c.open(); err != nil {
		t.Fatal(err)
	}
	return &Domain{Name: "dev7", UUID: uuid, conn: c}, v
}

// restart stops the daemon and starts it again after away failed attempts to connect.
func (v *vm) restart(away int) { v.started, v.away = v.started+1, away }

// powerOff ends the guest. powerOn starts it again.
func (v *vm) powerOff() { v.state, v.job = libvirt.DOMAIN_SHUTOFF, nil }
func (v *vm) powerOn()  { v.state, v.id = libvirt.DOMAIN_RUNNING, v.id+1 }

// called returns the calls that have one of the names, in order.
func (v *vm) called(names ...string) string {
	v.mu.Lock()
	defer v.mu.Unlock()
	var found []string
	for _, c := range v.calls {
		for _, name := range names {
			if c == name {
				found = append(found, c)
			}
		}
	}
	return strings.Join(found, " ")
}

func (v *vm) dial(string) (connection, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.calls = append(v.calls, "connect")
	if v.away > 0 {
		v.away--
		return nil, failure(libvirt.ERR_SYSTEM_ERROR, "Failed to connect socket: Connection refused")
	}
	return &fakeConnection{vm: v, started: v.started}, nil
}

// fakeConnection is a connection to the fake.
type fakeConnection struct {
	*vm
	started int
}

// call makes one call. If the daemon has stopped before the call, nothing happens; if it
// stops during the call, only the reply is lost.
func (c *fakeConnection) call(name string, effect func() error) error {
	c.mu.Lock()
	if c.started != c.vm.started {
		c.mu.Unlock()
		return errEOF
	}
	c.calls = append(c.calls, name)
	c.count[name]++
	var err error
	if h, ok := c.hooks[name]; ok {
		err = h(c.vm, c.count[name])
	} else if effect != nil {
		err = effect()
	}
	if c.started != c.vm.started {
		err = errEOF
	}
	c.mu.Unlock()
	if err == errHang {
		<-c.release
	}
	return err
}

func (c *fakeConnection) Close() (int, error) { return 0, nil }

func (c *fakeConnection) IsAlive() (bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.started == c.vm.started, nil
}

func (c *fakeConnection) GetLibVersion() (uint32, error) { return 9000001, c.call("version", nil) }

func (c *fakeConnection) GetCapabilities() (string, error) {
	return "<capabilities><host><secmodel><model>apparmor</model></secmodel><secmodel><model>none</model></secmodel></host></capabilities>", nil
}

func (c *fakeConnection) GetDomainCapabilities(string, string, string, string, libvirt.ConnectGetDomainCapabilitiesFlags) (string, error) {
	return "<domainCapabilities><devices><disk supported='yes'><enum name='bus'><value>virtio</value><value>sata</value></enum></disk></devices>" +
		"<features><backup supported='yes'/></features></domainCapabilities>", c.call("capabilities", nil)
}

func (c *fakeConnection) DomainByName(name string) (handle, error) {
	if name != "dev7" {
		return nil, errNotThere
	}
	return c.DomainByUUID(uuid)
}

func (c *fakeConnection) DomainByUUID(id string) (handle, error) {
	return &fakeHandle{c: c}, c.call("lookup", func() error {
		if c.gone || id != uuid {
			return errNotThere
		}
		return nil
	})
}

func (c *fakeConnection) Domains() ([]handle, error) {
	h, err := c.DomainByUUID(uuid)
	return []handle{h}, err
}

func (c *fakeConnection) Define(xml string) error {
	return c.call("define", func() error {
		c.config = xml
		return nil
	})
}

// PoolByName finds no pool.
func (c *fakeConnection) PoolByName(string) (pool, error) {
	if err := c.call("pool", nil); err != nil {
		return nil, err
	}
	return nil, failure(libvirt.ERR_NO_STORAGE_POOL, "Storage pool not found")
}

func (c *fakeConnection) WatchRemovals(_ handle, tell func(string, bool)) (func(), error) {
	return func() {}, c.call("watch", func() error {
		c.tell = tell
		return nil
	})
}

// fakeHandle is a handle of the fake's domain.
type fakeHandle struct {
	c *fakeConnection
}

func (h *fakeHandle) Free() error                    { return nil }
func (h *fakeHandle) GetName() (string, error)       { return "dev7", h.c.call("name", nil) }
func (h *fakeHandle) GetUUIDString() (string, error) { return uuid, h.c.call("uuid", nil) }

func (h *fakeHandle) GetID() (uint, error) {
	h.c.mu.Lock()
	defer h.c.mu.Unlock()
	return h.c.id, nil
}

func (h *fakeHandle) GetState() (state libvirt.DomainState, reason int, err error) {
	err = h.c.call("state", nil)
	h.c.mu.Lock()
	defer h.c.mu.Unlock()
	return h.c.state, int(libvirt.DOMAIN_PAUSED_IOERROR), err
}

func (h *fakeHandle) GetXMLDesc(flags libvirt.DomainXMLFlags) (string, error) {
	err := h.c.call("xml", nil)
	h.c.mu.Lock()
	defer h.c.mu.Unlock()
	if flags&libvirt.DOMAIN_XML_INACTIVE != 0 {
		return h.c.config, err
	}
	return h.c.live, err
}

func (h *fakeHandle) IsActive() (bool, error) {
	h.c.mu.Lock()
	defer h.c.mu.Unlock()
	return h.c.state != libvirt.DOMAIN_SHUTOFF, nil
}

func (h *fakeHandle) Create() error {
	return h.c.call("create", func() error {
		if h.c.state != libvirt.DOMAIN_SHUTOFF {
			return failure(libvirt.ERR_OPERATION_INVALID, "domain is already running")
		}
		h.c.powerOn()
		return nil
	})
}

func (h *fakeHandle) Destroy() error {
	return h.c.call("force", func() error {
		if h.c.state == libvirt.DOMAIN_SHUTOFF {
			return errNotActive
		}
		h.c.powerOff()
		return nil
	})
}

func (h *fakeHandle) IsPersistent() (bool, error) { return true, h.c.call("persistent", nil) }
func (h *fakeHandle) GetAutostart() (bool, error) { return true, h.c.call("autostart", nil) }
func (h *fakeHandle) HasManagedSaveImage(uint32) (bool, error) {
	return false, h.c.call("managed save", nil)
}
func (h *fakeHandle) Checkpoints() (int, error) { return 2, h.c.call("checkpoints", nil) }
func (h *fakeHandle) SnapshotNum(libvirt.DomainSnapshotListFlags) (int, error) {
	return 1, h.c.call("snapshots", nil)
}

// GetJobInfo reports a job while there is a backup.
func (h *fakeHandle) GetJobInfo() (*libvirt.DomainJobInfo, error) {
	info := &libvirt.DomainJobInfo{}
	return info, h.c.call("job info", func() error {
		if h.c.backup != "" {
			info.Type = libvirt.DOMAIN_JOB_UNBOUNDED
		}
		return nil
	})
}

func (h *fakeHandle) Resume() error { return h.c.call("resume", nil) }

// ShutdownFlags is a request that the guest ignores.
func (h *fakeHandle) ShutdownFlags(flags libvirt.DomainShutdownFlags) error {
	name := "acpi"
	if flags == libvirt.DOMAIN_SHUTDOWN_GUEST_AGENT {
		name = "agent"
	}
	return h.c.call(name, nil)
}

func (h *fakeHandle) Snapshot(xml string, _ libvirt.DomainSnapshotCreateFlags) error {
	return h.c.call("snapshot", h.keep("snapshot", xml))
}

// BlockCommit begins a job that makes no progress.
func (h *fakeHandle) BlockCommit(string, string, string, uint64, libvirt.DomainBlockCommitFlags) error {
	return h.c.call("commit", func() error {
		h.c.job = &libvirt.DomainBlockJobInfo{Type: libvirt.DOMAIN_BLOCK_JOB_TYPE_ACTIVE_COMMIT, End: 100}
		return nil
	})
}

func (h *fakeHandle) GetBlockJobInfo(string, libvirt.DomainBlockJobInfoFlags) (*libvirt.DomainBlockJobInfo, error) {
	err := h.c.call("job", func() error {
		if h.c.state == libvirt.DOMAIN_SHUTOFF {
			return errNotActive
		}
		return nil
	})
	h.c.mu.Lock()
	defer h.c.mu.Unlock()
	if h.c.job == nil || err != nil {
		return nil, err
	}
	job := *h.c.job
	return &job, nil
}

func (h *fakeHandle) BlockJobAbort(string, libvirt.DomainBlockJobAbortFlags) error {
	return h.c.call("pivot", nil)
}

func (h *fakeHandle) BlockResize(string, uint64, libvirt.DomainBlockResizeFlags) error {
	return h.c.call("resize", nil)
}

func (h *fakeHandle) GetBlockInfo(string, uint32) (*libvirt.DomainBlockInfo, error) {
	return &libvirt.DomainBlockInfo{Capacity: 1 << 20}, h.c.call("block info", nil)
}

func (h *fakeHandle) BackupBegin(xml, _ string, _ libvirt.DomainBackupBeginFlags) error {
	return h.c.call("begin", func() error {
		h.c.backup = xml
		return nil
	})
}

func (h *fakeHandle) BackupGetXMLDesc(uint32) (text string, err error) {
	err = h.c.call("backup", nil)
	h.c.mu.Lock()
	defer h.c.mu.Unlock()
	if err == nil && h.c.backup == "" {
		err = failure(libvirt.ERR_NO_DOMAIN_BACKUP, "no domain backup job present")
	}
	return h.c.backup, err
}

func (h *fakeHandle) AbortJob() error { return h.c.call("abort", nil) }

func (h *fakeHandle) AttachDeviceFlags(xml string, flags libvirt.DomainDeviceModifyFlags) error {
	return h.c.call("attach", h.keep("attach", flags, xml))
}

func (h *fakeHandle) DetachDeviceFlags(xml string, flags libvirt.DomainDeviceModifyFlags) error {
	return h.c.call("detach", h.keep("detach", flags, xml))
}

func (h *fakeHandle) UpdateDeviceFlags(xml string, flags libvirt.DomainDeviceModifyFlags) error {
	return h.c.call("update", h.keep("update", flags, xml))
}

// keep returns the effect of a call that only records its arguments.
func (h *fakeHandle) keep(name string, given ...any) func() error {
	return func() error {
		h.c.sent[name] = strings.TrimSpace(fmt.Sprintln(given...))
		return nil
	}
}

// QemuAgentCommand replies as a guest in which every program succeeds.
func (h *fakeHandle) QemuAgentCommand(command string, _ libvirt.DomainQemuAgentCommandTimeout, _ uint32) (string, error) {
	var request struct{ Execute string }
	if err := json.Unmarshal([]byte(command), &request); err != nil {
		return "", err
	}
	name := strings.TrimPrefix(request.Execute, "guest-")
	err := h.c.call(name, h.keep(name, command))
	if answer, ok := h.c.answers[name]; ok {
		return answer, err
	}
	return `{"return":{"pid":7,"exited":true}}`, err
}

func (h *fakeHandle) QemuMonitorCommand(command string, flags libvirt.DomainQemuMonitorCommandFlags) (string, error) {
	err := h.c.call("monitor", h.keep("monitor", command))
	return h.c.answers[command], err
}

// wants checks an error's text, "" for none.
func wants(t *testing.T, err error, text string) {
	t.Helper()
	if (err == nil) != (text == "") || err != nil && !strings.Contains(err.Error(), text) {
		t.Errorf("error %v, want %q", err, text)
	}
}

// cancelled returns a context, and a hook that cancels it in the nth call.
func cancelled(t *testing.T, nth int) (context.Context, hook) {
	ctx, cancel := context.WithCancelCause(t.Context())
	t.Cleanup(func() { cancel(nil) })
	return ctx, func(_ *vm, n int) error {
		if n == nth {
			cancel(errStopped)
		}
		return nil
	}
}

var errStopped = fmt.Errorf("stopped by the test")
