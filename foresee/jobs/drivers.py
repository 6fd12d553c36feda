"""The drivers of the fourth stage, all judged on the same scenarios, and what came of them in numbers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
from jaxtyping import Float, Shaped
from scipy import stats

from foresee.driving.bootstrap import DRAWS, LEVEL, grouped_mean
from foresee.driving.driver import AbstractDriver
from foresee.driving.drivers.monitor import Monitor
from foresee.driving.drivers.mpc import Mpc
from foresee.driving.drivers.pdm import ExpectedPdm, Pdm
from foresee.driving.drivers.policy import Policy, new_policy
from foresee.driving.drivers.safepathnet import SafePathNet
from foresee.driving.evaluate import MEANS, SHARES, Evaluation
from foresee.driving.futures.learned import Learned
from foresee.driving.futures.network import FutureModel
from foresee.driving.intervals import Estimate
from foresee.driving.policies import Expert, LaneKeeper, NoAction
from foresee.driving.scenario import Scenarios
from foresee.jobs.fleet import Entrant, one_of
from foresee.jobs.watch import GUARDED, guarded_branch

MODES = ("replay", "reactive", "learned")
ALWAYS = ("expert", "none", "idm")
POLICIES = ("bc", "cw_erm", "mper", "vg", "mpur")
PROGRAMS = (("none", "idm", "pdm", "policy"), ("pdm_expected", "safepathnet"), ("mpc",))
PLANNED = 0.2  # time between two plans of the planner that looks for them, for it is slow [s]
Drivers = Mapping[str, Sequence[AbstractDriver]]


@dataclass(frozen=True, eq=False)
class Fleet:
    """Everybody who takes part, as a few programs of about the same size; the recorded driver has its own.

    Attributes:
        branches: the drivers of the program; the policy is a stand-in for all policies.
        monitor: stands by; None: there is none.
    """

    branches: dict[str, AbstractDriver]
    monitor: Monitor | None = None

    def entrant(
        self, name: str, driver: AbstractDriver | None = None, seed: int = 0, *, watched: bool = False
    ) -> Entrant:
        """Return somebody who takes part.

        Args:
            name: what it is called.
            driver: who drives; None for one that is in the program as it is.
            seed: of which training.
            watched: whether the monitor takes over when it raises an alarm.
        """
        if name == "expert":
            return Entrant(name, Expert(), program="expert")
        branch = "policy" if name in POLICIES else "safepathnet" if name == "safepathnet_likely" else name
        own: Any = self.branches[branch] if driver is None else driver
        if isinstance(own, Policy):  # the name is part of the program
            own = replace(own, name="policy")
        if name == "safepathnet_likely":
            own = eqx.tree_at(lambda each: each.choose, own, jnp.zeros_like(own.choose))
        program = next((group for group in PROGRAMS if branch in group), PROGRAMS[0])
        there = {each: driver for each, driver in self.branches.items() if each in program}
        drivers = {**there, branch: own}
        chosen = one_of(tuple(drivers.values()), list(drivers).index(branch))
        full = f"{name}{GUARDED}" if watched else name
        return Entrant(full, guarded_branch(chosen, self.monitor, watched), seed, program[0])


def make_fleet(
    model: FutureModel,
    methods: Sequence[str],
    dt: float,
    sizes: tuple[int, int],
    monitor: Monitor | None = None,
) -> Fleet:
    """Return the program of all drivers that were asked for.

    Args:
        model: the learned world.
        methods: which drivers, beside the baselines.
        dt: time between frames [s].
        sizes: width and depth of policies.
        monitor: stands by.
    """
    branches: dict[str, AbstractDriver] = {"none": NoAction(), "idm": LaneKeeper()}
    forecaster = Learned(model, dt=dt)
    if "pdm" in methods:
        branches["pdm"] = Pdm()
    if "pdm_expected" in methods:
        branches["pdm_expected"] = ExpectedPdm(forecaster)
    if any(name in methods for name in POLICIES):
        branches["policy"] = new_policy(*sizes, key=jax.random.key(0))
    if "safepathnet" in methods:
        branches["safepathnet"] = SafePathNet(forecaster)
    if "mpc" in methods:
        warm = branches.get("policy")
        branches["mpc"] = Mpc(forecaster, warm=warm, interval=dt, every=max(round(PLANNED / dt), 1))
    return Fleet(branches, monitor)


def rows_of(table: pl.DataFrame, scenarios: Scenarios) -> pl.DataFrame:
    """Return the table of an evaluation with the names of scene and vehicles in it."""
    against = [
        None if slot is None else scenarios.vehicles[k][slot]
        for k, slot in enumerate(table["against"].to_list())
    ]
    return table.select(
        "scenario",
        pl.col("group").alias("scene"),
        pl.Series("vehicle", [names[0] for names in scenarios.vehicles]),
        pl.exclude("scenario", "group", "against"),
        pl.Series("against", against, dtype=pl.String),
    )


def metrics_table(tables: Mapping[tuple[str, str, int], pl.DataFrame]) -> pl.DataFrame:
    """Return one row per driver, kind of traffic, seed and scenario."""
    parts = []
    for (name, mode, seed), table in tables.items():
        own = [pl.lit(name).alias("driver"), pl.lit(mode).alias("mode"), pl.lit(seed).alias("seed")]
        parts.append(table.select(*own, pl.all()))
    return pl.concat(parts)


def driver_numbers(
    table: pl.DataFrame, seconds: Mapping[tuple[str, str, int], float], *, seed: int
) -> dict[str, Any]:
    """Return every measure of every driver in every kind of traffic, over seeds and scenes.

    Args:
        table: as of `metrics_table`.
        seconds: how long each evaluation took [s].
        seed: of the draws.
    """
    out: dict[str, Any] = {}
    scenes = table["scene"].n_unique()
    for (name, mode), own in table.group_by("driver", "mode", maintain_order=True):
        prefix = f"drivers.{name}.{mode}"
        seeds = own["seed"].unique(maintain_order=True).to_list()
        groups = own.filter(seed=seeds[0])["scene" if scenes > 1 else "scenario"].to_numpy()
        out[f"{prefix}.failures"] = int(own["fail"].sum())
        out[f"{prefix}.seeds"] = len(seeds)
        out[f"{prefix}.seconds"] = sum(seconds.get((str(name), str(mode), each), 0.0) for each in seeds)
        for key, column in (SHARES | MEANS).items():
            values, there = _by_seed(own, seeds, column)
            each = over_seeds(values, groups, there, is_share=key in SHARES, seed=seed)
            out[f"{prefix}.{key}"] = each.value
            out[f"{prefix}.{key}_ci"] = [each.low, each.high]
    return out


def _by_seed(table: pl.DataFrame, seeds: Sequence[int], column: str) -> tuple[np.ndarray, np.ndarray]:
    parts = [table.filter(seed=each)[column] for each in seeds]
    values = np.stack([part.cast(pl.Float64).fill_null(0.0).to_numpy() for part in parts])
    return values, np.stack([part.is_not_null().to_numpy() for part in parts])


def over_seeds(
    values: Float[np.ndarray, "N S"],
    groups: Shaped[np.ndarray, " S"],
    counted: Shaped[np.ndarray, "N S"],
    *,
    is_share: bool,
    seed: int,
) -> Estimate:
    """Return the mean over seeds and scenarios, with a 95 % interval by drawing groups and seeds again.

    Groups are drawn as in `foresee.driving.bootstrap.grouped_mean`, which a single seed is left to. A share
    keeps at least the interval that its scenes alone would have.
    """
    first = grouped_mean(values[0], groups, counted=counted[0], is_share=is_share, seed=seed)
    if len(values) == 1:
        return first
    there = np.asarray(counted.all(axis=0))
    if not there.any():
        return Estimate(np.nan, np.nan, np.nan)
    kept = values[:, there]
    over_scenes = grouped_mean(values.mean(axis=0), groups, counted=there, is_share=is_share, seed=seed)
    _, member = np.unique(groups[there], return_inverse=True)
    number = int(member.max()) + 1
    random = np.random.default_rng(seed)
    scenes = random.multinomial(number, np.full(number, 1 / number), DRAWS)
    seeds = random.multinomial(len(kept), np.full(len(kept), 1 / len(kept)), DRAWS) / len(kept)
    totals = np.stack([np.bincount(member, row, minlength=number) for row in kept])
    means = np.einsum("dn,ng,dg->d", seeds, totals, scenes) / (scenes @ np.bincount(member))
    few = min(number, len(kept)) if number > 1 else len(kept)
    tail = float(stats.norm.cdf(-np.sqrt(few / (few - 1)) * stats.t.ppf(0.5 + LEVEL / 2, few - 1)))
    low, high = np.quantile(means, [tail, 1 - tail])
    mean = float(kept.mean())
    if np.isnan(over_scenes.low):
        return Estimate(mean, float(min(low, mean)), float(max(high, mean)))
    return Estimate(mean, float(min(low, over_scenes.low, mean)), float(max(high, over_scenes.high, mean)))


def in_chunks(scenarios: Scenarios, size: int, judge: Callable[[Scenarios], Evaluation]) -> pl.DataFrame:
    """Return the table of an evaluation that is made of so many scenarios at a time, of one shape always."""
    count, parts = len(scenarios), []
    for start in range(0, count, size):
        chosen = np.minimum(np.arange(start, start + size), count - 1)
        parts.append(judge(scenarios.select(chosen)).table[: count - start])
    return pl.concat(parts)
