"""The third stage of the main job: learn what traffic does next, and say how well that is foretold."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import equinox as eqx
import jax
import numpy as np

from foresee.driving.drivers.stored import load_module, save_module
from foresee.driving.findings import Training, WorldFindings
from foresee.driving.forecast import Futures
from foresee.driving.futures import baselines as without
from foresee.driving.futures.encode import Snapshot
from foresee.driving.futures.kalman import Straight, Switching, filter_forecasts
from foresee.driving.futures.learn import EPOCHS, examples_of, learn_futures
from foresee.driving.futures.learned import on_the_map
from foresee.driving.futures.network import FutureModel
from foresee.driving.futures.scores import ForecastScores, counted_agents, forecast_scores
from foresee.driving.futures.windows import Windows, windows_from_states
from foresee.errors import ForeseeError, RecordingError
from foresee.fit import Fitted
from foresee.jobs.parts import NAMES, Parts
from foresee.jobs.progress import Pieces
from foresee.storage import whole_file

NETWORKS = 3  # that foretell together
WIDTH = 64  # of their layers
EVERY = {"train": 0.2, "validation": 0.5, "test": 0.5}  # time between snapshots [s]
AT_ONCE = 16  # snapshots foretold at a time
Progress = Callable[[str, float], None]


@dataclass(frozen=True, eq=False)
class World:
    """A world that was learned, or read from a file, and how good it is.

    Attributes:
        model: the networks.
        findings: how well they foretell.
    """

    model: FutureModel
    findings: WorldFindings


def run_world(
    parts: Parts, pieces: Pieces, *, epochs: int = EPOCHS, seed: int, file: Path | None, progress: Progress
) -> World:
    """Learn from the first part, choose by the second, score on the third.

    Args:
        parts: the recording.
        pieces: what is finished already.
        epochs: how often every snapshot is learned from.
        seed: of first weights, order and noise.
        file: a world that was trained before, instead.
        progress: called with what is being done and the share of it that is done.

    Raises:
        RecordingError: if nobody is there to learn from or to score.
        TrainingError: if there is too little to learn from, or no loss stays finite.
        ForeseeError: if the file holds something else.
    """
    progress("snapshots", 0.0)
    cut = {
        name: windows_from_states(parts.states[name], parts.roads[name], every=EVERY[name]) for name in NAMES
    }
    notes: list[str] = []
    if file is not None:
        model = read_world(file, 1 / parts.scenarios["train"].dt)
        training, lessons = _no_training(), (0, 0)
        notes.append(f"the world was not learned from this recording but read from {file}")
    else:
        begun = perf_counter()
        checkpoint = pieces.path("world.fit")
        pieces.begin()

        def tell(share: float) -> None:
            progress(f"learning, {NETWORKS} networks", 0.05 + 0.6 * share)

        tell(0.0)
        learnt = learn_futures(
            cut["train"], cut["validation"], members=NETWORKS, width=WIDTH, epochs=epochs,
            checkpoint=checkpoint, progress=tell, key=jax.random.key(seed),
        )  # fmt: skip
        model, lessons = learnt.model, learnt.lessons
        training = training_of(learnt.fitted, perf_counter() - begun)
        if learnt.dropped:
            notes.append(f"{learnt.dropped} of {NETWORKS} networks did not stay finite and were left out")
    scores = pieces("world scores", lambda: _scores(model, parts, cut, seed, progress))
    findings = WorldFindings(
        scores["compared"], training, lessons, tuple(len(cut[name]) for name in NAMES),  # pyright: ignore[reportArgumentType]
        scores["ablations"], tuple(notes),
    )  # fmt: skip
    return World(model, findings)


def training_of(fitted: Fitted, seconds: float) -> Training:
    """Return how a training of several members went."""
    losses = np.asarray(fitted.losses, float)
    ran = np.arange(losses.shape[1]) < np.asarray(fitted.epochs)[:, None]
    held = None if fitted.validation_losses is None else np.asarray(fitted.validation_losses, float)
    diverged = (ran & ~np.isfinite(losses)).any(axis=1) | ~np.atleast_1d(np.asarray(fitted.finite))
    return Training(losses, held, np.asarray(fitted.best_epoch, int), diverged, seconds)


def forecasts(model: FutureModel, windows: Windows) -> Futures:
    """Return what a world foretells of all vehicles of all snapshots; leaves have the axes W and V."""
    scene = examples_of(windows).scene
    count = len(windows)
    parts = []
    for start in range(0, count, AT_ONCE):
        chosen = np.minimum(np.arange(start, start + AT_ONCE), count - 1)
        parts.append(_rows(_foretold(model, _rows(scene, chosen)), slice(count - start)))
    joined = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
    futures = jax.tree.map(jax.numpy.asarray, joined)
    return eqx.tree_at(lambda each: each.times, futures, futures.times[0])


def _rows(tree: Any, chosen: Any) -> Any:
    return jax.tree.map(lambda leaf: np.asarray(leaf)[chosen], tree)


@eqx.filter_jit
def _foretold(model: FutureModel, scenes: Snapshot) -> Futures:
    return jax.vmap(lambda scene: on_the_map(scene, model(scene)))(scenes)


def _scores(
    model: FutureModel, parts: Parts, cut: Mapping[str, Windows], seed: int, progress: Progress
) -> dict[str, dict[str, ForecastScores]]:
    """Score the world, what goes without learning, and the world with fewer networks."""
    train, test = cut["train"], cut["test"]
    straight = without.constant_velocity(train)
    noise = without.fit_noise(straight, train)
    manners = without.typical_manners(parts.scenarios["train"])
    lane_noise = without.fit_noise(without.idm_in_lane(train, manners), train)
    states = parts.states["test"]
    makers: dict[str, Callable[[], Futures]] = {
        "world": lambda: forecasts(model, test),
        "constant_velocity": lambda: without.constant_velocity(test, noise),
        "kalman": lambda: filter_forecasts(Straight(), states, test),
        "imm": lambda: filter_forecasts(Switching(), states, test),
        "idm": lambda: without.idm_in_lane(test, manners, lane_noise),
        "samples": lambda: without.constant_velocity_samples(test, noise, key=jax.random.key(seed)),
    }
    compared = {}
    for number, (name, make) in enumerate(makers.items()):
        progress(f"scoring {name.replace('_', ' ')}", 0.65 + 0.3 * number / len(makers))
        compared[name] = forecast_scores(*counted_agents(make(), test))
    ablations = {}
    members = jax.tree.leaves(eqx.filter(model.networks, eqx.is_array))[0].shape[0]
    if members > 1:
        progress("scoring one network", 0.95)
        first = jax.tree.map(lambda leaf: leaf[:1] if eqx.is_array(leaf) else leaf, model.networks)
        alone = FutureModel(first, model.stretch)
        ablations["1"] = forecast_scores(*counted_agents(forecasts(alone, test), test))
        ablations[str(members)] = compared["world"]
    return {"compared": compared, "ablations": ablations}


def _no_training() -> Training:
    none = np.zeros(0)
    return Training(none.reshape(0, 0), None, none.astype(int), none.astype(bool), 0.0)


def write_world(path: Path, model: FutureModel, frame_rate: float) -> None:
    """Write a world and the frame rate of what it learned from; the file appears whole or not at all."""
    with whole_file(path) as temporary:
        save_module(temporary, model, {"kind": "world", "frame_rate": frame_rate})


def read_world(path: Path, frame_rate: float) -> FutureModel:
    """Read a world.

    Raises:
        ForeseeError: if the file holds something else.
        RecordingError: if the world learned at another frame rate.
    """
    model, said = load_module(path)
    if not isinstance(model, FutureModel):
        raise ForeseeError(f"{path}: expected a world, got {type(model).__name__}")
    rate = float(said.get("frame_rate", np.nan))
    if abs(rate - frame_rate) > 1e-3 * frame_rate:
        raise RecordingError(
            f"{path}: expected a world that learned from {frame_rate:g} frames per second, as the recording "
            f"has, got {rate:g}; leave it out to learn one"
        )
    return model


def world_numbers(findings: WorldFindings | None) -> dict[str, Any]:
    """How well the world foretells, by horizon, and how much better than what goes without learning."""
    if findings is None:
        return {}
    out: dict[str, Any] = {
        "world.networks": len(findings.training.best) or None,
        "world.epochs": int(findings.training.losses.shape[1]) or None,
        "world.lessons": findings.lessons[0] or None,
        "world.windows": list(findings.windows),
        "world.notes": list(findings.notes),
    }
    world = findings.scores["world"]
    for forecaster, scores in findings.scores.items():
        prefix = "world." if scores is world else f"world.{forecaster}."
        for key, name in SCORES.items():
            for horizon, each in zip(
                world.horizons, scores.scores.get(name, (None,) * len(world.horizons)), strict=True
            ):
                full = f"{prefix}{key}_{horizon:g}s"
                out[full] = None if each is None else each.value
                out[f"{full}_ci"] = [None, None] if each is None else [each.low, each.high]
        if scores is not world:
            gains = zip(world.horizons, world.less_than(scores, "ade"), strict=True)
            for horizon, each in gains:
                out[f"world.gain_{forecaster}_{horizon:g}s"] = each.value
                out[f"world.gain_{forecaster}_{horizon:g}s_ci"] = [each.low, each.high]
    for setting, scores in findings.ablations.items():
        for key, name in ABLATED.items():
            each = scores.scores[name][list(scores.horizons).index(4.0)]
            out[f"ablations.networks.{setting}.{key}_4s"] = each.value
            out[f"ablations.networks.{setting}.{key}_4s_ci"] = [each.low, each.high]
    return out


SCORES = {
    "ade": "ade", "fde": "fde", "min_ade_6": "min_ade", "min_fde_6": "min_fde", "miss": "miss", "nll": "nll",
    "energy": "energy", "coverage_50": "coverage_along_50", "coverage_90": "coverage_along_90",
    "coverage_99": "coverage_along_99", "coverage_across_50": "coverage_across_50",
    "coverage_across_90": "coverage_across_90", "coverage_across_99": "coverage_across_99",
    "coverage_region_90": "coverage_region_90", "width_90": "width_along_90",
}  # fmt: skip
ABLATED = {"ade": "ade", "min_ade_6": "min_ade", "nll": "nll", "coverage_90": "coverage_along_90"}
