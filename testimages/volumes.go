package testimages

import "fmt"

// volume is one thing of an image that has a name, at whatever depth.
type volume struct {
	Content
	Name        string // "sda", "sda3" or "vg/lv"; a LUKS container and what is in it share one
	stack       string // "part/luks/ext4"
	start, size int64  // window of the disk, for what sits directly on it
}

func partName(num int) string { return fmt.Sprintf("sda%d", num) }

// direct lists what sits directly on the disk or its partitions.
func (img Image) direct() []volume {
	if img.Table == "none" {
		return []volume{{img.Whole, "sda", "disk/" + stackName(img.Whole.Kind), 0, img.Size}}
	}
	var vs []volume
	for _, p := range img.Parts {
		vs = append(vs, volume{p.Content, partName(p.Num), "part/" + stackName(p.Kind), p.Start, p.Size})
	}
	return vs
}

// inner lists what sits directly in v.
func (v volume) inner() []volume {
	var vs []volume
	if v.Inner != nil {
		vs = append(vs, volume{Content: *v.Inner, Name: v.Name, stack: v.stack + "/" + stackName(v.Inner.Kind)})
	}
	for _, lv := range v.LVs {
		vs = append(vs, volume{Content: lv.Content, Name: v.VG + "/" + lv.Name,
			stack: v.stack + "/" + stackName(lv.Kind), size: lv.Size})
	}
	return vs
}

// walk calls fn for everything in the image, containers before their contents.
func (img Image) walk(fn func(volume)) {
	var visit func([]volume)
	visit = func(vs []volume) {
		for _, v := range vs {
			fn(v)
			visit(v.inner())
		}
	}
	visit(img.direct())
}

// filesystems lists the volumes that hold files.
func (img Image) filesystems() []volume {
	var vs []volume
	img.walk(func(v volume) {
		if v.Tree != "" {
			vs = append(vs, v)
		}
	})
	return vs
}

func stackName(kind string) string {
	switch kind {
	case "pv":
		return "lvm"
	case "luks1", "luks2":
		return "luks"
	case "":
		return "nothing"
	}
	return kind
}
