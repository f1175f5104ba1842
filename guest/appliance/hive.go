package appliance

import (
	"context"
	"encoding/binary"
	"errors"
	"strings"

	"libguestfs.org/guestfs"
)

// hive is a registry hive that is open in the appliance, for reading. The appliance has at most
// one open hive.
type hive struct {
	a    *Appliance
	root int64
	// nodes has the keys that were found, by their path; 0 does not exist.
	nodes map[string]int64
}

// withHive opens a hive of the mounted Windows for a function.
func (a *Appliance) withHive(ctx context.Context, path string, use func(*hive) error) (err error) {
	if err := a.do(ctx, func() error { return a.g.Hivex_open(path, nil) }); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.do(ctx, a.g.Hivex_close)) }()
	h := &hive{a: a, nodes: map[string]int64{}}
	if err := a.do(ctx, func() (e error) { h.root, e = a.g.Hivex_root(); return }); err != nil {
		return err
	}
	return use(h)
}

// node returns the handle of a key; 0 if there is none.
func (h *hive) node(ctx context.Context, path string) (node int64, err error) {
	if path == "" {
		return h.root, nil
	}
	if node, ok := h.nodes[path]; ok {
		return node, nil
	}
	parent, name := "", path
	if i := strings.LastIndexByte(path, '\\'); i >= 0 {
		parent, name = path[:i], path[i+1:]
	}
	above, err := h.node(ctx, parent)
	if err != nil {
		return 0, err
	}
	if above != 0 {
		err = h.a.do(ctx, func() (e error) { node, e = h.a.g.Hivex_node_get_child(above, name); return })
	}
	if err == nil {
		h.nodes[path] = node
	}
	return node, err
}

// Has implements bus.Hive.
func (h *hive) Has(ctx context.Context, path string) (bool, error) {
	node, err := h.node(ctx, path)
	return node != 0, err
}

// Keys implements bus.Hive.
func (h *hive) Keys(ctx context.Context, path string) (names []string, err error) {
	node, err := h.node(ctx, path)
	if err != nil || node == 0 {
		return nil, err
	}
	var children *[]guestfs.HivexNode
	if err := h.a.do(ctx, func() (e error) { children, e = h.a.g.Hivex_node_children(node); return }); err != nil {
		return nil, err
	}
	for _, child := range *children {
		var name string
		if err := h.a.do(ctx, func() (e error) { name, e = h.a.g.Hivex_node_name(child.Hivex_node_h); return }); err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, nil
}

// value returns the handle of a value; 0 if there is none.
func (h *hive) value(ctx context.Context, path, name string) (value int64, err error) {
	node, err := h.node(ctx, path)
	if err == nil && node != 0 {
		err = h.a.do(ctx, func() (e error) { value, e = h.a.g.Hivex_node_get_value(node, name); return })
	}
	return value, err
}

// regDWORD is the type of a value with a number of 32 bits.
const regDWORD = 4

// Number implements bus.Hive.
func (h *hive) Number(ctx context.Context, path, name string) (*uint32, error) {
	value, err := h.value(ctx, path, name)
	if err != nil || value == 0 {
		return nil, err
	}
	var kind int64
	var data []byte
	err = h.a.do(ctx, func() (e error) { kind, e = h.a.g.Hivex_value_type(value); return })
	if err == nil {
		err = h.a.do(ctx, func() (e error) { data, e = h.a.g.Hivex_value_value(value); return })
	}
	if err != nil || kind != regDWORD || len(data) != 4 {
		return nil, err
	}
	n := binary.LittleEndian.Uint32(data)
	return &n, nil
}

// text returns a value of the type REG_SZ; "" if there is none.
func (h *hive) text(ctx context.Context, path, name string) (text string, err error) {
	value, err := h.value(ctx, path, name)
	if err == nil && value != 0 {
		err = h.a.do(ctx, func() (e error) { text, e = h.a.g.Hivex_value_string(value); return })
	}
	return text, err
}
