"""What drivers are compared by: measures with their limits, as nuPlan and Waymax have them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from foresee.driving.comfort import LIMITS
from foresee.driving.metrics import OFF_ROAD
from foresee.driving.scores import PROGRESS, TIME_TO_COLLISION
from foresee.report.gains import GUARDED
from foresee.report.words import PERCENT_SIGN, ends_of, interval, number, percent

NAMES = {
    "expert": "recorded driver",
    "none": "no action",
    "idm": "lane keeper (IDM)",
    "idm_sensing": "lane keeper, sensing",
    "pdm": "PDM",
    "pdm_expected": "PDM, expected cost",
    "bc": "BC",
    "cw_erm": "CW-ERM",
    "mper": "MPER",
    "vg": "VG",
    "mpur": "MPUR",
    "safepathnet": "SafePathNet",
    "safepathnet_likely": "SafePathNet, likeliest",
    "mpc": "MPC",
}
TRAFFIC = {"replay": "replayed", "reactive": "reactive", "learned": "learned", "mixed": "mixed"}
MINUS = "−"
GUARD = " + monitor"


def name_of(driver: str) -> str:
    """Return what the report calls a driver."""
    plain = driver.removesuffix(GUARDED)
    return NAMES.get(plain, plain) + (GUARD if plain != driver else "")


@dataclass(frozen=True)
class Measure:
    """One measure of the drivers.

    Attributes:
        key: how it ends in summary.json.
        name: what the report calls it.
        unit: its unit; "%" for shares.
        known_as: what others call it.
        meaning: what it is, with its limit.
    """

    key: str
    name: str
    unit: str
    known_as: str
    meaning: str

    @property
    def label(self) -> str:
        """Return the name with the unit."""
        return self.name if self.unit in ("", "%") else f"{self.name} [{self.unit}]"

    def text(self, summary: Mapping[str, Any], driver: str, mode: str) -> str:
        """Return the value with its interval."""
        value, ends = self.found(summary, driver, mode)
        return f"{self.form(value)} {interval(ends, self.form)}".strip()

    def found(
        self, summary: Mapping[str, Any], driver: str, mode: str
    ) -> tuple[float | None, list[float | None]]:
        """Return the value and the ends of its interval; None where they are not known."""
        key = f"drivers.{driver}.{mode}.{self.key}"
        value = summary.get(key)
        return None if value is None or math.isnan(value) else value, ends_of(summary, key)

    def form(self, value: float | int | None) -> str:
        """Return a value in words."""
        return percent(value) if self.unit == "%" else number(value, 2)


def _comfort_limits() -> str:
    low, high = LIMITS["ego_lon_acceleration"]
    most = {name: f"{ends[1]:g}" for name, ends in LIMITS.items()}
    return (
        f"acceleration always within {low:g} … {high:g} m/s² along and ±{most['ego_lat_acceleration']} m/s² "
        f"across, jerk within ±{most['ego_lon_jerk']} m/s³ along and {most['ego_jerk']} m/s³ in all, yaw "
        f"rate within ±{most['ego_yaw_rate']} rad/s, its change within ±{most['ego_yaw_acceleration']} rad/s²"
    ).replace("-", MINUS)


FAILED = Measure(
    "fail_rate",
    "failed",
    "%",
    "",
    "the driver hit somebody by its own fault, left the road, or made less than "
    f"{100 * PROGRESS:.0f}{PERCENT_SIGN} of the recorded way",
)
AT_FAULT = Measure(
    "at_fault_collisions",
    "hit somebody",
    "%",
    "nuPlan: no_ego_at_fault_collisions",
    "it hit somebody who stood, or with its front, or sideways while not within one lane; who is hit from "
    "behind or while standing has no fault",
)
CONTACTS = Measure(
    "collisions",
    "any contact",
    "%",
    "Waymax: overlap",
    "boxes touched, by whosever fault; not while the same two overlap in the record itself",
)
OUTSIDE = Measure(
    "off_road",
    "off the road",
    "%",
    "nuPlan: drivable_area_compliance; Waymax: offroad",
    f"a corner was outside of all lanes by more than {OFF_ROAD:g} m, or by that much more than in the record",
)
IN_TIME = Measure(
    "time_to_collision_within_bound",
    "time to collision kept",
    "%",
    "nuPlan: time_to_collision_within_bound",
    f"never less than {TIME_TO_COLLISION:g} s until contact, if all had kept heading and speed",
)
PROGRESSED = Measure(
    "progress",
    "progress",
    "",
    "Waymax: sdc_progression; nuPlan: ego_progress_along_expert_route, which is cut at 1",
    "way made along the lanes over that of the recorded driver",
)
NEAR_4 = Measure(
    "ade_4s", "ADE, 4 s", "m", "nuPlan: average displacement error", "distance to the record, mean of 4 s"
)
NEAR_ALL = Measure(
    "ade", "ADE, all", "m", "Waymax: log_divergence", "distance to the record, mean of the whole scenario"
)
JERK = Measure("jerk", "jerk", "m/s³", "", "how fast the acceleration along the path changes, mean size")
COMFORT = Measure("comfortable", "comfortable", "%", "nuPlan: ego_is_comfortable", _comfort_limits())
NUPLAN = Measure(
    "nuplan_score",
    "nuPlan score",
    "",
    "nuPlan: closed-loop score",
    "0 after a collision by one's own fault, off the road or against the traffic, or without progress; "
    "otherwise a weighted mean of progress, time to collision, speed limit and comfort, 1 at best",
)
FIRST = (FAILED, PROGRESSED, NEAR_4, COMFORT, JERK, NUPLAN)
MORE = (AT_FAULT, CONTACTS, OUTSIDE, IN_TIME, NEAR_ALL)
LESS_IS_BETTER = (FAILED, AT_FAULT, CONTACTS, OUTSIDE, NEAR_4, NEAR_ALL, JERK)
