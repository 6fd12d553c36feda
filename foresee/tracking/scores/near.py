"""Which points of two sets are near each other."""

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import KDTree


def near_pairs(
    a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m d"], within: float | int
) -> tuple[Int[np.ndarray, " k"], Int[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """Return row, column and distance of all pairs of points nearer than `within`, row by row."""
    if not (len(a) and len(b)):
        return np.zeros(0, int), np.zeros(0, int), np.zeros(0)
    near: np.ndarray = KDTree(a).sparse_distance_matrix(KDTree(b), float(within), output_type="ndarray")  # pyright: ignore
    order = np.lexsort((near["j"], near["i"]))
    return near["i"][order].astype(int), near["j"][order].astype(int), near["v"][order]
