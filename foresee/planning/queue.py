"""A binary heap of (key, item) in two arrays, for compiled searches."""

from typing import no_type_check

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
@no_type_check
def push(keys, items, size, key, item):
    """Add an item; return the arrays, larger ones if these were full, and the new size."""
    if size == len(keys):
        wider = np.empty(2 * size, keys.dtype)
        wider[:size] = keys
        keys = wider
        more = np.empty(2 * size, items.dtype)
        more[:size] = items
        items = more
    place = size
    while place > 0:
        above = (place - 1) >> 1
        if keys[above] <= key:
            break
        keys[place], items[place] = keys[above], items[above]
        place = above
    keys[place], items[place] = key, item
    return keys, items, size + 1


@njit(cache=True, nogil=True)
@no_type_check
def pop(keys, items, size):
    """Take out the item with the smallest key; return key, item and the new size."""
    key, item = keys[0], items[0]
    size -= 1
    last_key, last_item = keys[size], items[size]
    place = 0
    while True:
        below = 2 * place + 1
        if below >= size:
            break
        if below + 1 < size and keys[below + 1] < keys[below]:
            below += 1
        if keys[below] >= last_key:
            break
        keys[place], items[place] = keys[below], items[below]
        place = below
    keys[place], items[place] = last_key, last_item
    return key, item, size
