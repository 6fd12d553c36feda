"""The part of the report about learning: what was tried, how the losses fell, and how long it took."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from foresee.driving.findings import Training
from foresee.report.boards import Board, Cell, Row
from foresee.report.drivers import drove
from foresee.report.measures import COMFORT, FAILED, JERK, NEAR_4, PROGRESSED, TRAFFIC, name_of
from foresee.report.page import Block, Figure, Heading, Section, Table, Text
from foresee.report.plots import BLUE, GREY, ORANGE, PALE, drawing
from foresee.report.words import count, decimal, ends_of, interval, number, percent, significant

PANELS = 4  # in a row
Form = Callable[[float | int | None], str]

ABLATIONS = {
    "networks": ("Networks that foretell together", "one network, or several whose futures are mixed"),
    "latent_dropout": (
        "Latent dropout",
        "whether training replaces the inferred future by a blind guess half the time",
    ),
    "doubt": ("How much MPUR minds doubt (λ)", "on validation scenarios in replayed traffic; 0 is VG"),
}
SCORES: dict[str, tuple[str, Form]] = {
    "fail_rate": ("failed", percent),
    "progress": ("progress", decimal),
    "ade": ("ADE\nm", decimal),
    "ade_4s": ("ADE, 4 s\nm", decimal),
    "min_ade_6_4s": ("minADE(6), 4 s\nm", decimal),
    "nll_4s": ("NLL, 4 s\nnats", decimal),
    "coverage_90_4s": ("inside 90 %, 4 s", percent),
    "jerk": ("jerk\nm/s³", decimal),
    "kept": ("effect kept", percent),
}
CHOICES = (
    (
        "safepathnet",
        "safepathnet_likely",
        "SafePathNet chooses its plan",
        "by least expected cost",
        "the likeliest",
    ),
    ("pdm_expected", "pdm", "PDM scores its proposals", "by expected cost", "by constant velocity"),
)
STAGES = {
    "read": "reading", "states": "states", "baselines": "baselines", "parts": "parting", "world": "world",
    "policies": "policies and driving", "report": "report", "total": "all in all",
}  # fmt: skip
Numbers = Mapping[str, Any]


def learning_sections(
    s: Numbers, trainings: Mapping[str, Training], figures: Mapping[str, Block]
) -> tuple[Section, ...]:
    """Return the sections about what was tried and how it was learned, as far as there is anything."""
    out = []
    tried = [*_ablations(s), *_choices(s)]
    if tried:
        text = "One thing changed at a time, everything else the same. In small print are 95 % intervals."
        out.append(Section("What makes the difference", (Text(text), *tried)))
    if trainings:
        blocks: list[Block] = [figures["losses"]] if "losses" in figures else []
        out.append(Section("Learning", (*blocks, _trainings(trainings), _seconds(s))))
    return tuple(out)


def _ablations(s: Numbers) -> list[Block]:
    """Return a table per ablation: the summary has them as ablations.<ablation>.<setting>.<score>."""
    found: dict[str, dict[str, dict[str, tuple[Any, Any]]]] = {}
    for key, value in s.items():
        if not key.startswith("ablations.") or key.endswith("_ci"):
            continue
        name, rest = key.removeprefix("ablations.").split(".", 1)
        setting, score = rest.rsplit(".", 1)
        found.setdefault(name, {}).setdefault(setting, {})[score] = (
            value,
            ends_of(s, key),
        )
    out: list[Block] = []
    for name, settings in found.items():
        title, meaning = ABLATIONS.get(name, (name.replace("_", " ").capitalize(), ""))
        scores = list(dict.fromkeys(score for each in settings.values() for score in each))
        header = ("setting", *(SCORES.get(score, (score.replace("_", " "), decimal))[0] for score in scores))
        nothing = (None, [None, None])
        rows = tuple(
            Row(setting.replace("_", " "), tuple(_cell(score, *own.get(score, nothing)) for score in scores))
            for setting, own in settings.items()
        )
        about = [Text(f"{meaning[:1].upper()}{meaning[1:]}.")] if meaning else []
        out += [Heading(title), *about, Board(header, rows, "", title)]
    return out


def _cell(score: str, value: float | None, ends: list[float | None]) -> Cell:
    say = SCORES.get(score, ("", decimal))[1]
    return Cell(say(value), interval(ends, say), value)


def _choices(s: Numbers) -> list[Block]:
    """Return what choosing by expected cost brings, for the drivers that were there both ways."""
    measures = (FAILED, PROGRESSED, NEAR_4, COMFORT, JERK)
    out: list[Block] = []
    for one, other, title, by_cost, without in CHOICES:
        rows = []
        for mode in s.get("scenarios.modes") or ():
            if not {one, other} <= set(drove(s, mode)):
                continue
            for name, words in ((one, by_cost), (other, without)):
                found = [(measure, *measure.found(s, name, mode)) for measure in measures]
                cells = tuple(Cell(m.form(v), interval(ends, m.form), v) for m, v, ends in found)
                rows.append(Row(f"{TRAFFIC[mode]}: {words}", cells))
        if rows:
            header = ("traffic: choice", *(measure.label for measure in measures))
            out += [Heading(title), Board(header, tuple(rows), "", title)]
    return out


def draw_trainings(trainings: Mapping[str, Training]) -> Figure | None:
    """Draw the losses of all trainings by epoch; None where nothing was trained here."""
    shown = {name: each for name, each in trainings.items() if each.losses.size}
    if not shown:
        return None
    columns = PANELS if len(shown) > 2 else len(shown)
    lines = -(-len(shown) // columns)
    with drawing(0.4 + 2.45 * columns, 0.4 + 1.95 * lines) as result:
        panels = result.canvas.subplots(lines, columns, squeeze=False)
        for axes in panels.ravel()[len(shown) :]:
            axes.set_axis_off()
        for place, (name, training) in enumerate(shown.items()):
            axes = panels.ravel()[place]
            _losses(axes, training)
            axes.set_title(_called(name))
            if place % columns == 0:
                axes.set_ylabel("mean loss")
            if place + columns >= len(shown):
                axes.set_xlabel("epoch")
        lines_of = {
            label: handle
            for axes in panels.ravel()
            for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        result.canvas.legend(lines_of.values(), lines_of.keys(), loc="outside upper left", ncols=3)
    return Figure(
        result.svg,
        f"Losses by epoch of {', '.join(map(_called, shown))}.",
        "**How the losses fell**, one line per network or seed. Each was taken at the dot, where the loss on "
        "validation scenes was least. Losses of different methods measure different things and are not to be "
        "compared.",
        wide=columns > 2,
    )


def _losses(axes: Axes, training: Training) -> None:
    for rows, colour, label in (
        (training.losses, BLUE, "training"),
        (training.validation_losses, ORANGE, "validation"),
    ):
        if rows is None:
            continue
        for number_of, losses in enumerate(np.asarray(rows, float)):
            epochs = np.arange(1, len(losses) + 1)
            marker = "." if np.isfinite(losses).sum() < 2 else None
            axes.plot(
                epochs, losses, color=colour, lw=1.1, marker=marker, label=label if number_of == 0 else None
            )
    held = training.losses if training.validation_losses is None else training.validation_losses
    first = True
    for losses, best in zip(np.asarray(held, float), training.best, strict=True):
        if 1 <= best <= len(losses) and np.isfinite(losses[best - 1]):
            axes.plot(
                best,
                losses[best - 1],
                "o",
                ms=4.5,
                mfc="white",
                mec=GREY,
                mew=1.3,
                zorder=5,
                label="taken" if first else None,
            )
            first = False
    every = np.concatenate([np.ravel(np.asarray(each, float)) for each in (training.losses, held)])
    good = every[np.isfinite(every)]
    if good.size and good.min() > 0 and good.max() > 30 * good.min():
        axes.set_yscale("log")
    axes.locator_params(axis="x", integer=True, nbins=5)
    axes.grid(color=PALE, lw=0.6)


def _trainings(trainings: Mapping[str, Training]) -> Table:
    rows = []
    for name, each in trainings.items():
        members, epochs = each.losses.shape
        if not members:
            rows.append((_called(name), "–", "–", "–", "read from a file", "–"))
            continue
        held = each.losses if each.validation_losses is None else each.validation_losses
        least = [row[best - 1] for row, best in zip(held, each.best, strict=True) if 1 <= best <= len(row)]
        fine = (
            "all stayed finite"
            if not each.diverged.any()
            else f"{int(each.diverged.sum())} did not stay finite"
        )
        best = sorted({int(value) for value in each.best})
        taken = f"{best[0]}" if len(best) == 1 else f"{best[0]} … {best[-1]}"
        loss = significant(float(np.mean(least))) if least else "–"
        rows.append(
            (
                _called(name),
                f"{members}",
                f"{epochs}",
                taken,
                f"{loss}; {fine}",
                f"{number(each.seconds, 0)} s",
            )
        )
    caption = "Methods that were trained side by side share their time."
    return Table(
        ("what", "networks or seeds", "epochs", "taken after", "loss of what was taken", "time"),
        tuple(rows),
        caption,
    )


def _seconds(s: Numbers) -> Text:
    parts = [
        f"{words} {number(s[f'seconds.{name}'], 0)} s"
        for name, words in STAGES.items()
        if s.get(f"seconds.{name}") is not None
    ]
    return Text(f"**Time taken**: {', '.join(parts)}." if parts else "")


def _called(name: str) -> str:
    if name == "world":
        return "the world"
    plain, _, doubt = name.partition(" ")
    return f"{name_of(plain)}, λ = {doubt}" if doubt else name_of(plain)


def part_blocks(s: Numbers, parts: tuple[Any, ...]) -> tuple[Block, ...]:
    """Return how the recording was parted into what is learned from, chosen by and judged on."""
    if not parts:
        return ()
    said = {
        "scenes": "by scene",
        "time": "by time: what was recorded later is for judging",
        "file": "by file: the test part is a recording of its own",
    }
    use = {"train": "learned from", "validation": "to choose by", "test": "to judge on"}
    rows = tuple(
        (
            f"{part.name}: {use.get(part.name, '')}", f"{len(part.scenes):,}", f"{part.vehicles:,}",
            f"{number(part.seconds, 1)} s", f"{part.scenarios:,}",
        )
        for part in parts
    )  # fmt: skip
    how = said.get(str(s.get("parts.by")), "")
    how = f" {how}" if how else ""
    told = f"The recording was parted{how}, so that nobody is judged by what it learned from."
    header = ("part", "scenes", "vehicles", "seconds", "scenarios")
    return (
        Heading("Parts"),
        Text(told),
        Table(header, rows, f"{count(len(parts), 'part')}, none sharing a moment."),
    )
