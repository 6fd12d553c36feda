"""How all others move: an interface for models of traffic, and the one made of rules."""

import abc
from typing import Any

import equinox as eqx
from jaxtyping import Array, Float, PRNGKeyArray

from foresee.beliefs.gaussian import as_float
from foresee.driving.reactive import drive
from foresee.driving.world import World


class AbstractTraffic(eqx.Module):
    """A model of what everybody does next; it may remember what it saw."""

    @abc.abstractmethod
    def start(self, world: World) -> Any:
        """Return the memory at the start."""

    @abc.abstractmethod
    def act(self, world: World, memory: Any, *, key: PRNGKeyArray) -> tuple[Float[Array, "V 2"], Any]:
        """Return everybody's acceleration [m/s²] and curvature [1/m] for the next step, and the memory."""


class ReactiveTraffic(AbstractTraffic):
    """Everybody follows the intelligent driver model on the lane it is meant for, and nobody changes.

    Args:
        dt: time between steps [s].
    """

    dt: Float[Array, ""] = eqx.field(converter=as_float, default=0.1)

    def start(self, world: World) -> None:
        """Return nothing: there is no memory."""

    def act(self, world: World, memory: None, *, key: PRNGKeyArray) -> tuple[Float[Array, "V 2"], None]:
        """Return what `foresee.driving.reactive.drive` does without deciding about lanes."""
        return drive(world, dt=self.dt)[1], None
