# pyright: reportArgumentType=false
import xml.etree.ElementTree as ElementTree

import pytest

from foresee.driving.drivers.costs import NAMES, Costs
from foresee.report.costs import draw_costs, draw_costs_under_doubt, write_costs


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_costs(tmp_path_factory.mktemp("costs"))


def test_both_figures_are_written_whole_and_on_white(written):
    assert [path.name for path in written] == ["costs.svg", "costs-under-doubt.svg"]
    for path in written:
        root = ElementTree.fromstring(path.read_text())
        assert root.tag.endswith("svg")
        assert [child.get("fill") for child in root if child.tag.endswith("rect")] == ["white"]
        assert len(path.read_bytes()) < 200_000


def test_the_caption_names_every_term_and_scales_are_drawn(written):
    figure = draw_costs(Costs(headway=3.0, jerk=2.0, softness=1.0))
    assert all(name in figure.alt for name in NAMES)
    assert figure.svg not in written[0].read_text()
    assert written[0].read_text() != figure.svg
    assert "doubt" in draw_costs_under_doubt().caption
