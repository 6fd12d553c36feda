"""Recorded traffic: read it, or make some whose truth is known, and find out what every vehicle did.

Call `read_recording` first, or `synthetic_recording` without a file of your own, then `estimate_states`.
"""

from foresee.driving.estimate import estimate_states
from foresee.driving.read import read_recording
from foresee.driving.recording import Recording, Tracks, Truth
from foresee.driving.states import States
from foresee.driving.synthetic import synthetic_recording

__all__ = [
    "Recording",
    "States",
    "Tracks",
    "Truth",
    "estimate_states",
    "read_recording",
    "synthetic_recording",
]
