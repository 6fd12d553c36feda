import numpy as np
import pytest

from foresee.driving.formats.lanelet2 import lanes_from_lanelet2, origin_at, speed
from foresee.errors import RecordingError

# Nodes (x, y) in metres on three rows y = 0, 4, 8, at x = 0, 50, 100.
NODES = {f"{row}{k}": (50.0 * k, 4.0 * row) for row in range(3) for k in range(3)}
LINES = ("line_thin", "dashed")


def node(name, x, y, local=True) -> str:
    tags = f'<tag k="local_x" v="{x}"/><tag k="local_y" v="{y}"/>' if local else ""
    return f'<node id="{name}" lat="{y / 110_574}" lon="{x / 111_320}">{tags}</node>'


def way(name, nodes: str, kind=LINES, *tags: str) -> str:
    refs = "".join(f'<nd ref="{ref}"/>' for ref in nodes.split())
    more = "".join(f'<tag k="{k}" v="{v}"/>' for k, v in (tag.split("=") for tag in tags))
    return f'<way id="{name}">{refs}<tag k="type" v="{kind[0]}"/><tag k="subtype" v="{kind[1]}"/>{more}</way>'


def lanelet(name, left: str, right: str, *tags: str, sign: str = "") -> str:
    members = "".join(f'<member type="way" ref="{ref}" role="left"/>' for ref in left.split())
    members += "".join(f'<member type="way" ref="{ref}" role="right"/>' for ref in right.split())
    members += f'<member type="relation" ref="{sign}" role="regulatory_element"/>' if sign else ""
    more = "".join(f'<tag k="{k}" v="{v}"/>' for k, v in (tag.split("=") for tag in ("type=lanelet", *tags)))
    return f'<relation id="{name}">{members}{more}</relation>'


def osm(*parts: str, nodes=None) -> bytes:
    nodes = nodes or [node(name, *place) for name, place in NODES.items()]
    return f'<?xml version="1.0"?><osm version="0.6">{"".join([*nodes, *parts])}</osm>'.encode()


def read(data: bytes):
    lanes, notes = lanes_from_lanelet2(data, "map.osm", origin_at(0.0, 0.0))
    return {lane.name: lane for lane in lanes}, notes


def test_successors_and_neighbours():
    lanes, notes = read(
        osm(
            way("a", "00 01"),
            way("b", "02 01"),  # drawn against the traffic
            way("c", "10 11"),
            way("d", "12 11", ("line_thin", "solid")),
            way("e", "21 20"),
            lanelet("1", "c", "a"),
            lanelet("2", "d", "b"),
            lanelet("3", "e", "c", "subtype=highway"),
        )
    )
    np.testing.assert_array_equal(lanes["1"].left, [[0, 4], [50, 4]])
    np.testing.assert_array_equal(lanes["2"].left, [[50, 4], [100, 4]])
    np.testing.assert_array_equal(lanes["2"].right, [[50, 0], [100, 0]])
    np.testing.assert_array_equal(lanes["3"].left, [[0, 8], [50, 8]])
    assert (lanes["1"].successors, lanes["2"].successors) == (("2",), ())
    assert (lanes["1"].left_neighbour, lanes["3"].right_neighbour) == ("3", "1")
    assert (lanes["1"].right_neighbour, lanes["2"].left_neighbour) == (None, None)
    assert (lanes["1"].kind, lanes["3"].kind) == ("road", "highway")
    assert notes == ["local_x and local_y of the map taken, not its latitudes and longitudes"]


def test_oncoming_lanes_share_their_left_side_and_are_no_neighbours():
    lanes, _ = read(
        osm(
            way("a", "00 01"),
            way("c", "10 11"),
            way("e", "20 21"),
            lanelet("1", "c", "a"),
            lanelet("2", "c", "e"),
        )
    )
    np.testing.assert_array_equal(lanes["2"].left, [[50, 4], [0, 4]])
    np.testing.assert_array_equal(lanes["2"].right, [[50, 8], [0, 8]])
    assert lanes["1"].left_neighbour is None


@pytest.mark.parametrize(
    ("line", "tags", "to_left", "to_right"),
    [
        ("dashed", (), True, True),
        ("solid", (), False, False),
        ("dashed_solid", (), False, True),  # dashed on the left, so one may go from left to right
        ("solid_dashed", (), True, False),
        ("solid", ("lane_change=yes",), True, True),
        ("dashed", ("lane_change=no",), False, False),
        ("solid", ("lane_change:left=yes",), True, False),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_marks(line, tags, to_left, to_right, turned):
    middle = way("c", "11 10" if turned else "10 11", ("line_thin", line), *tags)
    lanes, _ = read(
        osm(way("a", "00 01"), middle, way("e", "20 21"), lanelet("1", "c", "a"), lanelet("2", "e", "c"))
    )
    if turned:  # left and right are those of the line, which here runs against the traffic
        to_left, to_right = to_right, to_left
    assert lanes["1"].left_neighbour == ("2" if to_left else None)
    assert lanes["2"].right_neighbour == ("1" if to_right else None)


def test_sides_of_several_ways_and_both_directions():
    lanes, _ = read(
        osm(
            way("a", "01 00"),
            way("b", "01 02"),
            way("c", "10 11 12"),
            lanelet("1", "c", "a b", "one_way=no"),
        )
    )
    np.testing.assert_array_equal(lanes["1"].right, [[0, 0], [50, 0], [100, 0]])
    np.testing.assert_array_equal(lanes["-1"].left, [[100, 0], [50, 0], [0, 0]])
    np.testing.assert_array_equal(lanes["-1"].right, [[100, 4], [50, 4], [0, 4]])


def test_speed_limits():
    known = {"50 km/h": 50 / 3.6, "30": 30 / 3.6, "25mph": 25 * 0.44704, "10 m/s": 10.0, "de274-60": 60 / 3.6}
    for text, limit in known.items():
        assert speed(text) == pytest.approx(limit)
    assert [speed(text) for text in ("fast", "0", "", "-3")] == [None] * 4
    sign = '<relation id="9"><tag k="type" v="regulatory_element"/><tag k="subtype" v="speed_limit"/>'
    sign += '<tag k="sign_type" v="de274-60"/></relation>'
    lanes, _ = read(osm(way("a", "00 01"), way("c", "10 11"), lanelet("1", "c", "a", sign="9"), sign))
    assert lanes["1"].speed_limit == pytest.approx(60 / 3.6)


def test_what_is_left_out_is_counted():
    nodes = [node(name, *place, local=False) for name, place in NODES.items()]
    nodes[8] = '<node id="22" lat="here"/>'
    lanes, notes = read(
        osm(
            way("a", "00 01"), way("c", "10 11"), way("f", "22 99"),
            lanelet("1", "c", "a"), lanelet("2", "f", "a"), lanelet("3", "c", "a", "subtype=crosswalk"),
            nodes=nodes,
        )
    )  # fmt: skip
    assert set(lanes) == {"1"}
    assert notes == [
        "1 node of the map without a place left out",
        "1 lanelet without two sides left out",
        "1 way for walking left out of the map",
    ]
    # a hundredth of the way to the zone's central meridian: the scale is 1.00097
    np.testing.assert_allclose(lanes["1"].left, np.array([[0, 4], [50, 4]]) * 1.00097, rtol=1e-4, atol=1e-6)


def test_damaged_maps():
    for data, words in (
        (osm()[:-9], "truncated or damaged"),
        (osm(), "expected lanelets in the map, got none"),
        (b"<xml></xml>", "expected a Lanelet2 file, got XML <xml>"),
        (osm().replace(b"<osm", b'<!DOCTYPE l [<!ENTITY a "ha">]><osm'), "refused its entities"),
    ):
        with pytest.raises(RecordingError) as caught:
            read(data)
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)
