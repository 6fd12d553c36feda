"""Predictions and labels from files: NumPy, CSV, Parquet, gzipped or not. Start with `read_predictions`.

A file's format is told by its content. Every error is one line that names the file, what was expected and
what came.
"""

from dataclasses import dataclass
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from foresee.calibration.check import SUM_TOLERANCE, is_probabilities, log_probabilities
from foresee.calibration.unpack import Content, as_labels, as_numbers, read_content, shorten
from foresee.errors import CalibrationError

TABLES = (
    "predictions",
    "logits",
    "probabilities",
)  # names of arrays that hold predictions, the first that is there
LABELS = ("label", "labels", "ground_truth")


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a classifier said of a number of rows, and what was true.

    Attributes:
        source: the file.
        table: logits or probabilities, shape (rows, classes).
        labels: true classes; None where the file has none and none were asked for.
        probabilities: whether the rows are probabilities rather than logits.
        classes: names of the classes.
        notes: what was concluded from the file, one sentence each.
    """

    source: str
    table: Float[np.ndarray, "rows classes"]
    labels: Int[np.ndarray, " rows"] | None
    probabilities: bool
    classes: tuple[str, ...]
    notes: tuple[str, ...]

    def logits(self) -> Float[Array, "rows classes"]:
        """Return logits; the logarithms of the probabilities where probabilities were read."""
        return log_probabilities(self.table) if self.probabilities else jnp.asarray(self.table, float)


def read_predictions(
    path: str | Path, labels: str | Path | None = None, labelled: bool = True
) -> Predictions:
    """Read predictions and their labels.

    Args:
        path: npz with an array `predictions` (or `logits`, `probabilities`), npy, or a table as CSV or
            Parquet with one column per class; any of them gzipped or not.
        labels: a file of labels, or the name of the array or column that has them; None: `label`, `labels` or
            `ground_truth`.
        labelled: whether labels are needed.

    Raises:
        CalibrationError: if the file cannot be read, or what is in it are no predictions with labels.
    """
    content = read_content(Path(path))
    table, classes, column = _table_and_labels(content, labels if labelled else None, labelled)
    notes: tuple[str, ...] = ()
    if content.dropped:
        notes = ("The first column has no name; it was taken for row numbers.",)
    probabilities = _kind(table, content)
    truth = None
    if labelled:
        of = content
        if column is None:
            of = read_content(Path(str(labels)))
            column = _only_labels(of, len(table))
        truth = as_labels(column, classes, len(table), of.source)
        only = np.unique(truth)
        if len(only) < 2:
            raise CalibrationError(
                f"{of.source}: expected labels of at least two classes, got {only[0]} in every row"
            )
    return Predictions(content.source, table, truth, probabilities, classes, notes)


def _table_and_labels(
    content: Content, labels: str | Path | None, labelled: bool
) -> tuple[np.ndarray, tuple[str, ...], np.ndarray | None]:
    """Return predictions, names of classes, and labels; None for labels that are in a file of their own."""
    source, names = content.source, list(content.columns)
    wanted = None if labels is None else str(labels)
    elsewhere = wanted is not None and wanted not in names and Path(wanted).is_file()
    if wanted is not None and not elsewhere and wanted not in names:
        what = "an array" if content.arrays else "a column"
        raise CalibrationError(
            f"{source}: expected {what} or a file {wanted!r} with labels, got {_list(names)}"
        )
    found = None if elsewhere else wanted or next((name for name in LABELS if name in names), None)
    if labelled and found is None and not elsewhere:
        raise CalibrationError(
            f"{source}: expected labels under one of {', '.join(LABELS)}, or --labels with a file or a name, "
            f"got {_list(names)}"
        )
    column = None if found is None else content.columns[found]
    if content.arrays:
        known = [name for name in TABLES if name in names] or [name for name in names if name == ""]
        if not known:
            raise CalibrationError(f"{source}: expected an array {TABLES[0]!r}, got {_list(names)}")
        table = as_numbers(content.columns[known[0]], known[0] or "the array", source)
        if table.ndim != 2 or table.shape[1] < 2 or not len(table):
            raise CalibrationError(
                f"{source}: expected predictions of shape (rows, classes), at least two classes, got "
                f"{table.shape}"
            )
        return table, tuple(str(index) for index in range(table.shape[1])), column
    classes = [name for name in names if name != found]
    if not labelled:  # a table that is laid out as the labelled one, whose labels do not matter
        classes = [name for name in classes if name not in LABELS]
    if len(classes) < 2 or not content.rows:
        raise CalibrationError(
            f"{source}: expected a column for every one of at least two classes, and rows, got "
            f"{_list(classes)} and {content.rows} rows"
        )
    columns = [as_numbers(content.columns[name], f"column {shorten(name)!r}", source) for name in classes]
    return np.stack(columns, axis=1), tuple(classes), column


def _only_labels(content: Content, rows: int) -> np.ndarray:
    """Return the labels of a file that has nothing else, or that names them."""
    names = list(content.columns)
    found = next((name for name in LABELS if name in names), names[0] if len(names) == 1 else None)
    if found is None:
        raise CalibrationError(
            f"{content.source}: expected one column or array of labels, or one called {', '.join(LABELS)}, "
            f"got {_list(names)}"
        )
    column = content.columns[found]
    # Text without a header: what was taken for the header is the first label.
    if not content.arrays and len(names) == 1 and found not in LABELS and len(column) == rows - 1:
        column = np.concatenate([np.asarray([found], object), column.astype(object)])
    return column


def _kind(table: np.ndarray, content: Content) -> bool:
    """Return whether rows are probabilities; raise where they are neither these nor logits."""
    source = content.source
    wrong = np.argwhere(~np.isfinite(table))
    if wrong.size:
        row, column = (int(place) for place in wrong[0])
        raise CalibrationError(
            f"{source}: expected finite predictions, got {table[row, column]} in row {row}, class {column}"
        )
    if is_probabilities(table):
        return True
    sums = table.sum(axis=1)
    off = int(np.argmax(np.abs(sums - 1) > SUM_TOLERANCE))
    claimed = content.arrays and "predictions" not in content.columns and "probabilities" in content.columns
    if claimed or ((table >= 0).all() and (table <= 1).all()):
        raise CalibrationError(
            f"{source}: expected probabilities that sum to one, or logits, got a row within 0 and 1 that "
            f"sums to {sums[off]:.6g} (row {off})"
            if not claimed
            else f"{source}: expected probabilities ≥ 0 that sum to one, got others in row {off}"
        )
    if (table >= 0).all() and (np.abs(sums - 100) <= 100 * SUM_TOLERANCE).all():
        raise CalibrationError(
            f"{source}: expected probabilities or logits, got rows that sum to 100; divide them by 100"
        )
    return False


def _list(names: list[str]) -> str:
    shown = ", ".join(shorten(name) or "one without a name" for name in names[:12])
    return (shown or "none") + (f" and {len(names) - 12} more" if len(names) > 12 else "")
