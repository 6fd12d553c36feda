"""The road as the simulator sees it: lanes sampled at a regular distance, places given along and across."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from foresee.linalg import wrap_angle

SHARPEST = 0.2  # 1 - curvature * offset is kept above this: nearer to the centre of a bend nothing is unique


class Place(NamedTuple):
    """A place on a lane: arc length and offset to the left of its centre line [m]."""

    lane: Int[Array, "*v"]
    along: Float[Array, "*v"]
    offset: Float[Array, "*v"]


class Line(NamedTuple):
    """A point of a centre line: position [m], direction [rad] and curvature [1/m] there."""

    x: Float[Array, "*v"]
    y: Float[Array, "*v"]
    heading: Float[Array, "*v"]
    curvature: Float[Array, "*v"]


class Cross(NamedTuple):
    """The road across a point of a lane.

    Width of the lane, how far the drivable area reaches to the left and to the right of its centre line, and
    the arc length beside it on the left and the right neighbour [m]; the neighbours' numbers, -1 for none.
    """

    width: Float[Array, "*v"]
    reach_left: Float[Array, "*v"]
    reach_right: Float[Array, "*v"]
    along_left: Float[Array, "*v"]
    along_right: Float[Array, "*v"]
    left: Int[Array, "*v"]
    right: Int[Array, "*v"]


class Road(eqx.Module):
    """Lanes of a road, sampled every `spacing` metres; `foresee.driving.make_road` makes one.

    Between two samples everything is interpolated linearly, the direction too, so that places vary smoothly
    along a lane; beyond its ends a lane goes straight on. `place` and `track` undo each other exactly: the
    foot of a point is where the line to it is perpendicular to the interpolated direction.

    Attributes:
        line: x, y [m], heading [rad, not wrapped along a lane] and curvature [1/m] of the centre lines.
        across: width, reach of the drivable area to the left and right, and arc length beside on the left and
            right neighbour [m].
        beside: numbers of the left and right neighbour at every sample, -1 for none.
        length: length of every lane [m]; 0 for lanes that only fill up the array.
        spacing: distance between samples [m].
        successors: numbers of the lanes that follow, -1 for none.
        predecessors: numbers of the lanes before, -1 for none.
        speed_limit: highest allowed speed [m/s], infinite where there is none.
        closed: whether a lane ends beside another one that goes on, so that who is on it must merge.
    """

    line: Float[Array, "*b L M 4"]
    across: Float[Array, "*b L M 5"]
    beside: Int[Array, "*b L M 2"]
    length: Float[Array, "*b L"]
    spacing: Float[Array, "*b"]
    successors: Int[Array, "*b L K"]
    predecessors: Int[Array, "*b L P"]
    speed_limit: Float[Array, "*b L"]
    closed: Bool[Array, "*b L"]

    @property
    def lanes(self) -> int:
        """Number of lanes."""
        return self.line.shape[-3]

    def at(self, lane: Int[Array, "*v"], along: Float[Array, "*v"]) -> Line:
        """Return the centre line at arc lengths."""
        (x, y, heading, curvature), _, beyond = self._sample(lane, along)
        curvature = jnp.where(beyond == 0, curvature, 0.0)
        return Line(x + beyond * jnp.cos(heading), y + beyond * jnp.sin(heading), heading, curvature)

    def cross(self, lane: Int[Array, "*v"], along: Float[Array, "*v"]) -> Cross:
        """Return width, reach and neighbours at arc lengths; beyond the ends only arc lengths go on."""
        low, part, beyond = self._between(lane, along)
        row = lane * self.line.shape[1] + low
        flat, links = self.across.reshape(-1, 5), self.beside.reshape(-1, 2)
        before, after = flat[row], flat[row + 1]
        values = (1 - part)[..., None] * before + part[..., None] * after
        # Arc lengths jump where another lane begins to be beside: there they are counted on from a sample.
        late = (part > 0.5)[..., None]
        beside = jnp.where(late, links[row + 1], links[row])
        jumps = links[row] != links[row + 1]
        counted = jnp.where(late, after[..., 3:], before[..., 3:]) + self.spacing * (part[..., None] - late)
        along_beside = jnp.where(jumps, counted, values[..., 3:]) + beyond[..., None]
        width, left, right, *_ = _columns(values)
        return Cross(width, left, right, *_columns(along_beside), *_columns(beside))

    def place(
        self, lane: Int[Array, "*v"], along: Float[Array, "*v"], offset: Float[Array, "*v"]
    ) -> tuple[Float[Array, "*v"], Float[Array, "*v"], Float[Array, "*v"]]:
        """Return x, y [m] and the direction of the lane [rad] at places of lanes."""
        line = self.at(lane, along)
        x = line.x - offset * jnp.sin(line.heading)
        return x, line.y + offset * jnp.cos(line.heading), line.heading

    def track(
        self,
        x: Float[Array, "*v"],
        y: Float[Array, "*v"],
        lane: Int[Array, "*v"],
        near: Float[Array, "*v"],
        *,
        rounds: int = 2,
    ) -> tuple[Float[Array, "*v"], Float[Array, "*v"]]:
        """Return arc length and offset of points on given lanes, from a guess of the arc length [m].

        Newton's method for the foot of the perpendicular; the guess should be within about a tenth of the
        radius of the bend. Derivatives are those of the foot, whatever the guess. Every round squares the
        relative error: from a guess that is a few centimetres off, one is enough.
        """
        still_x, still_y, along = jax.lax.stop_gradient((x, y, near))
        for _ in range(rounds - 1):
            along = self._nearer(still_x, still_y, lane, along)
        along = self._nearer(x, y, lane, jax.lax.stop_gradient(along))
        line = self.at(lane, along)
        return along, jnp.cos(line.heading) * (y - line.y) - jnp.sin(line.heading) * (x - line.x)

    def _nearer(self, x: Array, y: Array, lane: Array, along: Array) -> Array:
        """One step of Newton's method, with the turning of the interpolated direction itself."""
        (line_x, line_y, heading, _), turning, beyond = self._sample(lane, along)
        c, s = jnp.cos(heading), jnp.sin(heading)
        ahead = c * (x - line_x) + s * (y - line_y) - beyond
        offset = c * (y - line_y) - s * (x - line_x)
        bend = jnp.where(beyond == 0, turning * offset, 0.0)
        return along + ahead / jnp.maximum(1 - bend, SHARPEST)

    def project(
        self, x: Float[Array, ""], y: Float[Array, ""]
    ) -> tuple[Float[Array, " L"], Float[Array, " L"]]:
        """Return arc length and offset of a point on every lane, by looking at all of each lane [m]."""
        number = jnp.arange(self.line.shape[1])
        used = number * self.spacing < self.length[:, None] + self.spacing
        square = (self.line[..., 0] - x) ** 2 + (self.line[..., 1] - y) ** 2
        nearest = jnp.argmin(jnp.where(used, square, jnp.inf), axis=1)
        every = jnp.arange(self.lanes)
        near = jnp.minimum(nearest * self.spacing, self.length)
        near = self._nearer(*jax.lax.stop_gradient((x, y)), every, near)
        return self.track(jnp.full_like(near, x), jnp.full_like(near, y), every, near)

    def nearest(self, x: Float[Array, ""], y: Float[Array, ""], heading: Array | None = None) -> Place:
        """Return the place of a point on the lane that it is on, or least outside of.

        With a heading [rad], lanes that run the other way are taken only if there are no others.
        """
        along, offset = self.project(x, y)
        every = jnp.arange(self.lanes)
        outside = jnp.abs(offset) - 0.5 * self.cross(every, along).width
        short = jnp.maximum(jnp.maximum(-along, along - self.length), 0.0)
        distance = jnp.maximum(outside, 0.0) + short + 1e-3 * jnp.abs(offset)
        if heading is not None:
            away = jnp.cos(wrap_angle(heading - self.at(every, along).heading)) < 0
            distance = distance + 1e4 * away
        lane = jnp.argmin(jnp.where(self.length > 0, distance, jnp.inf))
        return Place(lane, along[lane], offset[lane])

    def outside(self, x: Float[Array, ""], y: Float[Array, ""]) -> Float[Array, ""]:
        """Return how far a point is outside of the drivable area, the union of all lanes [m]; 0 inside."""
        along, offset = self.project(x, y)
        cross = self.cross(jnp.arange(self.lanes), along)
        # A lane's reach holds its neighbours too, so that no seam between two lanes counts as outside.
        beyond = jnp.maximum(offset - cross.reach_left, -offset - cross.reach_right)
        short = jnp.maximum(-along, along - self.length)
        square = jnp.maximum(beyond, 0.0) ** 2 + jnp.maximum(short, 0.0) ** 2
        return jnp.sqrt(jnp.maximum(jnp.min(jnp.where(self.length > 0, square, jnp.inf)), 1e-12)) - 1e-6

    def _sample(self, lane: Array, along: Array) -> tuple[tuple[Array, ...], Array, Array]:
        """Return the line's four numbers within its ends, how the direction turns, how far one is beyond."""
        low, part, beyond = self._between(lane, along)
        # Both samples are taken through one flat index: the fastest gather there is.
        row, flat = lane * self.line.shape[1] + low, self.line.reshape(-1, 4)
        before, after = flat[row], flat[row + 1]
        values = (1 - part)[..., None] * before + part[..., None] * after
        return _columns(values), (after[..., 2] - before[..., 2]) / self.spacing, beyond

    def _between(self, lane: Array, along: Array) -> tuple[Array, Array, Array]:
        """Return the sample before an arc length, the part of the way to the next, and what is beyond."""
        inside = jnp.clip(along, 0.0, self.length[lane])
        position = inside / self.spacing
        low = jnp.clip(position.astype(jnp.int32), 0, self.line.shape[1] - 2)
        return low, position - low, along - inside


def _columns(values: Array) -> tuple[Array, ...]:
    return tuple(values[..., i] for i in range(values.shape[-1]))
