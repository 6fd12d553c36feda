"""Means and shares over the rows of many vehicles, whose own rows depend on each other."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy import stats


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval; NaN where the rows do not suffice."""

    value: float
    low: float
    high: float


def average(values: Float[np.ndarray, "V L"], counted: Bool[np.ndarray, "V L"]) -> Estimate:
    """Mean over the counted rows; the 95 % interval treats vehicles, not rows, as independent.

    It is the ratio of two sums over vehicles, with its linearised variance (Cochran 1977, ch. 6) and
    Student's t.
    """
    totals, counts = np.where(counted, values, 0.0).sum(axis=1), counted.sum(axis=1)
    mean, variance, freedom = _ratio(totals, counts)
    half = float(stats.t.ppf(0.975, freedom) * np.sqrt(variance)) if freedom > 0 else np.nan
    return Estimate(mean, mean - half, mean + half)


def share(
    hits: Bool[np.ndarray, "V L"] | Float[np.ndarray, "V L"], counted: Bool[np.ndarray, "V L"]
) -> Estimate:
    """Share of the counted rows that are hits; the 95 % interval treats vehicles, not rows, as independent.

    Wilson's interval (1927) for as many independent rows as would give the variance between vehicles
    (Korn and Graubard 1998).
    """
    totals, counts = np.where(counted, hits, 0.0).sum(axis=1), counted.sum(axis=1)
    p, variance, freedom = _ratio(totals, counts)
    if freedom < 1:
        return Estimate(p, np.nan, np.nan)
    n = float(counts.sum())
    if variance > 0:
        n = min(n, p * (1 - p) / variance)
    z2 = stats.t.ppf(0.975, freedom) ** 2
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = np.sqrt(z2 * (p * (1 - p) / n + z2 / (4 * n**2))) / (1 + z2 / n)
    # Rounding may put 1 beyond the end.
    # rounding may put the ends of a share of 0 or 1 on its wrong side
    low, high = min(p, float(centre - half)), max(p, float(centre + half))
    return Estimate(p, max(0.0, low), min(1.0, high))


def _ratio(totals: np.ndarray, counts: np.ndarray) -> tuple[float, float, int]:
    vehicles, n = int((counts > 0).sum()), counts.sum()
    if n == 0:
        return np.nan, np.nan, 0
    ratio = float(totals.sum() / n)
    residuals = totals - ratio * counts
    return ratio, float(np.sum(residuals**2) / n**2) * vehicles / max(vehicles - 1, 1), vehicles - 1
