"""The exact shortest path among discs: segments that touch discs, and arcs along them."""

from typing import no_type_check

import numpy as np
from numba import njit

from foresee.errors import MapError
from foresee.planning.obstacles import Obstacles
from foresee.planning.path import Watch
from foresee.planning.queue import pop, push
from foresee.planning.tree_path import TreePath

SLACK = 1e-9  # relative to the radius: a segment may come so near to a disc that it touches
ARC = 0.05  # radians between the corners in which an arc is given back


def shortest_among_discs(obstacles: Obstacles, start: np.ndarray, goal: np.ndarray) -> TreePath:
    """Find the shortest path among discs, and prove it, by A* over common tangents and arcs.

    Its length is the infimum of all paths that touch no disc: the path itself touches. Its corners lie on
    the arcs, so that their distances sum to a little less than `length`, which is exact.

    Args:
        obstacles: discs within bounds, nothing else; they may overlap each other.
        start: x and y.
        goal: x and y.

    Raises:
        PlaceError: if start or goal are out of bounds or inside a disc.
        MapError: if there are other obstacles, or the path leads round discs out of the bounds.

    Source:
        Among circles only common tangents and arcs can be part of a shortest path (Chang et al. 2005,
        "Shortest path amidst disc obstacles is computable").
    """
    watch = Watch()
    if obstacles.polygons or obstacles.blocked is not None:
        raise MapError("expected discs only, got polygons or cells as well")
    first, last = obstacles.check(start, "start"), obstacles.check(goal, "goal")
    # Start and goal are discs of radius 0, the first two.
    discs = np.vstack([[*first, 0.0], [*last, 0.0], obstacles.discs]).astype(float)
    ends, lengths = _tangents(discs)
    places, order, after = _round(discs, ends)
    arcs = _free_arcs(discs, ends, order, after)
    length, nodes = _shortest(discs, ends, lengths, places, order, after, arcs)
    if not len(nodes):
        nothing, none = np.zeros((0, 2)), np.zeros(0, np.int64)
        length, spent = float("inf"), 1e3 * watch.spent
        return TreePath(False, "no path", length, nothing, nothing, none, len(ends), spent, nothing)
    points = _corners(discs, ends, nodes)
    if ((points < obstacles.low) | (points > obstacles.high)).any():
        raise MapError("expected a shortest path within the bounds, got one that leads round discs outside")
    centres = discs[ends[:, 0].astype(int)]
    angles = ends[:, 1]
    touched = centres[:, :2] + centres[:, 2:] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return TreePath(
        True,
        "found",
        float(length),
        points,
        touched,
        np.full(len(touched), -1),
        len(ends),
        1e3 * watch.spent,
        np.array([[watch.spent, length]]),
    )


@njit(cache=True, nogil=True)
@no_type_check
def _tangents(discs):
    """Return the ends of all free common tangents and their lengths.

    Ends come in pairs, one row each: disc, angle at its centre, and the sense (1 counter-clockwise, −1
    clockwise) in which one who comes along the tangent from the other end goes round it.
    """
    count = len(discs)
    room = 1024
    ends, lengths = np.empty((room, 3)), np.empty(room // 2)
    used = 0
    for one in range(count):
        for two in range(one + 1, count):
            dx, dy = discs[two, 0] - discs[one, 0], discs[two, 1] - discs[one, 1]
            far = np.hypot(dx, dy)
            base = np.arctan2(dy, dx)
            # The sense of leaving the first disc and of coming to the second; points have only one.
            for leave in (1.0, -1.0):
                if one < 2 and leave < 0:
                    continue
                for come in (1.0, -1.0):
                    if two < 2 and come < 0:
                        continue
                    r, s = leave * discs[one, 2], come * discs[two, 2]
                    if far <= abs(r - s):
                        continue
                    # Unit normal n with n·d = r − s: both centres lie to the left by their signed radii.
                    turn = base - np.arccos((r - s) / far)
                    nx, ny = np.cos(turn), np.sin(turn)
                    ax, ay = discs[one, 0] + r * nx, discs[one, 1] + r * ny
                    bx, by = discs[two, 0] + s * nx, discs[two, 1] + s * ny
                    if not _clear(ax, ay, bx, by, discs, one, two):
                        continue
                    if 2 * used + 2 > len(ends):
                        wider, longer = np.empty((2 * len(ends), 3)), np.empty(len(ends))
                        wider[: len(ends)] = ends
                        longer[: len(lengths)] = lengths
                        ends, lengths = wider, longer
                    ends[2 * used, 0], ends[2 * used + 1, 0] = one, two
                    ends[2 * used, 1] = np.arctan2(leave * ny, leave * nx)
                    ends[2 * used + 1, 1] = np.arctan2(come * ny, come * nx)
                    ends[2 * used, 2], ends[2 * used + 1, 2] = -leave, come
                    lengths[used] = np.hypot(bx - ax, by - ay)
                    used += 1
    return ends[: 2 * used].copy(), lengths[:used].copy()


@njit(cache=True, nogil=True)
@no_type_check
def _clear(ax, ay, bx, by, discs, one, two):
    """Return whether a tangent of two discs passes through no other, nor again through these."""
    ux, uy = bx - ax, by - ay
    square = ux * ux + uy * uy
    for disc in range(2, len(discs)):
        if disc in (one, two):
            continue
        px, py, radius = discs[disc, 0] - ax, discs[disc, 1] - ay, discs[disc, 2] * (1 - SLACK)
        along = 0.0 if square == 0 else min(1.0, max(0.0, (px * ux + py * uy) / square))
        if (px - along * ux) ** 2 + (py - along * uy) ** 2 < radius * radius:
            return False
    return True


def _round(discs: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return where each end stands among all, sorted by disc and angle, that order, and where discs begin."""
    order = np.lexsort((ends[:, 1], ends[:, 0]))
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order))
    after = np.searchsorted(ends[order, 0], np.arange(len(discs) + 1))
    return places, order.astype(np.int64), after.astype(np.int64)


@njit(cache=True, nogil=True)
@no_type_check
def _free_arcs(discs, ends, order, after):
    """Return the angle from each end counter-clockwise to the next on its disc; −1 if something overlaps."""
    arcs = np.empty(len(order))
    for disc in range(len(discs)):
        begin, end = after[disc], after[disc + 1]
        for place in range(begin, end):
            following = place + 1 if place + 1 < end else begin
            here, there = ends[order[place], 1], ends[order[following], 1]
            angle = there - here
            if following == begin:
                angle += 2 * np.pi
            arcs[place] = angle
            for other in range(2, len(discs)):
                if other != disc and _covers(discs, disc, other, here, angle):
                    arcs[place] = -1.0
                    break
    return arcs


@njit(cache=True, nogil=True)
@no_type_check
def _covers(discs, disc, other, here, angle):
    """Return whether another disc overlaps an arc that begins at an angle."""
    dx, dy = discs[other, 0] - discs[disc, 0], discs[other, 1] - discs[disc, 1]
    far, r, s = np.hypot(dx, dy), discs[disc, 2], discs[other, 2] * (1 - SLACK)
    if far >= r + s or far + s <= r:
        return False
    if far + r <= s:
        return True
    half = np.arccos(min(1.0, max(-1.0, (far * far + r * r - s * s) / (2 * far * r))))
    offset = (np.arctan2(dy, dx) - half - here) % (2 * np.pi)
    # The covered part begins `offset` after the arc does and is 2 half long.
    return offset < angle or offset + 2 * half > 2 * np.pi


@njit(cache=True, nogil=True)
@no_type_check
def _shortest(discs, ends, lengths, places, order, after, arcs):
    """Return the length of the shortest path, and its ends of tangents in turn.

    A state is an end at which one has arrived along its tangent (2 × end) or is going round its disc in the
    sense in which it would be left there (2 × end + 1).
    """
    count = len(ends)
    far, came = np.full(2 * count, np.inf), np.full(2 * count, -1, np.int64)
    done = np.zeros(2 * count, np.bool_)
    keys, items, size, goal = np.empty(1024), np.empty(1024, np.int64), 0, -1
    for end in range(count):
        if ends[end, 0] == 0:
            far[2 * end + 1] = 0.0
            keys, items, size = push(keys, items, size, 0.0, np.int64(2 * end + 1))
    while size and goal < 0:
        _, state, size = pop(keys, items, size)
        if done[state]:
            continue
        done[state] = True
        end = state // 2
        if state % 2:
            there, near = far[state] + lengths[end // 2], 2 * (end ^ 1)
            keys, items, size = _reach(near, there, state, discs, ends, far, came, keys, items, size)
        elif ends[end, 0] == 1:
            goal = state
        else:
            found, lasts = _onward(end, discs, ends, places, order, after, arcs)
            for each in range(len(found)):
                there, near = far[state] + lasts[each], 2 * found[each] + 1
                keys, items, size = _reach(near, there, state, discs, ends, far, came, keys, items, size)
    if goal < 0:
        return np.inf, np.empty(0, np.int64)
    turns, state = [goal // 2], goal
    while came[state] >= 0:
        state = came[state]
        turns.append(state // 2)
    return far[goal], np.array(turns[::-1])


@njit(cache=True, nogil=True)
@no_type_check
def _reach(state, there, origin, discs, ends, far, came, keys, items, size):
    """Note that a state is reached, if that is shorter than before."""
    if there < far[state]:
        far[state], came[state] = there, origin
        disc, angle = int(ends[state // 2, 0]), ends[state // 2, 1]
        x = discs[disc, 0] + discs[disc, 2] * np.cos(angle)
        y = discs[disc, 1] + discs[disc, 2] * np.sin(angle)
        key = there + np.hypot(discs[1, 0] - x, discs[1, 1] - y)
        keys, items, size = push(keys, items, size, key, np.int64(state))
    return keys, items, size


@njit(cache=True, nogil=True)
@no_type_check
def _onward(end, discs, ends, places, order, after, arcs):
    """Return the ends at which a disc can be left after it was met at one, and how far they are round it."""
    disc, sense = int(ends[end, 0]), ends[end, 2]
    begin, stop = after[disc], after[disc + 1]
    found, lasts = np.empty(stop - begin, np.int64), np.empty(stop - begin)
    count, place, gone = 0, places[end], 0.0
    for _ in range(stop - begin):
        if sense > 0:
            arc = arcs[place]
            place = place + 1 if place + 1 < stop else begin
        else:
            place = place - 1 if place > begin else stop - 1
            arc = arcs[place]
        if arc < 0:
            break
        gone += arc * discs[disc, 2]
        if ends[order[place], 2] == -sense:
            found[count], lasts[count] = order[place], gone
            count += 1
    return found[:count], lasts[:count]


def _corners(discs: np.ndarray, ends: np.ndarray, nodes: np.ndarray) -> np.ndarray:
    """Return points along the path: the ends of tangents, and some on the arcs between them."""
    points = []
    for index, node in enumerate(nodes):
        disc, angle, _ = ends[node]
        x, y, radius = discs[int(disc)]
        angles = [angle]
        previous = nodes[index - 1] if index else -1
        if index and ends[previous, 0] == disc:
            sense = ends[previous, 2]
            turned = (sense * (angle - ends[previous, 1])) % (2 * np.pi)
            steps = max(1, int(np.ceil(turned / ARC)))
            angles = [ends[previous, 1] + sense * turned * (k + 1) / steps for k in range(steps)]
        points += [(x + radius * np.cos(each), y + radius * np.sin(each)) for each in angles]
    return np.array(points)
