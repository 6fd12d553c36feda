"""Many objects: from detections without names to tracks with honest doubt."""

from foresee.tracking.association import BeliefPropagation, NearestNeighbour
from foresee.tracking.birth import Birth
from foresee.tracking.detections import Detections, Scan
from foresee.tracking.fuse import covariance_intersection
from foresee.tracking.gate import Gate
from foresee.tracking.labelled import Labelled
from foresee.tracking.learn import Learned, learn
from foresee.tracking.lifecycle import ByCount, ByExistence
from foresee.tracking.sequence import CapacityWarning, History, advance, log_evidence, track
from foresee.tracking.simulate import simulate
from foresee.tracking.tracker import Tracker
from foresee.tracking.tracks import Tracks

__all__ = [
    "BeliefPropagation",
    "Birth",
    "ByCount",
    "ByExistence",
    "CapacityWarning",
    "Detections",
    "Gate",
    "History",
    "Labelled",
    "Learned",
    "NearestNeighbour",
    "Scan",
    "Tracker",
    "Tracks",
    "advance",
    "covariance_intersection",
    "learn",
    "log_evidence",
    "simulate",
    "track",
]
