"""One made-up recording and its windows for all: making them compiles how places on a road are found."""

import pytest

from foresee.driving.futures.windows import windows_from_states
from tests.made_up import made_roads, made_states


@pytest.fixture(scope="session")
def states():
    return made_states()


@pytest.fixture(scope="session")
def windows(states):
    return windows_from_states(states, made_roads(), horizon=2.0)
