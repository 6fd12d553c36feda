import re
from html.parser import HTMLParser

import pytest

from foresee.report.boards import Board, Cell, More, Row, Switch
from foresee.report.page import (
    Figure,
    Figures,
    Heading,
    Items,
    Key,
    Link,
    Page,
    Section,
    Table,
    Text,
    Tile,
    Tiles,
)

SVG = '<svg xmlns="http://www.w3.org/2000/svg"/>'
BLOCKS = (
    Text("plain & **bold** <i>words</i>"),
    Heading("A <heading>"),
    Items(("one", "two")),
    Tiles((Tile("label", "1 < 2", "means something"),)),
    Table(("name", "value"), (("a", "1"), ("b", "<2>")), "A **caption**"),
    Figure(SVG, 'said "aloud"', "caption", wide=True),
    Figures((Figure(SVG, "alt"), Figure(SVG, "alt")), "three"),
    Key((("line", "#123456", "a line"), ("dot", "#654321", "a dot"))),
    Items(("a verdict <2>",), "verdict"),
    Board(
        ("who", "how\nmuch <2>"),
        (Row("x <2>", (Cell("1", "[0, <2>]", 1.0, best=True),), "under", "x"),),
        "<2>",
    ),
    Switch("which & why", (("one <2>", (Text("a"),)), ("two", (Text("b"), More("c <2>", (Text("d"),)))))),
)
VOID = {"meta", "img", "link", "br", "hr", "input"}


class Nesting(HTMLParser):
    """Checks that every tag is closed in the right order, and collects attributes."""

    def __init__(self):
        super().__init__()
        self.open, self.attributes = [], []

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def page(*blocks):
    return Page("A title", "a subtitle", (Section("First part", blocks),), "the end").html()


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: type(block).__name__)
def test_each_block_is_well_formed_and_escaped(block):
    parser = Nesting()
    parser.feed(page(block))
    assert parser.open == []
    assert "<i>words" not in block.html()
    assert "<2>" not in block.html()


def test_bold_words_and_nothing_else():
    assert Text("a **b** <c>").html() == "<p>a <b>b</b> &lt;c&gt;</p>"


def test_nothing_is_fetched_and_nothing_runs():
    parser = Nesting()
    text = page(*(block for block in BLOCKS if not hasattr(block, "script")))
    parser.feed(text)
    assert "http" not in re.sub(r"http-equiv", "", text)
    assert "<script" not in text
    for tag, name, value in parser.attributes:
        if name in ("src", "href"):
            assert value.startswith(("data:", "#")), (tag, name, value)
        assert not name.startswith("on")
    assert "default-src 'none'" in text


def test_every_image_has_words():
    parser = Nesting()
    parser.feed(page(*BLOCKS))
    images = sum(name == "src" for _, name, _ in parser.attributes)
    assert images == 3
    assert sum(name == "alt" and bool(value) for _, name, value in parser.attributes) == images


def test_links_lead_to_sections():
    text = page(Text("x"))
    assert '<a href="#first-part">' in text
    assert '<section id="first-part">' in text


def test_a_cell_can_lead_to_another_place():
    table = Table(("what", "when"), ((Link("a & b", "#clip=2&t=1.5"), "1 <s>"),))
    assert '<a href="#clip=2&amp;t=1.5">a &amp; b</a>' in table.html()
    assert "<td>1 &lt;s&gt;</td>" in table.html()


def test_the_script_of_a_table_is_there_once_wherever_the_table_is():
    board = Board(("a", "b"), (Row("x", (Cell("1", value=1.0),)),))
    text = page(board, Switch("kind", (("one", (board,)), ("two", (More("more", (board,)),)))))
    assert text.count("<script>") == 1
    assert text.count("'sha256-") == 1


def test_one_part_is_shown_first_and_the_rest_can_be_reached():
    text = Switch("kind of thing", (("one", (Text("first"),)), ("two", (Text("second"),)))).html()
    assert text.count('type="radio"') == text.count('name="switch-kind-of-thing"') == 2
    assert text.count(" checked") == 1
    assert '<label for="switch-kind-of-thing-1">two</label>' in text
