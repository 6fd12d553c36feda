"""Tables of drivers and measures, one per kind of traffic, with the best values marked."""

from collections.abc import Mapping, Sequence
from typing import Any

from foresee.report.boards import Board, Cell, More, Row, Switch
from foresee.report.gains import GUARDED, LINE
from foresee.report.measures import (
    FAILED,
    FIRST,
    LESS_IS_BETTER,
    MORE,
    PROGRESSED,
    TRAFFIC,
    Measure,
    name_of,
)
from foresee.report.page import Block, Table, Text
from foresee.report.words import interval

ASIDE = ("expert", "none")  # nobody who drives: not marked as best, and not to be beaten
IN_WORDS = {
    "replay": "**Replayed**: the others do what was recorded, whatever the driver does.",
    "reactive": "**Reactive**: the others follow and change lanes by models (IDM and MOBIL), each as fast "
    "and as close as it was recorded to be. The recorded driver reacts to nobody here; its failures say how "
    "far the others stray from what they did.",
    "learned": "**Learned**: the others are driven by networks that learned from scenes that no driver "
    "learned from.",
    "mixed": "**Mixed**: some of the others do what was recorded, some drive by models.",
}
Numbers = Mapping[str, Any]


def drove(s: Numbers, mode: str) -> list[str]:
    """Return who drove in a kind of traffic, in the order of the summary."""
    return [name for name in s["scenarios.drivers"] if f"drivers.{name}.{mode}.fail_rate" in s]


def in_order(s: Numbers, modes: Sequence[str]) -> list[str]:
    """Return the drivers without monitor: the recorded one, then who fails least on average over traffic."""

    def failing(name: str) -> tuple[bool, float]:
        rates = [s.get(f"drivers.{name}.{mode}.fail_rate") for mode in modes]
        known = [rate for rate in rates if rate is not None]
        return name != "expert", sum(known) / len(known) if known else 1.0

    plain = [name for name in s["scenarios.drivers"] if not name.endswith(GUARDED)]
    return sorted((name for name in plain if any(name in drove(s, mode) for mode in modes)), key=failing)


def driver_tables(s: Numbers) -> tuple[Block, ...]:
    """Return the tables of all kinds of traffic to switch between, and what the measures mean."""
    parts = tuple((f"{TRAFFIC[mode].capitalize()} traffic", _panel(s, mode)) for mode in s["scenarios.modes"])
    return Switch("Kind of traffic", parts), More("What the measures mean", (_meanings(),))


def _panel(s: Numbers, mode: str) -> tuple[Block, ...]:
    caption = (
        "Small print: 95 % intervals. **Blue and bold**: the best value of its column, of those who drive. "
        + ("**Amber**: PDM, the line to beat. " if LINE in drove(s, mode) else "")
        + "A press on a column sorts by it."
    )
    first = _board(s, mode, FIRST, caption, f"Drivers in {TRAFFIC[mode]} traffic")
    more = _board(s, mode, MORE, "", f"Kinds of failures in {TRAFFIC[mode]} traffic")
    return Text(IN_WORDS[mode]), first, More("How they failed, and how close it was", (more,))


def _board(s: Numbers, mode: str, measures: Sequence[Measure], caption: str, name: str) -> Board:
    best = {measure.key: _best(s, mode, measure) for measure in measures}
    rows = []
    for driver in in_order(s, [mode]):
        look = "aside" if driver in ASIDE else "line" if driver == LINE else ""
        rows.append(Row(name_of(driver), _cells(s, driver, mode, measures, best), look))
        if f"{driver}{GUARDED}" in drove(s, mode):
            cells = _cells(s, f"{driver}{GUARDED}", mode, measures, best)
            rows.append(Row(name_of(f"{driver}{GUARDED}"), cells, "under", name_of(driver)))
    header = ("driver", *(_head(measure) for measure in measures))
    return Board(header, tuple(rows), caption, name)


def _head(measure: Measure) -> str:
    better = "less is better" if measure in LESS_IS_BETTER else "more is better"
    return f"{measure.label}\n{'1: as recorded' if measure is PROGRESSED else better}"


def _cells(
    s: Numbers, driver: str, mode: str, measures: Sequence[Measure], best: Mapping[str, float | None]
) -> tuple[Cell, ...]:
    cells = []
    for measure in measures:
        value, ends = measure.found(s, driver, mode)
        marked = value is not None and value == best[measure.key] and driver not in ASIDE
        cells.append(Cell(measure.form(value), interval(ends, measure.form), value, marked))
    return tuple(cells)


def _best(s: Numbers, mode: str, measure: Measure) -> float | None:
    """Return the best value of those who drive; of progress none is, for faster is not better."""
    values = [measure.found(s, name, mode)[0] for name in drove(s, mode) if name not in ASIDE]
    known = [value for value in values if value is not None]
    if not known or measure is PROGRESSED:
        return None
    return min(known) if measure in LESS_IS_BETTER else max(known)


def _meanings() -> Table:
    rows = []
    for measure in (*FIRST, *MORE):
        known_as = f" ({measure.known_as})" if measure.known_as else ""
        rows.append((measure.name, measure.meaning + known_as))
    return Table(
        ("measure", "share of scenarios in which, or mean over scenarios of"), tuple(rows), words=True
    )


def least_failing(s: Numbers, mode: str) -> list[str]:
    """Return who fails least in a kind of traffic, all of them where several do; monitors are left out."""
    those = [name for name in drove(s, mode) if name not in ASIDE and not name.endswith(GUARDED)]
    rates = {name: FAILED.found(s, name, mode)[0] for name in those}
    known = [rate for rate in rates.values() if rate is not None]
    return [name for name in those if known and rates[name] == min(known)]
