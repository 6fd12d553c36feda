"""The part of the report about states: what was read, the noise that was learned, and whether bands hold."""

from collections.abc import Mapping
from typing import Any

from foresee.driving.accuracy import COMPARED, LEVELS
from foresee.driving.states import QUANTITIES, UNITS, States
from foresee.report import paths
from foresee.report.page import Block, Heading, Items, Key, Section, Table, Text, Tile
from foresee.report.words import count, interval, number, percent, signed, significant, with_interval

REFERENCE = {"centre": "the centre of a vehicle", "front": "the middle of its front"}
PERCENT = tuple(round(100 * level) for level in LEVELS)
UNIT_OF = {"position": "m", **dict(zip(QUANTITIES, UNITS, strict=True))}


def state_sections(
    states: States, summary: Mapping[str, Any], figures: Mapping[str, Block], *, truth: bool
) -> tuple[Section, ...]:
    """Return the sections about what every vehicle did.

    Args:
        states: of the recording.
        summary: every number on the page.
        figures: what was drawn.
        truth: whether the truth is known.
    """
    sections = [
        Section("The learned noise", _noise(states)),
        Section("Vehicles", _vehicles(figures, truth)),
        Section("Accelerations", _accelerations(summary, figures)),
        Section("Predicting the next frame", _prediction(summary, figures)),
    ]
    if truth:
        sections.append(Section("Against the truth", _truth(summary, figures)))
    return tuple(sections)


def state_tiles(s: Mapping[str, Any]) -> tuple[Tile, ...]:
    """Return the numbers about states to look at first."""
    return (
        Tile(
            "vehicles",
            f"{s['recording.vehicles']:,}",
            f"seen {s['recording.sightings']:,} times in {number(s['recording.seconds'], 1)} s of traffic",
        ),
        Tile(
            "inside the 90 % interval",
            percent(s["states.coverage_90"]),
            f"of {s['states.scored_rows']:,} held-out sightings, mean of both axes "
            f"{interval(s['states.coverage_90_ci'], percent)}; the nearer to 90 % the better",
        ),
        Tile(
            "log score",
            number(s["states.log_score"], 2),
            f"nats per sighting; {signed(s['states.log_score_gain'])} against extrapolating the last "
            "two positions",
        ),
        Tile(
            "beyond 5 m/s²",
            percent(s["accelerations.smoothed_over_5"]),
            f"of the rows after smoothing; {percent(s['accelerations.raw_over_5'])} if raw positions are "
            "differentiated",
        ),
        *_truth_tiles(s),
    )


def _truth_tiles(s: Mapping[str, Any]) -> tuple[Tile, ...]:
    if "truth.rows" not in s:
        return ()
    return (
        Tile(
            "error of position",
            f"{number(s['truth.rmse_position'], 2)} m",
            f"root mean square; {number(s['truth.rmse_position_raw'], 2)} m in the raw positions",
        ),
        Tile(
            "error of speed",
            f"{number(s['truth.rmse_speed'], 2)} m/s",
            f"root mean square; {number(s['truth.rmse_speed_raw'], 2)} m/s from finite differences",
        ),
    )


def reading(s: Mapping[str, Any]) -> tuple[Block, ...]:
    """Return what the files were taken for."""
    rows = (
        ("source", s["recording.source"]),
        ("vehicles", f"{s['recording.vehicles']:,}, one that appears in two scenes counts twice"),
        ("scenes", f"{s['recording.scenes']:,}"),
        ("recorded time", f"{number(s['recording.seconds'], 1)} s, summed over scenes"),
        ("frame rate", f"{s['recording.frame_rate']:g} Hz"),
        ("sightings", f"{s['recording.sightings']:,}"),
        ("gaps", _gaps(s)),
        ("positions describe", REFERENCE[s["recording.reference"]]),
    )
    table = Table(("", ""), rows, words=True)
    notes = tuple(s["recording.notes"])
    if not notes:
        return (table,)
    return table, Heading("Notes on reading it"), Items(notes)


def _gaps(s: Mapping[str, Any]) -> str:
    if not s["recording.gaps"]:
        return "none"
    return f"{s['recording.gaps']:,}, {count(s['recording.missing'], 'frame')} missing between sightings"


def _noise(states: States) -> tuple[Block, ...]:
    rows = tuple(
        (
            p.name.replace("_", " "),
            significant(p.value),
            f"± {significant(p.standard_error, 2)}",
            p.unit,
            p.meaning,
        )
        for p in states.learned
    )
    text = (
        "The most probable values given the recording and a prior, which is narrow for what drivers do and "
        "how long errors persist, and wide for everything else. Vehicles and sightings switch between three "
        "modes: quiet, ordinary and agitated. A standard error as large as its value says that this "
        "recording tells little about it."
    )
    return Text(text), Table(("parameter", "value", "standard error", "unit", "meaning"), rows)


def _vehicles(figures: Mapping[str, Block], known: bool) -> tuple[Block, ...]:
    key = Key(paths.PATH_KEY + (paths.TRUTH_KEY if known else ()))
    text = (
        "A few vehicles, chosen by rules that do not look at the result. Each row shows the path, seen "
        "along the road, then speed and acceleration. The bands hold the true value with 50 and 90 % "
        "probability, if the model is right; look at how they widen where nothing was seen. Grey dots are "
        "what finite differences of the raw positions give."
    )
    return Text(text), key, *(block for name, block in figures.items() if name.startswith("vehicle "))


def vehicle_title(states: States, vehicle: int, why: str) -> str:
    """Say which vehicle is shown, and why."""
    recording = states.recording
    scene = f" in scene {recording.scene[vehicle]}" if len(recording.scenes()) > 1 else ""
    kind = f" ({recording.kind[vehicle]})" if recording.kind[vehicle] else ""
    return f"{why[0].upper()}{why[1:]}: vehicle {recording.vehicle[vehicle]}{kind}{scene}"


def _accelerations(s: Mapping[str, Any], figures: Mapping[str, Block]) -> tuple[Block, ...]:
    rows = tuple(
        (
            label,
            f"{number(s[f'accelerations.{name}_sd'], 2)} m/s²",
            f"{number(s[f'accelerations.{name}_largest'], 1)} m/s²",
            percent(s[f"accelerations.{name}_over_5"]),
            percent(s[f"accelerations.{name}_over_10"]),
        )
        for name, label in (("raw", "finite differences"), ("smoothed", "smoothed"))
    )
    header = ("", "standard deviation", "largest", "beyond 5 m/s²", "beyond 10 m/s²")
    text = (
        "Differentiating positions twice multiplies their errors by the square of the frame rate. Before "
        f"and after, on the same {s['accelerations.rows']:,} rows:"
    )
    return Text(text), Table(header, rows), figures["accelerations"]


def _prediction(s: Mapping[str, Any], figures: Mapping[str, Block]) -> tuple[Block, ...]:
    if not s["states.scored_rows"]:
        return (Text("The recording is too short to hold rows back from learning, so nothing was scored."),)
    text = (
        f"On {s['states.scored_rows']:,} sightings of {count(s['states.scored_vehicles'], 'vehicle')} that "
        "the noise was not learned on, each position was predicted from the earlier ones of its vehicle "
        "and then compared with what was seen."
    )
    rows = tuple(
        (
            f"{level} %",
            *(
                f"{percent(s[name])} {interval(s[f'{name}_ci'], percent)}"
                for name in (f"states.coverage_{level}{axis}" for axis in ("_along", "_across", ""))
            ),
        )
        for level in PERCENT
    )
    coverage = Table(("interval", "along", "across", "mean"), rows, "How many sightings lay inside.")
    logs = tuple(
        (label, with_interval(s, f"states.log_score{name}"), f"{s[f'states.{rows}_rows']:,}")
        for label, name, rows in (
            ("foresee, all rows", "", "scored"),
            ("constant velocity", "_naive", "compared"),
            ("gain on the same rows", "_gain", "compared"),
        )
    )
    caption = (
        "Mean log density of the seen position, higher is better; a gain of 0.69 means twice the "
        "probability. Constant velocity extrapolates the last two sightings, its error measured on the "
        "rows that the noise was learned on."
    )
    scores = Table(("log score [nats per sighting]", "", "rows"), logs, caption)
    distance = Text(
        f"The normalised innovations squared average {number(s['states.nis_mean'], 2)} where 2 is right; "
        f"their distribution is at most {number(s['states.nis_distance'], 3)} away from χ² with two "
        "degrees of freedom."
    )
    return Text(text), coverage, scores, distance, figures["innovations"]


def _truth(s: Mapping[str, Any], figures: Mapping[str, Block]) -> tuple[Block, ...]:
    text = Text(
        "This recording was simulated, so what really happened is known. It had no part in anything above. "
        "Raw speed, heading, acceleration and curvature are finite differences."
    )
    errors = tuple(
        (
            f"{quantity} [{UNIT_OF[quantity]}]",
            *(significant(s[f"truth.rmse_{quantity}{suffix}"]) for suffix in ("_raw", "", "_all_rows")),
        )
        for quantity in COMPARED
    )
    header = ("root mean square error", "raw", "smoothed, same rows", "smoothed, all rows")
    errors_table = Table(header, errors, "The last column includes the gaps, where nothing was seen.")
    rows = tuple(
        (
            quantity,
            *(
                f"{percent(s[name])} {interval(s[f'{name}_ci'], percent)}"
                for name in (f"truth.coverage_{level}_{quantity}" for level in PERCENT)
            ),
        )
        for quantity in QUANTITIES
    )
    inside = Table(
        ("truth inside", *(f"{level} %" for level in PERCENT)), rows, "Bands of the smoothed states."
    )
    nees = Text(
        f"The normalised estimation error squared averages {with_interval(s, 'truth.nees_mean')}, where 6 is "
        f"right; its median is {number(s['truth.nees_median'], 2)}, where 5.35 is right. A mean far above "
        "the median comes from a few vehicles whose doubt is much too small."
    )
    return text, errors_table, inside, nees, *((figures["nees"],) if "nees" in figures else ())
