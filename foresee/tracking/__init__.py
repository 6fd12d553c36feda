"""Many objects: from detections without names to tracks with honest doubt."""

from foresee.tracking.labelled import Labelled

__all__ = ["Labelled"]
