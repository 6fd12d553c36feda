"""Clips to replay, chosen from evaluations by rules, with what happened and the curves under the picture."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from foresee.driving.comfort import LIMITS
from foresee.driving.evaluate import Evaluation
from foresee.driving.findings import Foresight
from foresee.driving.road import Road
from foresee.driving.scores import HORIZON, TIME_TO_COLLISION
from foresee.driving.sensing import Beliefs
from foresee.report.clip import Clip, Polyline, Trace
from foresee.report.foretold import foretold_in
from foresee.report.measures import NAMES, TRAFFIC, name_of

MOST_FAILED, ORDINARY = 8, 3  # scenarios in which somebody failed, and in which nobody did
AFTER = 2.0  # a clip goes on so long after a failure [s]
NEAR = 120.0  # who never comes nearer to the ego is left out [m]
STEP = 6.0  # lanes are drawn with a point every so many metres
RECORDED = "expert"  # the recorded driver, who drives nothing
NOTHING: Mapping[tuple[int, str, str], Foresight] = {}


def choose_scenarios(evaluations: Sequence[Evaluation]) -> Int[np.ndarray, " K"]:
    """Choose the scenarios to look at: those in which somebody failed first.

    Drivers in a kind of traffic take turns to name their next failure in the order of the recording, who
    fails least often begins; then come scenarios without a failure, spread evenly over the recording.
    """
    fails = {k: np.flatnonzero(each.table["fail"].to_numpy()).tolist() for k, each in enumerate(evaluations)}
    order = sorted(fails, key=lambda k: (evaluations[k].driver == RECORDED, len(fails[k])))
    chosen: list[int] = []
    while len(chosen) < MOST_FAILED and any(fails.values()):
        for k in order:
            fails[k] = [place for place in fails[k] if place not in chosen]
            if fails[k] and len(chosen) < MOST_FAILED:
                chosen.append(fails[k].pop(0))
    failed = np.any([each.table["fail"].to_numpy() for each in evaluations], axis=0)
    calm = np.flatnonzero(~failed)
    if len(calm):
        spread = np.linspace(0, len(calm) - 1, ORDINARY + 2)[1:-1].round().astype(int)
        chosen += calm[np.unique(spread)].tolist()
    if not chosen:
        chosen = [0]
    return np.array(chosen)


def make_clips(
    evaluations: Sequence[Evaluation],
    companions: Sequence[tuple[str, ...]],
    places: Int[np.ndarray, " K"],
    foresight: Mapping[tuple[int, str, str], Foresight] = NOTHING,
) -> tuple[Clip, ...]:
    """Make a clip of every chosen scenario with every driver in every kind of traffic.

    Args:
        evaluations: with the episodes of the chosen scenarios.
        companions: names of the vehicles of every scenario.
        places: the chosen scenarios.
        foresight: what was foretold, by place, driver and kind of traffic.
    """
    return tuple(
        _clip(each, companions[k], int(k), foresight.get((int(k), each.driver, each.mode)))
        for k in places
        for each in evaluations
    )


def most_telling(clips: Sequence[Clip]) -> int:
    """Return the clip to show if there is room for one only.

    Of the clips that failed, the first one of the driver and traffic with the fewest of them, the recorded
    driver left out; without a failure, the one with the least time to collision.
    """
    driven = [k for k, clip in enumerate(clips) if clip.driver != NAMES[RECORDED]] or list(range(len(clips)))
    failed = [k for k in driven if clips[k].failed]
    if failed:
        kinds = [(clips[k].driver, clips[k].mode) for k in failed]
        return min(failed, key=lambda k: (kinds.count((clips[k].driver, clips[k].mode)), k))
    return min(driven, key=lambda k: float(np.nanmin([HORIZON, *_values(clips[k], "time to collision")])))


def between(clip: Clip, start: float | int, end: float | int) -> Clip:
    """Cut a clip to the frames between two times [s]; its time begins anew."""
    first = max(round(start / clip.dt), 0)
    last = min(max(round(end / clip.dt), first) + 1, len(clip.x))
    rows = slice(min(first, last - 1), last)

    def cut(values: np.ndarray | None) -> np.ndarray | None:
        return None if values is None else values[rows]

    begun = rows.start * clip.dt
    hit = clip.contact
    contact = None if hit is None else (hit[0], min(max(hit[1] - rows.start, 0), last - rows.start - 1))
    kept = [(time - begun, text) for time, text in clip.events if begun <= time <= (last - 1) * clip.dt]
    moving = ("x", "y", "heading", "alive", "expert", "belief_mean", "belief_covariance")
    return replace(
        clip,
        **{name: cut(getattr(clip, name)) for name in moving},
        contact=contact,
        foretold=clip.foretold and clip.foretold.between(rows.start, last),
        events=tuple(kept),
        traces=tuple(replace(trace, values=trace.values[rows]) for trace in clip.traces),
    )


def _values(clip: Clip, name: str) -> Float[np.ndarray, " T"]:
    return next((trace.values for trace in clip.traces if trace.name == name), np.full(1, np.nan))


def _clip(evaluation: Evaluation, names: tuple[str, ...], place: int, foresight: Foresight | None) -> Clip:
    row = evaluation.table.row(place, named=True)
    at = int(np.flatnonzero(evaluation.episodes.scenario == place)[0])
    frames = jax.tree.map(lambda leaf: leaf[at], evaluation.episodes.frames)
    scenario = jax.tree.map(lambda leaf: np.asarray(leaf[place]), evaluation.scenarios.scenario)
    dt, ego = evaluation.scenarios.dt, int(scenario.ego)
    last = int(np.flatnonzero(evaluation.counted[place])[-1])
    if row["fail"] and row["failed_at"] is not None:
        last = min(last, round((row["failed_at"] + AFTER) / dt))
    shown = slice(0, last + 1)
    x, y, heading = (np.asarray(getattr(frames, name)[shown], float) for name in ("x", "y", "heading"))
    alive = np.asarray(frames.alive[shown])
    keep = _near(x, y, alive, ego)
    there = scenario.record.present[shown, ego]
    expert = np.stack([scenario.record.x[shown, ego], scenario.record.y[shown, ego]], axis=1).astype(float)
    lanes, edges = road_lines(scenario.world.road)
    believed = _believed(frames.beliefs, keep, shown)
    return Clip(
        scenario=str(row["scenario"]),
        driver=name_of(evaluation.driver),
        mode=TRAFFIC.get(evaluation.mode, evaluation.mode),
        outcome=outcome(row, names),
        failed=bool(row["fail"]),
        dt=dt,
        x=x[:, keep],
        y=y[:, keep],
        heading=heading[:, keep],
        alive=alive[:, keep],
        length=np.asarray(scenario.world.length[keep], float),
        width=np.asarray(scenario.world.width[keep], float),
        names=tuple(names[k] for k in keep),
        ego=int(np.flatnonzero(keep == ego)[0]),
        lanes=lanes,
        edges=edges,
        expert=np.where(there[:, None], expert, np.nan),
        belief_mean=believed[0],
        belief_covariance=believed[1],
        contact=_contact(row, keep, dt),
        events=_events(evaluation, row, place, last * dt),
        traces=_traces(evaluation, np.asarray(frames.offset[shown, ego], float), place, shown),
        foretold=None if foresight is None else foretold_in(foresight, keep, len(x), dt),
    )


def _believed(
    beliefs: Beliefs | None, keep: Int[np.ndarray, " K"], shown: slice
) -> tuple[Float[np.ndarray, "T K 2"] | None, Float[np.ndarray, "T K 2 2"] | None]:
    """Return what the ego believed about positions, not a number where it believed nothing."""
    if beliefs is None:
        return None, None
    known = np.asarray(beliefs.known)[shown][:, keep]
    mean = np.asarray(beliefs.mean, float)[shown][:, keep, :2]
    covariance = np.asarray(beliefs.covariance, float)[shown][:, keep, :2, :2]
    return np.where(known[..., None], mean, np.nan), np.where(known[..., None, None], covariance, np.nan)


def outcome(row: dict, names: tuple[str, ...]) -> str:
    """Say how an episode ended: what, against whom and when."""
    text, other = str(row["outcome"]), row["against"]
    if row["fail"]:
        whom = f" {names[other]}" if text.startswith("hit") and other is not None else ""
        return f"{text}{whom} at {row['failed_at']:.1f} s"
    return text if other is None else f"{text}; {row['contact']} ({names[other]}), not its fault"


def _contact(row: dict, keep: Int[np.ndarray, " K"], dt: float) -> tuple[int, int] | None:
    """Return whom the ego hit, among those who are kept, and in which frame."""
    found = np.flatnonzero(keep == row["against"]) if row["fail"] and row["outcome"].startswith("hit") else []
    return (int(found[0]), round(row["failed_at"] / dt)) if len(found) else None


def _near(
    x: Float[np.ndarray, "T V"], y: Float[np.ndarray, "T V"], alive: Bool[np.ndarray, "T V"], ego: int
) -> Int[np.ndarray, " K"]:
    """Return the slots of those who come near the ego, it included."""
    apart = np.hypot(x - x[:, [ego]], y - y[:, [ego]])
    return np.flatnonzero((alive & (apart < NEAR)).any(axis=0) | (np.arange(x.shape[1]) == ego))


def _events(evaluation: Evaluation, row: dict, place: int, end: float) -> tuple[tuple[float, str], ...]:
    happened = [(float(row["failed_at"]), str(row["outcome"]))] if row["fail"] else []
    for metric, text in (("overlap", "contact"), ("offroad", "off the road")):
        frames = np.flatnonzero(evaluation.values[metric][place])
        time = float(frames[0]) * evaluation.scenarios.dt if len(frames) else end + 1
        # What the failure was need not be said twice.
        if time <= end and all(abs(time - other) > 0.01 for other, _ in happened):
            happened.append((time, text))
    return tuple(happened)


def _traces(
    evaluation: Evaluation, offset: Float[np.ndarray, " T"], place: int, shown: slice
) -> tuple[Trace, ...]:
    counted = evaluation.counted[place][shown]

    def trace(name: str, metric: str, **limits: float) -> Trace:
        values = np.asarray(evaluation.values[metric][place][shown], float)
        return Trace(name, evaluation.units[metric], np.where(counted, values, np.nan), **limits)

    low, high = LIMITS["ego_lon_acceleration"]
    return (
        trace("speed", "speed"),
        trace("acceleration", "ego_lon_acceleration", low=low, high=high),
        trace("jerk", "ego_jerk", high=LIMITS["ego_jerk"][1]),
        trace("time to collision", "time_to_collision", low=TIME_TO_COLLISION),
        Trace("left of the lane's middle", "m", np.where(counted, offset, np.nan)),
        trace("distance to the record", "log_divergence"),
    )


def road_lines(road: Road) -> tuple[tuple[tuple[Polyline, Polyline], ...], tuple[Polyline, ...]]:
    """Return left and right boundary of every lane, and the edges of the road: where no lane is beside."""
    line, across, beside = (np.asarray(values) for values in (road.line, road.across, road.beside))
    lanes, edges = [], []
    for number, length in enumerate(np.asarray(road.length, float)):
        if length <= 0:
            continue
        along = np.linspace(0.0, length, max(round(length / STEP), 1) + 1)
        at = along / float(road.spacing)
        samples = np.arange(len(line[number]))
        x, y, heading, _ = (np.interp(at, samples, column) for column in line[number].T.astype(float))
        half = 0.5 * np.interp(at, samples, across[number, :, 0].astype(float))
        aside = np.stack([-np.sin(heading), np.cos(heading)], axis=1)
        both = [np.stack([x, y], axis=1) + sign * half[:, None] * aside for sign in (1, -1)]
        lanes.append((both[0], both[1]))
        links = beside[number, np.minimum(np.round(at).astype(int), len(samples) - 1)]
        for side in (0, 1):
            edges += _runs(both[side], links[:, side] < 0)
    return tuple(lanes), tuple(edges)


def _runs(points: Polyline, chosen: Bool[np.ndarray, " N"]) -> list[Polyline]:
    """Cut a line to the parts that are chosen."""
    ends = np.flatnonzero(np.diff(np.concatenate([[False], chosen, [False]]).astype(int)))
    return [points[a:b] for a, b in zip(ends[::2], ends[1::2], strict=True) if b - a > 1]
