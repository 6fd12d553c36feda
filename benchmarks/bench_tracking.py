"""Simulated radar, 20 to 2,000 targets: time per scan, OSPA, GOSPA; Stone Soup, forty lines of NumPy."""

import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import measure
from benchmarks.peers import radar
from benchmarks.peers.radar import SIDE, Scene, gospa, ospa
from foresee.dynamics import ConstantVelocity, Position
from foresee.tracking import (
    BeliefPropagation,
    Birth,
    Detections,
    NearestNeighbour,
    Tracker,
    advance,
    learn,
    log_evidence,
)

CLAIM = (
    "cost near linear in the targets, JPDA at the cost of assignment, and errors near those of filters that "
    "are told whose detections are whose, with numbers that were learned from other detections"
)
WARM = 10  # scans before scores count: until then the first tracks are found
BUDGET, PATIENCE = 30, 200  # seconds after which Stone Soup, or another candidate, runs no further scans
LIMITS = {100: 1.0, 500: 5.0, 2000: 20.0}  # ms per scan hoped for, assignment


def learned(targets: int, quick: bool) -> Tracker:
    """Learn a tracker's numbers from a made-up scene of the same density, without truth.

    The scene is a part of the square, with about twenty targets: densities are the same. The start is far
    away.
    """
    side = min(SIDE, SIDE * np.sqrt(20 / targets))
    scene = radar.made_up(20, 4 if quick else 25, seed=1000 + targets, side=side)
    area = side**2
    birth = Birth([jnp.inf, jnp.inf, 2.0, 2.0], rate=1e-3 / area, undetected=5 / area)
    start = Tracker(
        ConstantVelocity(0.5),
        Position([4.0, 4.0], 4),
        birth,
        0.7,
        20 / area,
        0.9999,
        area,
        association=BeliefPropagation(20),
    )
    # Enough room for detections that every density compiles the same program.
    found = learn(start, Detections(scene.scans), capacity=64, steps=1 if quick else 40).tracker
    # That nobody appears is learned easily; but an object whose track was lost has to be able to begin again.
    # On other made-up scenes, one in a thousand per second was best of 5e-5 to 2e-2.
    rate = 1e-3 * found.birth.undetected
    return eqx.tree_at(lambda one: (one.volume, one.birth.rate), found, (jnp.asarray(SIDE**2), rate))


def streamed(tracker: Tracker, scene: Scene) -> Iterator[np.ndarray]:
    """Track a stream scan by scan and yield the positions of confirmed tracks.

    What is worked out once for a tracker, its matrices, is worked out before.
    """
    begin, scans = tracker.begin(4 * max(map(len, scene.scans))), list(Detections(scene.scans))
    for scan in scans[:2]:
        advance(tracker, begin, scan)

    def run() -> Iterator[np.ndarray]:
        tables = begin
        for scan in scans:
            tables = advance(tracker, tables, scan)
            yield tables.belief.location[tables.confirmed()][:, :2]

    return run()


def once(
    make: Callable[[], Iterator[np.ndarray]], seconds: int = PATIENCE
) -> tuple[float, float, list[np.ndarray]]:
    """Run a candidate; return mean ms of the processor and median ms by the clock per scan, and its tracks.

    Everything here uses one thread, so that the processor's time is that of a machine with nothing else to
    do.
    """
    times, found = [], []
    stream = make()

    def stop(*_: Any) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)  # one scan of an exponential association can take longer than anybody waits
    try:
        while True:
            begin = time.perf_counter(), time.process_time()
            positions = next(stream, None)
            if positions is None:
                break
            after = time.perf_counter(), time.process_time()
            times.append([1e3 * (after[k] - begin[k]) for k in (0, 1)])
            found.append(np.asarray(positions))
    except TimeoutError:
        pass
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    if not times:
        return float("inf"), float("inf"), found
    wall, busy = np.asarray(times).T
    return float(np.mean(busy)), float(np.median(wall)), found


def scores(scene: Scene, found: list[np.ndarray]) -> dict[str, Any]:
    """Return OSPA over all scans and over those after the first ten, and GOSPA over the latter."""
    real = [row[np.isfinite(row[:, 0])] for row in scene.truth]
    if len(found) < len(real):
        return {
            "OSPA": None,
            "OSPA, all scans": None,
            "GOSPA": None,
            "note": f"{len(found)} of {len(real)} scans in {BUDGET} s",
        }
    # Dense assignment of thousands takes a second: of such scenes every fourth scan is judged.
    judged = np.arange(0, len(real), 4 if len(real[0]) > 1000 else 1)
    near = np.array([ospa(found[index], real[index]) for index in judged])
    far = np.array([gospa(found[index], real[index]) for index in judged])
    late = judged >= (WARM if len(real) > 2 * WARM else 0)
    return {
        "OSPA": float(near[late].mean()),
        "OSPA, all scans": float(near.mean()),
        "GOSPA": float(far[late].mean()),
        "note": "",
    }


def compare(report: measure.Report, targets: int) -> dict[str, dict[str, Any]]:
    """Run all candidates in turns on one scene; return a row for each."""
    quick = report.options.quick
    scene = None if quick else radar.recorded(targets)
    origin = "shared recording" if scene is not None else "made up"
    scene = scene or radar.made_up(targets, 5 if quick else 50, seed=targets)
    tracker = learned(targets, quick)
    report.facts[f"learned at {targets} targets"] = {
        "detection": float(tracker.detection),
        "false detections per scan": float(tracker.clutter) * SIDE**2,
        "sensor variance": np.asarray(tracker.sensor.covariance).tolist(),
        "acceleration density": float(tracker.motion.acceleration_density),
    }
    hard, soft = (
        eqx.tree_at(lambda one: one.association, tracker, kind)
        for kind in (NearestNeighbour(), BeliefPropagation())
    )
    candidates: dict[str, Callable[[], Iterator[np.ndarray]]] = {
        "foresee, assignment": lambda: streamed(hard, scene),
        "foresee, JPDA": lambda: streamed(soft, scene),
        "NumPy and SciPy, forty lines": lambda: radar.simple(scene),
        "told the truth about associations": lambda: radar.told(scene),
    }
    wanted = measure.Entry("Stone Soup", lambda problem: lambda: measure.Filtered(0, 0))
    if report.wanted(wanted) and targets <= 100:
        candidates["Stone Soup, GNN"] = lambda: radar.stone_soup(scene, False)
        candidates["Stone Soup, JPDA"] = lambda: radar.stone_soup(scene, True)
    rows: dict[str, dict[str, Any]] = {}
    for turn in range(1 if quick else 5):
        for name, make in candidates.items():
            if turn and not name.startswith("foresee") and (targets > 500 or name.startswith("Stone")):
                continue  # one turn is enough for what takes a hundred times as long
            try:
                mean, median, found = once(make, BUDGET if name.startswith("Stone") else PATIENCE)
            except ImportError as error:
                rows[name] = {"name": name, "note": f"not run: {error}"}
                continue
            if name not in rows:
                rows[name] = {"name": name, "ms per scan": mean, "median by the clock": median}
                rows[name] |= scores(scene, found)
            row = rows[name]
            row["ms per scan"] = min(row["ms per scan"], mean)
            row["median by the clock"] = min(row["median by the clock"], median)
    columns = ["name", "ms per scan", "median by the clock", "OSPA", "OSPA, all scans", "GOSPA", "note"]
    lines = [[row.get(name) for name in columns] for row in rows.values()]
    report.table(f"{targets:,} targets, {len(scene.scans)} scans, {origin}", columns, lines)
    return rows


def batches(report: measure.Report) -> None:
    """Time a thousand small scenes side by side, and the gradient of one scene's evidence."""
    count, scans = (8, 4) if report.options.quick else (1000, 20)
    side = 100.0
    tracker = Tracker(
        ConstantVelocity(0.05),
        Position([1.0, 1.0], 4),
        Birth([jnp.inf, jnp.inf, 2.0, 2.0], 1e-7, 5 / side**2),
        0.9,
        2.5 / side**2,
        0.9999,
        side**2,
        association=BeliefPropagation(15),
    )
    scenes = [Detections(radar.made_up(5, scans, seed, side).scans).padded(16) for seed in range(count)]
    batch = jax.tree.map(lambda *leaves: jnp.stack(leaves), *scenes)

    @eqx.filter_jit
    def evidences(model: Tracker, several: Any) -> jax.Array:
        return jax.vmap(lambda one: log_evidence(model, one, 24))(several)

    @eqx.filter_jit
    def slope(model: Tracker, one: Any) -> jax.Array:
        def of(density):
            return log_evidence(eqx.tree_at(lambda m: m.motion.acceleration_density, model, density), one, 24)

        return jax.grad(of)(model.motion.acceleration_density)

    one = jax.tree.map(lambda leaf: leaf[:1], batch)
    lines = []
    for name, work in (
        (f"{count:,} scenes by vmap", lambda: evidences(tracker, batch)),
        ("one scene", lambda: evidences(tracker, one)),
        ("gradient of one scene", lambda: slope(tracker, scenes[0])),
    ):
        jax.block_until_ready(work())
        times = []
        for _ in range(3):
            begin = time.perf_counter()
            jax.block_until_ready(work())
            times.append(time.perf_counter() - begin)
        scale = scans * (count if "scenes" in name else 1)
        lines.append([name, 1e3 * min(times) / scale])
    report.table(f"compiled, 5 targets, {scans} scans", ["", "ms per scan and scene"], lines)
    many, alone = evidences(tracker, batch), evidences(tracker, one)
    report.gate("a scene in a batch has the evidence it has alone", np.allclose(many[0], alone[0], rtol=1e-8))


def main(arguments: list[str] | None = None) -> int:
    """Run all sizes."""
    options = measure.options(__doc__, arguments)
    report = measure.Report("tracking", CLAIM, options)
    times = {}
    for targets in (20,) if options.quick else (20, 100, 500, 2000):
        rows = compare(report, targets)
        hard, soft, simple, told = list(rows.values())[:4]
        times[targets] = hard["ms per scan"]
        if options.quick:
            continue
        for row in (hard, soft):
            name = f"{targets} targets, {row['name']}"
            # With few targets both are as good as can be.
            bound = (0.95 if targets >= 500 else 1.01) * simple["OSPA"]
            report.gate(f"{name}: OSPA below the simple tracker's", row["OSPA"] < bound, f"{row['OSPA']:.3f}")
            bound = 1.25 * told["OSPA"]
            report.gate(f"{name}: OSPA near the told filter's", row["OSPA"] < bound, f"{row['OSPA']:.3f}")
        if targets in LIMITS:
            report.target(f"{targets} targets: assignment, ms per scan", hard["ms per scan"], LIMITS[targets])
        report.target(
            f"{targets} targets: JPDA against assignment", soft["ms per scan"] / hard["ms per scan"], 2.0
        )
        if targets == 100:
            report.target("100 targets: OSPA of assignment", hard["OSPA"], 0.95)
            report.target("100 targets: OSPA of JPDA", soft["OSPA"], 0.95)
    batches(report)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
