import json
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from foresee.driving.driver import Stateless
from foresee.driving.drivers.pdm import ExpectedPdm
from foresee.driving.drivers.policy import new_policy
from foresee.driving.drivers.stored import load_driver, load_module, save_driver, save_module
from foresee.driving.futures.learned import Learned
from foresee.driving.futures.network import FutureModel, FutureNetwork
from foresee.driving.futures.traffic import StepNetwork
from foresee.driving.policies import LaneKeeper
from foresee.errors import ForeseeError


@pytest.fixture(scope="module")
def model():
    keys = jax.random.split(jax.random.key(0), 2)
    return FutureModel(eqx.filter_vmap(lambda key: FutureNetwork(width=8, key=key))(keys))


def test_drivers_come_back_as_they_were(model, tmp_path):
    drivers = (
        new_policy(8, 1, name="bc", key=jax.random.key(1)),
        LaneKeeper(caution=0.5),
        ExpectedPdm(Learned(model, dt=0.2)),
    )
    for driver in drivers:
        save_driver(tmp_path / "driver.eqx", driver)
        back = load_driver(tmp_path / "driver.eqx")
        assert eqx.tree_equal(driver, back)
        assert jax.tree.structure(driver) == jax.tree.structure(back)  # no new compilation
    numbers = jnp.linspace(0, 1, 59)
    policy = drivers[0]
    save_driver(tmp_path / "bc.eqx", policy)
    back: Any = load_driver(tmp_path / "bc.eqx")
    np.testing.assert_array_equal(back(numbers), policy(numbers))


def test_what_is_known_of_a_world_comes_with_it(model, tmp_path):
    save_module(tmp_path / "world.eqx", model, {"frame_rate": 10.0})
    back, said = load_module(tmp_path / "world.eqx")
    assert said == {"frame_rate": 10.0}
    assert eqx.tree_equal(model, back)
    with pytest.raises(ForeseeError, match="expected a driver, got FutureModel"):
        load_driver(tmp_path / "world.eqx")


def test_layers_keep_their_functions(tmp_path):
    network = StepNetwork(width=8, key=jax.random.key(0))
    save_module(tmp_path / "network.eqx", network, {})
    back, _ = load_module(tmp_path / "network.eqx")
    assert eqx.tree_equal(network, back)


def test_functions_of_ones_own_are_not_kept(tmp_path):
    with pytest.raises(ForeseeError, match="to save, got function"):
        save_driver(tmp_path / "own.eqx", Stateless(lambda view: (0.0, 0.0)))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "shape",
    [
        {"format": "something else"},
        {"format": "foresee module 1", "said": {}, "module": {"class": "os:system", "fields": {}}},
        {"format": "foresee module 1", "said": {}, "module": {"class": "foresee.cli:main", "fields": {}}},
        {"format": "foresee module 1", "said": {}, "module": {"class": "foresee.storage:Path", "fields": {}}},
        [],
    ],
)
def test_nothing_but_modules_of_this_library_is_made(shape, tmp_path):
    with (tmp_path / "bad.eqx").open("wb") as file:
        np.savez(file, shape=np.asarray(json.dumps(shape)))
    with pytest.raises(ForeseeError, match="expected a driver or a world, got"):
        load_driver(tmp_path / "bad.eqx")


def test_files_that_are_none(tmp_path):
    (tmp_path / "bad.eqx").write_bytes(b"nothing")
    with pytest.raises(ForeseeError, match=r"bad\.eqx: expected a driver or a world"):
        load_driver(tmp_path / "bad.eqx")
    with pytest.raises(FileNotFoundError):
        load_driver(tmp_path / "none.eqx")
