"""A page of text, tables and figures in one file that opens without a network.

All text is escaped; `**words**` become bold in captions and paragraphs. Nothing on a page is fetched. Its
content policy allows embedded images and sounds, its own style, and no scripts but those of its blocks, by
their hashes.
"""

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from typing import Any, Literal

from foresee.report.boards import Board, More, Switch
from foresee.report.player import Player
from foresee.report.tracks_player import TracksPlayer
from foresee.report.words import rich

POLICY = "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'"
Keyed = tuple[tuple[Literal["line", "dot", "band"], str, str], ...]


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str

    def html(self) -> str:
        """Return the block as HTML."""
        return f"<p>{rich(self.text)}</p>"


@dataclass(frozen=True)
class Heading:
    """A heading inside a section."""

    text: str

    def html(self) -> str:
        """Return the block as HTML."""
        return f"<h3>{escape(self.text)}</h3>"


@dataclass(frozen=True)
class Items:
    """A list of sentences."""

    items: tuple[str, ...]
    look: Literal["plain", "verdict"] = "plain"

    def html(self) -> str:
        """Return the block as HTML."""
        return (
            f'<ul class="{self.look}">' + "".join(f"<li>{rich(item)}</li>" for item in self.items) + "</ul>"
        )


@dataclass(frozen=True)
class Tile:
    """A number that matters, its name, and one sentence that says what it means."""

    label: str
    value: str
    sentence: str

    def html(self) -> str:
        """Return the tile as HTML."""
        return (
            f'<div class="tile"><div class="label">{escape(self.label)}</div>'
            f'<div class="value">{escape(self.value)}</div><p>{rich(self.sentence)}</p></div>'
        )


@dataclass(frozen=True)
class Tiles:
    """Several numbers side by side."""

    tiles: tuple[Tile, ...]

    def html(self) -> str:
        """Return the block as HTML."""
        columns = "three" if len(self.tiles) % 3 == 0 else "four"
        return f'<div class="tiles {columns}">' + "".join(tile.html() for tile in self.tiles) + "</div>"


@dataclass(frozen=True)
class Link:
    """A cell of a table that leads to another place of the page, such as `#clip=2&t=3.2`."""

    text: str
    target: str

    def html(self) -> str:
        """Return the link as HTML."""
        return f'<a href="{escape(self.target)}">{escape(self.text)}</a>'


@dataclass(frozen=True)
class Table:
    """Rows of words and numbers; the first column names the row."""

    header: tuple[str, ...]
    rows: tuple[tuple[str | Link, ...], ...]
    caption: str = ""
    words: bool = False

    def html(self) -> str:
        """Return the block as HTML."""
        head = "".join(f'<th scope="col">{escape(name)}</th>' for name in self.header)
        body = "".join(
            f'<tr><th scope="row">{_cell(first)}</th>'
            + "".join(f"<td>{_cell(v)}</td>" for v in rest)
            + "</tr>"
            for first, *rest in self.rows
        )
        caption = f"<caption>{rich(self.caption)}</caption>" if self.caption else ""
        kind = ' class="words"' if self.words else ""
        thead = f"<thead><tr>{head}</tr></thead>" if any(self.header) else ""
        return f'<div class="table"><table{kind}>{caption}{thead}<tbody>{body}</tbody></table></div>'


@dataclass(frozen=True)
class Figure:
    """A drawing with what to look at (caption) and what one would hear about it (alternative text)."""

    svg: str
    alt: str
    caption: str = ""
    wide: bool = False

    def html(self) -> str:
        """Return the block as HTML."""
        data = base64.b64encode(self.svg.encode()).decode()
        image = f'<img alt="{escape(self.alt)}" src="data:image/svg+xml;base64,{data}">'
        caption = f"<figcaption>{rich(self.caption)}</figcaption>" if self.caption else ""
        if not self.wide:
            return f"<figure>{image}{caption}</figure>"
        return f'<figure class="wide"><div class="scroll">{image}</div>{caption}</figure>'


@dataclass(frozen=True)
class Figures:
    """Figures side by side where the page is wide enough, below each other where it is not."""

    figures: tuple[Figure, ...]
    columns: Literal["two", "three"] = "two"

    def html(self) -> str:
        """Return the block as HTML."""
        return f'<div class="figures {self.columns}">' + "".join(f.html() for f in self.figures) + "</div>"


@dataclass(frozen=True)
class Audio:
    """A sound (a WAV file) with what to listen for, to be played on the page."""

    wav: bytes
    label: str
    caption: str = ""

    def html(self) -> str:
        """Return the block as HTML."""
        data = base64.b64encode(self.wav).decode()
        sound = (
            f'<audio controls aria-label="{escape(self.label)}" src="data:audio/wav;base64,{data}"></audio>'
        )
        caption = f"<figcaption>{rich(self.caption)}</figcaption>" if self.caption else ""
        return f"<figure>{sound}{caption}</figure>"


@dataclass(frozen=True)
class Key:
    """What the colours of the figures around it mean: (kind, colour, words)."""

    entries: Keyed

    def html(self) -> str:
        """Return the block as HTML."""
        items = []
        for kind, colour, words in self.entries:
            paint = f"border-color:{colour}" if kind == "line" else f"background:{colour}"
            items.append(f'<li><i class="{kind}" style="{paint}"></i>{escape(words)}</li>')
        return f'<ul class="key">{"".join(items)}</ul>'


Block = (
    Text
    | Heading
    | Items
    | Tiles
    | Table
    | Figure
    | Figures
    | Audio
    | Key
    | Player
    | TracksPlayer
    | Board
    | Switch
    | More
)


@dataclass(frozen=True)
class Section:
    """A part of a page that can be jumped to."""

    title: str
    blocks: tuple[Block, ...]

    @property
    def anchor(self) -> str:
        """Name of the section inside the page's links."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")

    def html(self) -> str:
        """Return the section as HTML."""
        blocks = "\n".join(block.html() for block in self.blocks)
        return f'<section id="{self.anchor}">\n<h2>{escape(self.title)}</h2>\n{blocks}\n</section>'


@dataclass(frozen=True)
class Page:
    """A whole report."""

    title: str
    subtitle: str
    sections: tuple[Section, ...]
    footer: str = ""

    def html(self) -> str:
        """Return the page as one self-contained HTML document."""
        style = files("foresee.report").joinpath("style.css").read_text(encoding="utf-8")
        style += "".join(self._brought("style"))
        scripts = self._brought("script")
        links = "".join(f'<li><a href="#{s.anchor}">{escape(s.title)}</a></li>' for s in self.sections)
        body = "\n".join(section.html() for section in self.sections)
        return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_policy(scripts)}">
<title>{escape(self.title)}</title>
<style>
{style}</style>
</head>
<body>
<header>
<h1>{escape(self.title)}</h1>
<p>{rich(self.subtitle)}</p>
</header>
<nav aria-label="Sections"><ul>{links}</ul></nav>
<main>
{body}
</main>
<footer><p>{rich(self.footer)}</p></footer>
{"".join(f"<script>{script}</script>" for script in scripts)}</body>
</html>
"""

    def _brought(self, what: Literal["style", "script"]) -> list[str]:
        """What the blocks need besides their HTML, each text once."""
        blocks = [block for section in self.sections for block in _with_inside(section.blocks)]
        texts = [getattr(block, what, "") for block in blocks]
        return [text for text in dict.fromkeys(texts) if text]


def _with_inside(blocks: Sequence[Any]) -> list[Any]:
    """Return the blocks, and those inside them."""
    return [each for block in blocks for each in (block, *_with_inside(getattr(block, "inside", ())))]


def _policy(scripts: list[str]) -> str:
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    return POLICY + ("; script-src " + " ".join(f"'sha256-{value}'" for value in hashes) if hashes else "")


def _cell(content: str | Link) -> str:
    return content.html() if isinstance(content, Link) else escape(content)
