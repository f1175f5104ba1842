# SPDX-License-Identifier: Apache-2.0

import unittest

from ansible_collections.virt_grow.grow.plugins.module_utils.text import clean, human, layout_map, parse


class TestText(unittest.TestCase):
    def test_parse(self):
        for text, bytes_ in (('30G', 30 * 2**30), ('1.5T', 1536 * 2**30), ('512MiB', 2**29), ('4096B', 2**20), ('1 gb', 2**30), ('1000001K', 977 * 2**20)):
            self.assertEqual(parse(text), bytes_, text)
        for text in ('', '30', 'G', '-1G', '1..5G', '30GG', 'fill'):
            with self.assertRaises(ValueError, msg=text):
                parse(text)

    def test_human(self):
        for bytes_, text in ((0, '0 B'), (512, '512 B'), (2**30, '1 GiB'), (2**30 * 3 // 2, '1.5 GiB'), (10 * 2**40, '10 TiB'), (85767962624, '79.88 GiB')):
            self.assertEqual(human(bytes_), text)

    def test_clean(self):
        self.assertEqual(clean('a\x1b[2J\nb\u202e\u00f6'), 'a?[2J b?\u00f6')

    def test_empty_map(self):
        self.assertEqual(layout_map({}), '')
