"""Compiled loops of the host over all tracks of one stream: prediction, gating and correction."""

import math
from typing import no_type_check

import numpy as np
from numba import njit


@njit(cache=True)
@no_type_check
def predict(mean, covariance, matrix, offset, noise):
    """Move means and covariances in place: x ← A x + c, P ← A P Aᵀ + Q."""
    tracks, n = mean.shape
    moved = np.empty(n)
    half = np.empty((n, n))
    for t in range(tracks):
        for i in range(n):
            total = offset[i]
            for j in range(n):
                total += matrix[i, j] * mean[t, j]
            moved[i] = total
        for i in range(n):
            mean[t, i] = moved[i]
            for j in range(n):
                total = 0.0
                for k in range(n):
                    total += matrix[i, k] * covariance[t, k, j]
                half[i, j] = total
        for i in range(n):
            for j in range(i + 1):
                total = noise[i, j]
                for k in range(n):
                    total += half[i, k] * matrix[j, k]
                covariance[t, i, j] = total
                covariance[t, j, i] = total


@njit(cache=True)
@no_type_check
def foresee(mean, covariance, matrix, offset, noise):
    """Return expected detections, P Hᵀ, and inverses, log determinants and widths of the innovations."""
    tracks, n = mean.shape
    m = matrix.shape[0]
    expected = np.empty((tracks, m))
    cross = np.empty((tracks, n, m))
    inverse = np.empty((tracks, m, m))
    log_determinant = np.empty(tracks)
    width = np.empty((tracks, m))
    spread = np.empty((m, m))
    lower = np.zeros((m, m))
    root = np.zeros((m, m))
    for t in range(tracks):
        for i in range(m):
            total = offset[i]
            for j in range(n):
                total += matrix[i, j] * mean[t, j]
            expected[t, i] = total
            for j in range(n):
                total = 0.0
                for k in range(n):
                    total += covariance[t, j, k] * matrix[i, k]
                cross[t, j, i] = total
        for i in range(m):
            for j in range(m):
                total = noise[i, j]
                for k in range(n):
                    total += matrix[i, k] * cross[t, k, j]
                spread[i, j] = total
            width[t, i] = math.sqrt(spread[i, i])
        log_determinant[t] = _invert(spread, lower, root, inverse[t])
    return expected, cross, inverse, log_determinant, width


@njit(cache=True)
@no_type_check
def _invert(matrix, lower, root, inverse):
    """Invert a positive definite matrix through its Cholesky factor and return its log determinant."""
    m = matrix.shape[0]
    log_determinant = 0.0
    for j in range(m):
        total = matrix[j, j]
        for k in range(j):
            total -= lower[j, k] ** 2
        lower[j, j] = math.sqrt(total)
        log_determinant += math.log(total)
        for i in range(j + 1, m):
            total = matrix[i, j]
            for k in range(j):
                total -= lower[i, k] * lower[j, k]
            lower[i, j] = total / lower[j, j]
    for j in range(m):
        root[j, j] = 1.0 / lower[j, j]
        for i in range(j + 1, m):
            total = 0.0
            for k in range(j, i):
                total -= lower[i, k] * root[k, j]
            root[i, j] = total / lower[i, i]
    for i in range(m):
        for j in range(m):
            total = 0.0
            for k in range(max(i, j), m):
                total += root[k, i] * root[k, j]
            inverse[i, j] = total
    return log_determinant


@njit(cache=True)
@no_type_check
def _cells(values, low, cell, counts):
    """Sort detections into the cells of a grid over two components: where cells begin, and the order."""
    rows = values.shape[0]
    place = np.empty(rows, np.int64)
    begin = np.zeros(counts[0] * counts[1] + 1, np.int64)
    for j in range(rows):
        a = min(int((values[j, 0] - low[0]) / cell[0]), counts[0] - 1)
        b = min(int((values[j, 1] - low[1]) / cell[1]), counts[1] - 1) if counts[1] > 1 else 0
        place[j] = a * counts[1] + b
        begin[place[j] + 1] += 1
    for c in range(len(begin) - 1):
        begin[c + 1] += begin[c]
    fill = begin[:-1].copy()
    order = np.empty(rows, np.int64)
    for j in range(rows):
        order[fill[place[j]]] = j
        fill[place[j]] += 1
    return begin, order


@njit(cache=True)
@no_type_check
def gate(expected, inverse, log_determinant, reach, least, values, threshold, low, cell, counts):
    """Return the gating graph: where rows begin, the detection of every edge, and its log likelihood.

    Only detections in the cells of a grid that the gate touches are looked at, and those less likely than a
    track's `least` are left out.
    """
    tracks, m = expected.shape
    begin, order = _cells(values, low, cell, counts)
    start = np.zeros(tracks + 1, np.int64)
    size = 4 * tracks + 64
    edges, fit = np.empty(size, np.int64), np.empty(size)
    count = 0
    constant = m * math.log(2 * math.pi)
    for t in range(tracks):
        first = np.zeros(2, np.int64)
        last = np.zeros(2, np.int64)
        touched = True
        for k in range(min(m, 2)):
            lowest = (expected[t, k] - reach[t, k] - low[k]) / cell[k]
            highest = (expected[t, k] + reach[t, k] - low[k]) / cell[k]
            if highest < 0 or lowest >= counts[k]:
                touched = False
            first[k] = int(min(max(lowest, 0.0), counts[k] - 1.0))
            last[k] = int(min(max(highest, 0.0), counts[k] - 1.0))
        if touched:
            for a in range(first[0], last[0] + 1):
                # Cells of one row of the grid lie side by side.
                low_place, high_place = begin[a * counts[1] + first[1]], begin[a * counts[1] + last[1] + 1]
                for place in range(low_place, high_place):
                    j = order[place]
                    if abs(values[j, 0] - expected[t, 0]) > reach[t, 0]:
                        continue
                    square = 0.0
                    for i in range(m):
                        apart = values[j, i] - expected[t, i]
                        for k in range(m):
                            square += apart * inverse[t, i, k] * (values[j, k] - expected[t, k])
                    log_likelihood = -0.5 * (constant + log_determinant[t] + square)
                    if square <= threshold and log_likelihood >= least[t]:
                        if count == size:
                            size *= 2
                            edges, fit = _longer(edges, size), _longer(fit, size)
                        edges[count] = j
                        fit[count] = log_likelihood
                        count += 1
        start[t + 1] = count
    return start, edges[:count], fit[:count]


@njit(cache=True)
@no_type_check
def _longer(array, size):
    longer = np.empty(size, array.dtype)
    longer[: len(array)] = array
    return longer


@njit(cache=True)
@no_type_check
def correct(mean, covariance, expected, cross, inverse, values, start, edges, trust):
    """Correct beliefs in place by all candidates, each weighted by its `trust` (they sum to at most 1).

    Bar-Shalom, Li and Kirubarajan 2001, eqs. 7.3.2-7 to -9: P ← P − T K S Kᵀ + K (Σ w ν νᵀ − ν̄ ν̄ᵀ) Kᵀ, with
    T the sum of the weights.
    """
    tracks, n = mean.shape
    m = expected.shape[1]
    gain, half = np.empty((n, m)), np.empty((n, m))
    centre, inner = np.empty(m), np.empty((m, m))
    for t in range(tracks):
        total = _innovation(t, expected, values, start, edges, trust, centre, inner)
        if total <= 0.0:
            continue
        for i in range(n):
            for k in range(m):
                value = 0.0
                for j in range(m):
                    value += cross[t, i, j] * inverse[t, j, k]
                gain[i, k] = value
        for i in range(n):
            for k in range(m):
                value = -total * cross[t, i, k]
                for j in range(m):
                    value += gain[i, j] * (inner[j, k] - centre[j] * centre[k])
                half[i, k] = value
                mean[t, i] += gain[i, k] * centre[k]
        for i in range(n):
            for j in range(i + 1):
                value = covariance[t, i, j]
                for k in range(m):
                    value += half[i, k] * gain[j, k]
                covariance[t, i, j] = value
                covariance[t, j, i] = value


@njit(cache=True)
@no_type_check
def _innovation(t, expected, values, start, edges, trust, centre, inner):
    """Write the weighted sum of a track's innovations and of their squares; return the sum of the weights."""
    m = expected.shape[1]
    total = 0.0
    centre[:] = 0.0
    inner[:, :] = 0.0
    for e in range(start[t], start[t + 1]):
        if trust[e] > 0:
            total += trust[e]
            for i in range(m):
                apart = values[edges[e], i] - expected[t, i]
                centre[i] += trust[e] * apart
                for k in range(m):
                    inner[i, k] += trust[e] * apart * (values[edges[e], k] - expected[t, k])
    return total


@njit(cache=True)
@no_type_check
def likeliest(start, edges, trust):
    """Return the detection that each track trusts the most, how much, and how much it trusts all together."""
    tracks = len(start) - 1
    best, most, total = np.full(tracks, -1), np.zeros(tracks), np.zeros(tracks)
    for t in range(tracks):
        for e in range(start[t], start[t + 1]):
            total[t] += trust[e]
            if trust[e] > most[t]:
                best[t], most[t] = edges[e], trust[e]
    return best, most, total
