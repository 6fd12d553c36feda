"""Runs what the README and docs/ tell the reader to run, in the order in which they tell it.

One test is one page: its blocks share a namespace and an empty folder. Output shown is not compared.
A block is left out only by a comment that gives the reason:  <!--- skip: next "needs a network" -->
"""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from unittest import SkipTest

import jax
import pytest
from sybil import Document, Example, Sybil
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser, SkipParser

ROOT = Path(__file__).resolve().parent.parent
PAGES = [page for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))] if page.exists()]
EXECUTED = {"python", "console"}
SHOWN = {"text", "json", "csv", "toml", "make", "c"}
NOT_CHECKED = {"git", "cd"}  # getting the source is up to the reader
SECONDS = 600

page_by_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


def run_console(example: Example) -> None:
    """Run each line of a console block that begins with a dollar sign."""
    commands = re.findall(r"^\$ (.*)$", example.parsed.replace("\\\n", " "), re.MULTILINE)
    assert commands, f"{example.path}:{example.line}: a console block without a line that begins with '$ '"
    for command in commands:
        run_command(command, f"{example.path}:{example.line}: $ {command}")


def run_command(command: str, where: str) -> None:
    words = shlex.split(command, comments=True)
    match words:
        case ["make", *rest]:
            targets = [word for word in rest if "=" not in word]
            unknown = [target for target in targets if target not in make_targets()]
            assert not unknown, f"{where}: the Makefile has no target {', '.join(unknown)}"
        case ["foresee", *arguments]:
            done = subprocess.run(
                [sys.executable, "-m", "foresee.cli", *arguments],
                # As a reader would run it, not with the compiler in haste.
                env={**os.environ, "PYTHONPATH": str(ROOT), "XLA_FLAGS": ""},
                capture_output=True,
                text=True,
                timeout=SECONDS,
            )
            assert done.returncode == 0, f"{where}: status {done.returncode}\n{done.stdout}{done.stderr}"
        case [program, *_] if program in NOT_CHECKED:
            pass
        case _:
            pytest.fail(f"{where}: no way to check this command; mark it as skipped and say why")


def make_targets() -> set[str]:
    text = (ROOT / "Makefile").read_text()
    return set(re.findall(r"^([a-z][\w-]*):(?!=)", text, re.MULTILINE))


def read_page(page: Path) -> Document:
    parsers = [SkipParser(), PythonCodeBlockParser(), CodeBlockParser("console", run_console)]
    return Sybil(parsers=parsers, path=str(page.parent), patterns=["*.md"]).parse(page)


@page_by_page
def test_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    left_out, ran = [], 0
    with jax.enable_x64(False):  # as the reader has it
        for example in read_page(page):
            try:
                example.evaluate()
                ran += 1
            except SkipTest as reason:
                left_out.append(f"line {example.line}: {reason}")
    if left_out and not ran:
        pytest.skip("; ".join(left_out))


@page_by_page
def test_every_block_is_labelled(page):
    inside = False
    for number, line in enumerate(page.read_text().splitlines(), start=1):
        fence = re.match(r"\s*(?:```|~~~)(.*)", line)
        if fence and not inside:
            label = fence[1].strip()
            known = sorted(EXECUTED | SHOWN)
            assert label in known, f"{page}:{number}: expected a block labelled one of {known}, got {label!r}"
        inside ^= bool(fence)
    assert not inside, f"{page}: the last block is not closed"


@page_by_page
def test_every_skip_has_a_reason(page):
    for skip in re.findall(r"<!--.*?skip:.*?>", page.read_text(), re.DOTALL):
        assert re.fullmatch(r'<!--- skip: (next|start) "[^"]{8,}" --->|<!--- skip: end --->', skip), skip


def write_page(folder: Path, text: str) -> Document:
    page = folder / "page.md"
    page.write_text(text)
    return read_page(page)


@pytest.mark.parametrize(
    "block",
    [
        "```python\nassert 1 == 2\n```\n",
        "```console\n$ foresee fly\n```\n",
        "```console\n$ make coffee\n```\n",
        "```console\n$ rm -r everything\n```\n",
        "```console\nforesee --version\n```\n",
    ],
)
def test_a_failing_block_is_noticed(block, tmp_path):
    (example,) = write_page(tmp_path, block)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        example.evaluate()


def test_blocks_share_a_namespace_and_skips_carry_their_reason(tmp_path):
    text = (
        "```python\nx = 1\n```\n\n```python\nx += 1\n```\n\n"
        '<!--- skip: next "takes a day" --->\n\n```python\nx += 1\n```\n'
    )
    page = write_page(tmp_path, text)
    *run, left_out = page
    for example in run:
        example.evaluate()
    with pytest.raises(SkipTest, match="takes a day"):
        left_out.evaluate()
    assert page.namespace["x"] == 2


def test_the_readme_is_among_the_pages():
    assert ROOT / "README.md" in PAGES


def test_the_map_shows_the_floors_that_are_checked():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    checked = "\n".join(layer.replace("(", "").replace(")", "") for layer in layers)
    assert f"```text\n{checked}\n```" in (ROOT / "docs" / "architecture.md").read_text()


def test_the_map_names_every_room_and_no_other():
    built, planned = (ROOT / "docs" / "architecture.md").read_text().split("## Planned rooms")
    named = set(re.findall(r"^\| `(\w+)` \|", built.split("## The rooms")[1], re.MULTILINE))
    planned_rooms = set(re.findall(r"^\| `(\w+)` \|", planned, re.MULTILINE))
    rooms = {
        path.stem
        for path in (ROOT / "foresee").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert named == rooms - {"__init__"}
    assert not planned_rooms & rooms
