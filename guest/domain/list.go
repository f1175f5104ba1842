package domain

import (
	"cmp"
	"context"

	"libvirt.org/go/libvirt"
)

// Listed is a domain in a list, with the state that it had when it was listed.
type Listed struct {
	*Domain
	State State
}

// Domains lists all domains, running and defined. They share the connection.
func (c *Conn) Domains(ctx context.Context) ([]Listed, error) {
	var listed []Listed
	err := c.do(ctx, func(l connection) error {
		all, err := l.Domains()
		if err != nil {
			return err
		}
		var some []Listed
		var failed error
		for _, h := range all {
			one, err := c.listed(h)
			_ = h.Free()
			switch {
			case err == nil:
				some = append(some, one)
			case !isCode(plain(err), libvirt.ERR_NO_DOMAIN): // it was removed after it was listed
				failed = err
			}
		}
		listed = some
		return cmp.Or(failed, stillAlive(l))
	})
	if err != nil {
		return nil, err
	}
	return listed, nil
}

func (c *Conn) listed(h handle) (Listed, error) {
	d := &Domain{conn: c}
	var err error
	if d.Name, err = h.GetName(); err != nil {
		return Listed{}, err
	}
	if d.UUID, err = h.GetUUIDString(); err != nil {
		return Listed{}, err
	}
	state, _, err := h.GetState()
	return Listed{d, stateOf(state)}, err
}
