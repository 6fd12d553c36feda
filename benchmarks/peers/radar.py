"""Simulated radar scenes, simple scores, and the trackers of other libraries on them."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

SIDE, DENSITY, DETECTION, NOISE, SPEED = 1000.0, 0.05, 0.9, 1.0, 2.0
A = np.eye(4) + np.eye(4, k=2)
Q = DENSITY * np.kron([[1 / 3, 1 / 2], [1 / 2, 1]], np.eye(2))
R = NOISE * np.eye(2)


@dataclass(frozen=True)
class Scene:
    """Detections of every scan, and the true positions by object; NaN where one is not there."""

    name: str
    scans: list[np.ndarray]
    truth: np.ndarray  # (scans, objects, 2)


def made_up(targets: int, scans: int, seed: int, side: float = SIDE) -> Scene:
    """Draw a scene as those of the recordings: targets from the first scan, half as many false detections."""
    rng = np.random.default_rng(seed)
    x = np.concatenate(
        [rng.uniform(-side / 2, side / 2, (targets, 2)), rng.normal(0, SPEED, (targets, 2))], 1
    )
    root, paths, reports = np.linalg.cholesky(Q), [], []
    for scan in range(scans):
        x = x @ A.T + rng.normal(size=x.shape) @ root.T if scan else x
        seen = x[rng.random(targets) < DETECTION, :2]
        clutter = rng.uniform(-side / 2, side / 2, (rng.poisson(targets / 2), 2))
        reports.append(
            rng.permutation(np.concatenate([seen + rng.normal(0, NOISE**0.5, seen.shape), clutter]))
        )
        paths.append(x[:, :2])
    return Scene(f"{targets} targets", reports, np.stack(paths))


def recorded(targets: int) -> Scene | None:
    """Read the shared recording of so many targets; None where it is absent."""
    root = Path(__file__).resolve().parents[2].parent / "shared" / "data"
    folder = Path(os.environ.get("FORESEE_DATA") or root) / "tracking" / "radar"
    if not (folder / f"{targets}_detections.csv.gz").exists():
        return None
    rows = np.loadtxt(folder / f"{targets}_detections.csv.gz", delimiter=",", skiprows=1)
    truth = np.loadtxt(folder / f"{targets}_truth.csv.gz", delimiter=",", skiprows=1)
    scans = int(truth[:, 0].max()) + 1
    paths = np.full((scans, int(truth[:, 1].max()) + 1, 2), np.nan)
    paths[truth[:, 0].astype(int), truth[:, 1].astype(int)] = truth[:, [2, 4]]
    return Scene(f"{targets} targets", [rows[rows[:, 0] == scan, 1:] for scan in range(scans)], paths)


def ospa(found: np.ndarray, real: np.ndarray, cutoff: float = 10.0) -> float:
    """Return OSPA of order 1 (Schuhmacher, Vo and Vo 2008)."""
    if max(len(found), len(real)) == 0:
        return 0.0
    distance = np.minimum(np.linalg.norm(found[:, None] - real[None], axis=2), cutoff)
    return (distance[linear_sum_assignment(distance)].sum() + cutoff * abs(len(found) - len(real))) / max(
        len(found), len(real)
    )


def gospa(found: np.ndarray, real: np.ndarray, cutoff: float = 10.0) -> float:
    """Return GOSPA of order 2 with α = 2 (Rahmathullah, García-Fernández and Svensson 2017)."""
    distance = np.minimum(np.linalg.norm(found[:, None] - real[None], axis=2), cutoff) ** 2
    pairs = distance[linear_sum_assignment(distance)]
    close = pairs < cutoff**2
    missed = len(found) + len(real) - 2 * close.sum()
    return float(np.sqrt(pairs[close].sum() + missed * cutoff**2 / 2))


def told(scene: Scene) -> Iterator[np.ndarray]:
    """Run a Kalman filter per object that is told which detections are its own: what can be reached at most.

    The nearest detection within 4.5 standard deviations counts as an object's own.
    """
    count = scene.truth.shape[1]
    m, P = np.zeros((count, 4)), np.tile(np.diag([1e6, 1e6, SPEED**2, SPEED**2]), (count, 1, 1))
    for index, (z, real) in enumerate(zip(scene.scans, scene.truth, strict=True)):
        if index:
            m, P = m @ A.T, A @ P @ A.T + Q
        apart = np.linalg.norm(real[:, None] - z[None], axis=2)
        apart[apart > 4.5 * NOISE**0.5] = 1e6
        a, b = linear_sum_assignment(apart)
        a, b = a[apart[a, b] < 1e6], b[apart[a, b] < 1e6]
        S = P[a][:, :2, :2] + R
        K = P[a][:, :, :2] @ np.linalg.inv(S)
        m[a] += np.einsum("tij,tj->ti", K, z[b] - m[a, :2])
        P[a] -= K @ S @ K.transpose(0, 2, 1)
        yield m[:, :2].copy()


def simple(scene: Scene, gate: float = 13.8, confirm: int = 3, misses: int = 4) -> Iterator[np.ndarray]:
    """Track with forty lines of NumPy and SciPy: dense gating, dense assignment, three hits to confirm."""
    m, P = np.zeros((0, 4)), np.zeros((0, 4, 4))
    hits, missed = np.zeros(0, int), np.zeros(0, int)
    for z in scene.scans:
        m, P = m @ A.T, A @ P @ A.T + Q
        S = P[:, :2, :2] + R
        inverse = np.linalg.inv(S)
        apart = z[None] - m[:, None, :2]
        square = np.einsum("tmi,tij,tmj->tm", apart, inverse, apart)
        cost = np.where(square < gate, square, 1e6)
        a, b = linear_sum_assignment(cost)
        a, b = a[cost[a, b] < 1e6], b[cost[a, b] < 1e6]
        K = P[a][:, :, :2] @ inverse[a]
        m[a] += np.einsum("tij,tj->ti", K, apart[a, b])
        P[a] -= K @ S[a] @ K.transpose(0, 2, 1)
        hits[a] += 1
        missed += 1
        missed[a] = 0
        keep = (missed < misses) & ((hits >= confirm) | (missed < 2))
        new = np.setdiff1d(np.arange(len(z)), b)
        start = np.tile(np.diag([NOISE, NOISE, SPEED**2, SPEED**2]), (len(new), 1, 1))
        m = np.concatenate([m[keep], np.concatenate([z[new], np.zeros((len(new), 2))], axis=1)])
        P = np.concatenate([P[keep], start])
        hits = np.concatenate([hits[keep], np.ones(len(new), int)])
        missed = np.concatenate([missed[keep], np.zeros(len(new), int)])
        yield m[hits >= confirm, :2]


def stone_soup(scene: Scene, joint: bool) -> Iterator[np.ndarray]:
    """Track with Stone Soup: its Kalman filter, its GNN or JPDA, its multi-measurement initiator."""
    import datetime

    from stonesoup.dataassociator.neighbour import GNNWith2DAssignment
    from stonesoup.dataassociator.probability import JPDA
    from stonesoup.deleter.error import CovarianceBasedDeleter
    from stonesoup.hypothesiser.distance import DistanceHypothesiser
    from stonesoup.hypothesiser.probability import PDAHypothesiser
    from stonesoup.initiator.simple import MultiMeasurementInitiator
    from stonesoup.measures import Mahalanobis
    from stonesoup.models.measurement.linear import LinearGaussian
    from stonesoup.models.transition.linear import CombinedLinearGaussianTransitionModel, ConstantVelocity
    from stonesoup.predictor.kalman import KalmanPredictor
    from stonesoup.tracker.simple import MultiTargetMixtureTracker, MultiTargetTracker
    from stonesoup.types.detection import Detection
    from stonesoup.types.state import GaussianState
    from stonesoup.updater.kalman import KalmanUpdater

    motion = CombinedLinearGaussianTransitionModel([ConstantVelocity(DENSITY), ConstantVelocity(DENSITY)])
    sensor = LinearGaussian(4, (0, 2), R)
    predictor, updater = KalmanPredictor(motion), KalmanUpdater(sensor)
    begin = datetime.datetime(2000, 1, 1)

    def detector() -> Iterator[Any]:
        for index, z in enumerate(scene.scans):
            now = begin + datetime.timedelta(seconds=index)
            yield now, {Detection(row[:, None], timestamp=now, measurement_model=sensor) for row in z}

    nearest = GNNWith2DAssignment(
        DistanceHypothesiser(predictor, updater, Mahalanobis(), missed_distance=3.7)
    )
    clutter = len(scene.truth[0]) / 2 / SIDE**2
    chance = PDAHypothesiser(predictor, updater, clutter, prob_detect=DETECTION, prob_gate=0.999)
    deleter = CovarianceBasedDeleter(covar_trace_thresh=60)
    initiator = MultiMeasurementInitiator(
        GaussianState([0, 0, 0, 0], np.diag([1e6, SPEED**2, 1e6, SPEED**2]), timestamp=begin),
        deleter=deleter,
        data_associator=nearest,
        updater=updater,
        measurement_model=sensor,
        min_points=3,
    )
    kind = MultiTargetMixtureTracker if joint else MultiTargetTracker
    tracker = kind(
        initiator=initiator,
        deleter=deleter,
        detector=detector(),
        data_associator=JPDA(chance) if joint else nearest,
        updater=updater,
    )
    for _, tracks in tracker:
        states = [
            track.state.mean if hasattr(track.state, "mean") else track.state_vector for track in tracks
        ]
        yield np.array([[float(x[0]), float(x[2])] for x in states]).reshape(-1, 2)
