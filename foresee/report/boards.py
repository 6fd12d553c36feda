"""Tables to compare by, whose columns sort the rows, and parts of a page to switch between."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from importlib.resources import files
from typing import Any, Literal

from foresee.report.words import rich


@dataclass(frozen=True)
class Cell:
    """A number of a table.

    Attributes:
        text: the number in words.
        note: what stands beside it in small print, such as its interval.
        value: what the rows are sorted by.
        best: whether it is the best of its column.
    """

    text: str
    note: str = ""
    value: float | int | None = None
    best: bool = False

    def html(self) -> str:
        """Return the cell as HTML."""
        sorting = "" if self.value is None else f' data-value="{self.value:.6g}"'
        look = ' class="best"' if self.best else ""
        note = f" <small>{escape(self.note)}</small>" if self.note else ""
        return f"<td{look}{sorting}>{escape(self.text)}{note}</td>"


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        name: what it is about.
        cells: its numbers.
        look: "line" is what is to be beaten, "under" belongs to the row above, "aside" does not compete.
        shared: the beginning of the name that is not repeated while the row stands under its own.
    """

    name: str
    cells: tuple[Cell, ...]
    look: Literal["", "line", "under", "aside"] = ""
    shared: str = ""

    def html(self) -> str:
        """Return the row as HTML."""
        look = f' class="{self.look}"' if self.look else ""
        cells = "".join(cell.html() for cell in self.cells)
        shared = f'<span class="shared">{escape(self.shared)}</span>' if self.shared else ""
        name = shared + escape(self.name.removeprefix(self.shared))
        return f'<tr{look}><th scope="row">{name}</th>{cells}</tr>'


@dataclass(frozen=True)
class Board:
    """A table of numbers with their intervals; a script lets each column sort the rows.

    Attributes:
        header: what the columns are; below a line break stands their unit or which way is better.
        rows: in the order that is shown first.
        caption: what to know of it.
        name: what it is, for those who do not see it.
    """

    header: tuple[str, ...]
    rows: tuple[Row, ...]
    caption: str = ""
    name: str = ""

    @property
    def script(self) -> str:
        """What the page has to run for this block."""
        return _script()

    def html(self) -> str:
        """Return the block as HTML."""
        head = "".join(f'<th scope="col">{_two_lines(name)}</th>' for name in self.header)
        body = "".join(row.html() for row in self.rows)
        caption = f"<caption>{rich(self.caption)}</caption>" if self.caption else ""
        return (
            f'<div class="table"><table class="board" aria-label="{escape(self.name)}">{caption}'
            f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
        )


@dataclass(frozen=True)
class Switch:
    """Parts of a page of which one is shown at a time; on paper all are.

    Attributes:
        name: what is chosen; unique on its page.
        parts: what each part is called, and its blocks.
    """

    name: str
    parts: tuple[tuple[str, tuple[Any, ...]], ...]

    @property
    def inside(self) -> Sequence[Any]:
        """The blocks of all parts."""
        return [block for _, blocks in self.parts for block in blocks]

    def html(self) -> str:
        """Return the block as HTML."""
        anchor = "switch-" + re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")
        inputs = "".join(
            f'<input type="radio" name="{anchor}" id="{anchor}-{k}"{" checked" if k == 0 else ""}>'
            f'<label for="{anchor}-{k}">{escape(title)}</label>'
            for k, (title, _) in enumerate(self.parts)
        )
        panels = "".join(
            f'<div class="panel"><p class="panel-title">{escape(title)}</p>'
            + "".join(block.html() for block in blocks)
            + "</div>"
            for title, blocks in self.parts
        )
        return f'<div class="switch" role="group" aria-label="{escape(self.name)}">{inputs}{panels}</div>'


@dataclass(frozen=True)
class More:
    """Blocks that are folded away behind a line that says what they are."""

    title: str
    blocks: tuple[Any, ...]

    @property
    def inside(self) -> Sequence[Any]:
        """The blocks that are folded away."""
        return self.blocks

    def html(self) -> str:
        """Return the block as HTML."""
        inside = "".join(block.html() for block in self.blocks)
        return f'<details class="more"><summary>{escape(self.title)}</summary>{inside}</details>'


@cache
def _script() -> str:
    text = files("foresee.report").joinpath("board.js").read_text(encoding="utf-8")
    return f'"use strict";\n(() => {{\n{text}}})();\n'


def _two_lines(name: str) -> str:
    first, _, second = name.partition("\n")
    return escape(first) + (f"<small>{escape(second)}</small>" if second else "")
