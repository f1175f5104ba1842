package plan_test

import (
	"strings"
	"testing"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
	"github.com/virt-grow/virt-grow/plan/table"
)

func TestFormatAtEnd(t *testing.T) {
	md := func(major string) string { return "\xfc\x4e\x2b\xa9" + major + "\x00\x00\x00" }
	const device = 10*MiB + 20*size.KiB + 512
	for _, c := range []struct {
		at    size.Bytes // offset in the device
		bytes string
		want  string
	}{
		{device - 512, "", ""},
		{device - 512, "GEOM::MIRROR\x00\x00", "GEOM::MIRROR"},
		{device - 4096, "GEOM::ELI", "GEOM::ELI"},
		{device - 512, "\xde\x11\xde\x11", "DDF RAID"},
		{device - 1024, "Intel Raid ISM Cfg Sig. 1.3", "Intel RAID (IMSM)"},
		{10*MiB + 12*size.KiB, md("\x01"), "md RAID, metadata 1.0"},
		{10*MiB + 12*size.KiB, md("\x02"), ""},
		{10*MiB - 64*size.KiB, md("\x00"), "md RAID, metadata 0.90"},
		{10*MiB - 64*size.KiB, md("\x01"), ""},
		{10*MiB + 16*size.KiB + 60, "\x83\x74\x02\x6d", "DRBD"},
		{device - 64, "AVBf", "Android verified boot"},
	} {
		tail := make([]byte, plan.EndRoom)
		copy(tail[c.at-(device-plan.EndRoom):], c.bytes)
		if got := plan.FormatAtEnd(tail, device); got != c.want {
			t.Errorf("%q at %d is %q, want %q", c.bytes, int64(c.at-device), got, c.want)
		}
	}
}

func FuzzFormatAtEnd(f *testing.F) {
	f.Add([]byte("GEOM::MIRROR"), int64(512))
	f.Fuzz(func(t *testing.T, tail []byte, more int64) {
		if more >= 0 && more < 1<<50 {
			plan.FormatAtEnd(tail, size.Bytes(len(tail))+size.Bytes(more))
		}
	})
}

// TestPartitionOnlyEnds checks that a partition becomes larger only if its content
// allows that, and can be moved with any content.
func TestPartitionOnlyEnds(t *testing.T) {
	unknown := plan.Content{Type: plan.ContentUnknown, Problem: plan.Refuse(plan.UnknownContent, "sda1", "unknown")}
	for _, c := range []struct {
		content plan.Content
		atEnd   string
		even    bool
		says    string
		way     plan.Way
	}{
		{content: plan.Content{Type: "ufs"}},
		{content: plan.Content{Type: "ufs"}, atEnd: "GEOM::ELI", says: "GEOM::ELI", way: plan.WayRemake},
		{content: plan.Content{Type: "ufs"}, atEnd: "GEOM::ELI", even: true, says: "GEOM::ELI", way: plan.WayRemake},
		{content: plan.Content{Type: "linux_raid_member"}},
		{content: plan.Content{Type: "linux_raid_member"}, atEnd: "md RAID, metadata 1.0", says: "metadata 1.0", way: plan.WayRemake},
		{content: plan.Content{Type: "isw_raid_member"}, says: "isw_raid", way: plan.WayRemake},
		{content: plan.Content{Type: "ddf_raid_member"}, even: true, says: "ddf_raid", way: plan.WayRemake},
		{content: plan.Content{Type: "drbd"}, says: "drbd", way: plan.WayRemake},
		{content: plan.Content{Type: "nilfs2"}, says: "nilfs2", way: plan.WayEvenUnknown},
		{content: plan.Content{Type: "nilfs2"}, even: true},
		{content: unknown, says: "unknown content", way: plan.WayEvenUnknown},
		{content: unknown, even: true},
		{content: plan.Content{}}, {content: plan.Content{Type: "zfs_member"}}, {content: plan.Content{Type: "swap"}},
		{content: plan.Content{Type: plan.ContentPV}}, {content: plan.Content{Type: plan.ContentLUKS}},
		{content: plan.Content{Type: "BitLocker", Problem: plan.Refuse(plan.BitLocker, "sda1", "BitLocker")}},
	} {
		l := layout(10*GiB, gpt(10*GiB, []part{{1, 1 * MiB, 8 * GiB, ""}, {2, 9 * GiB, 1*GiB - MiB, table.GPTLinuxSwap}}),
			map[int]plan.Content{1: c.content, 2: {Type: "isw_raid_member"}})
		l.Devices[1].AtEnd, l.Devices[2].AtEnd = c.atEnd, "Intel RAID (IMSM)"
		r := request("+10G", "sda1")
		r.PartitionOnly, r.EvenUnknown = true, c.even
		p, err := plan.Build(l, target, r)
		if c.says == "" {
			if err != nil {
				t.Errorf("%s: %v", c.content.Type, err)
			} else if was, now := l.Devices[2], p.After.Devices[2]; now.Size != was.Size || now.Start == was.Start {
				t.Errorf("%s: sda2 from %v to %v", c.content.Type, was, now)
			}
			continue
		}
		if r, ok := plan.IsRefusal(err); !ok || r.Reason != plan.UnsupportedLayout || r.Way != c.way || !strings.Contains(r.Text, c.says) {
			t.Errorf("%s, %s: %v; want …%s…", c.content.Type, c.atEnd, err, c.says)
		}
	}
}

// TestDiskEnds checks that metadata in the last sectors of the whole disk prevents the
// growth of the container, too.
func TestDiskEnds(t *testing.T) {
	l := cloud()
	l.Devices[0].AtEnd = "GEOM::MIRROR"
	for _, r := range []plan.Request{request("+1G"), request("+1G", "none")} {
		if _, err := plan.Build(l, target, r); err == nil || !strings.Contains(err.Error(), "GEOM::MIRROR") {
			t.Errorf("%+v: %v", r, err)
		}
	}
	if _, err := plan.Build(l, target, request("fill")); err != nil {
		t.Error(err)
	}
}
