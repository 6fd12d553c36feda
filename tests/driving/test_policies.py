import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from foresee.driving.make_road import straight_road
from foresee.driving.make_world import make_world
from foresee.driving.observe import observe
from foresee.driving.policies import Expert, LaneKeeper, NoAction
from foresee.driving.sensing import know_exactly
from foresee.errors import ForeseeError

KEY = jax.random.key(0)


def idm(speed, gap, ahead, *, desired=30.0, headway=1.5, strength=1.4, comfort=2.0, standstill=2.0):
    """Treiber, Hennecke, Helbing (2000), equations 3 and 4."""
    room = standstill + max(0, speed * headway + speed * (speed - ahead) / (2 * np.sqrt(strength * comfort)))
    return strength * (1 - (speed / desired) ** 4 - (room / gap) ** 2)


@pytest.fixture(scope="module")
def view():
    """What the ego sees at 20 m/s, half a metre too far left: somebody 30 ± 2 m ahead at 15 m/s."""
    road = straight_road(2, 500.0)
    world = make_world(
        road, jnp.asarray([0, 0]), jnp.asarray([100.0, 134.7]), jnp.asarray([20.0, 15.0]),
        offset=jnp.asarray([0.5, 0.0]),
    )  # fmt: skip
    view = jax.jit(lambda world: observe(world, 0, know_exactly(world, 0)))(world)
    doubt = view.neighbours.gap_sd.at[0].set(2.0)
    return eqx.tree_at(lambda view: view.neighbours.gap_sd, view, doubt)


def act(driver, view):
    action, memory = driver.act(view, driver.start(), key=KEY)
    assert memory is None
    return np.asarray(action)


def test_the_lane_keeper_follows_the_intelligent_driver_model(view):
    action = act(LaneKeeper(), view)
    assert action[0] == pytest.approx(idm(20.0, 30.0, 15.0))
    assert action[1] == pytest.approx(float(view.keep_lane()))
    assert action[1] < 0  # back to the right, to the middle
    changed = LaneKeeper(desired_speed=25.0, headway=1.0, strength=1.0, comfort=3.0, standstill=1.0)
    wanted = idm(20.0, 30.0, 15.0, desired=25.0, headway=1.0, strength=1.0, comfort=3.0, standstill=1.0)
    assert act(changed, view)[0] == pytest.approx(wanted)


def test_caution_takes_standard_deviations_off_the_gap_but_at_most_half_of_it(view):
    assert act(LaneKeeper(caution=3.0), view)[0] == pytest.approx(idm(20.0, 30.0 - 3 * 2.0, 15.0))
    assert act(LaneKeeper(caution=50.0), view)[0] == pytest.approx(idm(20.0, 15.0, 15.0))


def test_a_speed_limit_and_the_end_of_a_lane_are_kept_to(view):
    slow = eqx.tree_at(lambda view: view.speed_limit, view, jnp.asarray(22.0))
    assert act(LaneKeeper(), slow)[0] == pytest.approx(idm(20.0, 30.0, 15.0, desired=22.0))
    ending = eqx.tree_at(
        lambda view: (view.closed, view.to_end), view, (jnp.asarray(True), jnp.asarray(25.0))
    )
    assert act(LaneKeeper(), ending)[0] == pytest.approx(idm(20.0, 25.0 - 4.7 / 2, 0.0))


def test_the_others_do_nothing_and_all_have_names(view):
    for driver in (NoAction(), Expert()):
        np.testing.assert_array_equal(act(driver, view), [0.0, 0.0])
    assert [driver.name for driver in (Expert(), NoAction(), LaneKeeper())] == ["expert", "none", "idm"]


@pytest.mark.parametrize("options", [{"headway": 0.0}, {"desired_speed": -1.0}, {"caution": -1.0}])
def test_impossible_manners_are_named(options):
    with pytest.raises(ForeseeError, match=next(iter(options))):
        LaneKeeper(**options)
