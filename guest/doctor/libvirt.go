package doctor

import (
	"context"
	"errors"
	"fmt"

	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/plan"
)

// examineLibvirt checks whether domains can be grown. Images can be grown without libvirt.
func examineLibvirt(ctx context.Context, s system, uri string) Finding {
	const name = "libvirt"
	conn, err := domain.Connect(uri)
	if err != nil {
		mend := s.install("libvirt-daemon-system", "libvirt-daemon-driver-qemu") + "; sudo systemctl start " + daemon("/")
		var r *plan.Refusal
		if errors.As(err, &r) && r.Reason == plan.RemoteHost {
			mend = ""
		}
		return Finding{name, Warn, fmt.Sprintf("%v; images can be grown, domains cannot", err), mend}
	}
	defer conn.Close()
	version, domains, err := conn.About(ctx)
	if err != nil {
		return Finding{name, Warn, err.Error(), ""}
	}
	return Finding{Name: name, Level: OK, Text: fmt.Sprintf("version %s at %s, %d domain(s)", version, uri, domains)}
}
