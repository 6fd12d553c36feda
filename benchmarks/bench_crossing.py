"""Crossing targets: how often identities are swapped or lost, by assignment and by JPDA, 1,000 seeds."""

import sys
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import beta

from benchmarks import measure
from foresee.dynamics import ConstantVelocity, Position
from foresee.tracking import BeliefPropagation, Birth, ByExistence, NearestNeighbour, Scan, Tracker
from foresee.tracking.sequence import run_scans

CLAIM = (
    "how often identities are swapped where two paths cross: seldom at a wide angle; at a narrow one JPDA "
    "lets the two tracks run together, and swaps no less than assignment"
)
SCANS, MEET = 30, 15
SIDE, FALSE = 60.0, 4.0  # m around the crossing, and false detections in it per scan
ANGLES = (10.0, 40.0)  # degrees between the paths


def tracker(association: Any) -> Tracker:
    """Return a tracker with the numbers that the scenes are drawn with."""
    area = SIDE**2
    return Tracker(
        ConstantVelocity(0.002),
        Position([1.0, 1.0], 4),
        Birth([jnp.inf, jnp.inf, 2.0, 2.0], 1e-5 / area, 2 / area),
        0.9,
        FALSE / area,
        0.9999,
        area,
        association=association,
        lifecycle=ByExistence(0.9, 0.2, 1e-4),
    )


def scenes(seeds: int, angle: float) -> tuple[Scan, np.ndarray]:
    """Draw two objects per seed that meet half way, with misses and false detections; and their paths."""
    rng = np.random.default_rng(int(10 * angle))
    half, time = np.radians(angle) / 2, np.arange(SCANS) - MEET
    way = 1.5 * time[:, None] * np.array([np.cos(half), np.sin(half)])
    paths = np.stack([way, way * [1, -1]], axis=1)
    room = 16
    values = np.zeros((seeds, SCANS, room, 2))
    seen = np.zeros((seeds, SCANS, room), bool)
    values[:, :, :2] = paths + rng.normal(size=(seeds, SCANS, 2, 2))
    seen[:, :, :2] = rng.random((seeds, SCANS, 2)) < 0.9
    count = np.minimum(rng.poisson(FALSE, (seeds, SCANS)), room - 2)
    values[:, :, 2:] = rng.uniform(-SIDE / 2, SIDE / 2, (seeds, SCANS, room - 2, 2))
    seen[:, :, 2:] = np.arange(room - 2) < count[..., None]
    dt = np.ones((seeds, SCANS))
    dt[:, 0] = 0
    return Scan(jnp.asarray(values), jnp.asarray(seen), jnp.asarray(dt)), paths


@eqx.filter_jit
def names(model: Tracker, scans: Scan, real: jax.Array) -> jax.Array:
    """Return the name of the confirmed track nearest to each object; −1 where none is within 5 m."""

    def one(sequence: Scan) -> jax.Array:
        _, tables = run_scans(model, model.begin(16), sequence)

        def at(table: Any, position: jax.Array) -> jax.Array:
            apart = jnp.linalg.norm(table.belief.location[:, None, :2] - position[None], axis=2)
            apart = jnp.where(table.confirmed()[:, None], apart, jnp.inf)
            nearest = jnp.argmin(apart, axis=0)
            return jnp.where(jnp.min(apart, axis=0) < 5.0, table.name[nearest], -1)

        return jax.vmap(at)(tables, real)

    return jax.lax.map(one, scans, batch_size=250)


def outcome(found: np.ndarray) -> np.ndarray:
    """Return for every seed: 0 kept, 1 swapped, 2 lost or renamed, −1 not two tracks before they meet."""
    before, after = found[:, MEET - 8], found[:, -1]
    good = (before >= 0).all(axis=1) & (before[:, 0] != before[:, 1])
    kept = (after == before).all(axis=1)
    swapped = (after == before[:, ::-1]).all(axis=1)
    return np.where(~good, -1, np.where(kept, 0, np.where(swapped, 1, 2)))


def share(count: int, total: int) -> tuple[float, float, float]:
    """Return a rate with the bounds of its 95 % interval (Clopper and Pearson 1934)."""
    low = beta.ppf(0.025, count, total - count + 1) if count else 0.0
    high = beta.ppf(0.975, count + 1, total - count) if count < total else 1.0
    return count / max(total, 1), float(low), float(high)


def main(arguments: list[str] | None = None) -> int:
    """Run all angles."""
    options = measure.options(__doc__, arguments)
    report = measure.Report("crossing", CLAIM, options)
    seeds = 20 if options.quick else 1000
    kinds = {"foresee, assignment": NearestNeighbour(), "foresee, JPDA": BeliefPropagation(20)}
    lines, rates = [], {}
    for angle in ANGLES[1:] if options.quick else ANGLES:
        scans, paths = scenes(seeds, angle)
        for name, kind in kinds.items():
            result = outcome(np.asarray(names(tracker(kind), scans, jnp.asarray(paths))))
            judged = int(np.sum(result >= 0))
            swapped = share(int(np.sum(result == 1)), judged)
            failed = share(int(np.sum(result >= 1)), judged)
            rates[angle, name] = swapped
            lines.append([name, angle, judged, *swapped, *failed])
    columns = ["", "angle [°]", "seeds", "swapped", "from", "to", "swapped or lost", "from ", "to "]
    report.table(f"two objects cross, 1.5 m per scan, noise 1 m, {seeds} seeds", columns, lines)
    kept = [rate[1] < 0.05 for (angle, _), rate in rates.items() if angle >= 40]
    report.gate("at a wide angle identities are kept", all(kept) or options.quick)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
