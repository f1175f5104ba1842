#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0

DOCUMENTATION = r"""
module: disk
short_description: A data disk of a guest that should be there, with its file system and mount
version_added: "0.1.0"
description:
  - Creates an image with a file system, attaches it to a libvirt domain, running or not, and mounts it in the
    guest permanently. All of it is done, or nothing.
  - If the domain has the disk already, nothing is done. The disk is found by what is given of I(target), I(path)
    and I(serial).
  - A disk that is there is never changed. If it is not as the options say, the task fails with the reason C(differs)
    and lists the differences. A disk that is larger than I(size) is as wanted; M(virt_grow.grow.grow) may have grown it.
  - If I(fs), I(lvm), I(label) or I(mount) is given, the file systems of a disk that is there are read in an appliance.
extends_documentation_fragment:
  - virt_grow.grow.program
  - virt_grow.grow.program.keys
attributes:
  check_mode:
    description: Makes all checks, and changes nothing.
    support: full
  diff_mode:
    description: Shows the domain's disks before and after.
    support: full
options:
  domain:
    description: The libvirt domain, by its name or UUID.
    type: str
    required: true
  target:
    description: The disk's target in the domain, for example C(vdb). At least one of I(target), I(path) and I(serial) is required.
    type: str
  path:
    description:
      - The absolute path of the disk's image. If the disk has to be created, the file must not exist.
      - Without it, a new image is created next to that of the domain's first disk.
    type: path
  serial:
    description: The serial number that the guest sees.
    type: str
  size:
    description: The size that the disk has at least, for example C(20G), rounded up to 1 MiB.
    type: str
    required: true
  format:
    description: The image's format. A new image is qcow2, or raw if the name of I(path) ends in C(.raw).
    type: str
    choices: [qcow2, raw]
  fs:
    description: The file system. Without it, a new disk is empty.
    type: str
    choices: [xfs, ext4, btrfs, ntfs]
  table:
    description: The partition table of a new disk, by default C(gpt).
    type: str
    choices: [gpt, mbr, none]
  lvm:
    description: The volume that has the file system, as C(VG/LV). Both are created with a new disk.
    type: str
  label:
    description: The file system's label.
    type: str
  prealloc:
    description: How space for a new image is allocated in advance.
    type: str
    choices: ["off", metadata, falloc, full]
  bus:
    description: The disk's bus.
    type: str
    choices: [virtio, scsi, sata, ide]
  cache:
    description: The cache mode.
    type: str
    choices: [default, none, writethrough, writeback, directsync, unsafe]
  discard:
    description: The discard mode of a new disk.
    type: str
    choices: [ignore, unmap]
  mount:
    description: The directory in the guest at which the file system is mounted, permanently.
    type: str
  fs_options:
    description: The options of a new mount instead of C(defaults). C(nofail) is added.
    type: str
seealso:
  - module: virt_grow.grow.grow
  - module: virt_grow.grow.facts
author:
  - The virt-grow authors (@virt-grow)
"""

EXAMPLES = r"""
- name: Db1 has a disk of 100 GiB, mounted at /srv
  virt_grow.grow.disk:
    domain: db1
    target: vdb
    size: 100G
    fs: xfs
    mount: /srv

- name: The same disk, known by its serial number, on a volume group
  virt_grow.grow.disk:
    domain: db1
    serial: db1-data
    size: 100G
    fs: ext4
    lvm: vg1/data
    mount: /srv
    fs_options: noatime

- name: An empty raw image at a certain place
  virt_grow.grow.disk:
    domain: db1
    path: /img/db1-log.raw
    size: 20G
    cache: none
"""

RETURN = r"""
disk:
  description:
    - The disk, as C(virt-grow disk list) shows it
      (U(https://github.com/virt-grow/virt-grow/blob/main/docs/schema/disk-list-v1.json)).
  returned: success, except in check mode for a disk that is not there
  type: dict
steps:
  description: What was done, or what would be done.
  returned: if the disk was not there
  type: list
  elements: str
job:
  description: The ID of the job.
  returned: if a job was begun
  type: str
  sample: 20260131-101500-3f2a
todo:
  description: What is left to do by hand.
  returned: if the disk was not there
  type: list
  elements: str
differences:
  description: In what the disk is not as wanted.
  returned: failure with the reason C(differs)
  type: list
  elements: str
  sample: ["the file system is ext4, not xfs"]
reason:
  description: Why virt-grow refused or failed. C(differs), C(no-program) and C(bad-output) are reasons of the module itself.
  returned: failure
  type: str
  sample: mount-taken
hint:
  description: What to do about it.
  returned: failure, if there is a hint
  type: str
rc:
  description: The exit code of virt-grow.
  returned: failure of virt-grow
  type: int
  sample: 3
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.virt_grow.grow.plugins.module_utils.program import KEYS, PARAMETERS, Program, flags, key_flags
from ansible_collections.virt_grow.grow.plugins.module_utils.text import clean, human, parse, table

ADD_FLAGS = ('size', 'format', 'fs', 'table', 'lvm', 'label', 'prealloc', 'path', 'target', 'bus', 'serial', 'cache', 'discard', 'mount', 'fs_options')

# What the options are called in a message, and in the list of disks.
ATTRIBUTES = (('target', 'target', 'the target'), ('serial', 'serial', 'the serial number'), ('format', 'format', 'the format'),
              ('bus', 'bus', 'the bus'))

# The options that say what is on the disk.
CONTENT = ('fs', 'lvm', 'label', 'mount')


def options():
    return {
        **PARAMETERS,
        **KEYS,
        'domain': {'type': 'str', 'required': True},
        'target': {'type': 'str'},
        'path': {'type': 'path'},
        'serial': {'type': 'str'},
        'size': {'type': 'str', 'required': True},
        'format': {'type': 'str', 'choices': ['qcow2', 'raw']},
        'fs': {'type': 'str', 'choices': ['xfs', 'ext4', 'btrfs', 'ntfs']},
        'table': {'type': 'str', 'choices': ['gpt', 'mbr', 'none']},
        'lvm': {'type': 'str'},
        'label': {'type': 'str'},
        'prealloc': {'type': 'str', 'choices': ['off', 'metadata', 'falloc', 'full']},
        'bus': {'type': 'str', 'choices': ['virtio', 'scsi', 'sata', 'ide']},
        'cache': {'type': 'str', 'choices': ['default', 'none', 'writethrough', 'writeback', 'directsync', 'unsafe']},
        'discard': {'type': 'str', 'choices': ['ignore', 'unmap']},
        'mount': {'type': 'str'},
        'fs_options': {'type': 'str'},
    }


def same_file(one, other):
    return os.path.realpath(one) == os.path.realpath(other)


def find(params, disks):
    """Return the disks that have the target, the path or the serial number."""
    return [disk for disk in disks
            if params['target'] is not None and disk['target'] == params['target']
            or params['serial'] is not None and disk.get('serial') == params['serial']
            or params['path'] is not None and disk.get('source') and same_file(disk['source'], params['path'])]


def differences(params, disk):
    """List in what a disk differs from the options, without its content."""
    found = []
    for option, field, what in ATTRIBUTES:
        if params[option] is not None and disk.get(field, '') != params[option]:
            found.append('%s is %s, not %s' % (what, disk.get(field) or 'not set', params[option]))
    if params['path'] is not None and not same_file(disk.get('source', ''), params['path']):
        found.append('the path is %s, not %s' % (disk.get('source'), params['path']))
    if params['cache'] is not None and disk.get('cache', 'default') != params['cache']:
        found.append('the cache mode is %s, not %s' % (disk.get('cache', 'default'), params['cache']))
    wanted = parse(params['size'])
    if disk.get('size', wanted) < wanted:
        found.append('the size is %s, less than %s' % (human(disk['size']), human(wanted)))
    return found


def content_differences(params, disk, filesystems):
    """List in what the file systems on a disk differ from the options."""
    if params['lvm'] is not None:
        found = [f for f in filesystems if f['device'] == params['lvm']]
        if not found:
            return ['there is no file system on a volume %s' % params['lvm']]
    else:
        found = [f for f in filesystems if disk['target'] in f.get('disks', [])]
    types = sorted({f['type'] for f in found})
    if params['fs'] is not None and params['fs'] not in types:
        return ['the file system is %s, not %s' % (' and '.join(types) or 'not known', params['fs'])]
    if params['label'] is not None and params['label'] not in [f.get('label') for f in found]:
        return ['no file system has the label %s' % params['label']]
    if params['mount'] is not None and os.path.normpath(params['mount']) not in [at for f in found for at in f.get('mounted', [])]:
        return ['the guest does not mount it at %s' % params['mount']]
    return []


def list_disks(program, params):
    return program.document('disk list', operand=params['domain'])['disks']


def read_filesystems(program, params):
    """Return the file systems of the domain, with the places where its fstab mounts them."""
    return program.document('df', ['--mounts'] + key_flags(params), params['domain'])['guests'][0]['filesystems']


def check(module, program, disks):
    """Return the disk that is there, or None. End the module if it is not as wanted."""
    params = module.params
    found = find(params, disks)
    if not found:
        return None
    if len(found) > 1:
        module.fail_json(msg='%s has several of them: %s' % (params['domain'], ', '.join(disk['target'] for disk in found)), reason='differs',
                         differences=['%s has the target, the path or the serial number' % disk['target'] for disk in found])
    disk = found[0]
    different = differences(params, disk)
    if not different and any(params[option] is not None for option in CONTENT):
        different = content_differences(params, disk, read_filesystems(program, params))
    if different:
        module.fail_json(msg=clean('%s of %s is not as wanted: %s' % (disk['target'], params['domain'], '; '.join(different))), reason='differs',
                         differences=different, disk=disk, hint='the module never changes a disk that is there; virt_grow.grow.grow grows it')
    return disk


def add(program, params, check_mode):
    """Add the disk, and return the result."""
    words = flags(params, ADD_FLAGS)
    if check_mode:
        words.append('--dry-run')
    event, last = program.events('disk add', words, params['domain'])
    steps = last.get('steps', {}).get('steps') or []
    result = {'changed': check_mode or bool(event.get('changed')), 'steps': [step['summary'] for step in steps], 'todo': event.get('todo') or []}
    if event.get('job'):
        result['job'] = event['job']
    return result


def disk_map(disks):
    """Return a line for each disk."""
    rows = []
    for disk in disks:
        contents = disk.get('inside', {}).get('contents', [])
        inside = ', '.join(' '.join([c['type']] + c.get('mounted', [])) for c in contents)
        rows.append((clean(disk['target']), human(disk['size']) if 'size' in disk else '', clean(disk.get('source', '')), clean(inside)))
    return table(rows)


def wanted(params):
    """Return the new disk as the list of disks would show it."""
    content = {'type': params['fs'] or '', 'mounted': [params['mount']] if params['mount'] else []}
    return {'target': params['target'] or '(next)', 'size': parse(params['size']), 'source': params['path'] or '(new image)',
            'inside': {'contents': [content]}}


def main():
    module = AnsibleModule(argument_spec=options(), supports_check_mode=True, required_one_of=[('target', 'path', 'serial')])
    params = module.params
    try:
        parse(params['size'])
    except ValueError as e:
        module.fail_json(msg='size: %s' % e, reason='usage')
    if params['path'] is not None:
        params['path'] = os.path.abspath(params['path'])
    program = Program(module)
    before = list_disks(program, params)
    disk = check(module, program, before)
    if disk is not None:
        module.exit_json(changed=False, disk=disk)
    result = add(program, params, module.check_mode)
    after = before + [wanted(params)]
    if not module.check_mode:
        after = list_disks(program, params)
        result['disk'] = (find(params, after) or [{}])[0]
    if module._diff:
        result['diff'] = {'before_header': params['domain'], 'after_header': params['domain'], 'before': disk_map(before), 'after': disk_map(after)}
    module.exit_json(**result)


if __name__ == '__main__':
    main()
