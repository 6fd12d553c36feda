"""Single pictures and animated GIFs of a driven scenario, in the look of the player."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import EllipseCollection, LineCollection, PolyCollection
from matplotlib.figure import Figure as Canvas
from PIL import Image, ImageColor

from foresee.errors import OptionError
from foresee.report.clip import NINETY, Clip, corners, ellipses, first_contact
from foresee.report.foretold import draw_foretold
from foresee.report.plots import BLACK, BLUE, GREEN, PURPLE, STYLE, VERMILLION
from foresee.storage import whole_file

ROAD, BORDER, EDGE, OTHER = "#eff0f0", "#b7b9bb", "#82868a", "#a8aaac"  # the player's shades on white
DPI = 100
HEIGHT = 0.5  # of the width
FOLLOWED = 90.0  # m of road in view around the ego
COLOURS = 128  # of a GIF
FASTEST = 20  # ms; viewers slow down GIFs that ask for less per picture
LAST = 1500  # ms; how long a GIF rests on its end
WINDSCREEN = np.array([[0.28, 0.8], [0.62, 0.62], [0.62, -0.62], [0.28, -0.8]])  # in half lengths and widths


def write_gif(
    clip: Clip, path: str | Path, *, every: int = 1, width: int = 800, whole_road: bool = False
) -> None:
    """Write a clip as an animated GIF that runs at the speed of the traffic; it appears whole or not at all.

    Args:
        clip: what to show.
        path: file to write.
        every: show every so many frames.
        width: width of the picture [pixels].
        whole_road: show all of the road; by default the picture follows the ego.

    Raises:
        OptionError: if `every` or `width` is too small.
        OSError: if the file cannot be written.
    """
    if every < 1:
        raise OptionError(f"expected to show every frame or fewer, got every = {every}")
    scene = _Scene(clip, width, whole_road)
    frames = [*range(0, len(clip.x) - 1, every), len(clip.x) - 1]
    with scene.drawing():
        # all pictures share their colours, or still areas would flicker
        ends = np.concatenate([scene.draw(frame) for frame in (0, len(clip.x) // 2, len(clip.x) - 1)])
        paint = _paint(Image.fromarray(ends))
        pictures = [
            Image.fromarray(scene.draw(frame)).quantize(palette=paint, dither=Image.Dither.NONE)
            for frame in frames
        ]
    each = max(round(1000 * clip.dt * every / 10) * 10, FASTEST)  # a GIF counts in hundredths of a second
    times = [each] * (len(frames) - 1) + [LAST]
    with whole_file(path) as temporary:
        pictures[0].save(
            temporary,
            "GIF",
            save_all=True,
            append_images=pictures[1:],
            duration=times,
            loop=0,
            optimize=False,
        )


def write_png(
    clip: Clip, path: str | Path, time: float | int, *, width: int = 800, whole_road: bool = False
) -> None:
    """Write the frame nearest to a time [s] as a picture; the file appears whole or not at all.

    Raises:
        OptionError: if the time is not finite or the picture would be too small.
        OSError: if the file cannot be written.
    """
    if not np.isfinite(time):
        raise OptionError(f"expected a time in seconds, got {time}")
    frame = int(np.clip(round(time / clip.dt), 0, len(clip.x) - 1))
    scene = _Scene(clip, width, whole_road)
    with scene.drawing():
        picture = Image.fromarray(scene.draw(frame))
    with whole_file(path) as temporary:
        picture.save(temporary, "PNG", optimize=True)


class _Scene:
    """A canvas for one clip; `draw` leaves one frame on it."""

    def __init__(self, clip: Clip, width: int, whole_road: bool):
        if width < 200:
            raise OptionError(f"expected a picture at least 200 pixels wide, got {width}")
        self.clip = clip
        self.width = width
        self.whole_road = whole_road
        self.contact = first_contact(clip)
        self.boxes = corners(clip)
        self.beliefs = ellipses(clip)
        self.present = clip.present()
        self.centre, self.path = np.zeros(2), np.stack([clip.x, clip.y], axis=-1)

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """Hold the style and the canvas for as long as frames are drawn."""
        with mpl.rc_context(STYLE):
            figure = Canvas(figsize=(self.width / DPI, round(self.width * HEIGHT) / DPI), dpi=DPI)
            self.canvas = FigureCanvasAgg(figure)
            self.axes = figure.add_axes((0, 0, 1, 1))
            self.axes.set_axis_off()
            yield

    def draw(self, frame: int) -> np.ndarray:
        """Return the frame as an image: rows, columns, red, green and blue."""
        self.axes.clear()
        self.axes.set_axis_off()
        self._look(frame)
        _draw_road(self.axes, self.clip)
        self._draw_paths(frame)
        self._draw_vehicles(frame)
        self._write_words(frame)
        self.canvas.draw()
        return np.asarray(self.canvas.buffer_rgba())[..., :3].copy()

    def _look(self, frame: int) -> None:
        clip = self.clip
        if self.whole_road:
            ego = np.stack([clip.x, clip.y], axis=-1)[self.present[:, clip.ego], clip.ego]
            points = np.concatenate([ego, *(line for lane in clip.lanes for line in lane), *clip.edges])
            points = points[np.isfinite(points).all(axis=1)]
            low, high = (points.min(axis=0), points.max(axis=0)) if len(points) else (np.zeros(2), np.ones(2))
            self.centre = (low + high) / 2
            half = 0.54 * max(high[0] - low[0], (high[1] - low[1]) / (HEIGHT - 0.12), 20.0)
        else:
            if self.present[frame, clip.ego]:
                self.centre = np.array([clip.x[frame, clip.ego], clip.y[frame, clip.ego]])
            half = FOLLOWED / 2
        self.metre = self.width / (2 * half)  # pixels
        self.axes.set_xlim(self.centre[0] - half, self.centre[0] + half)
        self.axes.set_ylim(self.centre[1] - HEIGHT * half, self.centre[1] + HEIGHT * half)

    def _draw_paths(self, frame: int) -> None:
        clip = self.clip
        if clip.expert is not None:
            self.axes.plot(
                *clip.expert.T, color=GREEN, lw=1.5, ls=(0, (4, 3)), solid_capstyle="butt", zorder=2
            )
        past = self.present[: frame + 1, clip.ego]
        x, y = (np.where(past, axis[: frame + 1, clip.ego], np.nan) for axis in (clip.x, clip.y))
        self.axes.plot(x, y, color=BLUE, lw=1.6, alpha=0.6, zorder=2)
        if clip.foretold is not None:
            draw_foretold(self.axes, clip.foretold, self.path, frame, dt=clip.dt, size=NINETY)

    def _draw_vehicles(self, frame: int) -> None:
        clip, axes, here = self.clip, self.axes, self.present[frame]
        paint = np.full(len(here), OTHER, dtype=object)
        paint[clip.ego] = BLUE
        if self.contact:
            paint[self.contact[0]] = VERMILLION
        boxes = self.boxes[frame][here]
        axes.add_collection(
            PolyCollection(list(boxes), facecolors=list(paint[here]), edgecolors=EDGE, lw=0.7, zorder=3)
        )
        centre, front = boxes.mean(axis=1), (boxes[:, 0] - boxes[:, 3]) / 2
        left = (boxes[:, 0] - boxes[:, 1]) / 2
        panes = [centre + along * front + across * left for along, across in WINDSCREEN]
        axes.add_collection(
            PolyCollection(list(np.stack(panes, axis=1)), facecolors="white", alpha=0.85, zorder=4)
        )
        if self.beliefs is not None:
            believed = self.beliefs[frame][np.isfinite(self.beliefs[frame]).all(axis=1)]
            _draw_ellipses(axes, believed)
        if self.contact and frame >= self.contact[1]:
            both = self.boxes[frame, [clip.ego, self.contact[0]]]
            middle = both.mean(axis=(0, 1))
            axes.plot(
                *middle,
                "o",
                mfc="none",
                mec=VERMILLION,
                mew=2,
                ms=max(3 * self.metre, 14) * 72 / DPI,
                zorder=6,
            )
        names = [(clip.ego, True), *([(self.contact[0], False)] if self.contact else [])]
        for vehicle, above in names:  # one above, one below, so that they do not meet
            if here[vehicle]:
                sides = self.boxes[frame, vehicle, :, 1]
                axes.annotate(
                    clip.names[vehicle].replace("$", r"\$"),
                    (clip.x[frame, vehicle], sides.max() if above else sides.min()),
                    (0, 7 if above else -7),
                    textcoords="offset points",
                    ha="center",
                    va="bottom" if above else "top",
                    weight="bold",
                    color=BLACK,
                    annotation_clip=True,
                    bbox={"boxstyle": "round,pad=0.2", "fc": "white", "ec": "none", "alpha": 0.9},
                    zorder=7,
                )

    def _write_words(self, frame: int) -> None:
        clip, axes = self.clip, self.axes
        time, end = frame * clip.dt, (len(clip.x) - 1) * clip.dt
        recent = [text for at, text in sorted(clip.events) if at - 1e-6 <= time < at + 1.5]
        colour = VERMILLION if clip.failed else GREEN
        words = [
            (0.015, 0.97, f"{clip.scenario} · {clip.driver} · {clip.mode}", "left", BLACK, "bold"),
            (0.985, 0.97, f"{time:.1f} / {end:.1f} s", "right", BLACK, "normal"),
            (
                0.015,
                0.91,
                clip.outcome if frame == len(clip.x) - 1 else (recent or [""])[-1],
                "left",
                colour,
                "bold",
            ),
        ]
        for x, y, text, side, paint, weight in words:
            axes.text(
                x,
                y,
                text.replace("$", r"\$"),  # otherwise the start of a formula
                transform=axes.transAxes,
                ha=side,
                va="top",
                color=paint,
                weight=weight,
                bbox={
                    "boxstyle": "square,pad=0.15",
                    "fc": "white",
                    "ec": "none",
                    "alpha": 0.85 if text else 0.0,
                },
                zorder=8,
            )
        size = next((m for m in (1, 2, 5, 10, 20, 50, 100, 200, 500) if m * self.metre >= 50), 1000)
        left, low = 0.015, 0.03
        length = size * self.metre / self.width
        axes.plot(
            [left, left, left + length, left + length],
            [low + 0.012, low, low, low + 0.012],
            color=BLACK,
            lw=1,
            transform=axes.transAxes,
            zorder=8,
        )
        axes.text(
            left + 0.006, low + 0.012, f"{size} m", transform=axes.transAxes, color=BLACK, size=8, zorder=8
        )


def _paint(picture: Image.Image) -> Image.Image:
    """The colours of a GIF: white and our own as they are, and those that a picture needs most."""
    names = ("#ffffff", ROAD, OTHER, EDGE, BLACK, BLUE, GREEN, VERMILLION)
    own = np.array([ImageColor.getrgb(name) for name in names])
    needed = picture.quantize(COLOURS - len(own), method=Image.Quantize.MEDIANCUT).getpalette() or []
    others = np.array(needed).reshape(-1, 3)
    # Pillow looks colours up in a coarse table, where one very near to ours would take its place
    others = others[np.abs(others[:, None] - own).max(axis=-1).min(axis=1) > 8]
    paint = Image.new("P", (1, 1))
    paint.putpalette([*own.ravel().tolist(), *others.ravel().tolist()])
    return paint


def _draw_road(axes: Axes, clip: Clip) -> None:
    surfaces = [np.concatenate([left, right[::-1]]) for left, right in clip.lanes if len(left) and len(right)]
    axes.add_collection(PolyCollection(surfaces, facecolors=ROAD, edgecolors=ROAD, lw=0.5, zorder=0))
    borders = {line.tobytes(): line for lane in clip.lanes for line in lane}  # most belong to two lanes
    for edge in clip.edges:
        borders.pop(edge.tobytes(), None)
    axes.add_collection(
        LineCollection(list(borders.values()), colors=BORDER, lw=0.9, ls=[(0, (10, 14))], zorder=1)
    )
    axes.add_collection(LineCollection(list(clip.edges), colors=EDGE, lw=1.5, zorder=1))


def _draw_ellipses(axes: Axes, ellipse: Float[np.ndarray, "N 5"]) -> None:
    for face, alpha in ((PURPLE, 0.22), ("none", 0.95)):
        axes.add_collection(
            EllipseCollection(
                2 * ellipse[:, 2],
                2 * ellipse[:, 3],
                np.degrees(ellipse[:, 4]),
                units="xy",
                offsets=ellipse[:, :2],
                offset_transform=axes.transData,
                facecolors=face,
                edgecolors=PURPLE,
                alpha=alpha,
                lw=1.0,
                zorder=5,
            )
        )
