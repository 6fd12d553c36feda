"""Smoothing of finished tracks: where an object was, given all detections that turned out to be its own."""

from typing import NamedTuple, no_type_check

import numpy as np
from jaxtyping import Bool, Float, Int
from numba import njit

from foresee.errors import TrackingError


class Smoothed(NamedTuple):
    """Every component of every row, given the whole path.

    Attributes:
        position: mean.
        velocity: mean, per second.
        variance: of the position.
        velocity_variance: of the velocity.
        log_evidence: log density of the detections of each path, given the first.
    """

    position: Float[np.ndarray, "n d"]
    velocity: Float[np.ndarray, "n d"]
    variance: Float[np.ndarray, "n d"]
    velocity_variance: Float[np.ndarray, "n d"]
    log_evidence: Float[np.ndarray, " paths"]


def smooth(
    start: Int[np.ndarray, " ends"],
    time: Float[np.ndarray, " n"],
    value: Float[np.ndarray, "n d"],
    seen: Bool[np.ndarray, " n"],
    noise: Float[np.ndarray, "n d"],
    density: Float[np.ndarray, "n d"],
    spread: Float[np.ndarray, " d"],
) -> Smoothed:
    """Smooth many paths of nearly constant velocity, component by component (Rauch, Tung, Striebel 1965).

    Args:
        start: where each path begins among the rows, and at last the number of rows.
        time: moment of each row [s], not decreasing within a path.
        value: what was measured.
        seen: which rows are measurements; what stands in others has no influence.
        noise: variance of each measurement.
        density: spectral density of the acceleration's noise from the row before to this.
        spread: prior standard deviation of the velocity.

    Raises:
        TrackingError: if shapes do not fit or a path has no measurement.
    """
    rows, size = value.shape
    if not (noise.shape == density.shape == (rows, size) and len(time) == len(seen) == rows == start[-1]):
        raise TrackingError(f"expected {start[-1]} rows of times and values, got {len(time)} and {rows}")
    counts = np.add.reduceat(np.append(seen, False).astype(int), start[:-1]) if len(start) > 1 else np.ones(0)
    if np.any(counts == 0):
        raise TrackingError(
            f"expected a measurement in every path, got none in path {int(np.argmin(counts))}"
        )
    position, velocity, variance, rate = np.zeros((4, rows, size))
    evidence = np.zeros(len(start) - 1)
    _smooth(
        start.astype(np.int64),
        np.ascontiguousarray(time, np.float64),
        np.ascontiguousarray(value, np.float64),
        np.ascontiguousarray(seen),
        np.ascontiguousarray(noise, np.float64),
        np.ascontiguousarray(density, np.float64),
        np.ascontiguousarray(spread, np.float64),
        position,
        velocity,
        variance,
        rate,
        evidence,
    )
    return Smoothed(position, velocity, variance, rate, evidence)


@njit(cache=True)
@no_type_check  # shape checks, where they are on, would wrap it into what Numba cannot read
def _smooth(start, time, value, seen, noise, density, spread, position, velocity, variance, rate, evidence):
    longest = 1
    for path in range(len(start) - 1):
        longest = max(longest, start[path + 1] - start[path])
    after = np.empty((longest, 5))  # mean and covariance after each row, and before it
    before = np.empty((longest, 5))
    for path in range(len(start) - 1):
        first, end = start[path], start[path + 1]
        anchor = first
        while not seen[anchor]:
            anchor += 1
        for k in range(value.shape[1]):
            # The first measurement alone says where the path lies; only the velocity has a prior.
            x, v = value[anchor, k], 0.0
            big = 1e4 * (noise[anchor, k] + spread[k] ** 2)
            a, b, c = big, 0.0, spread[k] ** 2
            for row in range(first, end):
                i = row - first
                if i > 0:
                    dt = time[row] - time[row - 1]
                    q = density[row, k]
                    x += dt * v
                    a, b = a + 2 * dt * b + dt * dt * c + q * dt**3 / 3, b + dt * c + q * dt * dt / 2
                    c += q * dt
                before[i, 0], before[i, 1], before[i, 2], before[i, 3], before[i, 4] = x, v, a, b, c
                if seen[row]:
                    s = a + noise[row, k]
                    error = value[row, k] - x
                    if row > anchor:
                        evidence[path] -= 0.5 * (np.log(2 * np.pi * s) + error * error / s)
                    x += a / s * error
                    v += b / s * error
                    c -= b * b / s
                    b *= noise[row, k] / s
                    a *= noise[row, k] / s
                after[i, 0], after[i, 1], after[i, 2], after[i, 3], after[i, 4] = x, v, a, b, c
            for row in range(end - 1, first - 1, -1):
                i = row - first
                if row < end - 1:
                    dt = time[row + 1] - time[row]
                    fx, fv, fa, fb, fc = after[i]
                    px, pv, pa, pb, pc = before[i + 1]
                    determinant = pa * pc - pb * pb
                    if determinant > 0 and dt > 0:
                        # gain = P Fᵀ P₋⁻¹
                        u, w = fa + dt * fb, fb + dt * fc
                        g11, g12 = (u * pc - fb * pb) / determinant, (fb * pa - u * pb) / determinant
                        g21, g22 = (w * pc - fc * pb) / determinant, (fc * pa - w * pb) / determinant
                        dx, dv = x - px, v - pv
                        da, db, dc = a - pa, b - pb, c - pc
                        x, v = fx + g11 * dx + g12 * dv, fv + g21 * dx + g22 * dv
                        na = fa + g11 * g11 * da + 2 * g11 * g12 * db + g12 * g12 * dc
                        nb = fb + g11 * g21 * da + (g11 * g22 + g12 * g21) * db + g12 * g22 * dc
                        nc = fc + g21 * g21 * da + 2 * g21 * g22 * db + g22 * g22 * dc
                        a, b, c = na, nb, nc
                position[row, k], velocity[row, k] = x, v
                variance[row, k], rate[row, k] = a, c
