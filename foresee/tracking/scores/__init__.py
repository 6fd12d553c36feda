"""How good tracks are: of points, of names, and of the doubt they admit."""

from foresee.tracking.scores.average_mota import AverageMota, average_mota
from foresee.tracking.scores.clear_mot import ClearMot, clear_mot
from foresee.tracking.scores.doubt import Delays, Doubt, delays, doubt, matched_rows
from foresee.tracking.scores.gospa import Gospa, gospa, gospa_by_frame
from foresee.tracking.scores.hota import Hota, hota
from foresee.tracking.scores.identity import Identity, identity
from foresee.tracking.scores.ospa import ospa, ospa_by_frame, ospa_of_tracks
from foresee.tracking.scores.overlap import image_overlap, overlap_above, overlap_in_space, share_inside
from foresee.tracking.scores.pairing import Pairing, pair
from foresee.tracking.scores.siap import Siap, siap

__all__ = [
    "AverageMota",
    "ClearMot",
    "Delays",
    "Doubt",
    "Gospa",
    "Hota",
    "Identity",
    "Pairing",
    "Siap",
    "average_mota",
    "clear_mot",
    "delays",
    "doubt",
    "gospa",
    "gospa_by_frame",
    "hota",
    "identity",
    "image_overlap",
    "matched_rows",
    "ospa",
    "ospa_by_frame",
    "ospa_of_tracks",
    "overlap_above",
    "overlap_in_space",
    "pair",
    "share_inside",
    "siap",
]
