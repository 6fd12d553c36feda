"""A picture of traffic from above, made of nothing but arrays: for people who watch a driver learn."""

import numpy as np
from jaxtyping import Float, UInt8

from foresee.driving.road import Road
from foresee.driving.world import World

GROUND, ASPHALT, MARKING = (214, 219, 210), (120, 124, 130), (235, 235, 235)
OTHER, EGO, NOSE = (58, 96, 160), (214, 90, 40), (250, 250, 250)
Frame = UInt8[np.ndarray, "H W 3"]


def picture(
    world: World, ego: int, *, height: int = 120, width: int = 640, scale: float | int = 5.0
) -> Frame:
    """Draw one world from above, the ego a third from the left, its lane running to the right.

    Args:
        world: the traffic.
        ego: slot of the vehicle that is followed.
        height: of the picture in pixels.
        width: of the picture in pixels.
        scale: pixels per metre.
    """
    canvas = np.empty((height, width, 3), np.uint8)
    canvas[:] = GROUND
    x, y, heading = (np.asarray(values, float) for values in (world.x, world.y, world.heading))
    turn = float(world.road.at(world.lane[ego], world.along[ego]).heading)
    view = _View(canvas, x[ego], y[ego], turn, float(scale))
    _draw_road(view, world.road)
    length, width_ = np.asarray(world.length, float), np.asarray(world.width, float)
    for i in np.flatnonzero(np.asarray(world.alive)):
        view.box(x[i], y[i], heading[i], length[i], width_[i], EGO if i == ego else OTHER)
        front = 0.3 * length[i]
        nose_x, nose_y = x[i] + front * np.cos(heading[i]), y[i] + front * np.sin(heading[i])
        view.box(nose_x, nose_y, heading[i], 0.1 * length[i], 0.7 * width_[i], NOSE)
    return canvas


class _View:
    """Where on a canvas a place on the map is."""

    def __init__(self, canvas: Frame, x: float, y: float, turn: float, scale: float):
        self.canvas, self.x, self.y, self.scale = canvas, x, y, scale
        self.cos, self.sin = np.cos(turn), np.sin(turn)
        self.reach = (canvas.shape[0] + canvas.shape[1]) / scale

    def pixel(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return column and row, not rounded."""
        dx, dy = x - self.x, y - self.y
        column = self.canvas.shape[1] / 3 + self.scale * (self.cos * dx + self.sin * dy)
        return column, self.canvas.shape[0] / 2 - self.scale * (self.cos * dy - self.sin * dx)

    def dots(self, x: np.ndarray, y: np.ndarray, colour: tuple[int, int, int]) -> None:
        """Colour the pixels under points."""
        column, row = (np.floor(values).astype(int).ravel() for values in self.pixel(x, y))
        inside = (column >= 0) & (column < self.canvas.shape[1]) & (row >= 0) & (row < self.canvas.shape[0])
        self.canvas[row[inside], column[inside]] = colour

    def box(
        self, x: float, y: float, heading: float, length: float, width: float, colour: tuple[int, int, int]
    ) -> None:
        """Fill an oriented box."""
        if np.hypot(x - self.x, y - self.y) > self.reach:
            return
        across, along = (
            np.arange(-0.5 * size, 0.5 * size + 1e-9, 0.5 / self.scale) for size in (width, length)
        )
        u, v = np.meshgrid(along, across)
        c, s = np.cos(heading), np.sin(heading)
        self.dots(x + c * u - s * v, y + s * u + c * v, colour)


def _draw_road(view: _View, road: Road) -> None:
    lines, widths = np.asarray(road.line, float), np.asarray(road.across, float)[..., 0]
    beside, spacing = np.asarray(road.beside), float(road.spacing)
    strips = []
    for lane, length in enumerate(np.asarray(road.length, float)):
        near = np.hypot(lines[lane, :, 0] - view.x, lines[lane, :, 1] - view.y) < view.reach + spacing
        samples = np.flatnonzero(near)
        if not len(samples) or not length > 0:
            continue
        along = np.arange(samples[0] * spacing, min(samples[-1] * spacing, length) + 1e-9, 0.5 / view.scale)
        if len(along):
            strips.append((along, *_interpolated(along, spacing, lines[lane], widths[lane]), beside[lane]))
    for _, x, y, direction, width, _ in strips:
        across = np.arange(-0.5, 0.5, 0.5 / (view.scale * max(width.max(), 0.1)))
        offset = width[:, None] * across
        view.dots(
            x[:, None] - offset * direction[1][:, None], y[:, None] + offset * direction[0][:, None], ASPHALT
        )
    for along, x, y, direction, width, neighbours in strips:
        row = np.minimum((along / spacing).round().astype(int), len(neighbours) - 1)
        for side, sign in enumerate((1, -1)):
            # Between two lanes the marking is broken: 4 m of line, 8 m of gap.
            drawn = (neighbours[row, side] < 0) | (along % 12 < 4)
            for inset in (0.0, 0.15):
                offset = sign * (0.5 * width[drawn] - inset)
                view.dots(
                    x[drawn] - offset * direction[1][drawn], y[drawn] + offset * direction[0][drawn], MARKING
                )


def _interpolated(
    along: np.ndarray, spacing: float, line: Float[np.ndarray, "M 4"], width: Float[np.ndarray, " M"]
) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray], np.ndarray]:
    """Return x, y, direction and width of a lane at arc lengths."""
    samples = spacing * np.arange(len(line))
    x, y, heading = (np.interp(along, samples, line[:, k]) for k in range(3))
    return x, y, (np.cos(heading), np.sin(heading)), np.interp(along, samples, width)
