"""Lanelet2 maps in OSM's XML: the lanelets as lanes in metres.

Source: Poggenhans and others (2018), "Lanelet2: a high-definition map framework for the future of automated
driving", and the format's pages on tags of lanelets, line strings and regulatory elements.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from xml.etree.ElementTree import Element

import numpy as np
from jaxtyping import Float

from foresee.driving.formats.markup import elements, number
from foresee.driving.formats.rows import counted
from foresee.driving.formats.utm import utm, utm_zone
from foresee.driving.lanes import Lane, clean_lanes
from foresee.errors import RecordingError

PAINTED = ("line_thin", "line_thick")
PER_HOUR = {"mph": 0.44704, "m/s": 1.0, "mps": 1.0}  # anything else is km/h, as Lanelet2 takes bare numbers


@dataclass(frozen=True)
class Origin:
    """Where a map's local coordinates begin: a zone of UTM, and a place in it [m]."""

    zone: int
    east: float
    north: float


def origin_at(latitude: float, longitude: float) -> Origin:
    """The origin at a place [degrees], in the zone of its longitude."""
    zone = utm_zone(longitude)
    east, north = utm(np.array([latitude]), np.array([longitude]), zone)
    return Origin(zone, float(east[0]), float(north[0]))


@dataclass
class _Map:
    """The three kinds of elements of a map, as they stand in the file."""

    nodes: dict[str, tuple[float | None, ...]] = field(default_factory=dict)
    ways: dict[str, list[str]] = field(default_factory=dict)
    tags: dict[str, dict[str, str]] = field(default_factory=dict)
    lanelets: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    limits: dict[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class _Bound:
    """One side of a lanelet: its nodes, and its ways, each with whether it runs along the nodes."""

    nodes: tuple[str, ...]
    ways: tuple[tuple[str, bool], ...]

    def turned(self) -> "_Bound":
        return _Bound(self.nodes[::-1], tuple((way, not along) for way, along in self.ways[::-1]))


def lanes_from_lanelet2(data: bytes, source: str, origin: Origin) -> tuple[tuple[Lane, ...], list[str]]:
    """Read the lanelets of a map.

    Boundaries are turned so that the left one lies on the left. A lanelet that may be driven both ways is two
    lanes, the second with a minus before its name. Neighbours share a boundary whose marks may be crossed.

    Args:
        data: the XML.
        source: where it came from.
        origin: where local coordinates begin; not used where every node has local_x and local_y.

    Returns:
        The lanes, and notes on what was left out.

    Raises:
        RecordingError: if it is not well-formed or holds no lanelet.
    """
    found = _read(data, source)
    place, notes = _places(found, origin)
    bounds: dict[str, tuple[_Bound, _Bound]] = {}
    for name, members in found.lanelets.items():
        left, right = (_chain(members.get(side, []), found.ways, place) for side in ("left", "right"))
        if left is not None and right is not None:
            bounds[name] = _turned(left, right, place)
            if found.tags[name].get("one_way") == "no":
                bounds[f"-{name}"] = (bounds[name][1].turned(), bounds[name][0].turned())
    notes += counted(sum(n not in bounds for n in found.lanelets), "lanelet", "without two sides left out")
    lanes = [_lane(name, found, bounds, place) for name in bounds]
    starts: dict[tuple[str, str], list[str]] = {}
    for name, (left, right) in bounds.items():
        starts.setdefault((left.nodes[0], right.nodes[0]), []).append(name)
    followed = []
    for lane in lanes:
        left, right = bounds[lane.name]
        follow = (other for other in starts.get((left.nodes[-1], right.nodes[-1]), []) if other != lane.name)
        followed.append(replace(lane, successors=tuple(follow)))
    cleaned, more = clean_lanes(followed)
    if not cleaned:
        raise RecordingError(f"{source}: expected lanelets in the map, got none")
    return cleaned, notes + more


def _read(data: bytes, source: str) -> _Map:
    found = _Map()
    parts = elements(data, source, "osm", "a Lanelet2")
    next(parts)
    for element in parts:
        name = element.get("id", "")
        tags = {tag.get("k", ""): tag.get("v", "").strip() for tag in element.iterfind("tag")}
        if element.tag == "node":
            here = (element.get("lat"), element.get("lon"), tags.get("local_x"), tags.get("local_y"))
            found.nodes[name] = tuple(number(text) for text in here)
        elif element.tag == "way":
            found.ways[name] = [node.get("ref", "") for node in element.iterfind("nd")]
            found.tags[f"way {name}"] = tags
        elif element.tag == "relation" and tags.get("type") == "lanelet":
            found.tags[name] = tags
            found.lanelets[name] = _members(element)
        elif element.tag == "relation" and tags.get("subtype") == "speed_limit":
            found.limits[name] = speed(tags.get("speed_limit") or tags.get("sign_type") or "")
    return found


def _members(relation: Element) -> dict[str, list[str]]:
    members: dict[str, list[str]] = {}
    for member in relation.iterfind("member"):
        members.setdefault(member.get("role", ""), []).append(member.get("ref", ""))
    return members


def speed(text: str) -> float | None:
    """A speed limit as tags give it, such as "50 km/h", "25 mph", "30" (km/h) or "de274-60" [m/s]."""
    match = re.fullmatch(r"(?:de274[-:])?(\d+(?:\.\d+)?)\s*(km/h|kmh|kph|mph|m/s|mps)?", text.lower())
    limit = float(match[1]) * PER_HOUR.get(match[2] or "", 1 / 3.6) if match else 0.0
    return limit if limit > 0 else None


def _places(found: _Map, origin: Origin) -> tuple[dict[str, Float[np.ndarray, "2"]], list[str]]:
    """Local coordinates of every node [m]."""
    table = np.array(list(found.nodes.values()), float).reshape(-1, 4)  # None becomes NaN
    local = bool(len(table)) and bool(np.isfinite(table[:, 2:]).all())
    if local:
        points = table[:, 2:]
    else:
        on_earth = (np.abs(table[:, 0]) < 89) & (np.abs(table[:, 1]) <= 360)
        table = np.where(on_earth[:, None], table, np.nan)
        east, north = utm(table[:, 0], table[:, 1], origin.zone)
        points = np.stack([east - origin.east, north - origin.north], axis=-1)
    fine = np.isfinite(points[:, 0] + points[:, 1])
    notes = counted(int((~fine).sum()), "node", "of the map without a place left out")
    notes += ["local_x and local_y of the map taken, not its latitudes and longitudes"] if local else []
    return {name: point for name, point, ok in zip(found.nodes, points, fine, strict=True) if ok}, notes


def _chain(names: list[str], ways: dict[str, list[str]], place: dict) -> _Bound | None:
    """Put the ways of one side together, end to end in whatever direction each was drawn."""
    bound: _Bound | None = None
    for name in names:
        nodes = tuple(node for node in ways.get(name, []) if node in place)
        if len(nodes) < 2:
            return None
        part = _Bound(nodes, ((name, True),))
        bound = part if bound is None else _joined(bound, part)
        if bound is None:
            return None
    return bound


def _joined(first: _Bound, second: _Bound) -> _Bound | None:
    for one in (first, first.turned()):
        for other in (second, second.turned()):
            if one.nodes[-1] == other.nodes[0]:
                return _Bound(one.nodes + other.nodes[1:], one.ways + other.ways)
    return None


def _turned(left: _Bound, right: _Bound, place: dict) -> tuple[_Bound, _Bound]:
    """Both sides in the direction in which the left one is on the left."""

    def gap(one: str, other: str) -> float:
        return float(np.hypot(*(place[one] - place[other])))

    straight = gap(left.nodes[0], right.nodes[0]) + gap(left.nodes[-1], right.nodes[-1])
    crossed = gap(left.nodes[0], right.nodes[-1]) + gap(left.nodes[-1], right.nodes[0])
    if crossed < straight:
        right = right.turned()
    ring = np.array([place[node] for node in (*left.nodes, *right.nodes[::-1])])
    ring = ring - ring[0]
    after = np.roll(ring, -1, axis=0)
    area = float(np.sum(ring[:, 0] * after[:, 1] - ring[:, 1] * after[:, 0]))
    # along the left side and back along the right one is clockwise, which is a negative area
    return (left.turned(), right.turned()) if area > 0 else (left, right)


def _lane(name: str, found: _Map, bounds: dict[str, tuple[_Bound, _Bound]], place: dict) -> Lane:
    left, right = bounds[name]
    whole = name.removeprefix("-") if name not in found.lanelets else name
    tags = found.tags[whole]
    signs = [found.limits.get(sign) for sign in found.lanelets[whole].get("regulatory_element", [])]
    limits = [limit for limit in (speed(tags.get("speed_limit", "")), *signs) if limit is not None]
    return Lane(
        name=name,
        left=np.array([place[node] for node in left.nodes]),
        right=np.array([place[node] for node in right.nodes]),
        left_neighbour=_beside(left, ((n, b[1]) for n, b in bounds.items()), found.tags, to_right=False),
        right_neighbour=_beside(right, ((n, b[0]) for n, b in bounds.items()), found.tags, to_right=True),
        kind=tags.get("subtype") or "road",
        speed_limit=min(limits) if limits else None,
    )


def _beside(
    bound: _Bound, others: Iterable[tuple[str, _Bound]], tags: dict[str, dict[str, str]], *, to_right: bool
) -> str | None:
    if not all(_crossable(tags[f"way {way}"], to_right == along) for way, along in bound.ways):
        return None
    return next((name for name, other in others if other.nodes == bound.nodes), None)


def _crossable(tags: dict[str, str], to_right: bool) -> bool:
    """Whether the marks of a way may be crossed towards its right, or left, seen along the way."""
    said = tags.get("lane_change:right" if to_right else "lane_change:left", tags.get("lane_change"))
    if said in ("yes", "no"):
        return said == "yes"
    nearest_first = {"dashed": True, "dashed_solid": to_right, "solid_dashed": not to_right}
    return tags.get("type") in PAINTED and nearest_first.get(tags.get("subtype", ""), False)
