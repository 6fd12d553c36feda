"""How everything here is measured: interleaved repeats, minimum and median, the load, checked results.

On a shared machine a single timing can be wrong by a factor of ten. So all candidates of a comparison take
turns, the minimum is reported next to the median, and the load average before and after is written with the
figures. The first call, which compiles, is timed apart. Every result is compared with the reference before a
time is printed.
"""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.arguments import Options, options
from benchmarks.machine import machine, versions, write_json

__all__ = ["Entry", "Filtered", "NotSupported", "Options", "Report", "Row", "deviation", "options"]


class NotSupported(Exception):
    """What was asked for is nothing that a library offers."""


@dataclass(frozen=True)
class Filtered:
    """What every candidate hands back, with leading axes of series (batches only) and rows."""

    means: Any
    covariances: Any
    log_evidence: Any = None

    def numpy(self) -> "Filtered":
        """Return the same in float64 on the host."""
        evidence = None if self.log_evidence is None else np.asarray(self.log_evidence, np.float64)
        return Filtered(
            np.asarray(self.means, np.float64), np.asarray(self.covariances, np.float64), evidence
        )


@dataclass(frozen=True)
class Entry:
    """A candidate: `make` prepares it for a problem and returns a function that does all the work.

    Attributes:
        name: as printed.
        make: takes the problem, returns the function to be timed; ImportError where it cannot run.
        tolerance: largest allowed deviation from the reference, |a − b| / (1 + |b|); None compares nothing.
        note: printed with the row.
        peer: False for foresee and for references written here, which run everywhere.
        gate: whether a deviation above the tolerance fails the benchmark.
    """

    name: str
    make: Callable[[Any], Callable[[], Filtered]]
    tolerance: float | None = 1e-8
    note: str = ""
    peer: bool = True
    gate: bool = True


@dataclass
class Row:
    """One line of a comparison; times in microseconds per step."""

    name: str
    status: str = "ok"
    steps: int = 0
    minimum_us: float | None = None
    median_us: float | None = None
    repeats: int = 0
    first_call_s: float | None = None
    deviation: float | None = None
    note: str = ""


def deviation(result: Filtered, reference: Filtered) -> tuple[float, str]:
    """Return the largest |a − b| / (1 + |b|) over means, covariances and evidence, and what was compared.

    A candidate that ran only the first series, or only the first rows, is compared on what it ran.
    """
    worst = 0.0
    compared = ["means", "covariances"]
    cut = tuple(slice(size) for size in result.means.shape[:-1])
    pairs = [(result.means, reference.means[cut]), (result.covariances, reference.covariances[cut])]
    if result.log_evidence is not None and result.means.shape[-2] == reference.means.shape[-2]:
        evidence = reference.log_evidence
        pairs.append((result.log_evidence, evidence[cut[:-1]] if evidence.ndim else evidence))
        compared.append("evidence")
    for got, expected in pairs:
        if got.shape != expected.shape:
            raise AssertionError(f"expected shape {expected.shape}, got {got.shape}")
        error = np.abs(got - expected) / (1 + np.abs(expected))
        worst = max(worst, float(np.nan_to_num(error, nan=np.inf).max()))
    return worst, ", ".join(compared)


@dataclass
class Report:
    """Collects the comparisons of one benchmark, prints and writes them, and says whether the gates hold."""

    name: str
    claim: str
    options: Options
    cases: list[dict] = field(default_factory=list)
    gates: list[dict] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    load_before: tuple[float, ...] = field(default_factory=os.getloadavg)
    console: Console = field(default_factory=lambda: Console(width=150, highlight=False))

    def __post_init__(self) -> None:
        self.console.print(f"\n[bold]{self.name}[/bold]: {self.claim}")

    def wanted(self, entry: Entry) -> bool:
        """Return whether the command line asks for this candidate."""
        named = self.options.peers
        return not entry.peer or named is None or any(name.lower() in entry.name.lower() for name in named)

    def gate(self, text: str, holds: bool, detail: str = "") -> None:
        """Record a condition that must hold; the exit status says if one does not."""
        self.gates.append({"gate": text, "holds": bool(holds), "detail": detail})
        if not holds:
            self.console.print(f"[red]gate failed[/red]: {text} ({detail})")

    def target(self, text: str, value: float | None, limit: float) -> None:
        """Record a speed that is hoped for; it gates nothing, because times depend on the machine."""
        value = None if value is None else float(value)  # a NumPy number is nothing that JSON knows
        met = value is not None and value <= limit
        self.facts.setdefault("targets", []).append(
            {"target": text, "value": value, "limit": limit, "met": met}
        )
        shown = "not measured" if value is None else f"{value:.4g}"
        self.console.print(f"target {text}: {shown} against {limit:.4g}: {'met' if met else 'not met'}")

    def compare(
        self,
        title: str,
        problem: Any,
        entries: Sequence[Entry],
        check: Callable[..., None] | None = None,
        measured: str = "deviation",
    ) -> dict[str, Row]:
        """Run every candidate on the same problem, check it, and time all of them in turns.

        Without a `check` of its own every result is compared with the first one.
        """
        before = os.getloadavg()
        rows: dict[str, Row] = {}
        ready: dict[str, Callable[[], Filtered]] = {}
        reference: Filtered | None = None
        for entry in entries:
            if not self.wanted(entry):
                continue
            row = rows[entry.name] = Row(entry.name, note=entry.note)
            result = self._prepare(entry, problem, row, ready)
            if result is None:
                if not entry.peer:
                    self.gate(f"{title}: {entry.name} runs", False, row.status)
                continue
            reference = reference or result
            if check is None:
                self._check(title, entry, row, result, reference)
            else:
                check(self, title, entry, ready[entry.name], result, row)
        for work in ready.values():
            work()  # importing a peer can change a setting of JAX, after which everything compiles once more
        self._take_turns(ready, rows)
        self._print(title, rows, measured)
        case = {"title": title, "deviation": measured, "rows": [asdict(row) for row in rows.values()]}
        self.cases.append(case | {"load_before": before, "load_after": os.getloadavg()})
        return rows

    def _prepare(self, entry: Entry, problem: Any, row: Row, ready: dict) -> Filtered | None:
        try:
            work = entry.make(problem)
            begin = time.perf_counter()
            result = work()
            row.first_call_s = time.perf_counter() - begin
            result = result.numpy()
        except Exception as error:  # whatever a peer raises belongs into its row, not over the whole table
            kind = "" if isinstance(error, (ImportError, NotSupported)) else f"{type(error).__name__}: "
            row.status = f"not run: {kind}{(str(error).strip().splitlines() or [''])[0][:110]}"
            return None
        ready[entry.name] = work
        row.steps = int(np.prod(result.means.shape[:-1]))
        return result

    def _check(self, title: str, entry: Entry, row: Row, result: Filtered, reference: Filtered) -> None:
        if entry.tolerance is None:
            row.note = "; ".join(filter(None, [row.note, "not compared"]))
            return
        try:
            row.deviation, compared = deviation(result, reference)
        except AssertionError as error:
            row.deviation, compared = float("inf"), str(error)
        holds = row.deviation <= entry.tolerance
        every = int(np.prod(reference.means.shape[:-1]))
        partly = f"ran {row.steps:,} of {every:,} steps" if row.steps < every else ""
        silent = "" if "evidence" in compared else "evidence not compared"
        off = "" if holds else f"off by more than {entry.tolerance:.0e}"
        row.note = "; ".join(filter(None, [row.note, partly, silent, off]))
        if entry.gate:
            self.gate(
                f"{title}: {entry.name} within {entry.tolerance:.0e} of foresee",
                holds,
                f"{row.deviation:.1e}",
            )

    def _take_turns(self, ready: dict[str, Callable[[], Filtered]], rows: dict[str, Row]) -> None:
        spent = dict.fromkeys(ready, 0.0)
        times: dict[str, list[float]] = {name: [] for name in ready}
        for _ in range(self.options.rounds):
            for name, work in ready.items():
                if spent[name] > self.options.seconds and len(times[name]) >= self.options.fewest:
                    continue
                begin = time.perf_counter()
                work()
                lasted = time.perf_counter() - begin
                times[name].append(lasted)
                spent[name] += lasted
        for name, values in times.items():
            scale = 1e6 / rows[name].steps
            rows[name].minimum_us = min(values) * scale
            rows[name].median_us = float(np.median(values)) * scale
            rows[name].repeats = len(values)

    def _print(self, title: str, rows: dict[str, Row], measured: str) -> None:
        table = Table(title=title, title_justify="left", show_edge=False, pad_edge=False)
        for name in ("", "min µs/step", "median", "repeats", "first call s", measured, "note"):
            table.add_column(name, justify="left" if name in ("", "note") else "right")
        for row in sorted(rows.values(), key=lambda row: row.minimum_us or float("inf")):
            if row.minimum_us is None:
                table.add_row(row.name, "", "", "", "", "", "; ".join(filter(None, [row.status, row.note])))
                continue
            error = "" if row.deviation is None else f"{row.deviation:.1e}"
            numbers = (
                f"{row.minimum_us:.4g}",
                f"{row.median_us:.4g}",
                str(row.repeats),
                f"{row.first_call_s:.2f}",
            )
            table.add_row(row.name, *numbers, error, row.note)
        self.console.print(table)

    def table(self, title: str, columns: Sequence[str], lines: Sequence[Sequence[Any]]) -> None:
        """Print and keep a table of something else than times."""
        shown = Table(title=title, title_justify="left", show_edge=False, pad_edge=False)
        for name in columns:
            shown.add_column(name, justify="left" if name in ("", "note") else "right")
        for line in lines:
            texts = (f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in line)
            shown.add_row(*("" if text == "None" else text for text in texts))
        self.console.print(shown)
        self.cases.append({"title": title, "rows": [dict(zip(columns, line, strict=True)) for line in lines]})

    def finish(self) -> int:
        """Write the JSON file, print the verdict, and return the exit status."""
        failed = [gate for gate in self.gates if not gate["holds"]]
        after = os.getloadavg()
        content = {
            "benchmark": self.name,
            "claim": self.claim,
            "quick": self.options.quick,
            "gates_failed": len(failed),
            "gates": self.gates,
            "facts": self.facts,
            "cases": self.cases,
            "machine": machine() | {"load_before": self.load_before, "load_after": after},
            "versions": versions(),
        }
        path = write_json(self.options.out / f"{self.name}.json", content)
        self.console.print(
            f"load {self.load_before[0]:.2f} before, {after[0]:.2f} after, on {os.cpu_count()} cores, "
            f"{len(self.gates) - len(failed)} of {len(self.gates)} gates hold; written to {path.name}"
        )
        return 1 if failed else 0
