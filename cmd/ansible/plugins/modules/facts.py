#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0

DOCUMENTATION = r"""
module: facts
short_description: Facts about the disks of guests
version_added: "0.1.0"
description:
  - Reads what C(virt-grow disk list), C(virt-grow df) and C(virt-grow inspect) say about guests. Guests may be running.
    Nothing is changed.
extends_documentation_fragment:
  - virt_grow.grow.program
  - virt_grow.grow.program.keys
attributes:
  check_mode:
    description: Does the same as without it.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
options:
  domains:
    description: Libvirt domains, by their names or UUIDs.
    type: list
    elements: str
    default: []
  images:
    description: Absolute paths of images or block devices.
    type: list
    elements: str
    default: []
  gather:
    description:
      - What to read. C(disks) is the list of a domain's disks, which is quick, and does not exist for images.
      - C(usage) is how full the file systems are, with one appliance for each guest.
      - C(layout) is everything that is on each disk, and what prevents it from growing, with one appliance for each disk.
    type: list
    elements: str
    choices: [disks, usage, layout]
    default: [disks]
author:
  - The virt-grow authors (@virt-grow)
"""

EXAMPLES = r"""
- name: The disks of two guests
  virt_grow.grow.facts:
    domains: [dev7, dev8]

- name: How full are their file systems?
  virt_grow.grow.facts:
    domains: [dev7, dev8]
    gather: [usage]

- name: Stop if a file system of dev7 is more than 90 % full
  ansible.builtin.assert:
    that: item.used < 0.9 * item.size
  loop: "{{ ansible_facts.virt_grow['dev7'].usage.filesystems }}"
"""

RETURN = r"""
ansible_facts:
  description: The facts. Sizes are in bytes.
  returned: success
  type: dict
  contains:
    virt_grow:
      description: A dictionary for each domain and image, by the name that was given.
      returned: success
      type: dict
      contains:
        disks:
          description:
            - What C(virt-grow disk list) says
              (U(https://github.com/virt-grow/virt-grow/blob/main/docs/schema/disk-list-v1.json)).
          returned: for domains, with C(disks)
          type: dict
        usage:
          description:
            - What C(virt-grow df) says of the guest
              (U(https://github.com/virt-grow/virt-grow/blob/main/docs/schema/df-v1.json)).
          returned: with C(usage)
          type: dict
        layout:
          description:
            - What C(virt-grow inspect) says of each disk, by its target, for an image C(image)
              (U(https://github.com/virt-grow/virt-grow/blob/main/docs/schema/inspect-v1.json)).
          returned: with C(layout)
          type: dict
reason:
  description: Why virt-grow refused or failed. C(no-program) and C(bad-output) are reasons of the module itself.
  returned: failure
  type: str
  sample: not-found
hint:
  description: What to do about it.
  returned: failure, if there is a hint
  type: str
rc:
  description: The exit code of virt-grow.
  returned: failure
  type: int
  sample: 3
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.virt_grow.grow.plugins.module_utils.program import KEYS, PARAMETERS, Program, key_flags


def options():
    return {
        **PARAMETERS,
        **KEYS,
        'domains': {'type': 'list', 'elements': 'str', 'default': []},
        'images': {'type': 'list', 'elements': 'str', 'default': []},
        'gather': {'type': 'list', 'elements': 'str', 'choices': ['disks', 'usage', 'layout'], 'default': ['disks']},
    }


def facts_of(program, gather, keys, operand, is_domain):
    """Return the facts of one domain or image."""
    facts, listed = {}, None
    if is_domain and ('disks' in gather or 'layout' in gather):
        listed = program.document('disk list', keys, operand)
    if listed and 'disks' in gather:
        facts['disks'] = listed
    if 'usage' in gather:
        facts['usage'] = program.document('df', keys + ['--mounts'], operand)['guests'][0]
    if 'layout' in gather:
        facts['layout'] = layouts(program, keys, operand, listed)
    return facts


def layouts(program, keys, operand, listed):
    """Return what is on each disk of a domain, or on an image if there is no list of disks."""
    if listed is None:
        return {'image': program.document('inspect', keys, operand)}
    targets = [disk['target'] for disk in listed['disks'] if disk['device'] == 'disk' and disk['kind'] in ('file', 'block', 'volume')]
    return {target: program.document('inspect', keys + ['--disk=' + target], operand) for target in targets}


def main():
    module = AnsibleModule(argument_spec=options(), supports_check_mode=True)
    program = Program(module)
    gather, keys = module.params['gather'], key_flags(module.params)
    facts = {name: facts_of(program, gather, keys, name, True) for name in module.params['domains']}
    for path in module.params['images']:
        facts[path] = facts_of(program, gather, keys, os.path.abspath(path), False)
    module.exit_json(changed=False, ansible_facts={'virt_grow': facts})


if __name__ == '__main__':
    main()
