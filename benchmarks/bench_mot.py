"""People in MOT15 and cars in KITTI, tracked from the same detections as plain twins of SORT and AB3DMOT.

The peers are written here, in NumPy and SciPy, from their papers: SORT (Bewley et al. 2016) on image boxes,
and a tracker in the style of AB3DMOT (Weng et al. 2020) on boxes in space. Scores are those of
foresee.tracking.scores, which equal TrackEval's. Real recordings are left out where they are not at hand; a
made-up one is always there.
"""

import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.optimize import linear_sum_assignment

from benchmarks.measure import Options, Report, options
from foresee.tracking import Labelled
from foresee.tracking.follow import follow
from foresee.tracking.formats.read import read_detections, read_truth
from foresee.tracking.formats.sightings import Sightings, Truth
from foresee.tracking.image_boxes import ImageBoxes, ImageHabits
from foresee.tracking.scores import (
    average_mota,
    clear_mot,
    hota,
    identity,
    image_overlap,
    overlap_in_space,
    pair,
)
from foresee.tracking.scores.ignored import judged
from foresee.tracking.space_boxes import SpaceBoxes, SpaceHabits

CLAIM = "MOTA and IDF1 at least those of SORT on MOT15, and of a tracker in AB3DMOT's style on KITTI's cars"
PEOPLE = ("TUD-Campus", "TUD-Stadtmitte")
CARS = tuple(f"{number:04d}" for number in range(6, 11))  # 0000 to 0005 are what was learned from
COLUMNS = ("", "MOTA", "IDF1", "HOTA", "sAMOTA", "missed", "false", "switches", "ms per frame")
Rows = list[tuple[int, int, np.ndarray, float]]


class Sort:
    """SORT's filter, for any number of observed components of which the first few have velocities."""

    def __init__(self, box: np.ndarray, moving: int, name: int, score: float):
        size = len(box)
        self.x = np.concatenate([box, np.zeros(moving)])
        self.motion = np.eye(size + moving)
        self.motion[:moving, size:] = np.eye(moving)
        self.sensor = np.eye(size, size + moving)
        self.cov = np.diag([10.0] * size + [1e4] * moving)
        self.name, self.score, self.hits, self.missed = name, score, 1, 0

    def predict(self, noise: np.ndarray) -> None:
        self.x = self.motion @ self.x
        self.cov = self.motion @ self.cov @ self.motion.T + np.diag(noise)
        self.missed += 1

    def update(self, box: np.ndarray, noise: np.ndarray, score: float) -> None:
        gain = np.linalg.solve(
            self.sensor @ self.cov @ self.sensor.T + np.diag(noise), self.sensor @ self.cov
        ).T
        self.x = self.x + gain @ (box - self.sensor @ self.x)
        self.cov = self.cov - gain @ self.sensor @ self.cov
        self.score, self.hits, self.missed = score, self.hits + 1, 0


def run_sort(frames, boxes, scores, observe, show, likeness, model, patience, fewest) -> Rows:
    """Predict, assign by likeness, correct, begin, end: what SORT and AB3DMOT share."""
    moving, motion_noise, sensor_noise, enough = model
    alive: list[Sort] = []
    out: Rows = []
    count = 0
    for number, frame in enumerate(range(int(frames.min()), int(frames.max()) + 1), 1):
        rows = np.flatnonzero(frames == frame)
        for one in alive:
            one.predict(motion_noise)
        alive = [one for one in alive if np.all(np.isfinite(show(one.x)))]
        seen, expected = boxes[rows], np.array([show(one.x) for one in alive]).reshape(-1, boxes.shape[1])
        free = set(range(len(rows)))
        if len(rows) and len(alive):
            i, j = (each.ravel() for each in np.indices((len(alive), len(rows))))
            table = likeness(expected[i], seen[j]).reshape(len(alive), len(rows))
            for a, b in zip(*linear_sum_assignment(table, maximize=True), strict=True):
                if table[a, b] >= enough:
                    alive[a].update(observe(seen[b], alive[a].x), sensor_noise, scores[rows[b]])
                    free.discard(int(b))
        for b in sorted(free):
            count += 1
            alive.append(Sort(observe(seen[b], None), moving, count, scores[rows[b]]))
        for one in alive:
            if one.missed == 0 and (one.hits >= fewest or number <= fewest):
                out.append((frame, one.name, show(one.x), one.score))
        alive = [one for one in alive if one.missed <= patience]
    return out


def sort_people(read: Sightings) -> Labelled:
    """SORT: centre, area and shape of the box; the first three with velocities; matched by overlap of 0.3."""
    motion = np.array([1, 1, 1, 1, 0.01, 0.01, 1e-4])

    def observe(box, _):
        return np.array([box[0] + box[2] / 2, box[1] + box[3] / 2, box[2] * box[3], box[2] / box[3]])

    def show(x):
        wide = np.sqrt(max(x[2], 1e-3) * max(x[3], 1e-3))
        high = max(x[2], 1e-3) / wide
        return np.array([x[0] - wide / 2, x[1] - high / 2, wide, high])

    model = (3, motion, np.array([1, 1, 10, 10.0]), 0.3)
    return _labelled(
        run_sort(read.frame, read.box, _scores(read), observe, show, image_overlap, model, 1, 3), 4
    )


def sort_cars(read: Sightings) -> Labelled:
    """In AB3DMOT's style: position, sizes, yaw, velocities of the position; matched by 3-D overlap."""
    order = [0, 1, 2, 6, 3, 4, 5]
    motion = np.array([1.0] * 7 + [0.01] * 3)

    def observe(box, x):
        y = box[order].copy()
        if x is not None:  # detectors mistake front for back
            y[3] = x[3] + np.remainder(y[3] - x[3] + np.pi / 2, np.pi) - np.pi / 2
        return y

    def show(x):
        return x[[0, 1, 2, 4, 5, 6, 3]]

    model = (3, motion, np.ones(7), 0.01)
    return _labelled(
        run_sort(read.frame, read.box, _scores(read), observe, show, overlap_in_space, model, 2, 3), 7
    )


def _scores(read: Sightings) -> np.ndarray:
    return np.ones(len(read.frame)) if read.score is None else read.score


def _labelled(rows: Rows, size: int) -> Labelled:
    box = np.array([row[2] for row in rows]).reshape(-1, size)
    position = box[:, :2] + box[:, 2:4] / 2 if size == 4 else box[:, :2]
    return Labelled(
        np.array([row[0] for row in rows], int),
        np.array([row[1] for row in rows], int),
        position,
        box=box,
        score=np.array([row[3] for row in rows], float),
    )


def timed(work, read: Sightings):
    work(read)
    begin = time.perf_counter()
    out = work(read)
    return out, 1e3 * (time.perf_counter() - begin) / (read.last - read.first + 1)


def together(parts: Sequence[Labelled]) -> Labelled:
    """Several recordings as one, with frames and names that no two share."""
    apart = 1_000_000
    shift = [apart * k for k in range(len(parts))]
    return Labelled(
        np.concatenate([part.frame + by for part, by in zip(parts, shift, strict=True)]),
        np.concatenate([part.name + by for part, by in zip(parts, shift, strict=True)]),
        np.concatenate([part.position for part in parts]),
        box=np.concatenate([part.box for part in parts if part.box is not None]),
        score=np.concatenate([np.zeros(len(part)) if part.score is None else part.score for part in parts]),
    )


def line(
    name: str, truth: Labelled, tracks: Labelled, by, threshold: float, ms: float, average: bool = False
):
    both = pair(truth, tracks, by)
    counts, names, points = clear_mot(both, threshold), identity(both, threshold), hota(both)
    averaged = f"{100 * average_mota(truth, tracks, by, threshold).samota:.2f}" if average else ""
    return (
        name,
        f"{100 * counts.mota:.2f}",
        f"{100 * names.idf1:.2f}",
        f"{100 * points.hota:.2f}",
        averaged,
        counts.missed,
        counts.false,
        counts.switches,
        f"{ms:.2f}",
    )


def people(report: Report, title: str, read: Sightings, truth: Truth) -> None:
    twin, twin_ms = timed(sort_people, read)
    own = follow(read, ImageBoxes(read, ImageHabits()))
    lines = [
        line("foresee track", truth.objects, own.tracks, "image", 0.5, own.ms_per_frame),
        line("SORT, written here", truth.objects, twin, "image", 0.5, twin_ms),
    ]
    report.table(title, COLUMNS, lines)
    _targets(report, title, lines)


def cars(report: Report, title: str, recordings: Sequence[tuple[Sightings, Truth]]) -> None:
    """All recordings as one; the peer's tracks are those at its best cut, as its authors report them."""
    objects, own, twin, times = [], [], [], []
    for read, truth in recordings:
        tracks = follow(read, SpaceBoxes(read, SpaceHabits()))
        other, ms = timed(sort_cars, read)
        kept = judged(truth, tracks.tracks, tracks.image, "space", 0.25)
        objects.append(truth.objects)
        own.append(tracks.tracks.select(kept))
        twin.append(other.select(judged(truth, other, None, "space", 0.25)))
        times.append((tracks.ms_per_frame, ms))
    truth_of_all, ours, theirs = together(objects), together(own), together(twin)
    mean = np.mean(times, axis=0)
    best = average_mota(truth_of_all, theirs, "space", 0.25)
    at_best = theirs.select(_mean_score(theirs) >= best.cut)
    lines = [
        line("foresee track", truth_of_all, ours, "space", 0.25, mean[0], average=True),
        line("AB3DMOT's style, all tracks", truth_of_all, theirs, "space", 0.25, mean[1], average=True),
        line("  at its best cut", truth_of_all, at_best, "space", 0.25, mean[1]),
    ]
    report.table(title, COLUMNS, lines)
    _targets(report, title, [lines[0], lines[2]])


def _mean_score(tracks: Labelled) -> np.ndarray:
    assert tracks.score is not None
    _, at = np.unique(tracks.name, return_inverse=True)
    return (np.bincount(at, tracks.score) / np.bincount(at))[at]


def _targets(report: Report, title: str, lines) -> None:
    for k, name in ((1, "MOTA"), (2, "IDF1")):
        report.target(f"{title}: {name} of the peer against ours", float(lines[1][k]), float(lines[0][k]))


def made_up(folder: Path) -> tuple[Sightings, Truth]:
    """Five people walk past each other; the detector misses one in ten and is wrong now and then."""
    random = np.random.default_rng(0)
    seen, truth = [], []
    for frame in range(1, 61):
        for k in range(5):
            box = np.array([40 + 90 * k + (2 * (k % 2) - 1) * 2.5 * frame, 60 + 15 * k, 40, 110])
            truth.append(f"{frame},{k + 1}," + ",".join(f"{value:.2f}" for value in box) + ",1,-1,-1,-1")
            if random.uniform() < 0.9:
                noisy = box + random.normal(0, [2, 2, 2, 3])
                seen.append(f"{frame},-1," + ",".join(f"{value:.2f}" for value in noisy) + ",0.98,-1,-1,-1")
        if random.uniform() < 0.3:
            x, y = random.uniform(0, 400, 2)
            seen.append(f"{frame},-1,{x:.2f},{y:.2f},40,100,0.6,-1,-1,-1")
    (folder / "det.txt").write_text("\n".join(seen))
    (folder / "gt.txt").write_text("\n".join(truth))
    read = read_detections(folder / "det.txt")
    return read, read_truth(folder / "gt.txt", read)


def main(arguments: Sequence[str] | None = None) -> int:
    chosen: Options = options(__doc__, arguments)
    report = Report("mot", CLAIM, chosen)
    with tempfile.TemporaryDirectory() as folder:
        read, truth = made_up(Path(folder))
    people(report, "made up", read, truth)
    own = follow(read, ImageBoxes(read, ImageHabits())).tracks
    found = clear_mot(pair(truth.objects, own, "image"))
    report.gate("made up: MOTA above 0.9", found.mota > 0.9, f"{found.mota:.3f}")
    data = Path(os.environ.get("FORESEE_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
    if not (data / "tracking").is_dir() or chosen.quick:
        report.console.print("real recordings left out")
        return report.finish()
    for name in PEOPLE:
        read = read_detections(data / "tracking" / "mot15" / "det" / f"{name}.txt")
        truth = read_truth(data / "tracking" / "mot15" / "gt" / f"{name}.txt", read)
        people(report, name, read, truth)
    recordings = []
    for name in CARS:
        read = read_detections(data / "tracking" / "kitti" / "det_car" / f"{name}.txt")
        recordings.append((read, read_truth(data / "tracking" / "kitti" / "label" / f"{name}.txt", read)))
    cars(report, f"KITTI cars {CARS[0]} to {CARS[-1]}", recordings)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
