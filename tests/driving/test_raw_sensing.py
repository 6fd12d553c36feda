import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from foresee.driving.make_road import straight_road
from foresee.driving.make_world import make_world
from foresee.driving.raw_sensing import RawSensing
from foresee.driving.sensing import Sensing, truth
from foresee.errors import OptionError

MANY = 400
EYES = Sensing(position_sd=0.8, velocity_sd=1.5, dropout=0.3, range=1e4, occlusion=False)


@pytest.fixture(scope="module")
def frames():
    """The same world twice: raw detections, and what the filter makes of its first ones."""
    road = straight_road(1, 5000.0, spacing=50.0)
    world = make_world(road, jnp.zeros(MANY, int), 10.0 * jnp.arange(MANY), jnp.full(MANY, 20.0), check=False)
    raw = RawSensing(EYES)

    @eqx.filter_jit
    def look(keys):
        first = raw.update(raw.start(world, 0), world, 0, 0.1, key=keys[0])
        second = raw.update(first, world, 0, 0.1, key=keys[1])
        return first, second, EYES.update(EYES.start(world, 0), world, 0, 0.1, key=keys[0])

    return world, jax.tree.map(np.asarray, look(jax.random.split(jax.random.key(2))))


def test_beliefs_are_the_detections_of_one_frame(frames):
    world, (first, second, _) = frames
    noise = np.diag([0.64, 0.64, 2.25, 2.25])
    for beliefs in (first, second):
        np.testing.assert_array_equal(beliefs.known, beliefs.seen)
        assert not beliefs.known[0]
        assert abs(beliefs.known[1:].mean() - 0.7) < 4 * np.sqrt(0.21 / MANY)
        np.testing.assert_allclose(
            beliefs.covariance[beliefs.known], noise[None].repeat(beliefs.known.sum(), 0)
        )
        error = (beliefs.mean - np.asarray(truth(world)))[beliefs.known] / np.sqrt(np.diag(noise))
        np.testing.assert_allclose(error.T @ error / len(error), np.eye(4), atol=5 * np.sqrt(2 / len(error)))
        assert not beliefs.mean[~beliefs.known].any()
        assert not beliefs.covariance[~beliefs.known].any()
    # Nothing is carried on: who was seen before and has dropped out is gone, and errors do not persist.
    assert (first.known & ~second.known).sum() > 0.1 * MANY
    both = first.known & second.known
    errors = (each.mean[both, 0] - np.asarray(world.x)[both] for each in (first, second))
    assert abs(np.corrcoef(*errors)[0, 1]) < 4 / np.sqrt(both.sum())


def test_the_filter_sees_the_same(frames):
    _, (first, _, filtered) = frames
    np.testing.assert_array_equal(first.seen, filtered.seen)
    np.testing.assert_allclose(first.mean[:, :2], filtered.mean[:, :2], rtol=1e-9)


def test_eyes_must_measure_velocities():
    with pytest.raises(OptionError, match="measure velocities"):
        RawSensing(Sensing())
