"""One page of plots of the study: reliability, ROC and precision-recall curves, entropies of every split."""

from pathlib import Path

import numpy as np

from benchmarks.ood.data import Task
from benchmarks.ood.judge import Scores, Study, entropies

# More than these make the page larger than a megabyte.
WANTED = ("plain", "ensemble", "L2M, all weights", "wider, with moved pictures, temperature")


def write(path: Path, task: Task, study: Study, best: str) -> None:
    """Write the page of the first seed.

    Args:
        path: file to write.
        task: what was studied.
        study: what was found.
        best: name of the score that was chosen.
    """
    from foresee.report.uncertainty import uncertainty_page

    names = [next((name for name in study.said if name.startswith(wanted)), None) for wanted in WANTED]
    said = {name: study.said[name] for name in names if name is not None}
    tables = {name: np.exp(one.chances["test"].astype(np.float64)) for name, one in said.items()}
    doubts = {name: entropies(one) for name, one in said.items()}
    kinds = {"hard": "near: held-out classes", "easy": "far: notMNIST"}
    scores = {
        words: _pairs(split, doubts, study.first_scores, best)
        for split, words in kinds.items()
        if split in study.first_scores[best]
    }
    page = uncertainty_page(
        "Doubt on images",
        f"{task.name}, {task.sizes.train:,} training pictures, {task.sizes.test:,} to test with, one seed. "
        "Probabilities of the test pictures, and what tells strange pictures from them.",
        study.judged.truth("test"),
        {name: table / table.sum(axis=1, keepdims=True) for name, table in tables.items()},
        doubts,
        scores,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page.html(), encoding="utf-8")


def _pairs(
    split: str, doubts: dict[str, Scores], scores: dict[str, Scores], best: str
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return entropies of the methods and the chosen score of the wider network, inside and outside."""
    pairs = {f"{name}, entropy": (own["test"], own[split]) for name, own in doubts.items()}
    return {**pairs, f"wider, {best}": (scores[best]["test"], scores[best][split])}
