"""How much less often one driver fails than another in the same scenarios."""

from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float, Shaped

from foresee.driving.bootstrap import grouped_mean
from foresee.driving.intervals import Estimate

LINE = "pdm"  # who is to be beaten
GUARDED = "_monitored"  # ends the name of a driver with a monitor
THAN_LINE, THAN_UNGUARDED, PROGRESS = (
    f"fail_rate_less_than_{LINE}",
    "fail_rate_less_than_unguarded",
    "progress_less_than_unguarded",
)


def gain_numbers(table: pl.DataFrame, *, seed: int = 0) -> dict[str, Any]:
    """Return by how much each driver's rate of failures is lower than that of PDM in the same scenarios.

    Of drivers with a monitor, also by how much rate of failures and progress are lower than without it.
    Values of several seeds are averaged in each scenario; intervals take scenes for independent, and
    scenarios where there is one scene only.

    Args:
        table: one row per driver, kind of traffic, seed and scenario.
        seed: of the draws.
    """
    out: dict[str, Any] = {}
    for mode in table["mode"].unique(maintain_order=True):
        own = table.filter(mode=mode)
        names = own["driver"].unique(maintain_order=True).to_list()
        for name in names:
            unguarded = name.removesuffix(GUARDED)
            pairs = [(THAN_LINE, LINE, "fail")] if name != LINE and LINE in names else []
            if name != unguarded and unguarded in names:
                pairs += [(THAN_UNGUARDED, unguarded, "fail"), (PROGRESS, unguarded, "sdc_progression")]
            for key, other, column in pairs:
                gain = _less(own, name, other, column, seed)
                out[f"drivers.{name}.{mode}.{key}"] = gain.value
                out[f"drivers.{name}.{mode}.{key}_ci"] = [gain.low, gain.high]
    return out


def _less(table: pl.DataFrame, name: str, other: str, column: str, seed: int) -> Estimate:
    one, two = (_by_scenario(table, driver, column) for driver in (name, other))
    both = two.join(one, on="scenario", suffix="_one", maintain_order="left").drop_nulls()
    if not len(both):
        return Estimate(np.nan, np.nan, np.nan)
    less = (both["value"] - both["value_one"]).to_numpy()
    scenes = both["scene"].to_numpy()
    groups = scenes if len(set(scenes)) > 1 else both["scenario"].to_numpy()
    return share_less(less, groups, seed) if column == "fail" else grouped_mean(less, groups, seed=seed)


def _by_scenario(table: pl.DataFrame, driver: str, column: str) -> pl.DataFrame:
    own = table.filter(driver=driver).with_columns(pl.col(column).cast(pl.Float64).alias("value"))
    return own.group_by("scenario", maintain_order=True).agg(pl.col("scene").first(), pl.col("value").mean())


def share_less(less: Float[np.ndarray, " S"], groups: Shaped[np.ndarray, " S"], seed: int = 0) -> Estimate:
    """Return the mean of differences of shares, with an interval that rare events do not make too narrow.

    Drawing groups again tells nothing of events that did not happen. So the shares of what got better and of
    what got worse have intervals of their own, joined as in Zou and Donner (2008), eq. 3, and the wider
    interval counts.
    """
    drawn = grouped_mean(less, groups, seed=seed)
    better = grouped_mean(np.maximum(less, 0.0), groups, is_share=True, seed=seed)
    worse = grouped_mean(np.maximum(-less, 0.0), groups, is_share=True, seed=seed)
    low = drawn.value - np.hypot(better.value - better.low, worse.high - worse.value)
    high = drawn.value + np.hypot(better.high - better.value, worse.value - worse.low)
    return Estimate(drawn.value, float(np.fmin(drawn.low, low)), float(np.fmax(drawn.high, high)))
