# SPDX-License-Identifier: Apache-2.0

import json
import unittest

from fake import FIXTURES, ModuleTest, without


class TestGrow(ModuleTest):
    module = 'grow'

    def test_done(self):
        self.answer('grow-done.jsonl')
        result = self.run_module(domain='dev7', disk='vda', size='30G', grow=['/', '/srv=5G'])
        self.assertEqual(self.calls(), [['grow', '--json', '--yes', '--grow=/', '--grow=/srv=5G', '--size=30G', '--disk=vda', '--', 'dev7']])
        self.assertTrue(result['changed'])
        self.assertEqual((result['outcome'], result['job'], result['todo']), ('done', '20260131-101500-3f2a', ['Tell the owner']))
        self.assertEqual(result['plan']['new_size'], 30 * 2**30)
        self.assertIn('the image has no backup', json.dumps(result['warnings']))
        self.assertNotIn('diff', result)

    def test_unchanged(self):
        self.answer('grow-unchanged.jsonl')
        result = self.run_module(domain='dev7', size='20G', diff_mode=True)
        self.assertFalse(result['changed'])
        self.assertEqual(result['diff']['before'], result['diff']['after'])

    def test_waiting_is_a_change(self):
        self.answer('grow-waiting.jsonl')
        result = self.run_module(domain='dev7', size='30G', accept='manual')
        self.assertTrue(result['changed'])
        self.assertEqual(result['next'], 'virt-grow accept 20260131-101500-3f2a')
        self.assertIn('--accept=manual', self.calls()[0])

    def test_check_mode_plans(self):
        for fixture, changed, outcome in (('plan.json', True, 'planned'), ('plan-nothing.json', False, 'unchanged')):
            with self.subTest(fixture):
                self.reset()
                self.answer(fixture)
                result = self.run_module(check_mode=True, diff_mode=True, domain='dev7', size='30G', window_end='04:00', pre='false')
                self.assertEqual(self.calls(), [['plan', '--json', '--size=30G', '--', 'dev7']])
                self.assertEqual((result['changed'], result['outcome']), (changed, outcome))

    def test_diff_is_a_map(self):
        self.answer('plan.json')
        diff = self.run_module(check_mode=True, diff_mode=True, domain='dev7', size='30G')['diff']
        self.assertEqual(diff['before'].splitlines(), [
            'sda     20 GiB',
            '  sda1  1 MiB           BIOS boot',
            '  sda2  20 GiB  20 GiB  xfs root?[2J /',
        ])
        self.assertIn('  sda2  30 GiB', diff['after'])

    def test_all_options(self):
        self.answer('grow-done.jsonl')
        result = self.run_module(
            domain='dev7', disks=[{'disk': 'vda', 'size': '30G'}, {'disk': 'vdb', 'size': 'fill'}], connect='qemu:///session', state_dir='/s', accel='tcg',
            launch_timeout='10m', keys=['sda2:file:/root/key'], no_move=True, ntfs='guest', check='full', check_timeout='1h', scratch_dir='/scratch',
            sector_size=4096, no_trial=True, trial_boot=True, trial_disks='target', shutdown_timeout='1m', boot_timeout='2m', settle='3s', force_off=True,
            no_agent=True, health_cmd='true', window_end='04:00', max_outage='10m', pre='a b', post='c', on_failure='d')
        self.assertNotIn('failed', result, result)
        self.assertEqual(self.calls(), [[
            'grow', '--json', '--connect=qemu:///session', '--state-dir=/s', '--accel=tcg', '--launch-timeout=10m', '--yes', '--no-move', '--ntfs=guest',
            '--check=full', '--sector-size=4096', '--scratch-dir=/scratch', '--key=sda2:file:/root/key', '--no-trial', '--trial-boot', '--trial-disks=target',
            '--shutdown-timeout=1m', '--boot-timeout=2m', '--settle=3s', '--force-off', '--no-agent', '--health-cmd=true', '--disk=vda:30G', '--disk=vdb:fill',
            '--check-timeout=1h', '--window-end=04:00', '--max-outage=10m', '--pre=a b', '--post=c', '--on-failure=d', '--', 'dev7']])

    def test_image_has_no_flags_of_domains(self):
        self.answer('grow-done.jsonl')
        self.run_module(image='/img/../img/a.img', size='30G', format='raw', no_trial=True, partition_only=True, even_unknown=True, grow=['sda2'])
        self.assertEqual(self.calls(), [['grow', '--json', '--yes', '--grow=sda2', '--partition-only', '--even-unknown', '--format=raw', '--size=30G',
                                         '--', '/img/a.img']])

    def test_refused(self):
        self.answer('grow-refused.jsonl', 3)
        result = self.fails('no-space', domain='dev7', size='30G')
        self.assertEqual(result['msg'], 'virt-grow: /img has 1 GiB free, 10 GiB are needed (no-space)')
        self.assertEqual((result['rc'], result['outcome'], result['changed']), (3, 'refused', False))
        self.assertIn('--scratch-dir', result['hint'])

    def test_refused_in_check_mode(self):
        self.answer('error.json', 3)
        result = self.fails('shrink', check_mode=True, domain='dev7', size='30G')
        self.assertEqual((result['rc'], result['hint']), (3, 'virt-grow only grows'))

    def test_unrestored(self):
        self.answer('grow-unrestored.jsonl', 8)
        result = self.fails('failed', domain='dev7', size='30G')
        self.assertEqual((result['rc'], result['changed'], result['next']), (8, True, 'virt-grow rollback 20260131-101500-3f2a'))

    def test_amounts_that_cannot_be_repeated(self):
        for params in ({'size': '+10G'}, {'disks': [{'disk': 'vda', 'size': '+1G'}]}, {'size': '30G', 'grow': ['/=+5G']}, {'size': '30G', 'grow': ['/=60%']}):
            with self.subTest(params):
                self.assertIn('a second run', self.fails('usage', domain='dev7', **params)['msg'])
        self.assertEqual(self.calls(), [])

    def test_keys_are_files(self):
        for key in ('sda2:key:secret', 'sda2:prompt', 'sda2:file:relative'):
            result = self.fails('usage', domain='dev7', size='30G', keys=[key])
            self.assertNotIn(key, result['msg'])

    def test_no_program(self):
        with without(self.directory / 'nothing'):
            result = self.fails('no-program', domain='dev7', size='30G', executable='virt-grow-of-no-host')
        self.assertIn('there is no program virt-grow-of-no-host', result['msg'])

    def test_program_in_path(self):
        self.answer('grow-unchanged.jsonl')
        with without('%s:/usr/bin:/bin' % self.directory):
            self.assertFalse(self.run_module(domain='dev7', size='30G', executable='virt-grow')['changed'])

    def test_bad_output(self):
        done = (FIXTURES / 'grow-done.jsonl').read_text()
        for text, code, says in (
                ('', 1, 'exit code 1 and without a result: for people'),
                ('', 0, 'it printed nothing'),
                ('no JSON\n', 0, 'without a result'),
                ('[1]\n', 0, 'without a result'),
                (''.join(done.splitlines(True)[:-1]), 0, 'without a result'),
                (done.replace('grow/v1', 'grow/v2'), 0, 'cannot read')):
            with self.subTest(text[:20]):
                self.reset()
                self.answer(text, code)
                self.assertIn(says, self.fails('bad-output', domain='dev7', size='30G')['msg'])

    def test_unknown_fields_are_ignored(self):
        self.answer((FIXTURES / 'grow-done.jsonl').read_text().replace('"outcome"', '"news": {"a": 1}, "outcome"'))
        self.assertTrue(self.run_module(domain='dev7', size='30G')['changed'])

    def test_options_that_exclude_each_other(self):
        for params in ({'size': '1G'}, {'domain': 'a', 'image': '/a', 'size': '1G'}, {'domain': 'a'}, {'image': '/a', 'disk': 'vda', 'size': '1G'}):
            with self.subTest(params):
                self.assertTrue(self.run_module(**params)['failed'])


if __name__ == '__main__':
    unittest.main()
