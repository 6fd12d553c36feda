"""Whatever a file holds, a reader answers with a recording or with one line of RecordingError."""

import gzip
import io
import json

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from foresee.driving.formats.argoverse import lanes_from_argoverse
from foresee.driving.formats.lanelet2 import lanes_from_lanelet2, origin_at
from foresee.driving.formats.ngsim import LAYOUT
from foresee.driving.formats.tidy import NAMES
from foresee.driving.lanes import check_lanes
from foresee.driving.read import recording_from_bytes
from foresee.errors import RecordingError

few = settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow], print_blob=True)

XML = b"""<?xml version="1.0"?><commonRoad timeStepSize="0.1" benchmarkID="A"><lanelet id="1"/>
<obstacle id="1"><role>dynamic</role><type>car</type>
<shape><rectangle><length>5</length><width>2</width></rectangle></shape>
<initialState><position><point><x>0</x><y>0</y></point></position><time><exact>0</exact></time></initialState>
<trajectory><state><position><point><x>1</x><y>0</y></point></position><time><exact>1</exact></time></state>
</trajectory></obstacle></commonRoad>"""
CSV = b"id,time,x,y,speed\n1,0,0,0,20\n1,0.1,2,0,20\n1,0.2,4,0,20\n2,0,9,3,20\n2,0.1,11,3,20\n"
TEXT = b"\n".join(
    b"2 %d 437 %d 16.5 %d 6451137.6 1873344.9 14.5 4.9 2 40.0 0.0 2 0 0 0.0 0.0"
    % (k, 1118846980200 + 100 * k, 4 * k)
    for k in range(4)
)
HEADED = ",".join(LAYOUT).encode() + b"\n" + TEXT.replace(b" ", b",")


def parquet() -> bytes:
    file = io.BytesIO()
    pl.read_csv(CSV).write_parquet(file)
    return file.getvalue()


WAYMO = json.dumps(
    {
        "name": "w",
        "objects": [
            {
                "id": 1,
                "position": [{"x": k, "y": 0} for k in range(3)],
                "velocity": [{"x": 10, "y": 0}] * 3,
                "heading": [0.1, 0.1, 0.1],
                "valid": [True] * 3,
                "width": 2,
                "length": 5,
                "type": "vehicle",
            }
        ],
        "roads": [{"id": 5, "type": "lane", "geometry": [{"x": 0, "y": 0}, {"x": 9, "y": 0}]}],
    }
).encode()
OSM = b"""<?xml version="1.0"?><osm><node id="1" lat="0" lon="0"/><node id="2" lat="0" lon="1e-3"/>
<node id="3" lat="3e-5" lon="0"/><node id="4" lat="3e-5" lon="1e-3"/>
<way id="5"><nd ref="1"/><nd ref="2"/></way>
<way id="6"><nd ref="3"/><nd ref="4"/><tag k="type" v="line_thin"/></way><relation id="7">
<member type="way" ref="6" role="left"/><member type="way" ref="5" role="right"/><tag k="type" v="lanelet"/>
</relation></osm>"""
TOWN = json.dumps(
    {
        "lane_segments": {
            "1": {
                "left_lane_boundary": [{"x": 0, "y": 2}, {"x": 9, "y": 2}],
                "right_lane_boundary": [{"x": 0, "y": -2}, {"x": 9, "y": -2}],
                "lane_type": "VEHICLE",
                "successors": [1, 2],
                "left_neighbor_id": 1,
            }
        }
    }
).encode()
SEEDS = {
    "xml": XML,
    "csv": CSV,
    "text": TEXT,
    "headed": HEADED,
    "gzip": gzip.compress(CSV, mtime=0),
    "parquet": parquet(),
    "waymo": WAYMO,
}
MAPS = {
    "osm": (OSM, lambda data: lanes_from_lanelet2(data, "map", origin_at(0.0, 0.0))),
    "town": (TOWN, lambda data: lanes_from_argoverse(data, "map")),
}
WORDS = [
    b"nan",
    b"inf",
    b"-1",
    b"1e999",
    b"999999999999999999999",
    b"\xff",
    b"\0",
    b"<",
    b"&",
    b",",
    b"\n",
    b" ",
    b'"',
    b"id",
    b"null",
    b"[]",
    b"{}",
]


def survives(data: bytes, **options) -> None:
    try:
        recording = recording_from_bytes(data, "in", **options)
    except RecordingError as error:
        lines = str(error).splitlines()
    else:
        lines = ["read"]
        recording.validate()
        recording.tracks()
    assert len(lines) == 1


@few
@given(
    st.binary(max_size=200),
    st.sampled_from([b"", b"<", b"<commonRoad>", b"PAR1", b"\x1f\x8b\x08", b"id,time,x,y\n"]),
)
def test_any_bytes(data, begin):
    survives(begin + data)


def damages(seed: bytes):
    """Strategies for a list of replaced stretches of a file, and for where it ends."""
    place = st.integers(0, len(seed))
    change = st.tuples(place, st.integers(0, 30), st.one_of(st.sampled_from(WORDS), st.binary(max_size=5)))
    return st.lists(change, min_size=1, max_size=4), st.one_of(st.none(), place)


def damaged(data: bytes, changes, end) -> bytes:
    for begin, length, new in changes:
        data = data[:begin] + new + data[begin + length :]
    return data[:end]


@pytest.mark.parametrize("kind", SEEDS)
def test_damaged_files(kind):
    @few
    @given(*damages(SEEDS[kind]))
    def run(changes, end):
        survives(damaged(SEEDS[kind], changes, end))

    run()


@pytest.mark.parametrize("kind", MAPS)
def test_damaged_maps(kind):
    seed, read = MAPS[kind]

    @settings(few, max_examples=100)
    @given(*damages(seed))
    def run(changes, end):
        try:
            lanes, _ = read(damaged(seed, changes, end))
        except RecordingError as error:
            lines = str(error).splitlines()
        else:
            lines = ["read"]
            check_lanes(lanes)
        assert len(lines) == 1

    run()


cells = st.one_of(
    st.integers(-5, 20).map(str),
    st.floats(width=64).map(str),
    st.sampled_from(["", "nan", "1", "2", "9" * 30, "1e308", "-0", "0.1", '"', "a,b", "ü"]),
    st.text(max_size=6),
)


@few
@given(st.data())
def test_any_table(data):
    names = st.one_of(st.sampled_from(list(NAMES)), st.text(max_size=8))
    columns = data.draw(st.lists(names, min_size=1, max_size=8))
    if data.draw(st.booleans()):
        columns = [*dict.fromkeys(["id", data.draw(st.sampled_from(["frame", "time"])), "x", "y", *columns])]
    rows = data.draw(st.lists(st.lists(cells, min_size=len(columns), max_size=len(columns)), max_size=8))
    text = "\n".join(",".join(row) for row in [columns, *rows]).encode("utf-8", "surrogatepass")
    survives(text, frame_rate=data.draw(st.sampled_from([None, 10.0])))


values = st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(0, 6))


@few
@given(st.data())
def test_any_parquet(data):
    n = data.draw(st.integers(0, 6))
    kinds = [
        values,
        st.floats(),
        st.text(max_size=4),
        st.booleans(),
        st.dates(),
        st.lists(st.integers(0, 3), max_size=2),
    ]
    columns = {}
    for name in ("id", data.draw(st.sampled_from(["frame", "time"])), "x", "y", "type", "length", "speed"):
        kind = st.one_of(st.none(), data.draw(st.sampled_from([*kinds, st.integers(0, 6), st.floats(0, 9)])))
        columns[name] = data.draw(st.lists(kind, min_size=n, max_size=n))
    file = io.BytesIO()
    pl.DataFrame(columns, strict=False).write_parquet(file)
    survives(file.getvalue(), frame_rate=data.draw(st.sampled_from([None, 10.0])))
