"""What `fit` cannot work with, said before anything is compiled."""

from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from foresee.errors import OptionError, ShapeError


def check(
    data: PyTree,
    validation: PyTree,
    epochs: int,
    batch_size: int,
    patience: int | None,
    members: int | None,
    rows: Any,
    weights: Any,
) -> None:
    """Raise unless the shapes and options of `fit` go together.

    Raises:
        ShapeError: if leading axes do not fit each other.
        OptionError: if an option has a value nothing can be done with.
    """
    count = _rows("data", data)
    if validation is not None:
        _rows("validation", validation)
    for name, value in (("epochs", epochs), ("batch_size", batch_size), ("members", members)):
        if value is not None and value < 1:
            raise OptionError(f"fit: expected {name} of at least 1, got {value}")
    if patience is not None and (validation is None or patience < 1):
        raise OptionError(f"fit: expected patience of at least 1, and validation with it, got {patience}")
    lead = () if members is None else (members,)
    if rows is not None:
        if np.shape(rows)[:-1] not in ((), lead):
            raise ShapeError(
                f"fit: expected rows of shape (drawn,) or (members, drawn), got {np.shape(rows)}"
            )
        low, high = np.min(np.asarray(rows)), np.max(np.asarray(rows))
        if low < 0 or high >= count:
            raise ShapeError(f"fit: expected rows within 0..{count - 1}, got {low}..{high}")
    if weights is not None:
        if np.shape(weights) not in ((count,), (*lead, count)):
            raise ShapeError(f"fit: expected a weight for each of {count} rows, got {np.shape(weights)}")
        if not (np.min(weights) >= 0 and np.all(np.sum(weights, axis=-1) > 0)):
            raise OptionError("fit: expected weights of at least 0, not all of them 0")


def _rows(name: str, tree: PyTree) -> int:
    """Return how many rows there are."""
    sizes = {np.shape(leaf)[0] if np.ndim(leaf) else None for leaf in jax.tree.leaves(tree)}
    if len(sizes) != 1 or None in sizes or 0 in sizes:
        raise ShapeError(
            f"fit: expected {name} with one common leading axis of rows, got {sorted(map(str, sizes))}"
        )
    return int(sizes.pop() or 0)
