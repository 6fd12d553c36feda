"""Compiled loops of the host on the gating graph: optimal assignment, and loopy belief propagation.

The graph is kept by rows: the candidates of track i are `edges[start[i]:start[i + 1]]`. Its size, and so the
cost of everything here, grows with the number of tracks and detections and not with their product.
"""

import math
from typing import no_type_check

import numpy as np
from numba import njit

LARGEST = 80.0  # log weights above it are as good as certain
AGREED = 1e-5  # messages that change by less have converged


@njit(cache=True)
@no_type_check
def assign(start, edges, gain, rows, column_of, owner):
    """Give columns to the named rows so that gains add up to the most; `column_of` and `owner` are filled.

    Shortest augmenting paths on the sparse graph (Jonker and Volgenant 1987): a search never leaves the
    connected part of the graph in which it began. Columns that have an owner before the call are kept.
    """
    columns = len(owner)
    allowed = np.empty(len(edges), np.bool_)
    u, v = np.zeros(len(column_of)), np.zeros(columns)
    distance, via = np.empty(columns), np.empty(columns, np.int64)
    state = np.zeros(columns, np.int8)  # 0 untouched, 1 reached, 2 done
    reached = np.empty(columns, np.int64)
    for i in rows:
        for e in range(start[i], start[i + 1]):
            allowed[e] = gain[e] > 0 and owner[edges[e]] < 0
            if allowed[e]:
                u[i] = min(u[i], -gain[e])
    for i in rows:
        graph = (start, edges, gain, allowed)
        touched, final, end, shortest = _path(i, graph, owner, u, v, distance, via, state, reached)
        u[i] += shortest
        for place in range(touched):
            j = reached[place]
            if state[j] == 2:
                v[j] += distance[j] - shortest
                u[owner[j]] += shortest - distance[j]
            state[j] = 0
        if final < 0 and end != i:
            # The row at the end gives its column up and stays without one.
            final = column_of[end]
            column_of[end] = -1
        while final >= 0:
            row = via[final]
            before = column_of[row]
            column_of[row], owner[final] = final, row
            final = before if row != i else -1


@njit(cache=True)
@no_type_check
def _path(i, graph, owner, u, v, distance, via, state, reached):
    """Search from row i for the nearest free column, or the nearest row that had better stay without one.

    Returns how many columns were reached, the free column or −1, that row, and the distance.
    """
    start, edges, gain, allowed = graph
    touched, row, base = 0, i, 0.0
    shortest, end = -u[i], i
    while True:
        for e in range(start[row], start[row + 1]):
            j = edges[e]
            if not allowed[e] or state[j] == 2:
                continue
            length = base - gain[e] - u[row] - v[j]
            if state[j] == 0:
                state[j], reached[touched] = 1, j
                touched += 1
                distance[j], via[j] = length, row
            elif length < distance[j]:
                distance[j], via[j] = length, row
        nearest, least = -1, shortest
        for place in range(touched):
            j = reached[place]
            if state[j] == 1 and distance[j] < least:
                nearest, least = j, distance[j]
        if nearest < 0:
            return touched, -1, end, shortest
        if owner[nearest] < 0:
            return touched, nearest, end, least
        state[nearest] = 2
        row, base = owner[nearest], distance[nearest]
        if base - u[row] < shortest:
            shortest, end = base - u[row], row


@njit(cache=True)
@no_type_check
def _parts(start, edges, columns):
    """Return a number for every row: rows of the same number are those of one connected part of the graph."""
    rows = len(start) - 1
    root = np.arange(columns)
    for t in range(rows):
        for e in range(start[t] + 1, start[t + 1]):
            a, b = edges[e - 1], edges[e]
            while root[a] != a:
                root[a] = root[root[a]]
                a = root[a]
            while root[b] != b:
                root[b] = root[root[b]]
                b = root[b]
            root[max(a, b)] = min(a, b)
    part = np.full(rows, -1)
    for t in range(rows):
        if start[t + 1] > start[t]:
            a = edges[start[t]]
            while root[a] != a:
                a = root[a]
            part[t] = a
    return part


@njit(cache=True)
@no_type_check
def marginals(start, edges, log_weight, columns, rounds):
    """Return the probability of every edge, of every row and column to be left alone, and the log sum.

    Messages of Williams and Lau (2014), eqs. 15 and 16, as in `foresee.tracking.jpda`; each connected part of
    the graph is done with as soon as its messages agree.
    """
    tracks, size = len(start) - 1, len(edges)
    weight = np.exp(np.minimum(log_weight, LARGEST))
    mu, nu = np.zeros(size), np.ones(size)
    part = _parts(start, edges, columns)
    rows = np.flatnonzero(part >= 0)
    top, rest, holder = np.zeros(columns), np.zeros(columns), np.full(columns, -1)
    change = np.zeros(columns)
    for _ in range(rounds):
        _to_detections(rows, start, edges, weight, nu, mu)
        _to_tracks(rows, part, start, edges, mu, nu, top, rest, holder, change)
        rows = rows[change[part[rows]] >= AGREED]
        if len(rows) == 0:
            break
    _to_detections(np.flatnonzero(part >= 0), start, edges, weight, nu, mu)
    alone, total = np.ones(tracks), 0.0
    probable, summed = np.empty(size), np.ones(columns)
    for t in range(tracks):
        row = 1.0
        for e in range(start[t], start[t + 1]):
            row += weight[e] * nu[e]
        alone[t] = 1.0 / row
        total += math.log(row)
        for e in range(start[t], start[t + 1]):
            probable[e] = weight[e] * nu[e] / row
            summed[edges[e]] += mu[e]
            total -= math.log1p(mu[e] * nu[e])
    for j in range(columns):
        total += math.log(summed[j])
    return probable, alone, 1.0 / summed, total


@njit(cache=True)
@no_type_check
def _to_detections(rows, start, edges, weight, nu, mu):
    """Write the messages of the named tracks: μ = w / (1 + Σ over the track's other candidates of w ν).

    The largest term is left out of a sum instead of being subtracted from it, here and below, so that it does
    not drown the others.
    """
    for t in rows:
        top, rest, holder = 0.0, 0.0, -1
        for e in range(start[t], start[t + 1]):
            value = weight[e] * nu[e]
            if value > top:
                rest += top
                top, holder = value, e
            else:
                rest += value
        for e in range(start[t], start[t + 1]):
            others = rest if e == holder else top + max(rest - weight[e] * nu[e], 0.0)
            mu[e] = weight[e] / (1.0 + others)


@njit(cache=True)
@no_type_check
def _to_tracks(rows, part, start, edges, mu, nu, top, rest, holder, change):
    """Write the answers, ν = 1 / (1 + Σ over the detection's other tracks of μ), and each part's change."""
    for t in rows:
        change[part[t]] = 0.0
        for e in range(start[t], start[t + 1]):
            j = edges[e]
            top[j], rest[j], holder[j] = 0.0, 0.0, -1
    for t in rows:
        for e in range(start[t], start[t + 1]):
            j = edges[e]
            if mu[e] > top[j]:
                rest[j] += top[j]
                top[j], holder[j] = mu[e], e
            else:
                rest[j] += mu[e]
    for t in rows:
        for e in range(start[t], start[t + 1]):
            j = edges[e]
            others = rest[j] if holder[j] == e else top[j] + max(rest[j] - mu[e], 0.0)
            new = 1.0 / (1.0 + others)
            change[part[t]] = max(change[part[t]], abs(new - nu[e]))
            nu[e] = new
