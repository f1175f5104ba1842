# SPDX-License-Identifier: Apache-2.0

import unittest

from fake import ModuleTest


class TestFacts(ModuleTest):
    module = 'facts'

    def facts(self, **params):
        result = self.run_module(**params)
        self.assertFalse(result['changed'])
        return result['ansible_facts']['virt_grow']

    def test_disks(self):
        self.answer('disks-two.json')
        facts = self.facts(domains=['dev7'], check_mode=True)
        self.assertEqual(self.calls(), [['disk', 'list', '--json', '--', 'dev7']])
        self.assertEqual([d['target'] for d in facts['dev7']['disks']['disks']], ['vda', 'sda', 'vdb'])

    def test_everything(self):
        for fixture in ('disks-two.json', 'df.json', 'inspect.json', 'inspect.json', 'df.json', 'inspect.json'):
            self.answer(fixture)
        facts = self.facts(domains=['dev7'], images=['/img/a.raw'], gather=['disks', 'usage', 'layout'], keys=['all:file:/k'])
        self.assertEqual([' '.join(call) for call in self.calls()], [
            'disk list --json --key=all:file:/k -- dev7',
            'df --json --key=all:file:/k --mounts -- dev7',
            'inspect --json --key=all:file:/k --disk=vda -- dev7',
            'inspect --json --key=all:file:/k --disk=vdb -- dev7',
            'df --json --key=all:file:/k --mounts -- /img/a.raw',
            'inspect --json --key=all:file:/k -- /img/a.raw'])
        self.assertEqual(sorted(facts['dev7']), ['disks', 'layout', 'usage'])
        self.assertEqual(sorted(facts['dev7']['layout']), ['vda', 'vdb'])
        self.assertEqual(facts['dev7']['usage']['filesystems'][0]['mounted'], ['/'])
        self.assertEqual(sorted(facts['/img/a.raw']['layout']), ['image'])

    def test_layout_without_disks(self):
        for fixture in ('disks-one.json', 'inspect.json'):
            self.answer(fixture)
        self.assertEqual(sorted(self.facts(domains=['dev7'], gather=['layout'])['dev7']), ['layout'])

    def test_refused(self):
        self.answer('error.json', 3)
        self.fails('shrink', domains=['dev7'])


if __name__ == '__main__':
    unittest.main()
