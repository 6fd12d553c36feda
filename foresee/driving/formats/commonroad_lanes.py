"""The road of a CommonRoad file: its lanelets, what they connect to, and how fast one may go on them."""

from collections.abc import Iterable
from dataclasses import replace
from xml.etree.ElementTree import Element

import numpy as np

from foresee.driving.formats.markup import number
from foresee.driving.lanes import Lane, clean_lanes

FASTEST_SIGNS = ("274", "274.1", "R2-1")  # their additional value is in m/s, whatever the sign shows
CROSSABLE = (None, "", "dashed", "broad_dashed", "dashed_dashed", "no_marking", "unknown")


class Lanelets:
    """What was read of the road so far."""

    def __init__(self):
        self._lanes: dict[str, tuple[Lane, list[str]]] = {}
        self._signs: dict[str, float] = {}

    def take(self, element: Element) -> None:
        """Read a <lanelet> or a <trafficSign>; leave others alone."""
        if element.tag == "lanelet":
            lane = _lane(element)
            self._lanes.setdefault(
                lane.name, (lane, [sign.get("ref", "") for sign in element.iterfind("trafficSignRef")])
            )
        elif element.tag == "trafficSign":
            for sign in element.iterfind("trafficSignElement"):
                limit = number(sign.findtext("additionalValue"))
                if (sign.findtext("trafficSignID") or "").strip() in FASTEST_SIGNS and limit and limit > 0:
                    self._signs[element.get("id", "")] = limit

    def lanes(self, scale: float) -> tuple[tuple[Lane, ...], list[str]]:
        """All lanes in metres, and notes.

        Args:
            scale: metres per unit of length of the file.
        """
        return clean_lanes(
            replace(
                lane,
                left=lane.left * scale,
                right=lane.right * scale,
                speed_limit=min(limits) * scale if limits else None,
            )
            for lane, signs in self._lanes.values()
            for limits in [_finite([lane.speed_limit, *map(self._signs.get, signs)])]
        )


def _finite(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None and np.isfinite(value) and value > 0]


def _lane(element: Element) -> Lane:
    beside = {}
    for side, bound, adjacent in (
        ("left_neighbour", "leftBound", "adjacentLeft"),
        ("right_neighbour", "rightBound", "adjacentRight"),
    ):
        other = element.find(adjacent)
        marking = (element.findtext(f"{bound}/lineMarking") or "").strip()
        if other is not None and other.get("drivingDir") == "same" and marking in CROSSABLE:
            beside[side] = other.get("ref")
    kind = element.findtext("laneletType") or element.findtext("type") or ""
    return Lane(
        name=element.get("id", ""),
        left=_points(element.find("leftBound")),
        right=_points(element.find("rightBound")),
        successors=tuple(other.get("ref", "") for other in element.iterfind("successor")),
        kind=kind.strip().lower() or "lane",
        speed_limit=number(element.findtext("speedLimit")),
        **beside,
    )


def _points(bound: Element | None) -> np.ndarray:
    points = [] if bound is None else bound.findall("point")
    pairs = [[number(point.findtext(axis)) for axis in ("x", "y")] for point in points]
    return np.array(pairs, float).reshape(-1, 2)  # None becomes NaN, which is left out later
