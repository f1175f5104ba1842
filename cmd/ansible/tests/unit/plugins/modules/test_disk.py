# SPDX-License-Identifier: Apache-2.0

import unittest

from fake import ModuleTest

WANTED = {'domain': 'dev7', 'target': 'vdb', 'size': '20G', 'fs': 'xfs', 'mount': '/data'}
LIST = ['disk', 'list', '--json', '--', 'dev7']
READ = ['df', '--json', '--mounts', '--', 'dev7']


class TestDisk(ModuleTest):
    module = 'disk'

    def test_added(self):
        for fixture in ('disks-one.json', 'add-done.jsonl', 'disks-two.json'):
            self.answer(fixture)
        result = self.run_module(diff_mode=True, fs_options='noatime', **WANTED)
        add = ['disk', 'add', '--json', '--size=20G', '--fs=xfs', '--target=vdb', '--mount=/data', '--fs-options=noatime', '--', 'dev7']
        self.assertEqual(self.calls(), [LIST, add, LIST])
        self.assertTrue(result['changed'])
        self.assertEqual((result['job'], result['disk']['target'], len(result['steps'])), ('20260131-101500-3f2a', 'vdb', 2))
        self.assertNotIn('vdb', result['diff']['before'])
        self.assertIn('vdb  20 GiB  /img/dev7-vdb.qcow2  xfs', result['diff']['after'])

    def test_check_mode(self):
        self.answer('disks-one.json')
        self.answer('add-planned.jsonl')
        result = self.run_module(check_mode=True, diff_mode=True, **WANTED)
        self.assertEqual(self.calls()[1][-3:], ['--dry-run', '--', 'dev7'])
        self.assertTrue(result['changed'])
        self.assertEqual(result['steps'], ['create /img/dev7-vdb.qcow2 of 20 GiB'])
        self.assertIn('vdb  20 GiB  (new image)      xfs /data', result['diff']['after'])

    def test_there(self):
        for params in (WANTED, {**WANTED, 'mount': '/data/', 'label': 'data', 'serial': 'data-1'},
                       {**WANTED, 'fs': 'ext4', 'lvm': 'vg1/log', 'mount': '/var/log'}):
            with self.subTest(params):
                self.reset()
                self.answer('disks-two.json')
                self.answer('df-data.json')
                result = self.run_module(**params)
                self.assertEqual(self.calls(), [LIST, READ])
                self.assertFalse(result['changed'], result)
                self.assertEqual(result['disk']['serial'], 'data-1')

    def test_content_is_not_read_without_need(self):
        for params in ({'serial': 'data-1', 'bus': 'virtio'}, {'path': '/img/x/../dev7-vdb.qcow2', 'cache': 'default'}):
            with self.subTest(params):
                self.reset()
                self.answer('disks-two.json')
                self.assertFalse(self.run_module(check_mode=True, domain='dev7', size='1G', **params)['changed'])
                self.assertEqual(self.calls(), [LIST])

    def test_differs(self):
        for params, says in (
                ({'size': '30G'}, 'the size is 20 GiB, less than 30 GiB'),
                ({'serial': 'data-2'}, 'the serial number is data-1, not data-2'),
                ({'format': 'raw'}, 'the format is qcow2, not raw'),
                ({'bus': 'scsi'}, 'the bus is virtio, not scsi'),
                ({'cache': 'none'}, 'the cache mode is default, not none'),
                ({'path': '/img/other.qcow2'}, 'the path is /img/dev7-vdb.qcow2, not /img/other.qcow2'),
                ({'fs': 'ext4'}, 'the file system is xfs, not ext4'),
                ({'label': 'logs'}, 'no file system has the label logs'),
                ({'mount': '/srv'}, 'the guest does not mount it at /srv'),
                ({'lvm': 'vg1/data'}, 'there is no file system on a volume vg1/data')):
            with self.subTest(params):
                self.reset()
                self.answer('disks-two.json')
                if set(params) & {'fs', 'label', 'mount', 'lvm'}:
                    self.answer('df-data.json')
                result = self.fails('differs', **{**WANTED, **params})
                self.assertEqual(result['differences'], [says])
                self.assertIn(says, result['msg'])
                self.calls()

    def test_unknown_content_differs(self):
        self.answer('disks-two.json')
        self.answer('df.json')
        self.assertIn('the file system is not known', self.fails('differs', **WANTED)['msg'])

    def test_several(self):
        self.answer('disks-two.json')
        self.assertIn('vda, vdb', self.fails('differs', **{**WANTED, 'target': 'vda', 'serial': 'data-1'})['msg'])

    def test_refused(self):
        self.answer('disks-one.json')
        self.answer('grow-refused.jsonl', 3)
        self.assertEqual(self.fails('no-space', **WANTED)['rc'], 3)

    def test_no_domain(self):
        self.answer('error.json', 3)
        self.fails('shrink', **WANTED)

    def test_no_size(self):
        for size in ('20', '+20G', 'fill', '1X'):
            self.assertIn('is not a size', self.fails('usage', **{**WANTED, 'size': size})['msg'])


if __name__ == '__main__':
    unittest.main()
