"""The report of `foresee calibrate`: how far predictions can be trusted. Start with `calibration_page`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from foresee.report.detection import draw_entropies, draw_precision_recall, draw_risk_coverage, draw_roc
from foresee.report.page import Block, Figures, Items, Page, Section, Table, Text, Tile, Tiles
from foresee.report.plots import BLUE, VERMILLION
from foresee.report.reliability import draw_reliability
from foresee.report.sets import draw_coverage, draw_set_sizes
from foresee.report.words import PERCENT_SIGN, count, interval, number, percent, significant

ROWS = (
    ("accuracy", "accuracy", "more", "share of rows whose most probable class is the true one"),
    ("nll", "NLL [nats]", "less", "mean of −log of the true class's probability"),
    ("brier", "Brier score", "less", "mean squared distance of the probabilities from the truth, 0 to 2"),
    ("ece", "ECE", "less", "mean gap of confidence and accuracy over 15 bins of equal width"),
    ("ece_adaptive", "ECE, adaptive", "less", "the same over 15 bins with equally many rows"),
    (
        "ece_debiased",
        "ECE, debiased",
        "less",
        "root mean squared gap over such bins, less what chance adds to it",
    ),
    (
        "ece_classwise",
        "ECE, class-wise",
        "less",
        "mean over classes of the gap of that class's probability",
    ),
)
KINDS = {
    "lac": ("LAC", "smallest sets on average (Sadinle, Lei and Wasserman 2019)"),
    "aps": (
        "APS",
        "larger where a row is hard, so hard rows are covered, too (Romano, Sesia and Candès 2020)",
    ),
    "raps": ("RAPS", "as APS, without its long tails (Angelopoulos et al. 2021; penalty 0.01 beyond rank 5)"),
}
METHODS = {
    "temperature": "all logits are divided by one number, the most likely one (Guo et al. 2017)",
    "vector": "a factor and a shift for every class's logit, the most likely under a prior (Guo et al. 2017)",
    "platt": "a sigmoid of the difference of the two logits, the most likely one (Platt 1999)",
    "isotonic": "any increasing map per class, by least squares (Zadrozny and Elkan 2002)",
}
DETECTORS = {"entropy": "entropy", "max_softmax": "1 − largest probability", "energy": "energy"}


@dataclass(frozen=True, eq=False)
class Findings:
    """What there is to show of calibrated predictions; all rows are those of the judged half.

    Attributes:
        summary: the numbers, under the names of summary.json.
        labels: true classes.
        before: probabilities as they came.
        after: calibrated ones.
        sets: prediction sets, by kind.
        by_level: level, coverage and its band, by kind of set.
        strange: scores of these rows and of those outside the distribution, by detector.
        strange_after: calibrated probabilities of the rows outside; None where there are none.
    """

    summary: dict[str, Any]
    labels: Int[np.ndarray, " rows"]
    before: Float[np.ndarray, "rows classes"]
    after: Float[np.ndarray, "rows classes"]
    sets: Mapping[str, Bool[np.ndarray, "rows classes"]]
    by_level: Mapping[str, Float[np.ndarray, "levels 4"]]
    strange: Mapping[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    strange_after: Float[np.ndarray, "strange classes"] | None = None


def calibration_page(findings: Findings) -> Page:
    """Return the report; every number in it comes from the summary."""
    s = findings.summary
    sections = [
        Section("What came out", (_tiles(s), *_warnings(s))),
        Section("Reliability", _reliability(findings)),
        Section("Scores", (_scores(s), _meanings())),
        Section("Prediction sets", _sets(findings)),
        Section("Refusing to answer", _refusing(findings)),
    ]
    if findings.strange:
        sections.append(Section("Strange rows", _strange(findings)))
    sections.append(Section("How this was done", (Items(_how(s)),)))
    subtitle = (
        f"{s['predictions.source']}: {count(s['predictions.rows'], 'row')}, {s['predictions.classes']:,} "
        f"classes, calibrated by {s['method']} scaling."
    )
    return Page("How far can these predictions be trusted?", subtitle, tuple(sections), _footer(s))


def calibration_headlines(s: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and values of a run for the terminal, in the words of its report."""
    rows = [("rows", f"{s['rows.fitted']:,} to fit, {s['rows.judged']:,} to judge")]
    for name, label, *_ in ROWS[:4]:
        before = _value(s, name, "before").split(" [")[0]
        rows.append((label, f"{before} → {_value(s, name, 'after')}"))
    if s["temperature"] is not None:
        rows.append(("temperature", number(s["temperature"], 3)))
    head = f"conformal_{100 * s['level']:g}"
    low, high = s[f"{head}.band"]
    for name, (label, _) in KINDS.items():
        prefix = head if name == "lac" else f"{head}.{name}"
        share, size = percent(s[f"{prefix}.coverage"]), number(s[f"{prefix}.size"], 2)
        rows.append((f"{label} sets at {_level(s)}", f"hold the truth in {share}, size {size}"))
    rows.append(("  exact band", f"{percent(low)} to {percent(high)}"))
    for name in s.get("ood.detectors", ()):
        ends = interval(s[f"ood.{name}.auroc_ci"], lambda end: number(end, 4))
        rows.append((f"AUROC of {DETECTORS[name]}", f"{number(s[f'ood.{name}.auroc'], 4)} {ends}"))
    return [*rows, ("time", f"{number(s['seconds.total'], 1)} s")]


def _level(s: Mapping[str, Any]) -> str:
    return f"{100 * s['level']:g}{PERCENT_SIGN}"


def _value(s: Mapping[str, Any], name: str, when: str) -> str:
    def form(value: float | None) -> str:
        if name == "accuracy":
            return percent(value) if when != "change" else _signed(value, 2, 100)
        digits = 5 if name == "ece_classwise" else 4
        return number(value, digits) if when != "change" else _signed(value, digits, 1)

    ends = interval(s[f"{name}_{when}_ci"], form)
    return f"{form(s[f'{name}_{when}'])} {ends}".strip()


def _signed(value: float | None, digits: int, times: float | int) -> str:
    return "–" if value is None else f"{times * value:+.{digits}f}".replace("-", "−")


def _tiles(s: Mapping[str, Any]) -> Tiles:
    head = f"conformal_{100 * s['level']:g}"
    low, high = s[f"{head}.band"]
    if s["temperature"] is None:
        change = f"right so often; change {_value(s, 'accuracy', 'change')} percentage points"
        third = Tile("accuracy", f"{percent(s['accuracy_before'])} → {percent(s['accuracy_after'])}", change)
    else:
        meaning = "above 1: the model was too sure of itself; below: not sure enough"
        third = Tile("temperature", number(s["temperature"], 3), meaning)
    return Tiles(
        (
            Tile(
                "calibration error (ECE)",
                f"{number(s['ece_before'], 3)} → {number(s['ece_after'], 3)}",
                f"confidence is off by so much on average; after: {_value(s, 'ece', 'after')}",
            ),
            Tile(
                "NLL [nats]",
                f"{number(s['nll_before'], 3)} → {number(s['nll_after'], 3)}",
                f"surprise at the truth; change {_value(s, 'nll', 'change')}",
            ),
            third,
            Tile(
                f"sets at {_level(s)}",
                f"{number(s[f'{head}.size'], 2)} classes",
                f"hold the truth in {percent(s[f'{head}.coverage'])}; expected {percent(low)} to "
                f"{percent(high)}",
            ),
        )
    )


def _warnings(s: Mapping[str, Any]) -> tuple[Block, ...]:
    return (Items(tuple(s["notes"])),) if s["notes"] else ()


def _reliability(findings: Findings) -> tuple[Block, ...]:
    labels = findings.labels
    return (
        Figures(
            (
                draw_reliability(findings.before, labels, "Before", colour=VERMILLION),
                draw_reliability(findings.after, labels, "After", colour=BLUE),
            )
        ),
    )


def _scores(s: Mapping[str, Any]) -> Table:
    rows = tuple(
        (label, *(_value(s, name, when) for when in ("before", "after", "change")), f"{better} is better")
        for name, label, better, _ in ROWS
    )
    caption = (
        f"On the {s['rows.judged']:,} rows that nothing was fitted to, with 95 % intervals (basic "
        "bootstrap, 1,000 draws of rows). The change is that of the same drawn rows; of the accuracy in "
        "percentage points."
    )
    return Table(("score", "before", "after", "change", ""), rows, caption)


def _meanings() -> Table:
    return Table(("score", "what it is"), tuple((label, what) for _, label, _, what in ROWS), words=True)


def _sets(findings: Findings) -> tuple[Block, ...]:
    s = findings.summary
    head = f"conformal_{100 * s['level']:g}"
    low, high = s[f"{head}.band"]
    rows = []
    for name, (label, _) in KINDS.items():
        prefix = head if name == "lac" else f"{head}.{name}"
        rows.append(
            (
                label,
                percent(s[f"{prefix}.coverage"]),
                number(s[f"{prefix}.size"], 3),
                percent(s[f"{prefix}.empty"]),
                significant(s[f"{prefix}.threshold"], 4),
            )
        )
    caption = (
        f"Asked for: {_level(s)}. With {s['rows.fitted']:,} rows to find the threshold and "
        f"{s['rows.judged']:,} to count on, coverage is between {percent(low)} and {percent(high)} in 95 of "
        "100 draws. The sets are made from the probabilities as they came, not from the calibrated ones: "
        "so the fitted half serves for the thresholds, too, and the guarantee stays exact."
    )
    header = ("sets", "hold the truth", "mean size", "empty", "threshold")
    text = Text(
        "Instead of one class, name a set that holds the true one with a stated probability, whatever the "
        "model is like, as long as new rows come from where these come from."
    )
    figures = Figures((draw_coverage(findings.by_level), draw_set_sizes(findings.sets)))
    kinds = Items(tuple(f"**{label}**: {what}." for label, what in KINDS.values()))
    return text, kinds, Table(header, tuple(rows)), Text(caption), figures


def _refusing(findings: Findings) -> tuple[Block, ...]:
    tables = {"before": findings.before, "after": findings.after}
    wrong = {name: (table.argmax(axis=1) != findings.labels).astype(float) for name, table in tables.items()}
    unsure = {name: 1 - table.max(axis=1) for name, table in tables.items()}
    entropies = {}
    for name, mask in (("right", wrong["after"] == 0), ("wrong", wrong["after"] == 1)):
        if mask.any():
            entropies[name] = entropy(findings.after[mask])
    if findings.strange_after is not None:
        entropies["strange rows"] = entropy(findings.strange_after)
    risk = draw_risk_coverage(unsure, wrong)
    return (
        Figures(
            (risk, draw_entropies(entropies, findings.after.shape[1], "Calibrated, by what came of them"))
        ),
    )


def entropy(table: Float[np.ndarray, "rows classes"]) -> Float[np.ndarray, " rows"]:
    """Return the entropy of probabilities in nats."""
    safe = np.where(table > 0, table, 1.0)
    return -(table * np.log(safe)).sum(axis=1)


def _strange(findings: Findings) -> tuple[Block, ...]:
    s = findings.summary
    rows = []
    for name in findings.strange:
        key = f"ood.{name}"
        ends = interval(s[f"{key}.auroc_ci"], lambda end: number(end, 4))
        band = " to ".join(percent(end) for end in s[f"{key}.false_alarms_band"])
        rows.append(
            (
                DETECTORS[name],
                f"{number(s[f'{key}.auroc'], 4)} {ends}",
                number(s[f"{key}.aupr"], 4),
                percent(s[f"{key}.fpr95"]),
                significant(s[f"{key}.threshold"], 4),
                f"{percent(s[f'{key}.false_alarms'])} ({band})",
                percent(s[f"{key}.found"]),
            )
        )
    caption = (
        f"{s['ood.source']}: {count(s['ood.rows'], 'row')} that the model was not made for, against the "
        f"{s['rows.judged']:,} judged rows. A row is flagged if its score is above the threshold, which is "
        f"taken from the fitted half so that {percent(s['ood.false_alarm'])} of ordinary rows are flagged; "
        "in brackets, where that share is in 95 of 100 draws. Higher is stranger for all scores."
    )
    header = ("score", "AUROC", "AUPR", "false alarms at 95 % found", "threshold", "false alarms", "found")
    pairs = {DETECTORS[name]: pair for name, pair in findings.strange.items()}
    figures = Figures((draw_roc(pairs), draw_precision_recall(pairs)))
    return Table(header, tuple(rows)), Text(caption), figures


def _how(s: Mapping[str, Any]) -> tuple[str, ...]:
    kind = "probabilities" if s["predictions.kind"] == "probabilities" else "logits"
    told = (
        "every row is ≥ 0 and sums to one; their logarithms were taken for logits"
        if kind == "probabilities"
        else "rows do not sum to one"
    )
    return (
        f"The predictions were taken for **{kind}**: {told}.",
        f"The rows were dealt at random (seed {s['seed']}) into {s['rows.fitted']:,} that the scaler, the "
        f"thresholds of the sets and those of alarms were fitted to, and {s['rows.judged']:,} on which "
        "everything here was counted.",
        f"Method: **{s['method']}** scaling: {METHODS[s['method']]}.",
        "scaler.npz has the fitted scaler, calibrated.npz the calibrated probabilities of all rows with a "
        "flag for those that were fitted to, summary.json all numbers.",
    )


def _footer(s: Mapping[str, Any]) -> str:
    return f"foresee {s['version']}, foresee calibrate, {number(s['seconds.total'], 1)} s."
