"""The best one-to-one pairing where few pairs are possible at all."""

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


def best_pairs(
    row: Int[np.ndarray, " k"], column: Int[np.ndarray, " k"], worth: Float[np.ndarray, " k"]
) -> Int[np.ndarray, " pairs"]:
    """Return which of the possible pairs make the one-to-one pairing whose worth sums highest.

    Pairs that are not listed, or worth nothing, are not made. Rows and columns that no chain of possible
    pairs connects are paired apart, which changes nothing but the time it takes.
    """
    good = np.flatnonzero(worth > 0)
    if not len(good):
        return good
    rows, i = np.unique(row[good], return_inverse=True)
    columns, j = np.unique(column[good], return_inverse=True)
    size = len(rows) + len(columns)
    _, part = connected_components(coo_array((np.ones(len(good)), (i, len(rows) + j)), (size, size)), False)
    of_pair = part[i]
    order = np.argsort(of_pair, kind="stable")
    chosen = []
    for places in np.split(order, np.flatnonzero(np.diff(of_pair[order])) + 1):
        if len(places) == 1:
            chosen.append(good[places])
            continue
        a, at = np.unique(i[places], return_inverse=True)
        b, bt = np.unique(j[places], return_inverse=True)
        table, source = np.zeros((len(a), len(b))), np.full((len(a), len(b)), -1)
        table[at, bt], source[at, bt] = worth[good[places]], good[places]
        taken = source[linear_sum_assignment(table, maximize=True)]
        chosen.append(taken[taken >= 0])
    return np.sort(np.concatenate(chosen))
