"""What a contest of drivers found out, made by hand, for tests of how it is reported: nothing is driven."""

import numpy as np
import polars as pl

from foresee.driving.evaluate import MEANS, SHARES, Evaluation
from foresee.driving.findings import DriversFindings, Foresight, MonitorFindings, Training
from foresee.driving.simulate import Mode
from foresee.report.clips import choose_scenarios
from foresee.report.gains import gain_numbers
from tests.evaluations import DT, FRAMES, made_evaluation, made_scenarios

MODES: tuple[Mode, ...] = ("replay", "reactive", "learned")
RATES = {  # how often each fails, and how much better it gets with a monitor
    "expert": (0.02, None), "none": (0.6, None), "idm": (0.05, 0.8), "pdm": (0.03, 0.8),
    "pdm_expected": (0.02, 0.9), "bc": (0.25, 0.5), "mpur": (0.03, 0.6), "safepathnet": (0.06, 0.7),
    "safepathnet_likely": (0.1, 0.7), "mpc": (0.04, 0.8),
}  # fmt: skip
LEARNED = ("bc", "mpur")
OUTCOMES = ("hit the vehicle ahead", "left the road")
FAILED_AT = {"hit the vehicle ahead": 3.0, "left the road": 2.0}


def made_contest(count: int = 40, scenes: int = 4, seeds: int = 2) -> DriversFindings:
    """Ten drivers, eight of them with a monitor, in three kinds of traffic; two have several seeds."""
    scenarios = made_scenarios(count, scenes)
    key = np.random.default_rng(0)
    parts = []
    for name, (rate, helped) in RATES.items():
        for ending, factor in (("", 1.0), ("_monitored", helped)):
            if factor is None:
                continue
            for mode in MODES:
                share = 0.0 if (name, mode) == ("expert", "replay") else rate * factor
                for seed in range(seeds if name in LEARNED else 1):
                    failed = key.random(count) < share
                    parts.append(_rows(name + ending, mode, seed, scenarios, failed, key))
    table = pl.concat(parts)
    shown = [_watched(table, name, mode, scenarios) for name in ("pdm", "mpur") for mode in MODES]
    companions = tuple((str(k), "a", "b", "c") for k in range(count))
    places = choose_scenarios(shown)[:3]
    foresight = {(int(k), "mpur", mode): made_foresight() for k in places for mode in MODES}
    names = tuple(dict.fromkeys(table["driver"].to_list()))
    return DriversFindings(
        names, MODES, tuple(range(seeds)), table, tuple(shown), companions, places, foresight,
        {"bc": made_training(seeds), "mpur": made_training(seeds, 6)}, made_monitor(), pl.DataFrame(),
        ("MPER was left out: its loss did not stay finite",),
    )  # fmt: skip


def _rows(name, mode, seed, scenarios, failed, key) -> pl.DataFrame:
    count = len(failed)
    outcome = np.where(failed, key.choice(OUTCOMES, count, p=(0.7, 0.3)), "did not fail")
    values = {column: failed.astype(float) for column in SHARES.values()}
    for column in ("success", "ego_is_comfortable", "time_to_collision_within_bound"):
        values[column] = 1.0 - failed
    for column, middle in zip(MEANS.values(), (0.99, 2.3, 1.2, 0.5, 0.9), strict=True):
        values[column] = middle + 0.2 * key.normal(size=count) + 0.1 * (name == "bc")
    return pl.DataFrame(
        {
            "driver": [name] * count, "mode": [mode] * count, "seed": [seed] * count,
            "scenario": scenarios.names, "scene": scenarios.groups, "vehicle": [str(k) for k in range(count)],
            "outcome": outcome.tolist(),
            "failed_at": [FAILED_AT.get(each) for each in outcome.tolist()],
            "contact": ["nothing"] * count,
            "against": ["a" if each.startswith("hit") else None for each in outcome.tolist()],
            **values,
        },
        schema_overrides={"failed_at": pl.Float64, "against": pl.String},
    ).with_columns(pl.Series("fail", failed))  # fmt: skip


def _watched(table: pl.DataFrame, name: str, mode: Mode, scenarios) -> Evaluation:
    own = table.filter(driver=name, mode=mode, seed=0)
    hit, left = (np.flatnonzero((own["outcome"] == each).to_numpy()).tolist() for each in OUTCOMES)
    return made_evaluation(name, mode, hit, left, scenarios)


def made_foresight() -> Foresight:
    """Three futures of the vehicles ahead and beside: going on, one lane further, and improbable."""
    frames = np.arange(0, FRAMES, 5)
    times = np.arange(0.5, 4.1, 0.5)
    start = np.array([80.0, 60.0, 300.0]) + 10.0 * DT * frames[:, None]
    way = 10.0 * times - np.array([0.0, 1.0, 0.2])[:, None] * times**2
    x = start[:, :, None, None] + way
    shift = np.array([0.0, 3.5, -0.2])[:, None] * np.minimum(times / 3.0, 1.0) ** 2
    y = np.array([-3.5, 0.0, 0.0])[:, None, None] + np.broadcast_to(shift, x.shape)
    shape = x.shape
    slots = np.broadcast_to(np.array([1, 2, 3]), start.shape)
    along, across = np.broadcast_to(0.4 * times, shape), np.broadcast_to(0.15 * times, shape)
    weights = np.broadcast_to(np.array([0.69, 0.3, 0.01]), shape[:3])
    known = np.ones(start.shape, bool)
    return Foresight(frames, slots, times, x, y, np.zeros(shape), along, across, weights, known)


def made_training(members: int = 2, epochs: int = 12) -> Training:
    """Losses that fall, one of them further than the other."""
    steps = np.arange(1, epochs + 1)
    losses = np.stack([2.0 / steps**0.5 + 0.1 * k for k in range(members)])
    held = losses + 0.2 + 0.004 * (steps - 6) ** 2
    return Training(losses, held, held.argmin(axis=1) + 1, np.zeros(members, bool), 31.4)


def made_monitor() -> MonitorFindings:
    """A score that tells failures well, and one that hardly does."""
    key = np.random.default_rng(1)
    failing = np.arange(2000) < 60
    good, poor = failing * 2.0 + key.normal(size=2000), failing * 0.4 + key.normal(size=2000)
    return MonitorFindings({"monitor": good, "doubt": poor}, failing, {"monitor": 2.33}, 0.01, 3.0)


def contest_numbers(found: DriversFindings) -> dict:
    """The numbers of a contest as summary.json has them, with intervals that are made up."""
    table = found.table
    out = {
        "scenarios.count": table["scenario"].n_unique(), "scenarios.scenes": table["scene"].n_unique(),
        "scenarios.seconds": 240.0, "scenarios.independent": "scenes", "scenarios.road": "map",
        "scenarios.drivers": list(found.drivers), "scenarios.modes": list(found.modes),
        "scenarios.seeds": len(found.seeds), "scenarios.notes": [],
        "monitor.auroc": 0.92, "monitor.auroc_ci": [0.88, 0.95], "monitor.auroc_doubt": 0.61,
        "monitor.false_alarm": 0.01, "monitor.false_alarms": 0.012,
        "monitor.false_alarms_band": [0.006, 0.015],
        "monitor.threshold": 2.33, "monitor.seconds": 3.0,
        "ablations.networks.1.ade_4s": 1.1, "ablations.networks.1.ade_4s_ci": [1.0, 1.2],
        "ablations.networks.3.ade_4s": 1.0, "ablations.networks.3.ade_4s_ci": [0.9, 1.1],
        "ablations.doubt.0.2.fail_rate": 0.05, "ablations.doubt.0.2.fail_rate_ci": [None, None],
        "ablations.odd_thing.on.some_score": 3.0,
    }  # fmt: skip
    for (name, mode), own in table.group_by("driver", "mode", maintain_order=True):
        out[f"drivers.{name}.{mode}.failures"] = int(own["fail"].sum())
        for score, column in (SHARES | MEANS).items():
            values = own[column].cast(pl.Float64).to_numpy()
            half = 1.96 * values.std() / np.sqrt(len(values)) + 0.002
            ends = [values.mean() - half, values.mean() + half]
            low, high = (0.0, 1.0) if score in SHARES else (-np.inf, np.inf)
            out[f"drivers.{name}.{mode}.{score}"] = float(values.mean())
            out[f"drivers.{name}.{mode}.{score}_ci"] = [float(np.clip(end, low, high)) for end in ends]
    return out | gain_numbers(table)


def world_numbers() -> dict:
    """The numbers of a world as summary.json has them."""
    out: dict = {"world.windows": [900, 120, 300], "world.lessons": 8000, "world.notes": ["made up"]}
    factors = {
        "": 1.0,
        "constant_velocity.": 1.4,
        "kalman.": 1.45,
        "imm.": 1.25,
        "idm.": 1.3,
        "samples.": 1.35,
    }
    scores = {"ade": 0.25, "fde": 0.5, "min_ade_6": 0.15, "miss": 0.03, "nll": 0.4, "energy": 0.2}
    for name, factor in factors.items():
        for score, size in scores.items():
            for horizon in (1, 2, 4, 6):
                value = None if name == "samples." and score != "min_ade_6" else factor * size * horizon
                ends = [None, None] if value is None else [0.9 * value, 1.1 * value]
                out |= {f"world.{name}{score}_{horizon}s": value, f"world.{name}{score}_{horizon}s_ci": ends}
        if name:
            out |= {f"world.gain_{name}4s".replace(".", "_").replace("world_", "world."): 0.3}
    for side in ("", "across_", "region_"):
        for level in (50, 90, 99):
            for horizon in (1, 2, 4, 6):
                key, value = f"world.coverage_{side}{level}_{horizon}s", level / 100 - 0.005 * horizon
                out |= {key: value, f"{key}_ci": [value - 0.02, min(value + 0.02, 1.0)]}
    return out | {f"world.width_90_{h}s": 0.8 * h for h in (1, 2, 4, 6)}
