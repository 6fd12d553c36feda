"""The tables of docs/benchmarks.md, made of results/*.json: python -m benchmarks.tables [--write].

Without --write they are printed. A test compares the page with the files, so a figure on it is a figure
that was measured.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS, PAGE = ROOT / "benchmarks" / "results", ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- tables: begin, written by python -m benchmarks.tables --write -->", "<!-- tables: end -->"
TIMED = ("minimum_us", "median_us", "repeats", "first_call_s", "deviation", "note")


def markdown(folder: Path = RESULTS) -> str:
    """Return a section for every results file, or a line that says that there is none."""
    sections = [section(json.loads(path.read_text())) for path in sorted(folder.glob("*.json"))]
    return "\n\n".join(sections) or "No results are kept in this copy of the source."


def section(content: dict[str, Any]) -> str:
    """Return the section of one benchmark."""
    parts = [f"### {content['benchmark']}", f"{sentence(content['claim'])} {circumstances(content)}"]
    for case in content["cases"]:
        columns, rows = timed(case) if is_timed(case) else plain(case)
        parts += [f"**{case['title']}**", table(columns, rows)]
    targets = content.get("facts", {}).get("targets", [])
    if targets:
        rows = [[one["target"], one["value"], one["limit"], "yes" if one["met"] else "no"] for one in targets]
        parts += ["**Targets**", table(["", "measured", "target", "met"], rows)]
    return "\n\n".join(parts)


def circumstances(content: dict[str, Any]) -> str:
    """Say what the figures depend on, and whether the results were right."""
    machine, gates = content["machine"], content["gates"]
    holds = sum(gate["holds"] for gate in gates)
    load = [machine[name][0] for name in ("load_before", "load_after")]
    text = (
        f"{holds} of {len(gates)} correctness gates hold. {machine['processor']}, {machine['cores']} cores, "
        f"{machine['device']}, Python {machine['python']}, JAX {content['versions']['jax']}, "
        f"{machine['time'][:10]}; load average {load[0]:.1f} before, {load[1]:.1f} after."
    )
    if content.get("quick"):
        return text + " A smoke test with tiny sizes: its times mean nothing."
    if max(load) > machine["cores"]:
        return text + " The machine was busier than it has cores: times are upper bounds."
    return text


def is_timed(case: dict[str, Any]) -> bool:
    """Return whether a case compares times."""
    return all("minimum_us" in row for row in case["rows"])


def timed(case: dict[str, Any]) -> tuple[list[str], list[list[Any]]]:
    """Return a comparison of times, the fastest first and what did not run last."""
    measured = case.get("deviation", "deviation")
    columns = ["", "min µs/step", "median", "repeats", "first call s", measured, "note"]
    ordered = sorted(case["rows"], key=lambda row: (row["minimum_us"] is None, row["minimum_us"] or 0))
    rows = []
    for row in ordered:
        values = {name: row.get(name) for name in TIMED}
        if row["minimum_us"] is None:
            values = dict.fromkeys(TIMED) | {"note": "; ".join(filter(None, [row["status"], row["note"]]))}
        rows.append([row["name"], *values.values()])
    return columns, rows


def plain(case: dict[str, Any]) -> tuple[list[str], list[list[Any]]]:
    """Return a table of something else than times as it was kept."""
    columns = list(dict.fromkeys(name for row in case["rows"] for name in row))
    return ["" if name == "name" else name for name in columns], [
        [row.get(name) for name in columns] for row in case["rows"]
    ]


def table(columns: list[str], rows: list[list[Any]]) -> str:
    """Return a table in Markdown."""
    rule = ["---" if name in ("", "note") else "---:" for name in columns]
    lines = [columns, rule, *([shown(value) for value in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def shown(value: Any) -> str:
    """Return a cell: four digits, nothing for what was not measured."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value).replace("|", "\\|").replace("\n", " ")


def sentence(text: str) -> str:
    """Return a claim as a sentence."""
    return text[:1].upper() + text[1:].rstrip(".") + "."


def parts_of_page(text: str) -> tuple[str, str, str]:
    """Return what stands before, between and after the marks."""
    before, mark, rest = text.partition(BEGIN)
    between, end, after = rest.partition(END)
    if not (mark and end):
        raise ValueError(f"expected the lines {BEGIN!r} and {END!r}")
    return before, between.strip(), after


def main(arguments: list[str] | None = None) -> int:
    """Print the tables, or write them into the page."""
    parser = argparse.ArgumentParser(description="Tables of the kept results, in Markdown.")
    parser.add_argument("--write", action="store_true", help="put them into docs/benchmarks.md")
    tables = markdown()
    if parser.parse_args(arguments).write:
        before, _, after = parts_of_page(PAGE.read_text())
        PAGE.write_text(f"{before}{BEGIN}\n\n{tables}\n\n{END}{after}")
    else:
        print(tables)
    return 0


if __name__ == "__main__":
    sys.exit(main())
