"""Whether a linear system can be steered and seen, and feedback that puts its poles where they are wanted."""

from typing import Any

import numpy as np
import scipy.signal

from foresee.errors import PlanningError
from foresee.planning.lqr import check_shapes

SINGULAR = 1e-9  # singular value, as a share of the largest, below which a direction does not count


def controllable(a: Any, b: Any) -> bool:
    """Return whether inputs reach every direction of x' = A x + B u (Hautus 1969: rank [A - λ, B] = n)."""
    return not _lost(np.asarray(a, float), np.asarray(b, float), all_of_them=True)


def stabilisable(a: Any, b: Any) -> bool:
    """Return whether inputs reach every direction that does not die away by itself."""
    return not _lost(np.asarray(a, float), np.asarray(b, float), all_of_them=False)


def observable(a: Any, output: Any) -> bool:
    """Return whether y = C x shows every direction of x' = A x in the end."""
    return controllable(np.asarray(a, float).T, np.asarray(output, float).T)


def detectable(a: Any, output: Any) -> bool:
    """Return whether y = C x shows every direction of x' = A x that does not die away by itself."""
    return stabilisable(np.asarray(a, float).T, np.asarray(output, float).T)


def _lost(a: np.ndarray, b: np.ndarray, all_of_them: bool) -> list[complex]:
    """Return the eigenvalues whose directions no input reaches."""
    check_shapes(a, b, "controllable")
    lost = []
    for value in np.linalg.eigvals(a):
        if all_of_them or abs(value) >= 1:
            pencil = np.hstack([a - value * np.eye(len(a)), b])
            singular = np.linalg.svd(pencil, compute_uv=False)
            if singular[-1] <= SINGULAR * max(singular[0], 1.0):
                lost.append(complex(value))
    return lost


def place_poles(a: Any, b: Any, poles: Any) -> np.ndarray:
    """Return K so that A - B K has these eigenvalues, by SciPy (Tits and Yang 1996).

    Raises:
        ShapeError: if the shapes do not fit each other.
        PlanningError: if the system is not controllable, or its poles cannot be put there.
    """
    a, b, poles = np.asarray(a, float), np.asarray(b, float), np.asarray(poles)
    check_shapes(a, b, "place_poles")
    if poles.shape != (a.shape[0],):
        raise PlanningError(f"place_poles: expected {a.shape[0]} poles, got {poles.shape}")
    if not controllable(a, b):
        raise PlanningError(
            f"place_poles: expected a controllable system, got one with {_lost(a, b, True)} lost"
        )
    try:
        return vars(scipy.signal.place_poles(a, b, poles))["gain_matrix"]
    except ValueError as error:
        raise PlanningError(f"place_poles: {error}") from error
