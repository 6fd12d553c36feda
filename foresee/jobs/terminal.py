"""What a job says while it runs: progress on standard error, results on standard output."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

Report = Callable[[str, float], None]


class Terminal:
    """Shows one progress bar per step on a terminal, plain lines elsewhere, and nothing when quiet.

    Args:
        quiet: say nothing at all.
    """

    def __init__(self, quiet: bool):
        self.quiet = quiet
        self._errors = Console(stderr=True, quiet=quiet, highlight=False)
        self._output = Console(quiet=quiet, highlight=False)
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[Report]:
        """Show the progress of one step and keep how long it took; call what it gives with (text, 0 to 1)."""
        started = perf_counter()
        lively = self._errors.is_terminal and not self.quiet
        with self._bar(name) if lively else self._lines(name) as report:
            yield report
        self.seconds[name] = perf_counter() - started
        if not lively:
            self._errors.print(f"{name}: done in {self.seconds[name]:.1f} s")

    @contextmanager
    def _bar(self, name: str) -> Iterator[Report]:
        columns = (
            TextColumn("{task.fields[name]:<8}"),
            BarColumn(bar_width=30),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}", style="dim"),
        )
        with Progress(*columns, console=self._errors) as progress:
            task = progress.add_task("", total=1.0, name=name)
            yield lambda text, fraction: progress.update(task, description=text, completed=fraction)
            progress.update(task, description="", completed=1.0)

    @contextmanager
    def _lines(self, name: str) -> Iterator[Report]:
        shown = ""

        def report(text: str, fraction: float) -> None:
            nonlocal shown
            if text != shown:  # a line per change of text, not per percent: this goes into log files
                shown = text
                self._errors.print(f"{name}: {text}", markup=False, soft_wrap=True)

        yield report

    def remark(self, text: str) -> None:
        """Say one line on standard error."""
        self._errors.print(text, markup=False, soft_wrap=True)

    def table(self, title: str, rows: Sequence[tuple[str, str]]) -> None:
        """Print names and values as a table on standard output."""
        table = Table(title=title, title_justify="left", show_header=False)
        table.add_column(style="dim")
        table.add_column()
        for name, value in rows:
            table.add_row(name, value)
        self._output.print(table)

    def result(self, text: str) -> None:
        """Say one line on standard output."""
        self._output.print(text, markup=False, soft_wrap=True)
