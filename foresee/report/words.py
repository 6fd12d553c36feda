"""Numbers in words: how the report and the terminal write them."""

import re
from collections.abc import Callable, Mapping
from html import escape
from typing import Any

import numpy as np

NOWHERE = "–"
PERCENT_SIGN = "\N{NO-BREAK SPACE}%"


def number(value: float | int | None, digits: int) -> str:
    """A number with so many digits after the point; a dash where there is none."""
    if value is None or not np.isfinite(value):
        return NOWHERE
    return f"{round(value, digits) + 0.0:,.{digits}f}".replace("-", "−")


def decimal(value: float | int | None) -> str:
    """A number with two digits after the point."""
    return number(value, 2)


def signed(value: float | int | None) -> str:
    """A difference, with its sign."""
    return NOWHERE if value is None else f"{value:+,.2f}".replace("-", "−")


def percent(value: float | int | None) -> str:
    """A share in percent, with more digits where it is tiny."""
    if value is None or not np.isfinite(value):
        return NOWHERE
    size = abs(value)
    digits = 1 if size == 0 or size >= 0.001 else 2 if size >= 0.0001 else 3
    return f"{100 * value:.{digits}f}{PERCENT_SIGN}".replace("-", "−")


def significant(value: float | int | None, digits: int = 3) -> str:
    """A number with so many significant digits."""
    if value is None or not np.isfinite(value):
        return NOWHERE
    if value == 0 or 1e-4 <= abs(value) < 1e5:
        return f"{value:#.{digits}g}".rstrip(".").replace("-", "−")
    return f"{value:.{digits - 1}e}".replace("-", "−")


def interval(ends: list[float | None], form: Callable[[float | None], str]) -> str:
    """A 95 % interval in brackets; nothing where it is not known."""
    return (
        ""
        if None in ends
        else f"[{form(ends[0]).removesuffix(PERCENT_SIGN)}, {form(ends[1]).removesuffix(PERCENT_SIGN)}]"
    )


def rich(text: str) -> str:
    """Text as HTML: escaped, `**words**` bold, and a number stays with its percent sign."""
    return re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", re.sub(r"(?<=\d) %", PERCENT_SIGN, escape(text)))


def ends_of(s: Mapping[str, Any], name: str) -> list[float | None]:
    """The ends of the 95 % interval of a number of the summary."""
    ends = s.get(f"{name}_ci") or (None, None)
    return list(ends) if all(end is not None and np.isfinite(end) for end in ends) else [None, None]


def bounds(s: Mapping[str, Any], name: str) -> tuple[float, float] | None:
    """The ends of the 95 % interval of a number of the summary; None where they are not known."""
    low, high = ends_of(s, name)
    return None if low is None or high is None else (low, high)


def count(how_many: int, what: str) -> str:
    """A count with its noun."""
    return f"{how_many:,} {what}" + ("" if how_many == 1 else "s")


def with_interval(s: Mapping[str, Any], name: str) -> str:
    """A number of the summary with its 95 % interval."""
    return f"{number(s[name], 2)} {interval(s[f'{name}_ci'], decimal)}"


def arrow(s: Mapping[str, Any], before: str, after: str, unit: str) -> str:
    """Two numbers of the summary, before and after."""
    return f"{significant(s[before])} → {significant(s[after])} {unit}"


def headlines(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and values of a run of the main job for the terminal, in the words of its report."""
    s = summary
    rows = [
        ("vehicles", f"{s['recording.vehicles']:,} in {count(s['recording.scenes'], 'scene')}"),
        ("recorded", f"{number(s['recording.seconds'], 1)} s, {s['recording.sightings']:,} sightings"),
        ("gaps", f"{s['recording.gaps']:,} ({count(s['recording.missing'], 'frame')})"),
    ]
    for level in (50, 90, 99):
        along, across = (percent(s[f"states.coverage_{level}_{axis}"]) for axis in ("along", "across"))
        rows.append((f"inside {level} % interval", f"{along} along, {across} across"))
    gain = f"{signed(s['states.log_score_gain'])} over constant velocity"
    rows.append(("log score per sighting", f"{number(s['states.log_score'], 2)} nats, {gain}"))
    spread = arrow(s, "accelerations.raw_sd", "accelerations.smoothed_sd", "m/s²")
    rows.append(("spread of acceleration", spread))
    if "truth.rows" in s:
        for quantity, unit in (("position", "m"), ("speed", "m/s"), ("acceleration", "m/s²")):
            error = arrow(s, f"truth.rmse_{quantity}_raw", f"truth.rmse_{quantity}", unit)
            rows.append((f"error of {quantity} (RMS)", error))
    if s.get("world.ade_4s") is not None:
        rows += _world_rows(s)
    if "scenarios.count" in s:
        rows += _driver_rows(s)
    return [*rows, ("time", f"{number(s['seconds.total'], 1)} s")]


def _world_rows(s: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return how far off the learned world is after 4 s, and what its intervals hold."""
    naive = s.get("world.constant_velocity.ade_4s")
    against = "" if naive is None else f", constant velocity {number(naive, 2)} m"
    rows = [("world, ADE at 4 s", f"{number(s['world.ade_4s'], 2)} m{against}")]
    if s.get("world.coverage_90_4s") is not None:
        rows.append(("world, inside 90 % at 4 s", f"{percent(s['world.coverage_90_4s'])} along"))
    if s.get("monitor.auroc") is not None:
        rows.append(("monitor, AUROC", number(s["monitor.auroc"], 2)))
    return rows


def _driver_rows(s: Mapping[str, Any]) -> list[tuple[str, str]]:
    if not s["scenarios.count"]:
        return [("scenarios", "none, see the report")]
    lanes = f", lanes from: {s['scenarios.road']}" if s.get("scenarios.road") else ""
    rows = [("scenarios", f"{s['scenarios.count']:,}{lanes}")]
    for driver in s["scenarios.drivers"]:
        parts = []
        for mode in s["scenarios.modes"]:
            key = f"drivers.{driver}.{mode}.fail_rate"
            if key not in s:
                continue
            parts.append(f"{percent(s[key])} {interval(s[f'{key}_ci'], percent)}".strip() + f" {mode}")
        rows.append((f"{driver} fails", ", ".join(parts)))
    return rows
