"""The fourth stage of the main job as a whole: learn to drive, and let everybody drive the last part."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import polars as pl

from foresee.driving.drivers.monitor import Monitored
from foresee.driving.drivers.mpc import Mpc
from foresee.driving.drivers.policy import Policy
from foresee.driving.drivers.rollout import windows
from foresee.driving.drivers.stored import save_driver
from foresee.driving.evaluate import Evaluation
from foresee.driving.findings import DriversFindings
from foresee.driving.futures.learn_traffic import learn_traffic
from foresee.driving.futures.traffic import LearnedTraffic
from foresee.driving.scenario import Scenarios
from foresee.errors import ForeseeError
from foresee.jobs.baselines import at_a_time
from foresee.jobs.config import Options
from foresee.jobs.drivers import (
    ALWAYS,
    MODES,
    POLICIES,
    Fleet,
    driver_numbers,
    in_chunks,
    make_fleet,
    metrics_table,
    rows_of,
)
from foresee.jobs.fleet import Entrant, drive_entrants
from foresee.jobs.foresight import foresight_of
from foresee.jobs.parts import Parts, spread
from foresee.jobs.policies import SIZES, Taught, learn_policies
from foresee.jobs.progress import Pieces, epochs_told
from foresee.jobs.replay import unseen, watch
from foresee.jobs.watch import GUARDED, Watch, learn_monitor
from foresee.jobs.worlds import World
from foresee.report.baselines import Driven
from foresee.report.clips import choose_scenarios, make_clips
from foresee.report.gains import gain_numbers

TRAFFIC_EPOCHS = 4
JUDGED = 96  # so many scenarios of the last part drivers are judged on, at most
STRETCH, BETWEEN, STEP, AROUND = 4.0, 1.5, 0.2, 22  # stretches that traffic is learned from [s]
SHOWN = ("idm", "pdm", "pdm_expected", "mpur", "safepathnet", "mpc")  # in the replay
MOST_CLIPS = 60
MONITORED = True  # whether drivers are judged with a monitor, too
UNWATCHED = ("expert", "none", "safepathnet_likely")
Progress = Callable[[str, float], None]


@dataclass(frozen=True, eq=False)
class Contest:
    """What came of the stage.

    Attributes:
        findings: for the report.
        numbers: for the summary.
        drivers: everybody that was learned, or uses what was learned, by the name of its file.
    """

    findings: DriversFindings
    numbers: dict[str, Any]
    drivers: dict[str, Any]

    def driven(self) -> Driven:
        """Return what there is to replay."""
        found = self.findings
        chosen = (found.evaluations, found.companions, found.places, found.foresight)
        return Driven(found.table, make_clips(*chosen))


def run_contest(
    parts: Parts, world: World, options: Options, pieces: Pieces, *, share: float, progress: Progress
) -> Contest:
    """Learn to drive from the first part, choose by the second, judge everybody on the third.

    Args:
        parts: the recording.
        world: what foretells.
        options: who takes part, and how often is learned.
        pieces: what is finished already.
        share: of the usual number of epochs.
        progress: called with what is being done and the share of it that is done.

    Raises:
        RecordingError: if nothing lasts long enough to learn from.
        TrainingError: if there is too little.
    """
    everything, seed = parts.scenarios["test"], options.seed
    test, dt = spread(everything, JUDGED), everything.dt
    progress("monitor", 0.0)
    watch_over = learn_monitor(parts, world.model, pieces, seed=seed) if MONITORED else Watch()
    fleet = make_fleet(world.model, options.methods, dt, SIZES, watch_over.monitor)
    size = _whole(at_a_time(test))

    def judge(name: str, policy: Policy, number: int, part: str, mode: str) -> pl.DataFrame:
        entrant = fleet.entrant("bc", policy, number)
        return in_chunks(parts.scenarios[part], size, lambda some: _alone(entrant, mode, some, seed))

    more = (options, pieces, share, judge)
    taught = _taught(parts, world, *more, lambda text, done: progress(text, 0.5 * done))
    traffic, notes = _traffic(parts, pieces, share, seed, lambda text, done: progress(text, 0.5 + 0.1 * done))
    modes = tuple(mode for mode in MODES if mode != "learned" or traffic is not None)
    taking_part = _entrants(fleet, options.methods, taught)

    def finish(entrant: Entrant, mode: str, run: Callable[[], Evaluation]) -> dict[str, Any]:
        def make() -> dict[str, Any]:
            judged = run()
            return {"table": judged.table, "seconds": judged.seconds}

        return pieces(f"{entrant.name} {entrant.seed} {mode}", make)

    done = drive_entrants(
        taking_part, modes, test, seed=seed, traffic=traffic, finish=finish,
        progress=lambda text, done: progress(text, 0.6 + 0.35 * done),
    )  # fmt: skip
    seconds = {place: each["seconds"] for place, each in done.items()}
    table = metrics_table({place: rows_of(each["table"], test) for place, each in done.items()})
    progress("replay", 0.95)
    left_out = (
        () if test is everything else (f"drivers are judged on {len(test)} of {len(everything)} scenarios",)
    )
    shown, places = _shown(taking_part, done, modes, test, traffic, seed)
    findings = DriversFindings(
        drivers=tuple(dict.fromkeys(each.name for each in taking_part)),
        modes=modes,
        seeds=tuple(range(options.seeds)),
        table=table,
        evaluations=shown,
        companions=test.vehicles,
        places=places,
        foresight=foresight_of(world.model, shown),
        trainings=taught.trainings,
        monitor=watch_over.findings,
        ablations=_ablations(taught),
        notes=(*taught.notes, *notes, *watch_over.notes, *left_out),
    )
    own = driver_numbers(table, seconds, seed=seed) | gain_numbers(table, seed=seed)
    numbers = watch_over.numbers | _contest_numbers(findings, test, own)
    return Contest(findings, numbers, _files(fleet, taught, options))


def write_policies(folder: Path, drivers: dict[str, Any]) -> None:
    """Write every driver into a file of its own, and take away those of an earlier run."""
    folder.mkdir(exist_ok=True)
    for name, driver in drivers.items():
        save_driver(folder / f"{name}.eqx", driver)
    for path in folder.glob("*.eqx"):
        if path.stem not in drivers:
            path.unlink()


def _whole(count: int) -> int:
    """Return the power of two that so many scenarios are filled up to."""
    return 1 << (count - 1).bit_length()


def _alone(entrant: Entrant, mode: str, scenarios: Scenarios, seed: int) -> Evaluation:
    quiet: Progress = lambda text, share: None  # noqa: E731
    return drive_entrants([entrant], [mode], scenarios, seed=seed, progress=quiet)[
        entrant.name, mode, entrant.seed
    ]


def _taught(
    parts: Parts,
    world: World,
    options: Options,
    pieces: Pieces,
    share: float,
    judge: Any,
    progress: Progress,
) -> Taught:
    wanted = [name for name in options.methods if name in POLICIES]
    if not wanted:
        return Taught()
    return learn_policies(
        parts, wanted, pieces, seed=options.seed, seeds=options.seeds, share=share, model=world.model,
        judge=judge, progress=progress,
    )  # fmt: skip


def _traffic(
    parts: Parts, pieces: Pieces, share: float, seed: int, progress: Progress
) -> tuple[LearnedTraffic | None, tuple[str, ...]]:
    """Learn traffic from parts that no driver has learned from; None with a remark if that is too little."""
    if "learned" not in MODES:
        return None, ()
    progress("traffic", 0.0)
    epochs, file = max(round(TRAFFIC_EPOCHS * share), 1), pieces.path("traffic.fit")
    pieces.begin()
    try:
        stretches = _joined([_stretches(parts.scenarios[name]) for name in ("validation", "test")])
        with epochs_told(file, epochs, lambda done: progress("traffic", done)):
            learnt = learn_traffic(stretches, epochs=epochs, checkpoint=file, key=jax.random.key(seed))
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


def _entrants(fleet: Fleet, methods: Sequence[str], taught: Taught) -> list[Entrant]:
    """Return everybody who takes part, in the order of the table, each with the monitor behind it."""
    alone: list[tuple[str, Any, int]] = [(name, None, 0) for name in ALWAYS]
    for name in methods:
        if name == "mpc" and taught.policies:
            # It plans by itself, slowly: where it begins hardly matters.
            alone += [(name, own, k) for k, own in enumerate(_warm(fleet, taught)[:1])]
        elif name in POLICIES:
            alone += [(name, own, k) for k, own in enumerate(taught.policies.get(name, ()))]
        elif name in fleet.branches:
            alone.append((name, None, 0))
            alone += [("safepathnet_likely", None, 0)] if name == "safepathnet" else []
    out = [fleet.entrant(*each) for each in alone]
    if fleet.monitor is not None:
        watched = [each for each in alone if each[0] not in UNWATCHED and each[2] == 0]
        out += [fleet.entrant(*each, watched=True) for each in watched]
    order = list(dict.fromkeys(name for name, _, _ in alone))
    return sorted(out, key=lambda each: order.index(each.name.removesuffix(GUARDED)))


def _warm(fleet: Fleet, taught: Taught) -> list[Mpc]:
    """Return the planners that begin with what the last of the policies would do, one per seed."""
    mpc = fleet.branches["mpc"]
    own = next(taught.policies[name] for name in reversed(POLICIES) if name in taught.policies)
    return [replace(mpc, warm=replace(policy, name="policy")) for policy in own if isinstance(mpc, Mpc)]


def _shown(
    taking_part: Sequence[Entrant], done: dict[Any, Any], modes: Sequence[str], test: Scenarios,
    traffic: LearnedTraffic | None, seed: int,
) -> tuple[tuple[Evaluation, ...], np.ndarray]:  # fmt: skip
    """Choose drivers and scenarios to look at, and drive these again."""
    chosen = [each for each in taking_part if each.name in SHOWN and each.seed == 0]
    judged = [
        unseen(each.name, mode, test, done[each.name, mode, each.seed]["table"], 0.0)
        for each in chosen
        for mode in modes
    ]
    by_name = {each.name: each for each in chosen}
    most = max(MOST_CLIPS // len(judged), 1)
    places = choose_scenarios(judged)[: min(most, at_a_time(test))]
    seen = [
        watch(
            by_name[each.driver], each, places, seed=seed, traffic=traffic if each.mode == "learned" else None
        )
        for each in judged
    ]
    return tuple(seen), places


def _ablations(taught: Taught) -> pl.DataFrame:
    schema = {"ablation": pl.String, "setting": pl.String, "score": pl.String}
    return pl.DataFrame(
        taught.candidates,
        schema={**schema, **dict.fromkeys(("value", "low", "high"), pl.Float64)},
        orient="row",
    )


def _contest_numbers(findings: DriversFindings, test: Scenarios, numbers: dict[str, Any]) -> dict[str, Any]:
    by_scene = len(set(test.groups)) > 1
    out: dict[str, Any] = {
        "scenarios.count": len(test),
        "scenarios.scenes": len(set(test.groups)),
        "scenarios.seconds": float(np.sum(np.asarray(test.scenario.frames)) * test.dt),
        "scenarios.independent": "scenes" if by_scene else "scenarios",
        "scenarios.drivers": list(findings.drivers),
        "scenarios.modes": list(findings.modes),
        "scenarios.seeds": len(findings.seeds),
        **numbers,
    }
    for row in findings.ablations.iter_rows(named=True):
        place = f"ablations.{row['ablation'].replace(' ', '_')}.{row['setting']}.{row['score']}"
        out |= {place: row["value"], f"{place}_ci": [row["low"], row["high"]]}
    return out


def _files(fleet: Fleet, taught: Taught, options: Options) -> dict[str, Any]:
    """Return who is kept, by the name of the file; it has the seed in it where there are several."""
    out: dict[str, Any] = {}
    for name, policies in taught.policies.items():
        for k, policy in enumerate(policies):
            out[name if options.seeds == 1 else f"{name}_{k}"] = policy
    if "mpc" in fleet.branches and taught.policies:
        for k, mpc in enumerate(_warm(fleet, taught)):
            out["mpc" if options.seeds == 1 else f"mpc_{k}"] = mpc
    rules = ("none", "idm", "pdm", "policy", *(["mpc"] if taught.policies else []))
    out |= {name: driver for name, driver in fleet.branches.items() if name not in rules}
    if fleet.monitor is not None:
        first = [name for name in out if options.seeds == 1 or name.endswith("_0") or name in fleet.branches]
        out |= {f"{name.removesuffix('_0')}{GUARDED}": Monitored(out[name], fleet.monitor) for name in first}
    return out
