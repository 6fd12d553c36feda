"""Several ways to doubt a classifier on one page of plots. Start with `uncertainty_page`."""

from collections.abc import Mapping

import numpy as np
from jax.typing import ArrayLike

from foresee.report.detection import Pairs, draw_entropies_by_method, draw_precision_recall, draw_roc
from foresee.report.page import Block, Figures, Page, Section, Table
from foresee.report.reliability import draw_reliabilities


def uncertainty_page(
    title: str,
    subtitle: str,
    labels: ArrayLike,
    probabilities: Mapping[str, ArrayLike],
    entropies: Mapping[str, Mapping[str, ArrayLike]],
    scores: Mapping[str, Pairs],
    table: Table | None = None,
    footer: str = "",
) -> Page:
    """Return one page that compares methods: reliability, what tells strange rows apart, and entropies.

    Args:
        title: of the page.
        subtitle: one sentence on what was compared, on what.
        labels: true classes of the test rows, shape (rows,).
        probabilities: of the test rows, shape (rows, classes), by method.
        entropies: in nats, by method and then by split, as {"plain": {"test": …, "far": …}}.
        scores: by kind of strange rows, as "far: notMNIST", then by method or score: the scores of the rows
            inside and of those outside the distribution, higher for more likely outside.
        table: the numbers of the comparison.
        footer: last line of the page.

    Raises:
        CalibrationError: if probabilities, labels or scores are none.
    """
    classes = np.shape(next(iter(probabilities.values())))[1]
    sections = [Section("Numbers", (table,))] if table is not None else []
    sections.append(Section("Reliability", (draw_reliabilities(probabilities, labels),)))
    for what, pairs in scores.items():
        blocks: tuple[Block, ...] = (Figures((draw_roc(pairs, what), draw_precision_recall(pairs, what))),)
        sections.append(Section(f"Outside the data, {what}", blocks))
    if entropies:
        sections.append(Section("Entropies", (draw_entropies_by_method(entropies, classes),)))
    return Page(title, subtitle, tuple(sections), footer)
