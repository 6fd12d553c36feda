import pytest

from foresee.report.words import bounds, count, ends_of, interval, number, percent, rich, signed, significant


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.0, "0.0"), (0.5, "50.0"), (0.0004, "0.04"), (0.00004, "0.004"), (1.0, "100.0"), (-0.5, "−50.0")],
)
def test_percent(value, words):
    assert percent(value) == f"{words}\N{NO-BREAK SPACE}%"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.0, "0.00"),
        (63.02, "63.0"),
        (0.01034, "0.0103"),
        (123.4, "123"),
        (2e-6, "2.00e−06"),
        (-1.5, "−1.50"),
    ],
)
def test_significant(value, words):
    assert significant(value) == words


def test_what_is_not_known_is_a_dash():
    assert number(None, 2) == signed(None) == percent(None) == significant(None) == "–"
    assert significant(float("nan")) == "–"
    assert interval([None, None], percent) == ""


def test_the_rest():
    assert number(-1234.5, 1) == "−1,234.5"
    assert signed(0.25) == "+0.25"
    assert interval([0.1, 0.2], percent) == "[10.0, 20.0]"
    assert count(1, "vehicle") == "1 vehicle"
    assert count(0, "vehicle") == "0 vehicles"


def test_ends_are_known_or_not():
    s = {"a_ci": [0.1, 0.2], "b_ci": [None, None], "c_ci": [float("nan"), 1.0]}
    assert ends_of(s, "a") == [0.1, 0.2]
    assert bounds(s, "a") == (0.1, 0.2)
    for name in "bcd":
        assert ends_of(s, name) == [None, None]
        assert bounds(s, name) is None


def test_bold_and_percent_as_html():
    assert rich("**a <b>** of 90 % & more") == "<b>a &lt;b&gt;</b> of 90\N{NO-BREAK SPACE}% &amp; more"
    assert number(-0.001, 2) == "0.00"
    assert number(float("nan"), 2) == percent(float("nan")) == "–"
