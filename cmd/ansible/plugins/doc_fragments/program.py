# SPDX-License-Identifier: Apache-2.0

"""The documentation of the options and return values that all modules have."""


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  executable:
    description:
      - The program, as a path or as a name that is looked up in C(PATH).
    type: str
    default: virt-grow
  connect:
    description:
      - The URI of the libvirt that has the domains.
      - Without it, the program takes C(LIBVIRT_DEFAULT_URI), or C(qemu:///system).
    type: str
  state_dir:
    description:
      - The directory for jobs, timings and inspection results.
      - Without it, the program takes C(VIRT_GROW_STATE_DIR), or C(/var/lib/virt-grow) for root.
    type: path
  accel:
    description:
      - How the appliance runs. Without it, with KVM where there is KVM.
    type: str
    choices: [auto, kvm, tcg]
  launch_timeout:
    description:
      - How long the appliance may take to start, for example C(10m). An emulated host needs longer.
    type: str
requirements:
  - virt-grow on the managed host
  - python >= 3.9 on the managed host
notes:
  - The module has to run as a user who may use libvirt and the images, usually root.
  - If virt-grow refuses or fails, the task fails with C(reason), C(hint) and C(rc) of virt-grow.
    Reasons and exit codes are stable, and are listed in
    U(https://github.com/virt-grow/virt-grow/blob/main/docs/reference.md).
"""

    KEYS = r"""
options:
  keys:
    description:
      - The passphrases of LUKS containers, each as C(ID:file:PATH). ID is a device (C(sda3)), the
        container's UUID, or C(all). PATH is a file on the managed host; its first line is the passphrase.
    type: list
    elements: str
    default: []
"""
