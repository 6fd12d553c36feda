"""The next bit that is set on a line of bits, ahead or behind, for compiled code."""

from typing import no_type_check

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic


@intrinsic
@no_type_check
def _zeros_below(context, word):
    def generate(context, builder, signature, arguments):
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(types.uint64), generate


@intrinsic
@no_type_check
def _zeros_above(context, word):
    def generate(context, builder, signature, arguments):
        return builder.ctlz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(types.uint64), generate


@njit(cache=True, nogil=True, inline="always")
@no_type_check
def ahead(bits, line, place):
    """Return the first set bit after a place on a line; there must be one."""
    place += 1
    word = place >> 6
    found = bits[line, word] >> np.uint64(place & 63)
    if found:
        return place + np.int64(_zeros_below(found))
    word += 1
    while bits[line, word] == 0:
        word += 1
    return (word << 6) + np.int64(_zeros_below(bits[line, word]))


@njit(cache=True, nogil=True, inline="always")
@no_type_check
def behind(bits, line, place):
    """Return the last set bit before a place on a line; there must be one."""
    place -= 1
    word = place >> 6
    found = bits[line, word] << np.uint64(63 - (place & 63))
    if found:
        return place - np.int64(_zeros_above(found))
    word -= 1
    while bits[line, word] == 0:
        word -= 1
    return (word << 6) + 63 - np.int64(_zeros_above(bits[line, word]))


@njit(cache=True, nogil=True, inline="always")
@no_type_check
def is_set(bits, line, place):
    """Return whether a bit is set."""
    return (bits[line, place >> 6] >> np.uint64(place & 63)) & np.uint64(1) != 0


def pack(flags):
    """Return lines of bits, place p in bit p mod 64 of word p // 64; beyond the end all are set."""
    words = -(-flags.shape[1] // 64)
    padded = np.ones((flags.shape[0], 64 * words), bool)
    padded[:, : flags.shape[1]] = flags
    return np.packbits(padded, axis=1, bitorder="little").view("<u8").astype(np.uint64)
