import re
from dataclasses import replace

import pytest

from foresee.driving.accuracy import one_step_scores
from foresee.driving.findings import Part, WorldFindings
from foresee.report.baselines import Driven, draw_drivers
from foresee.report.clips import make_clips
from foresee.report.drive import Findings, _draw_learned, drive_page
from foresee.report.foretelling import HORIZONS, LEVELS
from foresee.report.measures import FIRST, MORE, name_of
from foresee.report.page import Text
from foresee.report.words import number, percent
from tests.contests import contest_numbers, made_contest, made_training, world_numbers
from tests.made_up import made_states
from tests.report.test_page import Nesting

READ = {
    "recording.source": "made up", "recording.vehicles": 9, "recording.seconds": 60.0, "recording.scenes": 4,
    "recording.frame_rate": 10.0, "recording.sightings": 900, "recording.gaps": 0, "recording.missing": 0,
    "recording.reference": "centre", "recording.notes": [], "version": "0", "seed": 3, "seconds.total": 9.0,
    "parts.by": "time",
}  # fmt: skip


@pytest.fixture(scope="module")
def found():
    return made_contest()


@pytest.fixture(scope="module")
def summary(found):
    return READ | contest_numbers(found) | world_numbers()


@pytest.fixture(scope="module")
def findings(found, summary):
    states = made_states()
    driven = Driven(
        found.table, make_clips(found.evaluations, found.companions, found.places, found.foresight)
    )
    parts = tuple(Part(name, "made up", ("s0",), 9, 60.0, 7) for name in ("train", "validation", "test"))
    world = WorldFindings({}, made_training(3), (8000, 900), (900, 120, 300), {}, ())
    return Findings(states, one_step_scores(states), None, summary, driven, parts, world, found)


@pytest.fixture(scope="module")
def figures(findings):
    return {"map": Text("a map"), **draw_drivers(findings.summary), **_draw_learned(findings)}


def made_page(findings, figures, monkeypatch):
    """The page without its part about states, which has tests of its own."""
    monkeypatch.setattr("foresee.report.drive.state_sections", lambda *_, truth: ())
    monkeypatch.setattr("foresee.report.drive.state_tiles", lambda s: ())
    return drive_page(findings, figures)


@pytest.fixture(scope="module")
def page(findings, figures):
    with pytest.MonkeyPatch.context() as monkeypatch:
        return made_page(findings, figures, monkeypatch)


@pytest.fixture(scope="module")
def html(page):
    return page.html()


@pytest.fixture(scope="module")
def sections(page):
    return {section.title: section.html() for section in page.sections}


def test_the_verdict_comes_first_and_every_part_has_its_place(sections, figures):
    assert list(sections) == [
        "What came out", "Drivers compared", "Where they failed", "Replay", "The monitor",
        "What the learned world foretells", "What makes the difference", "Learning", "What was read",
    ]  # fmt: skip
    assert {"drivers", "progress", "errors", "intervals", "roc", "alarms", "losses"} <= set(figures)
    assert "MPER was left out" in sections["What came out"]
    assert "by time" in sections["What was read"]


def test_every_number_of_every_driver_is_on_the_page(summary, found, sections):
    for name in found.drivers:
        for mode in found.modes:
            for measure in (*FIRST, *MORE):
                value, _ = measure.found(summary, name, mode)
                assert f">{measure.form(value)} <small>" in sections["Drivers compared"]
        assert name_of(name).removesuffix(" + monitor") in sections["Drivers compared"]
    assert sections["Drivers compared"].count('class="line"') == 6


def test_the_best_of_those_who_drive_is_marked(summary, found, sections):
    rates = [
        summary[f"drivers.{name}.replay.fail_rate"]
        for name in found.drivers
        if name not in ("expert", "none")
    ]
    panel = sections["Drivers compared"].split('class="panel"')[1]
    marked = re.findall(r'<td class="best" data-value="([^"]+)">([^<]+)', panel)
    assert marked
    assert float(marked[0][0]) == pytest.approx(min(rates))
    first = [
        float(each)
        for each in re.findall(
            r'<tr(?: class="(?:line|aside)")?><th[^>]*>[^<]*</th><td[^>]*data-value="([^"]+)"', panel
        )
    ]
    assert sorted(first[1:8]) == first[1:8]  # after the recorded driver, who fails least comes first


def test_failures_are_counted_and_lead_to_their_moment(found, findings, sections):
    html = sections["Where they failed"]
    hits = found.table.filter(driver="bc", mode="learned", outcome="hit the vehicle ahead").height
    assert f'data-value="{hits}">{hits}<' in html
    places = re.findall(r'href="#clip=(\d+)&amp;t=([\d.]+)"', html)
    assert len(places) == sum(clip.failed for clip in findings.driven.clips) > 0
    assert all(findings.driven.clips[int(place) - 1].failed for place, _ in places)
    assert "Orange" in sections["Replay"]


def test_the_numbers_of_the_world_and_the_monitor(summary, sections):
    world = sections["What the learned world foretells"]
    for horizon in HORIZONS:
        assert number(summary[f"world.kalman.ade_{horizon}s"], 2) in world
        for level in LEVELS:
            assert percent(summary[f"world.coverage_across_{level}_{horizon}s"]) in world
    monitor = sections["The monitor"]
    assert "0.92 [0.88, 0.95]" in monitor
    assert "as stated" in monitor
    saved = summary["drivers.bc_monitored.learned.fail_rate_less_than_unguarded"]
    assert f">{number(100 * saved, 1)} <small>" in monitor


def test_ablations_and_trainings(sections):
    tried = sections["What makes the difference"]
    assert "Networks that foretell together" in tried
    assert ">0.2</th>" in tried  # a setting with a point in it
    assert "Odd thing" in tried
    assert "replayed: by least expected cost" in tried
    assert "the world" in sections["Learning"]
    assert "31\xa0s" in sections["Learning"] or "31 s" in sections["Learning"]


def test_the_page_is_well_formed_small_and_runs_nothing_foreign(html):
    parser = Nesting()
    parser.feed(html)
    assert parser.open == []
    assert "http" not in re.sub(r"http-equiv|http://www.w3.org", "", html)
    assert html.count("<script>") == 2  # of the player and of the tables
    assert len(html) < 2e6
    assert "nan" not in re.sub(r'base64,[^"]*|<script.*?</script>', "", html, flags=re.DOTALL)


def test_what_did_not_run_is_absent(findings, figures, monkeypatch):
    summary = {
        name: value
        for name, value in findings.summary.items()
        if not name.startswith(("world.", "drivers.", "scenarios.", "monitor.", "ablations."))
    }
    only = Findings(findings.states, findings.one_step, None, summary)
    page = made_page(only, {"map": figures["map"]}, monkeypatch)
    assert [section.title for section in page.sections] == ["What came out", "What was read"]
    assert _draw_learned(only) == {}
    world = replace(only, summary=summary | world_numbers(), world=findings.world)
    titles = [section.title for section in made_page(world, {"map": figures["map"]}, monkeypatch).sections]
    assert titles == ["What came out", "What the learned world foretells", "Learning", "What was read"]
