"""What a run of the main job found out, in a few sentences that one can act on."""

from collections.abc import Mapping
from typing import Any

from foresee.report.drivers import ASIDE, drove, least_failing
from foresee.report.gains import GUARDED, LINE, THAN_LINE
from foresee.report.measures import FAILED, PROGRESSED, TRAFFIC, name_of
from foresee.report.page import Tile
from foresee.report.words import bounds, count, decimal, ends_of, interval, number, percent, with_interval

BASELINES = {
    "constant_velocity": "constant velocity",
    "kalman": "Kalman filter",
    "imm": "IMM",
    "idm": "IDM in the lane",
}
AT = "4s"  # the horizon that the verdict is about
TO = "\N{NO-BREAK SPACE}→\N{NO-BREAK SPACE}"
Numbers = Mapping[str, Any]


def verdict(s: Numbers) -> tuple[str, ...]:
    """Return the sentences; what did not run has none."""
    sentences: list[str] = []
    if s.get("scenarios.count") and any(LINE in drove(s, mode) for mode in s["scenarios.modes"]):
        sentences.append(_who_drove(s))
        sentences += [_who_fails_least(s, mode) for mode in s["scenarios.modes"]]
        guarded = _monitor(s)
        sentences += [guarded] if guarded else []
    sentences += [_world(s)] if s.get(f"world.ade_{AT}") is not None else []
    return tuple(sentences)


def _who_drove(s: Numbers) -> str:
    names = [name for name in s["scenarios.drivers"] if name not in ASIDE]
    alone = [name for name in names if not name.endswith(GUARDED)]
    guarded = len(names) - len(alone)
    also = f", {guarded} of them also with a monitor," if guarded else ""
    also = ", each with and without a monitor," if guarded == len(alone) else also
    seeds = s.get("scenarios.seeds") or 1
    several = f" What learns was trained {seeds} times." if seeds > 1 else " What learns was trained once."
    modes = [TRAFFIC[mode] for mode in s["scenarios.modes"]]
    kinds = " and ".join([", ".join(modes[:-1]), modes[-1]] if len(modes) > 1 else modes)
    return (
        f"**{len(alone)} drivers**{also} drove {count(s['scenarios.count'], 'scenario')} from "
        f"{count(s['scenarios.scenes'], 'scene')} that nobody had learned from, in {kinds} traffic.{several}"
    )


def _who_fails_least(s: Numbers, mode: str) -> str:
    names = least_failing(s, mode)
    if not names:
        return f"In **{TRAFFIC[mode]}** traffic nobody was judged."
    where, rate = f"In **{TRAFFIC[mode]}** traffic", FAILED.text(s, names[0], mode)
    if LINE in names:
        others = [name for name in names if name != LINE]
        also = f" {_listed(others)} {_verb(others, 'does', 'do')} as well." if others else ""
        told = f"{where} nobody fails less than **{name_of(LINE)}**: {rate} of the scenarios.{also}"
        return told + _next(s, mode, names)
    told = f"{where} **{_listed(names)}** {_verb(names, 'fails', 'fail')} least: {rate} of the scenarios"
    if LINE not in drove(s, mode):
        return f"{told}."
    line = f"{name_of(LINE)}, the line to beat, {FAILED.text(s, LINE, mode)}"
    return f"{told}; {line}. {_than_line(s, names[0], mode)}".strip()


def _next(s: Numbers, mode: str, names: list[str]) -> str:
    """Say who follows on those who fail least."""
    rates = {
        name: FAILED.found(s, name, mode)[0]
        for name in drove(s, mode)
        if name not in (*ASIDE, *names) and not name.endswith(GUARDED)
    }
    known = {name: rate for name, rate in rates.items() if rate is not None}
    if not known:
        return ""
    other = min(known, key=lambda name: known[name])
    return f" Next is {name_of(other)}, {FAILED.text(s, other, mode)}. {_than_line(s, other, mode)}".rstrip()


def _than_line(s: Numbers, name: str, mode: str) -> str:
    """Say whether a driver fails less than the line to beat, and how sure that is."""
    key = f"drivers.{name}.{mode}.{THAN_LINE}"
    less, ends = s.get(key), bounds(s, key)
    if less is None:
        return ""
    points = f"{_points(abs(less))} percentage points"
    if ends is None:
        return f"The difference is {points}; one cannot say how sure that is."
    low, high = ends
    if low > 0:
        return f"That is surely fewer, by {points} [{_points(low)}, {_points(high)}]."
    if high < 0:
        return f"That is surely more, by {points} [{_points(-high)}, {_points(-low)}]."
    return (
        "Which of the two is safer this run cannot tell: the difference is "
        f"{_points(less)} percentage points [{_points(low)}, {_points(high)}]."
    )


def _points(share: float) -> str:
    return number(100 * share, 1)


def _monitor(s: Numbers) -> str:
    """Say what the monitor saves and costs over all drivers that have one."""
    parts = []
    for mode in s["scenarios.modes"]:
        names = [name for name in drove(s, mode) if name.endswith(GUARDED)]
        pairs = [(name.removesuffix(GUARDED), name) for name in names]
        failures = _sums(s, pairs, mode, "failures")
        progress = _sums(s, pairs, mode, PROGRESSED.key)
        if failures is None or progress is None:
            continue
        far, less = (number(each / len(pairs), 2) for each in progress)
        parts.append(
            f"{failures[0]:,}{TO}{failures[1]:,} failures in {TRAFFIC[mode]} traffic at a mean progress of "
            f"{far}{TO}{less}"
        )
    if not parts:
        return ""
    sure = ""
    if s.get("monitor.auroc") is not None:
        area = (
            f"{number(s['monitor.auroc'], 2)} {interval(list(bounds(s, 'monitor.auroc') or [None]), decimal)}"
        )
        sure = f" Its score tells moments before a failure from others with an AUROC of {area.strip()}."
    return f"**The monitor**, over all drivers that have one: {'; '.join(parts)}.{sure}"


def _sums(
    s: Numbers, pairs: list[tuple[str, str]], mode: str, score: str
) -> tuple[float | int, float | int] | None:
    """Return the sum of a score without and with monitor; None where any of them is not known."""
    found = [[s.get(f"drivers.{name}.{mode}.{score}") for name in pair] for pair in pairs]
    if not found or any(value is None for pair in found for value in pair):
        return None
    return sum(pair[0] for pair in found), sum(pair[1] for pair in found)  # pyright: ignore


def best_baseline(s: Numbers, score: str = "ade") -> str | None:
    """Return the forecast without learning that is best at the horizon of the verdict."""
    found = {name: s.get(f"world.{name}.{score}_{AT}") for name in BASELINES}
    known = {name: value for name, value in found.items() if value is not None}
    return min(known, key=lambda name: known[name]) if known else None


def _world(s: Numbers) -> str:
    ade = s[f"world.ade_{AT}"]
    told = (
        f"**The learned world** is off by {with_interval(s, f'world.ade_{AT}')} m on average over 4 s "
        "(ADE of the most likely future)"
    )
    other = best_baseline(s)
    if other is not None:
        theirs, key = s[f"world.{other}.ade_{AT}"], f"world.gain_{other}_{AT}"
        known = bounds(s, key)
        chance = known is not None and known[0] <= 0 <= known[1]
        sure = "" if known is None else ", which may be chance" if chance else ", surely so"
        less = "less" if ade < theirs else "more"
        told += (
            f", {percent(abs(1 - ade / theirs))} {less} than the best forecast without learning "
            f"({BASELINES[other]}, {number(theirs, 2)} m){sure}"
        )
    held = s.get(f"world.coverage_90_{AT}")
    if held is not None:
        told += f". Its 90 % intervals held {percent(held)} along the road"
        across = s.get(f"world.coverage_across_90_{AT}")
        told += f" and {percent(across)} across" if across is not None else ""
    return f"{told}."


def verdict_tiles(s: Numbers) -> tuple[Tile, ...]:
    """Return the numbers to look at first; none of what did not run."""
    tiles = []
    for mode in s["scenarios.modes"] if s.get("scenarios.count") else ():
        names = least_failing(s, mode)
        if not names:
            continue
        ends = interval(FAILED.found(s, names[0], mode)[1], percent)
        line = (
            f"; {name_of(LINE)} {FAILED.text(s, LINE, mode)}"
            if LINE in drove(s, mode) and LINE not in names
            else ""
        )
        label = f"least failures, {TRAFFIC[mode]} traffic"
        tiles.append(
            Tile(label, FAILED.form(FAILED.found(s, names[0], mode)[0]), f"{_listed(names)} {ends}{line}")
        )
    if s.get(f"world.ade_{AT}") is not None:
        other = best_baseline(s)
        theirs = "" if other is None else f"; {BASELINES[other]} {number(s[f'world.{other}.ade_{AT}'], 2)} m"
        sentence = f"mean distance of the most likely future over 4 s{theirs}"
        tiles.append(Tile("the world is off by", f"{number(s[f'world.ade_{AT}'], 2)} m", sentence))
    if s.get(f"world.coverage_90_{AT}") is not None:
        ends = interval(ends_of(s, f"world.coverage_90_{AT}"), percent)
        sentence = f"of what happened, along the road and 4 s ahead {ends}; the nearer to 90 % the better"
        tiles.append(Tile("inside its 90 % intervals", percent(s[f"world.coverage_90_{AT}"]), sentence))
    if s.get("monitor.auroc") is not None:
        sentence = (
            "AUROC: how likely a moment before a failure has the higher score; 0.5 is a coin. False alarms "
            f"{percent(s.get('monitor.false_alarms'))}, stated {percent(s.get('monitor.false_alarm'))}"
        )
        tiles.append(Tile("failures foreseen", number(s["monitor.auroc"], 2), sentence))
    return tuple(tiles)


def _listed(names: list[str]) -> str:
    words = [name_of(name) for name in names]
    if len(words) > 3:
        return f"{', '.join(words[:2])} and {len(words) - 2} others"
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _verb(names: list[str], one: str, many: str) -> str:
    return one if len(names) == 1 else many
