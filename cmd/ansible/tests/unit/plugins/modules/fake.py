# SPDX-License-Identifier: Apache-2.0

"""A fake virt-grow, and modules that run with it in this process."""

import contextlib
import importlib
import io
import json
import os
import pathlib
import tempfile
import unittest
from unittest import mock

from ansible.module_utils import basic

FIXTURES = pathlib.Path(__file__).parents[2] / 'fixtures'

# Each call takes the next answer, and writes down its arguments and its directory.
PROGRAM = """#!/bin/sh
cd "$(dirname "$0")" || exit 99
n=$(cat count) && echo $((n + 1)) >count
printf '%s\\n' "$@" >"call.$n"
[ -e "answer.$n" ] || { echo "call $n was not expected" >&2; exit 99; }
cat "answer.$n"
[ "$(cat "exit.$n")" = 0 ] || echo 'for people' >&2
exit "$(cat "exit.$n")"
"""


class ModuleTest(unittest.TestCase):
    """Runs one module; subclasses name it."""

    module = ''

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = pathlib.Path(directory.name)
        self.program = self.directory / 'virt-grow'
        self.program.write_text(PROGRAM)
        self.program.chmod(0o755)
        self.reset()

    def reset(self):
        """Forget the answers and calls."""
        for path in self.directory.glob('*.*'):
            path.unlink()
        (self.directory / 'count').write_text('0')
        self.answers = 0

    def answer(self, what, code=0):
        """Let the next call print a fixture or a text, and end with an exit code."""
        fixture = FIXTURES / what
        text = fixture.read_text() if what and fixture.is_file() else what
        (self.directory / ('answer.%d' % self.answers)).write_text(text)
        (self.directory / ('exit.%d' % self.answers)).write_text(str(code))
        self.answers += 1

    def calls(self):
        """Return the arguments of each call."""
        count = int((self.directory / 'count').read_text())
        self.assertEqual(count, self.answers, 'the number of calls')
        return [(self.directory / ('call.%d' % n)).read_text().splitlines() for n in range(count)]

    def run_module(self, check_mode=False, diff_mode=False, **params):
        """Run the module, and return what it prints."""
        params.setdefault('executable', str(self.program))
        params.update(_ansible_check_mode=check_mode, _ansible_diff=diff_mode, _ansible_remote_tmp=str(self.directory))
        module = importlib.import_module('ansible_collections.virt_grow.grow.plugins.modules.' + self.module)
        text = json.dumps({'ANSIBLE_MODULE_ARGS': params}).encode()
        out = io.StringIO()
        with mock.patch.object(basic, '_ANSIBLE_ARGS', text), mock.patch.object(basic, '_ANSIBLE_PROFILE', 'legacy', create=True):
            with contextlib.redirect_stdout(out), self.assertRaises(SystemExit):
                module.main()
        return json.loads(out.getvalue())

    def fails(self, reason, **params):
        """Run the module, which has to fail for a reason."""
        result = self.run_module(**params)
        self.assertTrue(result.get('failed'), result)
        self.assertEqual(result.get('reason'), reason, result)
        return result


def without(path):
    """Return PATH for a host that has nothing in it but one directory."""
    return mock.patch.dict(os.environ, PATH=str(path))
