"""How the study is judged: scores of every seed, intervals over them, a choice made without strange rows."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from benchmarks.ood.data import Task, pretend
from benchmarks.ood.methods import Judged, Said, features
from benchmarks.ood.networks import Trained
from foresee import calibration as c

BINS = 15
LEVEL = 0.95
Scores = dict[str, np.ndarray]  # one score a row, by split
Found = dict[str, list[dict[str, float]]]  # measures of every seed, by method


@dataclass(frozen=True)
class Study:
    """What was found in one task.

    Attributes:
        found: measures of every method and seed.
        said: what the methods said with the first seed.
        judged: its pictures.
        scores: AUROC of every score of the wider network, by seed.
        first_scores: these scores with the first seed.
        perfect: ECE that the combination would have if its probabilities were right, by seed.
        official: ECE of the combination on the official test rows alone, by seed.
    """

    found: Found
    said: dict[str, Said]
    judged: Judged
    scores: list[dict[str, dict[str, float]]]
    first_scores: dict[str, Scores]
    perfect: list[float]
    official: list[float]


def area(inside: np.ndarray, outside: np.ndarray) -> float:
    """Return the AUROC of telling strange rows from others."""
    flags = np.concatenate([np.zeros(len(inside), bool), np.ones(len(outside), bool)])
    return float(c.auroc(np.concatenate([inside, outside]), flags))


def entropies(said: Said) -> Scores:
    """Return the entropy of every row, by split."""
    return {split: _scored(c.Entropy(), logits=table) for split, table in said.chances.items()}


def measures(judged: Judged, said: Said) -> dict[str, float]:
    """Return all numbers of one method and seed; NaN where the rows or members for one are not there."""
    truth, table = judged.truth("test"), np.exp(said.chances["test"])
    table = table / table.sum(axis=1, keepdims=True)
    found = {
        "accuracy": float(c.accuracy(table, truth)),
        "NLL": float(c.negative_log_likelihood_of_logits(said.chances["test"], truth)),
        "ECE": float(c.calibration_error(table, truth, bins=BINS)),
        "Brier": float(c.brier_score(table, truth)),
        "fit s": said.fit_seconds,
        "predict s": said.predict_seconds,
    }
    kinds = {"entropy": entropies(said), "disagreement": said.disagreement}
    for (kind, scores), split in itertools.product(kinds.items(), ("hard", "easy")):
        there = scores is not None and split in scores
        found[f"{split}, {kind}"] = area(scores["test"], scores[split]) if there and scores else np.nan
    return found


def perfect_error(judged: Judged, said: Said) -> float:
    """Return the ECE that these probabilities would have on average if they were exactly right."""
    random = np.random.default_rng(0)
    table = np.exp(said.chances["test"].astype(np.float64))
    table /= table.sum(axis=1, keepdims=True)
    ends = np.cumsum(table, axis=1)
    drawn = [
        (random.random((len(table), 1)) > ends).sum(axis=1).clip(0, table.shape[1] - 1) for _ in range(10)
    ]
    return float(np.mean([c.calibration_error(table, labels, bins=BINS) for labels in drawn]))


def official_error(judged: Judged, said: Said) -> float:
    """Return the ECE on the test rows that are of the official test part."""
    rows = judged.task.seeds[judged.seed]["test"] >= judged.task.images.official
    table = np.exp(said.chances["test"][rows])
    table = table / table.sum(axis=1, keepdims=True)
    return float(c.calibration_error(table, judged.truth("test")[rows], bins=BINS))


def interval(values: Sequence[float] | np.ndarray) -> tuple[float, float, float]:
    """Return the mean over seeds and its Student interval; not a number where a seed has none."""
    array = np.asarray(values, float)
    mean = float(array.mean())
    if len(array) < 2 or not np.isfinite(array).all():
        return mean, np.nan, np.nan
    half = stats.t.ppf(0.5 + LEVEL / 2, len(array) - 1) * array.std(ddof=1) / np.sqrt(len(array))
    return mean, mean - half, mean + half


def words(values: Sequence[float] | np.ndarray, digits: int = 4) -> str:
    """Return mean and interval as a table shows them."""
    mean, low, high = interval(values)
    if not np.isfinite(mean):
        return ""
    return (
        f"{mean:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
        if np.isfinite(low)
        else f"{mean:.{digits}f}"
    )


def network_scores(network: Any, train: tuple[np.ndarray, np.ndarray], pictures: Scores) -> dict[str, Scores]:
    """Return the scores that need nothing but one network and its training rows, by name and split.

    Args:
        network: the network.
        train: training pictures and their classes.
        pictures: of every split.
    """
    ends = np.cumsum([len(part) for part in pictures.values()])[:-1]
    pixels = jnp.asarray(np.concatenate(list(pictures.values())))
    inputs, known = (features(network, part) for part in (pixels, jnp.asarray(train[0])))
    # A class that was left out of training has no mean: classes are numbered anew.
    present, labels = np.unique(train[1], return_inverse=True)
    logits = (inputs @ network.last.weight.T + network.last.bias)[:, present]
    seen = c.NetworkOutputs(logits=logits, features=inputs)
    raw = c.NetworkOutputs(features=pixels)
    found = {
        "entropy": c.Entropy()(seen),
        "max-softmax": c.MaxSoftmax()(seen),
        "energy": c.Energy()(seen),
        "Mahalanobis, features": c.fit_mahalanobis(known, labels, len(present))(seen),
        "nearest, features": c.fit_neighbours(known, 1)(seen),
        "10th nearest, features": c.fit_neighbours(known, 10)(seen),
        "Mahalanobis, pixels": c.fit_mahalanobis(train[0], labels, len(present))(raw),
        "nearest, pixels": c.fit_neighbours(train[0], 1)(raw),
        "10th nearest, pixels": c.fit_neighbours(train[0], 10)(raw),
    }
    return {
        name: dict(zip(pictures, np.split(np.asarray(score), ends), strict=True))
        for name, score in found.items()
    }


def with_pairs(scores: Mapping[str, Scores]) -> dict[str, Scores]:
    """Return the scores and all pairs of them: minus the summed logarithms of both p-values (Fisher 1932).

    The p-values are of the calibration rows, so a pair is made without any strange row.
    """
    chances = {
        name: {split: np.asarray(c.p_values(own["calibrate"], part)) for split, part in own.items()}
        for name, own in scores.items()
    }
    pairs = {
        f"{first} + {second}": {
            split: -np.log(chances[first][split]) - np.log(chances[second][split]) for split in own
        }
        for (first, own), second in _pairs(scores)
    }
    return {**scores, **pairs}


def areas(scores: Mapping[str, Scores]) -> dict[str, dict[str, float]]:
    """Return the AUROC of every score on both kinds of strange rows, where there are any."""
    return {
        name: {split: area(own["test"], own[split]) for split in ("hard", "easy") if split in own}
        for name, own in scores.items()
    }


def wide_scores(judged: Judged, network: Any) -> dict[str, Scores]:
    """Return all scores of one network and their pairs, on the pictures of one seed."""
    task, seed = judged.task, judged.seed
    train = task.pixels(seed, "train"), task.truth(seed, "train")
    return with_pairs(network_scores(network, train, judged.split(judged.pixels)))


def pretended(task: Task, seed: int, trained: Trained) -> dict[str, dict[str, float]]:
    """Return the AUROC of every score on a known class that a network was not shown, and on cut pictures."""
    given = pretend(task, seed)
    pictures = {split: given[split] for split in ("calibrate", "test", "hard", "easy")}
    train = given["train"], task.labels[given["rows"]]
    return areas(with_pairs(network_scores(trained.network(seed), train, pictures)))


def chosen(found: Sequence[dict[str, dict[str, float]]]) -> tuple[str, dict[str, dict[str, float]]]:
    """Return the score with the largest AUROC averaged over both kinds of pretended rows and all seeds."""
    means = {
        name: {split: float(np.mean([seed[name][split] for seed in found])) for split in found[0][name]}
        for name in found[0]
    }
    return max(means, key=lambda name: np.mean(list(means[name].values()))), means


def _pairs(scores: Mapping[str, Scores]) -> list[tuple[tuple[str, Scores], str]]:
    names = list(scores)
    return [((first, scores[first]), second) for first, second in itertools.combinations(names, 2)]


def _scored(detector: Callable[..., jax.Array], **given: Any) -> np.ndarray:
    return np.asarray(detector(c.NetworkOutputs(**given)))
