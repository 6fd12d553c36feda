"""The fourth stage of the main job: policies learned from the first part, chosen by the second."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from time import perf_counter
from typing import Any, cast

import jax
import numpy as np
import polars as pl

from foresee.driving.drivers.cloning import AT_FAULT, Cloned, clone, pairs_of
from foresee.driving.drivers.policy import Policy, member, new_policies
from foresee.driving.drivers.rollout import windows
from foresee.driving.drivers.unrolled import Coefficients, train_unrolled
from foresee.driving.findings import Training
from foresee.driving.futures.doubt import Past, fit_doubt
from foresee.driving.futures.network import FutureModel
from foresee.driving.scenario import Scenarios
from foresee.fit import Fitted
from foresee.jobs.parts import Parts
from foresee.jobs.progress import Pieces, epochs_told
from foresee.jobs.worlds import training_of

CLONING, UNROLLED = 30, 8  # epochs
COPIES = 4  # of every moment, with the ego pushed off its record
SECONDS, EVERY, STEP, NEAREST = 4.0, 1.0, 0.2, 16  # of windows to train in [s], and vehicles in them
LEAST = 2.0  # so much of a window must be recorded: many end early, as in a stop wave [s]
WEIGHT = 10.0  # of scenarios in which the first clone errs
DOUBTS = (0.3, 1.0)  # how much MPUR may mind doubt; validation scenarios choose
RARELY = 4  # steps between two looks at the doubt
SIZES = (64, 2)  # width and depth of a policy
Progress = Callable[[str, float], None]
Judge = Callable[[str, Policy, int, str, str], pl.DataFrame]


@dataclass(eq=False)
class Taught:
    """The policies that were learned.

    Attributes:
        policies: by name, one per seed.
        trainings: how each was trained; members are seeds.
        candidates: by name those that validation scenarios chose from, with what they said: rows of
            `ablation`, `setting`, `score`, `value`, `low`, `high`.
        notes: what went wrong.
    """

    policies: dict[str, tuple[Policy, ...]] = field(default_factory=dict)
    trainings: dict[str, Training] = field(default_factory=dict)
    candidates: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def learn_policies(
    parts: Parts,
    methods: Sequence[str],
    pieces: Pieces,
    *,
    seed: int,
    seeds: int,
    share: float,
    model: FutureModel,
    judge: Judge,
    progress: Progress,
) -> Taught:
    """Train every policy that was asked for, all seeds side by side.

    Args:
        parts: the recording.
        methods: names of policies.
        pieces: what is finished already.
        seed: of everything random.
        seeds: how many of each.
        share: of the usual number of epochs that may be spent, for every method alike.
        model: the learned world, whose doubt MPUR minds.
        judge: judge(name, policy, seed, part, mode): the table of an evaluation on all scenarios of a part.
        progress: called with what is being done and the share of it that is done.

    Raises:
        RecordingError: if nothing lasts as long as a window.
    """
    taught = Taught()
    names = ("pairs", "held", "clone", "again", "unrolled")
    keys = dict(zip(names, jax.random.split(jax.random.key(seed), len(names)), strict=True))
    train, held = parts.scenarios["train"], parts.scenarios["validation"]
    progress("bc", 0.0)
    pairs = pairs_of(train, copies=COPIES, key=keys["pairs"])
    held_pairs = pairs_of(held, copies=COPIES, key=keys["held"])
    epochs = max(round(CLONING * share), 1)
    begin, order = jax.random.split(keys["clone"])
    options: dict[str, Any] = {"validation": held_pairs, "epochs": epochs, "members": seeds}
    rows, pieces_of = len(pairs.scenario), pieces.path
    pieces.begin()

    def cloned(name: str, key: Any, weights: np.ndarray) -> Cloned:
        begun = perf_counter()
        first = new_policies(seeds, *SIZES, name=name, key=key)
        file = pieces_of(f"{name}.fit")
        with epochs_told(file, epochs, lambda done: progress(name, 0.2 * done)):
            made = clone(
                pairs, policies=first, weights=weights, name=name, checkpoint=file, key=order, **options
            )
        _keep(taught, name, made.policies, cast(Fitted, made.fitted), slice(None), perf_counter() - begun)
        return made

    first = cloned("bc", begin, np.ones((seeds, rows)))
    if "cw_erm" in methods:
        progress("cw_erm", 0.2)
        errors = np.stack([_errors(first.policies, k, judge, pieces) for k in range(seeds)])
        heavier = np.where(errors[:, np.asarray(pairs.scenario)], WEIGHT, 1.0)
        cloned("cw_erm", keys["again"], heavier)
        taught.candidates += [_row("errors of bc in training", "share", "fail_rate", float(errors.mean()))]
    _unrolled(parts, methods, taught, first.policies, pieces, keys["unrolled"], share, model, judge, progress)
    if "bc" not in methods:
        del taught.policies["bc"], taught.trainings["bc"]
    return taught


def _unrolled(
    parts: Parts, methods: Sequence[str], taught: Taught, first: Policy, pieces: Pieces, key: Any,
    share: float, model: FutureModel, judge: Judge, progress: Progress,
) -> None:  # fmt: skip
    """Train MPER and VG, and then MPUR, from the clones on.

    The networks' doubt is slow to ask for. So the first clone alone tries all weights of it, and the others
    learn with the one that validation scenarios chose.
    """
    cut: list[Scenarios] = []  # only once somebody learns
    epochs, seeds = max(round(UNROLLED * share), 1), first.layers[-1].weight.shape[0]

    def learn(file: str, policies: Policy, wanted: dict[str, Coefficients], begin: float, end: float) -> None:
        what = ", ".join(dict.fromkeys(each.split(" ")[0] for each in wanted))
        progress(what, begin)
        if not cut:
            cut.extend(_cut(parts.scenarios[name]) for name in ("train", "validation"))
        path, begun, options = pieces.path(f"{file}.fit"), perf_counter(), {}
        if any(each.doubt for each in wanted.values()):
            options = {"doubt": fit_doubt(model, cut[0]), "doubt_every": RARELY, "traffic": Past(cut[0].dt)}
        with epochs_told(path, epochs, lambda done: progress(what, begin + (end - begin) * done)):
            made = train_unrolled(
                policies, cut[0], methods=wanted, validation=cut[1], epochs=epochs, checkpoint=path, key=key,
                **options,
            )  # fmt: skip
        members, seconds = policies.layers[-1].weight.shape[0], perf_counter() - begun
        for number, name in enumerate(wanted):
            rows = slice(number * members, (number + 1) * members)
            _keep(taught, name, made.policies[name], made.fitted, rows, seconds)

    plain = {"mper": Coefficients(imitation=1.0), "vg": Coefficients(task=1.0)}
    plain = {name: each for name, each in plain.items() if name in methods}
    if plain:
        learn("unrolled", first, plain, 0.4, 0.5)
    if "mpur" in methods:
        tried = {f"mpur {value:g}": Coefficients(task=1.0, doubt=value) for value in DOUBTS}
        learn("doubts", jax.tree.map(lambda leaf: leaf[:1], first), tried, 0.5, 0.7)
        best = _choose(taught, list(tried), judge, pieces)
        chosen, training = taught.policies.pop(best), taught.trainings.pop(best)
        for name in tried:
            taught.policies.pop(name, None)
            taught.trainings.pop(name, None)
        if seeds > 1:
            rest = jax.tree.map(lambda leaf: leaf[1:], first)
            learn("mpur", rest, {"mpur": tried[best]}, 0.7, 0.9)
            chosen, training = chosen + taught.policies["mpur"], training.beside(taught.trainings["mpur"])
        taught.policies["mpur"] = tuple(replace(each, name="mpur") for each in chosen)
        taught.trainings["mpur"] = training


def _cut(scenarios: Scenarios) -> Scenarios:
    thin = max(round(STEP / scenarios.dt), 1)
    return windows(scenarios, seconds=SECONDS, least=LEAST, every=EVERY, nearest=NEAREST, thin=thin)


def _keep(taught: Taught, name: str, policies: Policy, fitted: Fitted, part: slice, seconds: float) -> None:
    """Keep what was trained; a loss that was not finite is told of."""
    whole = training_of(fitted, seconds)
    held = whole.validation_losses
    training = Training(
        whole.losses[part],
        None if held is None else held[part],
        whole.best[part],
        whole.diverged[part],
        seconds,
    )
    count = policies.layers[-1].weight.shape[0]
    taught.policies[name] = tuple(member(policies, k) for k in range(count))
    taught.trainings[name] = training
    wrong = np.flatnonzero(training.diverged)
    if len(wrong):
        taught.notes.append(
            f"{name}: the loss did not stay finite in {len(wrong)} of {count} trainings; the last good "
            "policy was kept"
        )


def _errors(policies: Policy, number: int, judge: Judge, pieces: Pieces) -> np.ndarray:
    """Return in which of the scenarios that it learned from a clone errs."""

    def make() -> np.ndarray:
        table = judge("bc", member(policies, number), number, "train", "replay")
        return np.logical_or.reduce([table[name].to_numpy() for name in AT_FAULT])

    return pieces(f"errors of bc {number}", make)


def _choose(taught: Taught, candidates: Sequence[str], judge: Judge, pieces: Pieces) -> str:
    """Return what fails least on validation scenes, and of several that is nearest the record."""
    judged = {}
    for name in [*candidates, *(["vg"] if "vg" in taught.policies else [])]:
        told = partial(judge, name, taught.policies[name][0], 0, "validation", "replay")
        table = pieces(f"{name} on validation", told)
        setting = "0" if name == "vg" else name.split(" ")[1]
        for score, column in (("fail_rate", "fail"), ("ade", "log_divergence"), ("jerk", "jerk")):
            value = float(table[column].cast(pl.Float64).mean() or 0.0)  # pyright: ignore[reportArgumentType]
            taught.candidates.append(_row("doubt", setting, score, value))
        judged[name] = (table["fail"].cast(pl.Float64).mean(), table["log_divergence"].mean())
    return min(candidates, key=lambda name: judged[name])


def _row(ablation: str, setting: str, score: str, value: float) -> dict[str, Any]:
    return {
        "ablation": ablation, "setting": setting, "score": score, "value": value, "low": None, "high": None
    }  # fmt: skip
