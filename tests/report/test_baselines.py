# pyright: reportAttributeAccessIssue=false
import re

import pytest

from foresee.jobs.baselines import Baselines
from foresee.jobs.summary import baselines_numbers
from foresee.report.baselines import Driven, draw_drivers, driver_sections, driver_tiles
from foresee.report.clips import choose_scenarios, make_clips
from foresee.report.measures import FIRST, MORE
from foresee.report.page import Figure
from foresee.report.words import interval, number, percent
from tests.evaluations import companions, made_evaluations


@pytest.fixture(scope="module")
def stage():
    return Baselines(made_evaluations(), companions(), {"s0": "map", "s1": "map"}, ("one was left out",))


@pytest.fixture(scope="module")
def summary(stage):
    return baselines_numbers(stage, 2, seed=0)


@pytest.fixture(scope="module")
def driven(stage):
    places = choose_scenarios(stage.evaluations)
    return Driven(stage.table(), make_clips(stage.evaluations, stage.companions, places))


@pytest.fixture(scope="module")
def html(summary, driven):
    sections = driver_sections(summary, driven, draw_drivers(summary))
    assert [section.title for section in sections] == ["Drivers compared", "Where they failed", "Replay"]
    return [section.html() for section in sections]


def test_every_measure_of_every_driver_is_on_the_page(summary, html):
    for driver in ("expert", "none", "idm"):
        for mode in ("replay", "reactive"):
            for measure in (*FIRST, *MORE):
                value, ends = measure.found(summary, driver, mode)
                small = f" <small>{interval(ends, measure.form)}</small>" if None not in ends else ""
                assert f">{measure.form(value)}{small}</td>" in html[0]
    assert percent(summary["drivers.none.replay.fail_rate"]) == "60.0\N{NO-BREAK SPACE}%"
    assert "take scenes for independent" in html[0]
    assert "line to beat" not in html[0]  # there is no PDM among them
    assert "one was left out" in html[0]
    assert "own map" in html[0]
    assert number(summary["scenarios.seconds"], 1) in html[0]


def test_failures_lead_to_their_moment(driven, html):
    links = re.findall(
        r'href="#clip=(\d+)&amp;t=([\d.]+)">([^<]+)</a></th><td>([^<]+)</td><td>([\d.]+)\xa0s', html[1]
    )
    assert len(links) == driven.table["fail"].sum() == 7
    for place, time, scenario, who, when in links:
        clip = driven.clips[int(place) - 1]
        assert clip.failed
        assert clip.scenario == scenario
        assert f"{clip.driver}, {clip.mode}" == who
        assert float(time) == pytest.approx(float(when) - 1.5)
        assert f"at {when} s" in clip.outcome
    assert "Of 7 failures in all, these 7" in html[1]
    assert html[1].count("<td>the driver&#x27;s</td>") == 6  # one left the road by itself


def test_tiles_are_about_those_who_drove(summary):
    tiles = driver_tiles(summary)
    assert [tile.label for tile in tiles] == ["no action fails", "lane keeper (IDM) fails"]
    assert tiles[1].value == percent(summary["drivers.idm.replay.fail_rate"])
    assert "0.0" in tiles[1].sentence
    assert driver_tiles({"scenarios.count": 0}) == driver_tiles({}) == ()


def test_the_figures_say_what_they_show(summary):
    drawn = draw_drivers(summary)
    assert list(drawn) == ["drivers", "progress"]
    for figure in drawn.values():
        assert isinstance(figure, Figure)
        assert "95 % intervals" in figure.alt
        assert figure.svg.count("<svg") == 1
    assert "lane keeper (IDM)" in drawn["drivers"].alt


def test_nothing_to_drive_is_said():
    summary = baselines_numbers(Baselines((), (), {}, ("scene s: its road cannot be told",)), 1, seed=0)
    (section,) = driver_sections(summary, None, {})
    assert "No vehicle" in section.html()
    assert "its road cannot be told" in section.html()
    assert driver_sections({}, None, {}) == ()


def test_no_failure_is_said(summary, driven):
    calm = {name: 0 if name.endswith(".failures") else value for name, value in summary.items()}
    assert "Nobody failed" in driver_sections(calm, driven, {})[1].html()
