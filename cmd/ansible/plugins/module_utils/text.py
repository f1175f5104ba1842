# SPDX-License-Identifier: Apache-2.0

"""What people read: sizes as virt-grow reads and prints them, and the map of a disk."""

import math
import re

UNITS = {'B': 1, 'K': 2**10, 'M': 2**20, 'G': 2**30, 'T': 2**40, 'P': 2**50}


def parse(text):
    """Return the bytes of a size such as 30G, 1.5TiB or 4096B, rounded up to whole MiB as virt-grow does."""
    match = re.fullmatch(r'([0-9]+\.?[0-9]*|\.[0-9]+)\s*(?:([KMGTP])(?:i?B)?|B)', text.strip(), re.IGNORECASE)
    if match is None:
        raise ValueError('%s is not a size (examples: 30G, 512M, 1.5T)' % text)
    bytes_ = float(match[1]) * UNITS[(match[2] or 'B').upper()]
    return math.ceil(bytes_ / UNITS['M']) * UNITS['M']


def human(size):
    """Return a size for people: 79.88 GiB."""
    for unit in 'PTGMK':
        if size >= UNITS[unit]:
            return ('%.2f' % (size / UNITS[unit])).rstrip('0').rstrip('.') + ' ' + unit + 'iB'
    return '%d B' % size


def clean(text):
    """Return a text without what a terminal would act on. Labels and names come from inside guests."""
    return ''.join(c if c.isprintable() else '?' for c in text.replace('\n', ' '))


def table(rows):
    """Return rows of cells as aligned lines."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows)]
    lines = ['  '.join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    return '\n'.join(lines) + '\n' if lines else ''


def layout_map(layout):
    """Return the map of a layout of a plan: a line for each device."""
    rows = []
    for device in layout.get('devices') or []:
        content = device.get('content') or {}
        indent = '' if device.get('kind') == 'disk' else '  '
        used_for = [content.get('type', ''), content.get('label', '')] + (content.get('mounted') or [])
        if not content.get('type'):
            used_for[0] = device.get('type', '')
        inside = content.get('size', 0)
        rows.append((indent + clean(device.get('name', '')), human(device.get('size', 0)),
                     human(inside) if inside else '', clean(' '.join(word for word in used_for if word))))
    return table(rows)
