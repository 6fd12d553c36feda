"""Hub labels: for each node of a graph a list of hubs, such that any two share the best one between them."""

from dataclasses import dataclass
from typing import no_type_check

import numpy as np
from jaxtyping import Int
from numba import njit

from foresee.planning.queue import pop, push

TREES = 48  # drawn to find out which nodes many shortest paths pass


@dataclass(frozen=True, eq=False)
class HubLabels:
    """Exact distances between the nodes of an undirected graph, and the way along them.

    Attributes:
        first: where the label of each node begins, and where the last one ends.
        hubs: rank of each hub in a label, in rising order.
        lengths: how far the hub is.
        onward: the next node on the way to the hub; the node itself at the hub.
    """

    first: Int[np.ndarray, " nodes_and_1"]
    hubs: Int[np.ndarray, " entries"]
    lengths: Int[np.ndarray, " entries"]
    onward: Int[np.ndarray, " entries"]


def hub_labels(
    first: Int[np.ndarray, " nodes_and_1"],
    ends: Int[np.ndarray, " edges"],
    lengths: Int[np.ndarray, " edges"],
    *,
    seed: int = 0,
) -> HubLabels:
    """Make labels of an undirected graph given in compressed rows, every edge in both directions.

    Nodes become hubs in the order in which they cover most of the shortest paths of trees from random roots
    that are not yet covered.

    Args:
        first: first edge of each node.
        ends: where each edge ends.
        lengths: of the edges, whole numbers.
        seed: of the roots of the trees.

    Source:
        Akiba, Iwata and Yoshida (2013), pruned landmark labelling, with weights; the order after Delling,
        Goldberg, Pajor and Werneck (2014).
    """
    nodes = len(first) - 1
    random = np.random.default_rng(seed)
    roots = random.permutation(nodes)[:TREES].astype(np.int64)
    order = _order(first, ends, lengths, roots)
    counts, owners, hubs, far, onward = _label(first, ends, lengths, order)
    # Entries come hub by hub; a stable sort by node keeps the hubs of each in rising order.
    places = np.argsort(owners, kind="stable")
    starts = np.concatenate([[0], np.cumsum(counts)])
    return HubLabels(starts, hubs[places], far[places], onward[places])


@njit(cache=True, nogil=True)
@no_type_check
def _order(first, ends, lengths, roots):
    """Return the nodes, those that cover most first."""
    nodes, trees = len(first) - 1, len(roots)
    above = np.full((trees, nodes), -1, np.int32)
    place = np.full((trees, nodes), -1, np.int32)  # whatever is below a node stands right after it
    turn = np.full((trees, nodes), -1, np.int32)
    span = np.zeros((trees, nodes), np.int32)
    total = np.zeros(nodes, np.int64)
    for tree in range(trees):
        _plant(first, ends, lengths, roots[tree], above[tree], place[tree], turn[tree], span[tree])
        for node in range(nodes):
            total[node] += span[tree, node]
    below = span.copy()
    order = np.empty(nodes, np.int64)
    taken = np.zeros(nodes, np.bool_)
    picked = 0
    while picked < nodes:
        best = np.argmax(total)
        if total[best] <= 2:
            break
        order[picked], taken[best] = best, True
        picked += 1
        for tree in range(trees):
            _cover(best, above[tree], place[tree], turn[tree], span[tree], below[tree], total)
    # What no tree tells apart: many edges first.
    rest = np.flatnonzero(~taken)
    degrees = np.empty(len(rest), np.int64)
    for index in range(len(rest)):
        degrees[index] = -(first[rest[index] + 1] - first[rest[index]]) - 1000 * total[rest[index]]
    order[picked:] = rest[np.argsort(degrees)]
    return order


@njit(cache=True, nogil=True)
@no_type_check
def _plant(first, ends, lengths, root, above, place, turn, span):
    """Write a tree of shortest paths, numbered so that whatever is below a node stands right after it."""
    nodes = len(above)
    found = np.empty(nodes, np.int32)
    reached = _tree(first, ends, lengths, root, np.empty(nodes, np.int64), above, found)
    for index in range(reached - 1, -1, -1):
        node = found[index]
        span[node] += 1
        if above[node] >= 0:
            span[above[node]] += span[node]
    following = np.zeros(nodes, np.int32)
    for index in range(reached):
        node = found[index]
        at = 0 if above[node] < 0 else following[above[node]]
        if above[node] >= 0:
            following[above[node]] += span[node]
        place[node], turn[at], following[node] = at, node, at + 1


@njit(cache=True, nogil=True)
@no_type_check
def _cover(node, above, place, turn, span, below, total):
    """Take the part of a tree below a node out of all counts."""
    size = below[node]
    if size == 0:
        return
    up = above[node]
    while up >= 0:
        below[up] -= size
        total[up] -= size
        up = above[up]
    for index in range(place[node], place[node] + span[node]):
        other = turn[index]
        total[other] -= below[other]
        below[other] = 0


@njit(cache=True, nogil=True)
@no_type_check
def _tree(first, ends, lengths, root, far, above, turn):
    """Write the tree of shortest paths from a root; return how many nodes it has."""
    far[:] = -1
    keys, items = np.empty(1024, np.int64), np.empty(1024, np.int64)
    done = np.zeros(len(far), np.bool_)
    far[root] = 0
    keys, items, size = push(keys, items, 0, 0, root)
    reached = 0
    while size:
        here, node, size = pop(keys, items, size)
        if done[node]:
            continue
        done[node] = True
        turn[reached] = node
        reached += 1
        for edge in range(first[node], first[node + 1]):
            near, there = ends[edge], here + lengths[edge]
            if far[near] < 0 or there < far[near]:
                far[near], above[near] = there, node
                keys, items, size = push(keys, items, size, there, np.int64(near))
    return reached


@njit(cache=True, nogil=True)
@no_type_check
def _label(first, ends, lengths, order):
    """Return how many entries each node has, and all entries: node, hub's rank, length, next node."""
    nodes = len(first) - 1
    room = max(64 * nodes, 1024)
    owners, hubs = np.empty(room, np.int32), np.empty(room, np.int32)
    far, onward = np.empty(room, np.int64), np.empty(room, np.int32)
    chain = np.empty(room, np.int64)  # the entry before this one in its node's label
    newest = np.full(nodes, -1, np.int64)
    counts = np.zeros(nodes, np.int64)
    to_hub = np.full(nodes, -1, np.int64)  # from the new hub to the earlier hubs, by rank
    reach, up = np.full(nodes, -1, np.int64), np.empty(nodes, np.int32)
    touched = np.empty(nodes, np.int64)
    keys, items = np.empty(1024, np.int64), np.empty(1024, np.int64)
    used = 0
    for rank in range(nodes):
        root = order[rank]
        entry = newest[root]
        while entry >= 0:
            to_hub[hubs[entry]] = far[entry]
            entry = chain[entry]
        to_hub[rank] = 0
        reach[root], up[root] = 0, root
        touched[0], seen = root, 1
        keys, items, size = push(keys, items, 0, 0, root)
        while size:
            here, node, size = pop(keys, items, size)
            if here > reach[node] or _covered(node, here, newest, chain, hubs, far, to_hub):
                continue
            reach[node] = here - 1  # an equal key that waits is stale from here on
            if used == len(owners):
                owners, hubs, far = _twice(owners), _twice(hubs), _twice(far)
                onward, chain = _twice(onward), _twice(chain)
            owners[used], hubs[used], far[used], onward[used] = node, rank, here, up[node]
            chain[used], newest[node] = newest[node], used
            counts[node] += 1
            used += 1
            for edge in range(first[node], first[node + 1]):
                near, there = ends[edge], here + lengths[edge]
                if reach[near] < 0 or there < reach[near]:
                    if reach[near] < 0 and near != root:
                        touched[seen] = near
                        seen += 1
                    elif near == root:
                        continue
                    reach[near], up[near] = there, node
                    keys, items, size = push(keys, items, size, there, np.int64(near))
        for index in range(seen):
            reach[touched[index]] = -1
        entry = newest[root]
        while entry >= 0:
            to_hub[hubs[entry]] = -1
            entry = chain[entry]
        to_hub[rank] = -1
    return counts, owners[:used].copy(), hubs[:used].copy(), far[:used].copy(), onward[:used].copy()


@njit(cache=True, nogil=True)
@no_type_check
def _covered(node, here, newest, chain, hubs, far, to_hub):
    """Return whether an earlier hub already gives this distance or a shorter one."""
    entry = newest[node]
    while entry >= 0:
        other = to_hub[hubs[entry]]
        if other >= 0 and other + far[entry] <= here:
            return True
        entry = chain[entry]
    return False


@njit(cache=True, nogil=True)
@no_type_check
def _twice(array):
    wider = np.empty(2 * len(array), array.dtype)
    wider[: len(array)] = array
    return wider
