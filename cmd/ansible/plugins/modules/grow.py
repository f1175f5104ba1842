#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0

DOCUMENTATION = r"""
module: grow
short_description: Grow the disks of a guest, and what is inside, to a wanted size
version_added: "0.1.0"
description:
  - Gives a libvirt domain's disk, or an image, the wanted size, and grows what is on it. That is the
    partition table, the partition, LUKS, LVM, and the file system.
  - A running guest is shut down, starts on an overlay, and is checked. If it passes the check, the
    overlay is committed. Otherwise the guest starts again on its untouched image, and the task fails.
  - If the disk and its content have the wanted size already, nothing is done, and no guest is shut down.
  - In check mode the module runs C(virt-grow plan). The plan includes all checks that can be made
    before the outage.
extends_documentation_fragment:
  - virt_grow.grow.program
  - virt_grow.grow.program.keys
attributes:
  check_mode:
    description: Plans, and changes nothing.
    support: full
  diff_mode:
    description: Shows the map of the disks before and after.
    support: full
options:
  domain:
    description:
      - The libvirt domain, by its name or UUID. Either this or I(image).
    type: str
  image:
    description:
      - The absolute path of an image or block device that no running guest uses.
    type: path
  size:
    description:
      - The size that the disk should have, for example C(30G), rounded up to 1 MiB. C(fill) keeps the size
        of the disk, and grows its content to use it.
      - A size that is added (C(+10G)) is refused, because the task would grow the disk in each run.
      - A size that is smaller than the present one fails with the reason C(shrink).
    type: str
  disk:
    description:
      - The domain's disk, as a target (C(vda)) or the path of its source. Required if there are several.
    type: str
  disks:
    description:
      - Several disks of the domain, which grow in one outage, instead of I(disk) and I(size).
    type: list
    elements: dict
    suboptions:
      disk:
        description: The disk, as in I(disk).
        type: str
        required: true
      size:
        description: Its size, as in I(size).
        type: str
        required: true
  grow:
    description:
      - What grows inside, each as C(WHERE) or C(WHERE=SIZE). WHERE is a mount point (C(/data)), a drive letter
        (C(C:)), a device (C(sda3)), C(vg/lv), C(UUID=...), C(LABEL=...), C(PARTUUID=...), C(PARTLABEL=...), or
        C(none) for the container only. Those without SIZE share the remaining space.
      - Without it, what grows is the one sensible choice, or the task fails with the reason C(ambiguous-target).
      - Amounts that are added (C(+10G)) and percentages are refused, because they mean something else in each run.
    type: list
    elements: str
    default: []
  no_move:
    description: Refuse if partitions behind the target would have to move.
    type: bool
    default: false
  partition_only:
    description: Grow the partition that I(grow) names, but not its content.
    type: bool
    default: false
  even_unknown:
    description: With I(partition_only), also if the content is unknown and may keep data at the end of the partition.
    type: bool
    default: false
  ntfs:
    description: How an NTFS is grown, C(offline) by ntfsresize (the default), or C(guest) by Windows itself after its start.
    type: str
    choices: [offline, guest]
  check:
    description:
      - How closely file systems are checked. C(auto), the default, is in full before they grow, C(full) also afterwards,
        C(quick) only where growing needs it.
    type: str
    choices: [auto, full, quick]
  check_timeout:
    description: Give up if the full check of a file system takes longer, for example C(30m).
    type: str
  format:
    description:
      - The format of I(image). Without it, the name's ending says it (C(.qcow2), C(.raw)); the content never does.
    type: str
    choices: [qcow2, raw]
  sector_size:
    description: The bytes of a sector as the guest sees it. Without it, the partition table says it.
    type: int
    choices: [512, 4096]
  scratch_dir:
    description: The directory of the overlay. Without it, the image's directory.
    type: path
  accept:
    description:
      - Who decides after a passed health check, by default C(auto). With C(manual) the guest keeps running on its overlay, the task ends with
        the outcome C(waiting), and C(virt-grow accept) or C(virt-grow rollback) ends the job. Until then, another run of
        the task fails with the reason C(job-active).
    type: str
    choices: [auto, manual]
  no_trial:
    description: Commit while the guest is off. No rollback is possible once it has started.
    type: bool
    default: false
  trial_boot:
    description: Run a trial for a guest that is off, too.
    type: bool
    default: false
  trial_disks:
    description: Which disks get an overlay during the trial, C(all) that can be written to (the default), or only those that grow.
    type: str
    choices: [all, target]
  shutdown_timeout:
    description: How long the guest may take to stop, for each shutdown method. The default is the program's.
    type: str
  boot_timeout:
    description: How long the guest's agent may take to answer after the start. The default is the program's.
    type: str
  settle:
    description: How long a guest without an agent is watched after the start. The default is the program's.
    type: str
  force_off:
    description: Power the guest off if it does not shut down in time.
    type: bool
    default: false
  no_agent:
    description: Do not use the guest's agent.
    type: bool
    default: false
  health_cmd:
    description: A command on the managed host that has to succeed after the guest's start.
    type: str
  window_end:
    description: When the guest must be back, C(04:00) or C(2026-01-31T04:00:00Z). Not used in check mode.
    type: str
  max_outage:
    description: How long the outage may last, for example C(10m). Not used in check mode.
    type: str
  pre:
    description: A command on the managed host before the outage. If it fails, the guest is not shut down.
    type: str
  post:
    description: A command on the managed host after success.
    type: str
  on_failure:
    description: A command on the managed host after a failure, once everything is undone.
    type: str
notes:
  - C(--delete) and C(--keep-overlay) of the command have no option here, because a second run would not do the same.
  - The run ends only after the trial. For guests that boot slowly, use C(async), so that no ssh connection has to last.
seealso:
  - module: virt_grow.grow.disk
  - module: virt_grow.grow.facts
author:
  - The virt-grow authors (@virt-grow)
"""

EXAMPLES = r"""
- name: The root disk of dev7 has 30 GiB
  virt_grow.grow.grow:
    domain: dev7
    disk: vda
    size: 30G

- name: Two disks in one outage, which ends before four o'clock
  virt_grow.grow.grow:
    domain: db1
    disks:
      - {disk: vda, size: 30G}
      - {disk: vdb, size: 200G}
    grow: [/, /srv]
    window_end: "04:00"

- name: An image that no guest uses
  virt_grow.grow.grow:
    image: /srv/templates/debian.qcow2
    size: 20G

- name: Leave guests alone that are larger already
  virt_grow.grow.grow:
    domain: dev8
    size: 30G
  register: grown
  failed_when: grown is failed and grown.reason != 'shrink'
"""

RETURN = r"""
outcome:
  description: How the run ended, C(done), C(unchanged), C(waiting), or in check mode C(planned).
  returned: always, if virt-grow ran
  type: str
  sample: done
job:
  description: The ID of the job, for C(virt-grow status) and C(virt-grow report).
  returned: if a job was begun
  type: str
  sample: 20260131-101500-3f2a
plan:
  description:
    - The plan, with the layout before and after, the steps, and the expected seconds of each
      (U(https://github.com/virt-grow/virt-grow/blob/main/docs/schema/plan-v1.json)).
  returned: success
  type: dict
todo:
  description: What is left to do by hand.
  returned: success
  type: list
  elements: str
next:
  description: The command to run next, for example to accept a job that waits, or to finish one that was stopped.
  returned: if there is one
  type: str
  sample: virt-grow accept 20260131-101500-3f2a
overlay:
  description: The overlay that waits for C(virt-grow accept).
  returned: with I(accept=manual)
  type: str
seconds:
  description: How long the run took.
  returned: if something was done
  type: float
reason:
  description: Why virt-grow refused or failed. C(no-program) and C(bad-output) are reasons of the module itself.
  returned: failure
  type: str
  sample: no-space
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
from ansible_collections.virt_grow.grow.plugins.module_utils.program import KEYS, PARAMETERS, Program, flags, key_flags
from ansible_collections.virt_grow.grow.plugins.module_utils.text import clean, layout_map

# PLAN_FLAGS are flags of plan and grow, RUN_FLAGS those of grow alone.
PLAN_FLAGS = ('grow', 'no_move', 'partition_only', 'even_unknown', 'ntfs', 'check', 'format', 'sector_size', 'scratch_dir')
DOMAIN_FLAGS = ('accept', 'no_trial', 'trial_boot', 'trial_disks', 'shutdown_timeout', 'boot_timeout', 'settle', 'force_off', 'no_agent', 'health_cmd')
RUN_FLAGS = ('check_timeout', 'window_end', 'max_outage', 'pre', 'post', 'on_failure')


def options():
    return {
        **PARAMETERS,
        **KEYS,
        'domain': {'type': 'str'},
        'image': {'type': 'path'},
        'size': {'type': 'str'},
        'disk': {'type': 'str'},
        'disks': {'type': 'list', 'elements': 'dict', 'options': {
            'disk': {'type': 'str', 'required': True},
            'size': {'type': 'str', 'required': True},
        }},
        'grow': {'type': 'list', 'elements': 'str', 'default': []},
        'no_move': {'type': 'bool', 'default': False},
        'partition_only': {'type': 'bool', 'default': False},
        'even_unknown': {'type': 'bool', 'default': False},
        'ntfs': {'type': 'str', 'choices': ['offline', 'guest']},
        'check': {'type': 'str', 'choices': ['auto', 'full', 'quick']},
        'check_timeout': {'type': 'str'},
        'format': {'type': 'str', 'choices': ['qcow2', 'raw']},
        'sector_size': {'type': 'int', 'choices': [512, 4096]},
        'scratch_dir': {'type': 'path'},
        'accept': {'type': 'str', 'choices': ['auto', 'manual']},
        'no_trial': {'type': 'bool', 'default': False},
        'trial_boot': {'type': 'bool', 'default': False},
        'trial_disks': {'type': 'str', 'choices': ['all', 'target']},
        'shutdown_timeout': {'type': 'str'},
        'boot_timeout': {'type': 'str'},
        'settle': {'type': 'str'},
        'force_off': {'type': 'bool', 'default': False},
        'no_agent': {'type': 'bool', 'default': False},
        'health_cmd': {'type': 'str'},
        'window_end': {'type': 'str'},
        'max_outage': {'type': 'str'},
        'pre': {'type': 'str'},
        'post': {'type': 'str'},
        'on_failure': {'type': 'str'},
    }


def not_repeatable(params):
    """Return the first amount that means something else in each run, or None."""
    sizes = [params['size'] or ''] + [disk['size'] for disk in params['disks'] or []]
    amounts = [where.rpartition('=')[2] for where in params['grow'] if '=' in where]
    for text in sizes + amounts:
        if text.strip().startswith('+') or text.strip().endswith('%'):
            return text
    return None


def words_of(params):
    """Return the flags of plan."""
    words = flags(params, PLAN_FLAGS) + key_flags(params)
    if params['size'] is not None:
        words.append('--size=' + params['size'])
    if params['domain'] is not None:
        words += flags(params, DOMAIN_FLAGS)
    if params['disk'] is not None:
        words.append('--disk=' + params['disk'])
    for disk in params['disks'] or []:
        words.append('--disk=%s:%s' % (disk['disk'], disk['size']))
    return words


def planned(program, words, operand):
    """Plan alone, for check mode; return the result and the plan."""
    plan = program.document('plan', words, operand)
    changes = bool(plan.get('steps'))
    return {'changed': changes, 'outcome': 'planned' if changes else 'unchanged', 'todo': plan.get('todo') or []}, plan


def grown(program, words, operand):
    """Grow, and return the result and the plan."""
    event, last = program.events('grow', ['--yes'] + words, operand)
    result = {'todo': event.get('todo') or []}
    for field in ('outcome', 'job', 'next', 'overlay', 'seconds'):
        if event.get(field):
            result[field] = event[field]
    # A guest in its trial has been restarted, although its image is untouched.
    result['changed'] = bool(event.get('changed')) or event.get('outcome') == 'waiting'
    return result, last.get('plan', {}).get('plan') or {}


def main():
    module = AnsibleModule(
        argument_spec=options(), supports_check_mode=True,
        required_one_of=[('domain', 'image'), ('size', 'disks')],
        mutually_exclusive=[('domain', 'image'), ('size', 'disks'), ('disk', 'disks'), ('image', 'disk'), ('image', 'disks')])
    params = module.params
    amount = not_repeatable(params)
    if amount is not None:
        module.fail_json(msg='%s: a second run would grow the disk again; give the whole size, for example 30G' % amount, reason='usage')
    program = Program(module)
    words = words_of(params)
    operand = params['domain'] if params['image'] is None else os.path.abspath(params['image'])
    if module.check_mode:
        result, plan = planned(program, words, operand)
    else:
        result, plan = grown(program, words + flags(params, RUN_FLAGS), operand)
    for warning in plan.get('warnings') or []:
        module.warn(clean(warning))
    if module._diff and plan:
        result['diff'] = {'before_header': operand, 'after_header': operand,
                          'before': layout_map(plan.get('before') or {}), 'after': layout_map(plan.get('after') or {})}
    module.exit_json(plan=plan, **result)


if __name__ == '__main__':
    main()
