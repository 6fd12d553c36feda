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
from foresee.jobs.progress import Pieces
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
Judge = Callable[[Policy, str], pl.DataFrame]


@dataclass(eq=False)
class Taught:
    """The policies that were learned.

    Attributes:
        policies: by name, one per seed.
        trainings: how each was trained; members are seeds.
        candidates: by name those that validation scenarios chose from, with what they said: rows of
            `ablation`, `setting`, `score`, `value`, `low`, `high`.
        notes: what went wrong.
        first: the clones from which the others begin, with an axis of seeds.
        windows: of the first and the second part, which are learned from in closed loop.
    """

    policies: dict[str, tuple[Policy, ...]] = field(default_factory=dict)
    trainings: dict[str, Training] = field(default_factory=dict)
    candidates: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    first: Policy | None = None
    windows: tuple[Scenarios, Scenarios] | None = None

    def keep(self, name: str, policies: Policy, fitted: Fitted, part: slice, seconds: float) -> None:
        """Keep what was trained; a loss that was not finite is told of.

        Args:
            name: of the policy.
            policies: with an axis of seeds.
            fitted: how they were trained, perhaps with others.
            part: which of those these are.
            seconds: how long that took [s].
        """
        whole = training_of(fitted, seconds)
        held = None if whole.validation_losses is None else whole.validation_losses[part]
        training = Training(whole.losses[part], held, whole.best[part], whole.diverged[part], seconds)
        count = seeds_of(policies)
        self.policies[name] = tuple(member(policies, k) for k in range(count))
        self.trainings[name] = training
        wrong = np.flatnonzero(training.diverged)
        if len(wrong):
            self.notes.append(
                f"{name}: the loss did not stay finite in {len(wrong)} of {count} trainings; the last good "
                "policy was kept"
            )


def seeds_of(policies: Policy) -> int:
    """Return the length of the axis of seeds."""
    return policies.layers[-1].weight.shape[0]


def learn_policies(
    parts: Parts,
    methods: Sequence[str],
    pieces: Pieces,
    *,
    seed: int,
    seeds: int,
    share: float,
    judge: Judge,
    progress: Progress,
) -> Taught:
    """Train every policy that was asked for, but for MPUR, all seeds side by side; this needs no world.

    Args:
        parts: the recording.
        methods: names of policies.
        pieces: what is finished already.
        seed: of everything random.
        seeds: how many of each.
        share: of the usual number of epochs that may be spent, for every method alike.
        judge: judge(policy, part): the table of an evaluation on all scenarios of a part.
        progress: called with what is being done and the share of it that is done.

    Raises:
        RecordingError: if nothing lasts as long as a window.
    """
    taught = Taught()
    keys = _keys(seed)
    train, held = parts.scenarios["train"], parts.scenarios["validation"]
    progress("bc", 0.0)
    pairs = pairs_of(train, copies=COPIES, key=keys["pairs"])
    held_pairs = pairs_of(held, copies=COPIES, key=keys["held"])
    epochs = max(round(CLONING * share), 1)
    begin, order = jax.random.split(keys["clone"])
    options: dict[str, Any] = {"validation": held_pairs, "epochs": epochs, "members": seeds}
    rows = len(pairs.scenario)

    def cloned(name: str, key: Any, weights: np.ndarray, start: float) -> Cloned:
        begun = perf_counter()
        first = new_policies(seeds, *SIZES, name=name, key=key)
        made = clone(
            pairs, policies=first, weights=weights, name=name, checkpoint=pieces.path(f"{name}.fit"),
            progress=lambda done: progress(name, start + 0.2 * done), key=order, **options,
        )  # fmt: skip
        taught.keep(name, made.policies, cast(Fitted, made.fitted), slice(None), perf_counter() - begun)
        return made

    taught.first = cloned("bc", begin, np.ones((seeds, rows)), 0.0).policies
    if "cw_erm" in methods:
        progress("cw_erm", 0.2)
        errors = np.stack([_errors(taught.first, k, judge, pieces) for k in range(seeds)])
        heavier = np.where(errors[:, np.asarray(pairs.scenario)], WEIGHT, 1.0)
        cloned("cw_erm", keys["again"], heavier, 0.3)
        taught.candidates += [_row("errors of bc in training", "share", "fail_rate", float(errors.mean()))]
    if not {"mper", "vg", "mpur"}.isdisjoint(methods):
        taught.windows = (_cut(train), _cut(held))
    plain = {"mper": Coefficients(imitation=1.0), "vg": Coefficients(task=1.0)}
    plain = {name: each for name, each in plain.items() if name in methods}
    if plain:
        _unroll(
            taught, "unrolled", taught.first, plain, pieces, keys["unrolled"], share,
            lambda text, done: progress(text, 0.5 + 0.5 * done),
        )  # fmt: skip
    if "bc" not in methods:
        del taught.policies["bc"], taught.trainings["bc"]
    return taught


def learn_in_doubt(
    taught: Taught,
    pieces: Pieces,
    *,
    seed: int,
    share: float,
    model: FutureModel,
    judge: Judge,
    progress: Progress,
) -> None:
    """Train MPUR from the clones on.

    The networks' doubt is slow to ask for. So the first clone alone tries all weights of it, and the others
    learn with the one that validation scenarios chose.

    Args:
        taught: what was learned so far; MPUR is put there.
        pieces: what is finished already.
        seed: of everything random.
        share: of the usual number of epochs that may be spent.
        model: the learned world, whose doubt is minded.
        judge: as for `learn_policies`.
        progress: called with what is being done and the share of it that is done.

    Raises:
        ValueError: if there is nothing to begin with.
    """
    first, windows = taught.first, taught.windows
    if first is None or windows is None:
        raise ValueError("expected clones and windows to learn from, got none; learn the policies first")
    key, seeds = _keys(seed)["unrolled"], seeds_of(first)
    options = {"doubt": fit_doubt(model, windows[0]), "doubt_every": RARELY, "traffic": Past(windows[0].dt)}

    def learn(file: str, policies: Policy, wanted: dict[str, Coefficients], begin: float) -> None:
        told: Progress = lambda text, done: progress(text, begin + 0.45 * done)  # noqa: E731
        _unroll(taught, file, policies, wanted, pieces, key, share, told, **options)

    tried = {f"mpur {value:g}": Coefficients(task=1.0, doubt=value) for value in DOUBTS}
    learn("doubts", jax.tree.map(lambda leaf: leaf[:1], first), tried, 0.0)
    best = _choose(taught, list(tried), judge, pieces)
    chosen, training = taught.policies.pop(best), taught.trainings.pop(best)
    for name in tried:
        taught.policies.pop(name, None)
        taught.trainings.pop(name, None)
    if seeds > 1:
        learn("mpur", jax.tree.map(lambda leaf: leaf[1:], first), {"mpur": tried[best]}, 0.5)
        chosen, training = chosen + taught.policies["mpur"], training.beside(taught.trainings["mpur"])
    taught.policies["mpur"] = tuple(replace(each, name="mpur") for each in chosen)
    taught.trainings["mpur"] = training


def _keys(seed: int) -> dict[str, Any]:
    names = ("pairs", "held", "clone", "again", "unrolled")
    return dict(zip(names, jax.random.split(jax.random.key(seed), len(names)), strict=True))


def _unroll(
    taught: Taught, file: str, policies: Policy, wanted: dict[str, Coefficients], pieces: Pieces, key: Any,
    share: float, progress: Progress, **options: Any,
) -> None:  # fmt: skip
    """Train policies through the closed loop, each with several coefficients, and keep them."""
    what = ", ".join(dict.fromkeys(each.split(" ")[0] for each in wanted))
    progress(what, 0.0)
    if taught.windows is None:
        raise ValueError("expected windows to learn from, got none")
    train, held = taught.windows
    begun, epochs = perf_counter(), max(round(UNROLLED * share), 1)
    made = train_unrolled(
        policies, train, methods=wanted, validation=held, epochs=epochs,
        checkpoint=pieces.path(f"{file}.fit"), progress=lambda done: progress(what, done), key=key, **options,
    )  # fmt: skip
    members, seconds = seeds_of(policies), perf_counter() - begun
    for number, name in enumerate(wanted):
        rows = slice(number * members, (number + 1) * members)
        taught.keep(name, made.policies[name], made.fitted, rows, seconds)


def _cut(scenarios: Scenarios) -> Scenarios:
    thin = max(round(STEP / scenarios.dt), 1)
    return windows(scenarios, seconds=SECONDS, least=LEAST, every=EVERY, nearest=NEAREST, thin=thin)


def _errors(policies: Policy, number: int, judge: Judge, pieces: Pieces) -> np.ndarray:
    """Return in which of the scenarios that it learned from a clone errs."""

    def make() -> np.ndarray:
        table = judge(member(policies, number), "train")
        return np.logical_or.reduce([table[name].to_numpy() for name in AT_FAULT])

    return pieces(f"errors of bc {number}", make)


def _choose(taught: Taught, candidates: Sequence[str], judge: Judge, pieces: Pieces) -> str:
    """Return what fails least on validation scenes, and of several that is nearest the record."""
    judged = {}
    for name in [*candidates, *(["vg"] if "vg" in taught.policies else [])]:
        told = partial(judge, taught.policies[name][0], "validation")
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
