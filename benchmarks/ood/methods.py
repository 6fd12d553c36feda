"""Every way to doubt a trained network, each as what it says of the pictures of all splits of one seed."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.ood.data import Task
from benchmarks.ood.networks import CROSS_ENTROPY, LIKELIHOOD, FocalLoss, Recipe, Trained, picked, train
from foresee.beliefs.belief import Points
from foresee.calibration import fit_last_layer, fit_temperature, negative_log_likelihood_of_logits
from foresee.posteriors.dropout import dropout
from foresee.posteriors.l2m import l2m, l2m_ensemble
from foresee.posteriors.laplace import laplace
from foresee.posteriors.predict import certain, predict_rows
from foresee.posteriors.swag import swag

JUDGED = ("calibrate", "test", "hard", "easy")
STRUCTURES: dict[str, tuple[Any, str]] = {
    "last layer, full": ("last_full", "evidence"),
    "last layer, Kronecker": ("last_kronecker", "evidence"),
    "last layer, diagonal": ("last_diagonal", "evidence"),
    "all layers, diagonal": ("diagonal", "evidence"),
    "all layers, diagonal, by validation": ("diagonal", "validation"),
}
SWAG_RATES = (0.01, 0.03, 0.1)


@dataclass(frozen=True)
class Said:
    """What one method says with one seed.

    Attributes:
        chances: log probabilities of the classes, shape (rows, classes), by split.
        disagreement: mutual information of class and network in nats, by split; None for a single network.
        fit_seconds: what it took beyond the network that it doubts; with the training where that is its own.
        predict_seconds: for 10,000 rows.
    """

    chances: dict[str, np.ndarray]
    disagreement: dict[str, np.ndarray] | None
    fit_seconds: float
    predict_seconds: float


@dataclass(frozen=True)
class Networks:
    """All that is trained: one entry for everything the methods start from."""

    plain: Trained
    focal: dict[int, Trained]
    dropped: Trained | None
    wide: Trained


def train_all(task: Task, plain: Recipe, wide: Recipe, members: int, gammas: tuple[int, ...]) -> Networks:
    """Train the networks of all methods and seeds; without members only what a single network needs."""
    return Networks(
        train(task, plain, CROSS_ENTROPY, members=members),
        {gamma: train(task, plain, FocalLoss(jnp.asarray(float(gamma)))) for gamma in gammas},
        train(task, replace(plain, dropout=0.2)) if members > 1 else None,
        train(task, wide),
    )


class Judged:
    """The pictures of one seed that methods are asked about, in one array so that nothing compiles twice."""

    def __init__(self, task: Task, seed: int):
        self.task, self.seed = task, seed
        parts = [task.pixels(seed, split) for split in JUDGED]
        self.ends = np.cumsum([len(part) for part in parts])
        self.pixels = jnp.asarray(np.concatenate(parts))

    def split(self, values: Any) -> dict[str, np.ndarray]:
        """Return the rows of every split, of those that have any."""
        parts = np.split(np.asarray(values), self.ends[:-1])
        return {name: part for name, part in zip(JUDGED, parts, strict=True) if len(part)}

    def truth(self, split: str) -> np.ndarray:
        """Return the classes of a split."""
        return self.task.truth(self.seed, split)

    def belief(self, belief: Any, *, n: int = 64, method: Any = None) -> tuple[Any, Any, float]:
        """Return log probabilities, disagreement, and seconds per 10,000 rows, of a belief about networks."""
        key = jax.random.key(self.seed)
        begin = time.perf_counter()
        chances, apart = jax.block_until_ready(_predicted(belief, self.pixels, key, n, method))
        return chances, apart, (time.perf_counter() - begin) * 1e4 / len(self.pixels)

    def said(self, belief: Any, fit_seconds: float, *, n: int = 64, method: Any = None) -> Said:
        """Return what a belief about networks says."""
        chances, apart, seconds = self.belief(belief, n=n, method=method)
        return Said(self.split(chances), self.split(apart), fit_seconds, seconds)


@eqx.filter_jit
def _predicted(belief: Any, pixels: jax.Array, key: Any, n: int, method: Any) -> tuple[jax.Array, jax.Array]:
    predictions = predict_rows(belief, LIKELIHOOD, pixels, key=key, n=n, method=method)
    return jax.vmap(lambda one: (one.log_probabilities(), one.epistemic()))(predictions)


@eqx.filter_jit
def features(network: Any, pixels: jax.Array) -> jax.Array:
    """Return what goes into the last layer, one row for every picture."""
    return jax.lax.map(network.features, pixels, batch_size=min(1024, len(pixels)))


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """Return the result of some work, and how long it took."""
    begin = time.perf_counter()
    result = jax.block_until_ready(work())
    return result, time.perf_counter() - begin


def single(judged: Judged, network: Any, seconds: float) -> Said:
    """Return what a network says that nobody doubts."""
    said = judged.said(certain(network), seconds)
    return replace(said, disagreement=None)


def tempered(judged: Judged, said: Said) -> Said:
    """Return a method's probabilities with a temperature that the calibration rows choose."""
    scaler, seconds = timed(lambda: fit_temperature(said.chances["calibrate"], judged.truth("calibrate")))
    chances = {
        split: np.asarray(jax.nn.log_softmax(jnp.asarray(table) / scaler.temperature))
        for split, table in said.chances.items()
    }
    return replace(said, chances=chances, fit_seconds=said.fit_seconds + seconds)


def refitted(judged: Judged, network: Any) -> Said:
    """Return what a network says whose last layer was fitted again to the calibration rows."""
    begin = time.perf_counter()
    inputs = features(network, judged.pixels)
    took = time.perf_counter() - begin
    rows, labels = judged.split(inputs)["calibrate"], judged.truth("calibrate")
    work = partial(fit_last_layer, rows, labels, judged.task.classes, key=jax.random.key(0))
    layer, seconds = timed(work)
    chances = jax.nn.log_softmax(layer(inputs))
    return Said(judged.split(chances), None, seconds, took * 1e4 / len(judged.pixels))


def methods(judged: Judged, networks: Networks, quick: bool) -> Iterator[tuple[str, Said]]:
    """Yield every method's name and what it says with one seed; if quick, only the first of each kind."""
    seed, plain = judged.seed, networks.plain
    base = single(judged, plain.network(seed), 0.0)
    yield "plain", base
    yield "temperature", tempered(judged, base)
    if plain.members > 1:
        yield from trained_anew(judged, networks, quick)
    yield from posteriors(judged, plain, quick)
    best = single(judged, networks.wide.network(seed), networks.wide.seconds)
    yield "wider, with moved pictures", best
    yield "wider, with moved pictures, temperature", tempered(judged, best)


def trained_anew(judged: Judged, networks: Networks, quick: bool) -> Iterator[tuple[str, Said]]:
    """Yield the methods that train something of their own, and beliefs that need more than one network."""
    seed, plain = judged.seed, networks.plain
    draws = 3 if quick else 30
    for gamma, focal in networks.focal.items():
        yield f"focal loss, γ = {gamma}", single(judged, focal.network(seed), focal.seconds)
    count, seconds = plain.members, plain.seconds * plain.members
    together = judged.said(Points(plain.ensemble(seed)), seconds)
    yield f"ensemble of {count}", together
    yield f"ensemble of {count}, temperature", tempered(judged, together)
    if networks.dropped is not None:
        belief = dropout(networks.dropped.network(seed))
        loose = judged.said(belief, networks.dropped.seconds, n=draws, method="samples")
        yield f"dropout, {draws} passes", loose
        yield f"dropout, {draws} passes, temperature", tempered(judged, loose)
    if quick:
        return
    yield "last layer refitted", refitted(judged, plain.network(seed))
    belief, tuning = timed(partial(_ensemble_of_posteriors, judged, plain))
    yield f"L2M around an ensemble of {count}", judged.said(belief, seconds + tuning, n=draws)
    belief, seconds = timed(partial(_path, judged, plain, draws))
    yield f"SWAG, {draws} draws", judged.said(belief, seconds, n=draws, method="samples")


def posteriors(judged: Judged, trained: Trained, quick: bool) -> Iterator[tuple[str, Said]]:
    """Yield the beliefs about the weights around one network."""
    seed, batch, data = judged.seed, trained.recipe.batch, training_data(judged)
    network, state, kept = trained.network(seed), trained.state(seed), tuning_rows(judged)
    given = {"batch_size": batch, "validation": kept}
    doubtful, structures = [("all weights", "all"), ("last layer", "last")], list(STRUCTURES.items())
    for name, which in doubtful[:1] if quick else doubtful:
        work = partial(l2m, network, state, LIKELIHOOD, data, which=which, **given)
        belief, seconds = timed(work)
        said = judged.said(belief, seconds)
        yield f"L2M, {name}", said
        if which == "all":
            yield "L2M, all weights, temperature", tempered(judged, said)
    for name, (structure, by) in structures[:1] if quick else structures:
        rows = kept if by == "validation" else None
        work = partial(laplace, network, LIKELIHOOD, data, structure=structure, validation=rows)
        belief, seconds = timed(work)
        yield f"Laplace, {name}", judged.said(belief, seconds)


def training_data(judged: Judged) -> tuple[jax.Array, jax.Array]:
    """Return the training rows of one seed."""
    task, seed = judged.task, judged.seed
    return jnp.asarray(task.pixels(seed, "train")), jnp.asarray(task.truth(seed, "train"))


def tuning_rows(judged: Judged) -> tuple[jax.Array, jax.Array]:
    """Return the validation rows that posteriors are tuned by."""
    task, seed = judged.task, judged.seed
    pixels, labels = task.pixels(seed, "validate"), task.truth(seed, "validate")
    return jnp.asarray(pixels), jnp.asarray(labels)


def _ensemble_of_posteriors(judged: Judged, trained: Trained) -> Any:
    task, seed = judged.task, judged.seed
    own = slice(seed * trained.members, (seed + 1) * trained.members)
    return l2m_ensemble(
        trained.ensemble(seed),
        picked(trained.states, own),
        LIKELIHOOD,
        task.pixels(seed, "train"),
        batch_size=trained.recipe.batch,
        validation=tuning_rows(judged),
    )


def _path(judged: Judged, trained: Trained, draws: int) -> Any:
    """Return the belief of SWAG whose learning rate loses least on validation rows."""
    network, key = trained.network(judged.seed), jax.random.key(judged.seed)
    pixels, labels = tuning_rows(judged)
    given = {"epochs": 20, "batch_size": trained.recipe.batch, "key": key}
    tried = []
    for rate in SWAG_RATES:
        belief = swag(network, LIKELIHOOD, training_data(judged), learning_rate=rate, **given)
        chances, _ = _predicted(belief, pixels, key, draws, "samples")
        tried.append((float(negative_log_likelihood_of_logits(chances, labels)), belief))
    return min(tried, key=lambda one: one[0])[1]
