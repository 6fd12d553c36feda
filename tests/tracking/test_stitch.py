import numpy as np

from foresee.tracking.paths import Paths
from foresee.tracking.smooth import smooth
from foresee.tracking.stitch import Hidden, stitch


def straight(pieces):
    """Paths along straight lines: (first scan, last scan, where at scan 0, speed) of each."""
    scan = np.concatenate([np.arange(a, b + 1) for a, b, *_ in pieces])
    start = np.concatenate([[0], np.cumsum([b - a + 1 for a, b, *_ in pieces])])
    value = np.concatenate([x + v * np.arange(a, b + 1) for a, b, x, v in pieces])[:, None]
    paths = Paths(start, np.arange(len(pieces)), scan, np.arange(len(scan)), np.ones(len(scan)))
    ones = np.ones_like(value)
    found = smooth(start, scan.astype(float), value, paths.seen, 0.1 * ones, 0.01 * ones, np.ones(1))
    return paths, found, 0.01 * ones


def test_a_path_that_goes_on_is_joined_and_another_is_not():
    paths, found, density = straight([(0, 9, 0.0, 1.0), (14, 20, 0.0, 1.0), (13, 20, 60.0, 0.0)])
    joined = stitch(paths, found, density, Hidden(0.3, 5.0, 10), np.log(1e-3), (0,))
    assert joined.name.tolist() == [0, 2]
    assert joined.start.tolist() == [0, 21, 29]
    assert joined.scan[:21].tolist() == list(range(21))
    assert joined.row[10:14].tolist() == [-1] * 4
    assert joined.hits().tolist() == [17, 8]
    assert joined.without_long_gaps(3).start.tolist() == [0, 17, 25]


def test_nothing_is_joined_over_a_longer_wait():
    paths, found, density = straight([(0, 9, 0.0, 1.0), (14, 20, 0.0, 1.0)])
    same = stitch(paths, found, density, Hidden(0.3, 5.0, 3), np.log(1e-3), (0,))
    assert same.name.tolist() == [0, 1]
