"""What is learned beside the world, since it needs none: policies, and traffic to judge drivers in."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import jax
import polars as pl

from foresee.driving.drivers.policy import Policy
from foresee.driving.drivers.rollout import windows
from foresee.driving.evaluate import evaluate
from foresee.driving.futures.learn_traffic import learn_traffic
from foresee.driving.futures.traffic import LearnedTraffic
from foresee.driving.scenario import Scenarios
from foresee.errors import ForeseeError
from foresee.jobs.baselines import at_a_time
from foresee.jobs.config import Options
from foresee.jobs.drivers import MODES, POLICIES, in_chunks
from foresee.jobs.parts import Parts
from foresee.jobs.policies import Judge, Taught, learn_policies
from foresee.jobs.progress import Pieces

TRAFFIC_EPOCHS = 4
STRETCH, BETWEEN, STEP, AROUND = 4.0, 1.5, 0.2, 22  # stretches that traffic is learned from [s]
Progress = Callable[[str, float], None]


@dataclass(frozen=True, eq=False)
class Lessons:
    """What was learned without a world.

    Attributes:
        taught: the policies, but for MPUR.
        judge: judges a policy on a part of the recording, by replay.
        traffic: moves the others in learned traffic; None: there was too little to learn it from.
        notes: why not.
    """

    taught: Taught
    judge: Judge
    traffic: LearnedTraffic | None
    notes: tuple[str, ...] = field(default=())


def first_lessons(
    parts: Parts, options: Options, pieces: Pieces, *, share: float, progress: Progress
) -> Lessons:
    """Learn policies from the first part, and traffic from the others.

    Args:
        parts: the recording.
        options: which policies, and how often each is learned.
        pieces: what is finished already.
        share: of the usual number of epochs.
        progress: called with what is being done and the share of it that is done.

    Raises:
        RecordingError: if nothing lasts long enough to learn from.
        TrainingError: if there is too little.
    """
    seed, train = options.seed, parts.scenarios["train"]
    size = whole(at_a_time(train))

    def judge(policy: Policy, part: str) -> pl.DataFrame:
        key = jax.random.key(seed)
        return in_chunks(
            parts.scenarios[part], size, lambda some: evaluate(policy, some, "replay", key=key, keep=0)
        )

    taught, wanted = Taught(), [name for name in options.methods if name in POLICIES]
    if wanted:
        taught = learn_policies(
            parts, wanted, pieces, seed=seed, seeds=options.seeds, share=share, judge=judge,
            progress=lambda text, done: progress(text, 0.7 * done),
        )  # fmt: skip
    traffic, notes = _traffic(parts, pieces, share, seed, lambda text, done: progress(text, 0.7 + 0.3 * done))
    return Lessons(taught, judge, traffic, notes)


def whole(count: int) -> int:
    """Return the power of two that so many scenarios are filled up to."""
    return 1 << (count - 1).bit_length()


def _traffic(
    parts: Parts, pieces: Pieces, share: float, seed: int, progress: Progress
) -> tuple[LearnedTraffic | None, tuple[str, ...]]:
    """Learn traffic from parts that no driver has learned from; None with a remark if that is too little."""
    if "learned" not in MODES:
        return None, ()
    progress("traffic", 0.0)
    epochs = max(round(TRAFFIC_EPOCHS * share), 1)
    try:
        stretches = _joined([_stretches(parts.scenarios[name]) for name in ("validation", "test")])
        learnt = learn_traffic(
            stretches, epochs=epochs, checkpoint=pieces.path("traffic.fit"),
            progress=lambda done: progress("traffic", done), key=jax.random.key(seed),
        )  # fmt: skip
    except ForeseeError as error:
        return None, (f"there is no learned traffic: {error}",)
    return learnt.traffic(dt=parts.scenarios["test"].dt), ()


def _stretches(scenarios: Scenarios) -> Scenarios:
    thin = max(round(STEP / scenarios.dt), 1)
    return windows(scenarios, seconds=STRETCH, every=BETWEEN, nearest=AROUND, thin=thin)


def _joined(sets: Sequence[Scenarios]) -> Scenarios:
    stacked = jax.tree.map(lambda *leaves: jax.numpy.concatenate(leaves), *(each.scenario for each in sets))
    names = tuple(name for each in sets for name in each.names)
    groups = tuple(name for each in sets for name in each.groups)
    return Scenarios(names, groups, stacked, sets[0].dt)
