import re

import numpy as np
import pytest

from foresee.calibration import auroc, calibration_error
from foresee.errors import CalibrationError, OptionError, ShapeError
from foresee.report.detection import (
    draw_entropies,
    draw_precision_recall,
    draw_risk_coverage,
    draw_roc,
    series_look,
)
from foresee.report.page import Audio, Page, Section
from foresee.report.regression import draw_bands, draw_pit
from foresee.report.reliability import draw_reliability
from foresee.report.sets import draw_set_sizes
from foresee.report.uncertainty import uncertainty_page

RANDOM = np.random.default_rng(0)
TABLE = RANDOM.dirichlet(np.ones(3), size=60)
LABELS = (TABLE.cumsum(axis=1) < RANDOM.uniform(size=(60, 1))).sum(axis=1)
INSIDE, OUTSIDE = RANDOM.normal(size=60), RANDOM.normal(1.0, 1.0, size=60)


def texts(monkeypatch):
    """Collect what figures write, which the SVG holds as outlines."""
    found = []
    from matplotlib.text import Text

    draw = Text.draw

    def noting(self, *arguments, **options):
        found.append(self.get_text())
        return draw(self, *arguments, **options)

    monkeypatch.setattr(Text, "draw", noting)
    return found


def test_reliability_has_its_numbers_axes_and_counts(monkeypatch):
    found = texts(monkeypatch)
    figure = draw_reliability(TABLE, LABELS, "plain")
    error = float(calibration_error(TABLE, LABELS))
    assert any(text.startswith(f"plain: ECE {error:.4f}") for text in found)
    assert {"rows", "share that was right", "confidence: probability of the most probable class"} <= set(
        found
    )
    assert "60 rows in 15 bins" in figure.caption
    with pytest.raises(CalibrationError):
        draw_reliability(2 * TABLE, LABELS)


def test_roc_and_precision_recall_name_their_areas(monkeypatch):
    found = texts(monkeypatch)
    figure = draw_roc({"entropy": (INSIDE, OUTSIDE), "opposite": (OUTSIDE, INSIDE)}, "far")
    area = float(auroc(np.concatenate([INSIDE, OUTSIDE]), np.arange(120) >= 60))
    assert f"entropy: {area:.4f}" in found
    assert f"opposite: {1 - area:.4f}" in found
    assert "far" in figure.caption
    assert "50" in draw_precision_recall({"entropy": (INSIDE, OUTSIDE)}).caption
    with pytest.raises(CalibrationError):
        draw_roc({"broken": (np.array([np.nan, 1.0]), OUTSIDE)})


def test_curves_can_be_told_apart():
    looks = [tuple(map(str, series_look(place).values())) for place in range(28)]
    assert len(set(looks)) == 28


def test_risk_coverage_and_entropies(monkeypatch):
    found = texts(monkeypatch)
    wrong = (TABLE.argmax(axis=1) != LABELS).astype(float)
    draw_risk_coverage({"plain": 1 - TABLE.max(axis=1)}, {"plain": wrong})
    draw_entropies({"test": np.linspace(0, 1, 50), "far": np.ones(3)}, 3)
    assert any(text.startswith("plain: mean risk ") for text in found)
    assert {"test", "far", "entropy of the predicted probabilities [nats]"} <= set(found)


def test_pit_counts_the_bars_in_the_band():
    even = (np.arange(1000) + 0.5) / 1000
    assert "20 of 20 bars are within" in draw_pit(even).caption
    assert "20 of 20" not in draw_pit(even**2).caption
    with pytest.raises(OptionError, match=r"between 0 and 1, got 1\.5"):
        draw_pit(np.array([0.5, 1.5]))
    with pytest.raises(ShapeError):
        draw_pit(np.zeros(0))


def test_bands(monkeypatch):
    found = texts(monkeypatch)
    x = np.linspace(-2, 2, 30)
    bands = {0.5: (x - 1, x + 1), 0.9: (x - 2, x + 1e9)}
    draw_bands(x, x, bands, (x[10:20], x[10:20]), truth=x, noise=(x - 1, x + 1), title="line")
    shown = {text.replace("\N{NO-BREAK SPACE}", " ") for text in found}
    assert {"90 % band", "50 % band", "90 % band, noise alone", "truth", "data", "mean"} <= shown


def test_large_sets_share_a_bar(monkeypatch):
    found = texts(monkeypatch)
    draw_set_sizes({"lac": RANDOM.uniform(size=(50, 40)) < 0.5})
    assert "12+" in found


def test_one_page_compares_methods():
    scores = {"far: letters": {"plain": (INSIDE, OUTSIDE)}}
    entropies = {"plain": {"test": INSIDE**2, "far": OUTSIDE**2}}
    page = uncertainty_page("Title", "Sub", LABELS, {"plain": TABLE}, entropies, scores).html()
    assert page.count("data:image/svg+xml") == 4
    assert "Outside the data, far: letters" in page
    assert not re.search(r"(src|href)=.(?!data:|#)", page)


def test_a_page_may_play_sounds_but_fetch_none():
    page = Page("t", "s", (Section("One", (Audio(b"RIFF", 'a "sound"', "**hear**"),)),)).html()
    assert "media-src data:" in page
    assert 'aria-label="a &quot;sound&quot;" src="data:audio/wav;base64,UklGRg=="' in page
    assert "<b>hear</b>" in page
