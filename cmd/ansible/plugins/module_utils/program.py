# SPDX-License-Identifier: Apache-2.0

"""Runs virt-grow on the managed host, and reads its JSON.

The JSON is virt-grow's contract (docs/schema): fields that are not known here are ignored. What
virt-grow refuses, and what fails, ends the module with the reason, the hint and the exit code.
"""

import json
import re

from ansible_collections.virt_grow.grow.plugins.module_utils.text import clean

PARAMETERS = {
    'executable': {'type': 'str', 'default': 'virt-grow'},
    'connect': {'type': 'str'},
    'state_dir': {'type': 'path'},
    'accel': {'type': 'str', 'choices': ['auto', 'kvm', 'tcg']},
    'launch_timeout': {'type': 'str'},
}

KEYS = {'keys': {'type': 'list', 'elements': 'str', 'default': [], 'no_log': False}}

GLOBAL_FLAGS = ('connect', 'state_dir', 'accel', 'launch_timeout')

# The reasons that are not virt-grow's own.
NO_PROGRAM = 'no-program'
BAD_OUTPUT = 'bad-output'

SCHEMA = re.compile('virt-grow/[a-z-]+/v1')


def flags(params, names):
    """Return the flags for the parameters that are set. A parameter is named like its flag."""
    words = []
    for name in names:
        flag, value = '--' + name.replace('_', '-'), params[name]
        if value is True:
            words.append(flag)
        elif isinstance(value, list):
            words += [flag + '=' + item for item in value]
        elif value is not None and value is not False:
            words.append('%s=%s' % (flag, value))
    return words


def key_flags(params):
    """Return the flags for the keys of LUKS containers."""
    return ['--key=' + key for key in params['keys']]


class Program:
    """The program on the managed host, for one module."""

    def __init__(self, module):
        self.module = module
        name = module.params['executable']
        self.path = module.get_bin_path(name, opt_dirs=['/usr/local/bin'])
        if self.path is None:
            module.fail_json(
                msg='there is no program %s on this host; install virt-grow, or name the program with the option executable' % name,
                reason=NO_PROGRAM, hint='https://github.com/virt-grow/virt-grow has the packages')
        if not all(re.match('[^:]+:file:/', key) for key in module.params.get('keys', [])):
            module.fail_json(msg='keys: each key must be ID:file:PATH with an absolute path', reason='usage')

    def document(self, command, words=(), operand=None):
        """Run a command that prints one document, and return the document."""
        rc, documents, stderr = self._run(command, words, operand)
        # df prints its document also if one of several guests could not be read.
        if len(documents) != 1 or (rc != 0 and 'error' in documents[0]):
            self._fail(rc, documents, stderr)
        return documents[0]

    def events(self, command, words=(), operand=None):
        """Run a command that runs a job; return its result, and the last event of each kind."""
        rc, events, stderr = self._run(command, words, operand)
        last = {event.get('event'): event for event in events}
        if rc != 0 or 'result' not in last:
            self._fail(rc, events[-1:], stderr)
        return last['result'], last

    def _run(self, command, words, operand):
        argv = [self.path] + command.split() + ['--json']
        argv += flags(self.module.params, GLOBAL_FLAGS)
        argv += words
        if operand is not None:
            argv += ['--', operand]
        # In another directory, a file there could be taken for the domain of that name.
        rc, stdout, stderr = self.module.run_command(argv, cwd='/')
        try:
            documents = list(decode(stdout))
        except ValueError:
            documents = []
        for document in documents:
            if not SCHEMA.fullmatch(str(document.get('schema'))):
                self.module.fail_json(
                    msg='%s writes the format %r, which this version of the collection cannot read' % (self.path, document.get('schema')),
                    reason=BAD_OUTPUT, rc=rc)
        return rc, documents, stderr

    def _fail(self, rc, documents, stderr):
        trouble = documents[-1] if documents else {}
        if 'error' not in trouble:
            text = clean(stderr.strip()) or 'it printed nothing'
            self.module.fail_json(msg='%s ended with exit code %d and without a result: %s' % (self.path, rc, text), reason=BAD_OUTPUT, rc=rc)
        reason = trouble.get('reason', 'failed')
        result = {'msg': 'virt-grow: %s (%s)' % (clean(trouble['error']), reason), 'reason': reason, 'rc': rc, 'changed': bool(trouble.get('changed'))}
        for field in ('hint', 'subject', 'job', 'outcome', 'next'):
            if trouble.get(field):
                result[field] = trouble[field]
        self.module.fail_json(**result)


def decode(text):
    """Yield the JSON objects of a text: one document, or one event on each line."""
    decoder, at = json.JSONDecoder(), 0
    text = text.strip()
    while at < len(text):
        value, at = decoder.raw_decode(text, at)
        if not isinstance(value, dict):
            raise ValueError('not an object')
        yield value
        while text[at:at + 1].isspace():
            at += 1
