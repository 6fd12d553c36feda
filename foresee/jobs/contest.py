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
from foresee.driving.drivers.stored import save_driver
from foresee.driving.evaluate import Episodes, Evaluation
from foresee.driving.findings import DriversFindings
from foresee.driving.futures.traffic import LearnedTraffic
from foresee.driving.scenario import Scenarios
from foresee.jobs.baselines import at_a_time
from foresee.jobs.beside import Beside
from foresee.jobs.config import Options
from foresee.jobs.drivers import (
    ALWAYS,
    MODES,
    POLICIES,
    Fleet,
    driver_numbers,
    make_fleet,
    metrics_table,
    rows_of,
)
from foresee.jobs.fleet import Entrant, drive_entrants
from foresee.jobs.foresight import foresight_of
from foresee.jobs.lessons import Lessons
from foresee.jobs.parts import Parts, spread
from foresee.jobs.policies import SIZES, Taught, learn_in_doubt
from foresee.jobs.progress import Pieces
from foresee.jobs.replay import unseen, watch
from foresee.jobs.watch import GUARDED, Watch, learn_monitor
from foresee.jobs.worlds import World
from foresee.report.baselines import Driven
from foresee.report.clips import choose_scenarios, make_clips
from foresee.report.gains import gain_numbers

JUDGED = 64  # so many scenarios of the last part drivers are judged on, at most
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
    parts: Parts,
    world: World,
    lessons: Beside[Lessons],
    options: Options,
    pieces: Pieces,
    *,
    share: float,
    progress: Progress,
) -> Contest:
    """Finish learning to drive, choose by the second part, judge everybody on the third.

    Args:
        parts: the recording.
        world: what foretells.
        lessons: what is learned without a world, under way.
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
    learnt = lessons.result(lambda text, done: progress(text, 0.1 + 0.1 * done))
    taught, traffic = learnt.taught, learnt.traffic
    if "mpur" in options.methods:
        learn_in_doubt(
            taught, pieces, seed=seed, share=share, model=world.model, judge=learnt.judge,
            progress=lambda text, done: progress(text, 0.2 + 0.3 * done),
        )  # fmt: skip
    fleet = make_fleet(world.model, options.methods, dt, SIZES, watch_over.monitor)
    modes = tuple(mode for mode in MODES if mode != "learned" or traffic is not None)
    taking_part = _entrants(fleet, options.methods, taught)

    seen: dict[tuple[str, str], Evaluation] = {}  # with their episodes, which are not kept in pieces

    def finish(entrant: Entrant, mode: str, run: Callable[[], Evaluation]) -> dict[str, Any]:
        def make() -> dict[str, Any]:
            judged = run()
            if _is_shown(entrant):
                seen[entrant.name, mode] = judged
            return {"table": judged.table, "seconds": judged.seconds}

        return pieces(f"{entrant.name} {entrant.seed} {mode}", make)

    done = drive_entrants(
        taking_part, modes, test, seed=seed, traffic=traffic, keep=len(test), together=True, finish=finish,
        progress=lambda text, done: progress(text, 0.5 + 0.45 * done),
    )  # fmt: skip
    seconds = {place: each["seconds"] for place, each in done.items()}
    table = metrics_table({place: rows_of(each["table"], test) for place, each in done.items()})
    progress("replay", 0.95)
    left_out = (
        () if test is everything else (f"drivers are judged on {len(test)} of {len(everything)} scenarios",)
    )
    shown, places = _shown(taking_part, done, seen, modes, test, traffic, seed)
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
        notes=(*taught.notes, *learnt.notes, *watch_over.notes, *left_out),
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


def _is_shown(entrant: Entrant) -> bool:
    return entrant.name in SHOWN and entrant.seed == 0


def _shown(
    taking_part: Sequence[Entrant], done: dict[Any, Any], seen: dict[tuple[str, str], Evaluation],
    modes: Sequence[str], test: Scenarios, traffic: LearnedTraffic | None, seed: int,
) -> tuple[tuple[Evaluation, ...], np.ndarray]:  # fmt: skip
    """Choose drivers and scenarios to look at; what an earlier run has judged is driven again."""
    judged = [
        unseen(each.name, mode, test, done[each.name, mode, each.seed]["table"], 0.0)
        for each in taking_part
        for mode in modes
        if _is_shown(each)
    ]
    by_name = {each.name: each for each in taking_part if _is_shown(each)}
    most = max(MOST_CLIPS // len(judged), 1)
    places = choose_scenarios(judged)[: min(most, at_a_time(test))]
    shown = []
    for each in judged:
        known = seen.get((each.driver, each.mode))
        if known is None:
            known = watch(by_name[each.driver], each, places, seed=seed, traffic=traffic, together=True)
        shown.append(_only(known, places))
    return tuple(shown), places


def _only(evaluation: Evaluation, places: np.ndarray) -> Evaluation:
    """Return an evaluation with the episodes of some scenarios alone."""
    held = evaluation.episodes
    rows = np.array([int(np.flatnonzero(held.scenario == place)[0]) for place in places])
    return replace(evaluation, episodes=Episodes(places, jax.tree.map(lambda leaf: leaf[rows], held.frames)))


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
