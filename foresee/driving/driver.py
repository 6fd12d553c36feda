"""What drives the ego vehicle: anything that turns what it sees into an acceleration and a curvature."""

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from foresee.errors import ShapeError


class AbstractDriver(eqx.Module):
    """A driver with a memory; a plain function from observation to action needs none and is one as well."""

    @abc.abstractmethod
    def start(self) -> Any:
        """Return the memory before the first observation."""

    @abc.abstractmethod
    def act(self, observation: Any, memory: Any, *, key: PRNGKeyArray) -> tuple[Float[Array, "2"], Any]:
        """Return acceleration [m/s²] and curvature [1/m] for the next step, and the new memory."""


class Stateless(AbstractDriver):
    """A function from an observation to (acceleration [m/s²], curvature [1/m]), as a driver."""

    function: Callable[[Any], Any]

    def start(self) -> None:
        """Return nothing: there is no memory."""

    def act(self, observation: Any, memory: None, *, key: PRNGKeyArray) -> tuple[Float[Array, "2"], None]:
        """Call the function.

        Raises:
            ShapeError: if it returns anything but two numbers.
        """
        action = jnp.asarray(self.function(observation), float)
        if action.shape != (2,):
            raise ShapeError(
                f"expected a driver to return (acceleration, curvature), got an array of shape {action.shape}"
            )
        return action, None


def as_driver(driver: Any) -> AbstractDriver:
    """Return a driver, made of a function if it is not one already.

    Raises:
        ShapeError: if it is neither a driver nor callable.
    """
    if isinstance(driver, AbstractDriver):
        return driver
    if not callable(driver):
        raise ShapeError(f"expected a driver, or a function of an observation, got {type(driver).__name__}")
    return Stateless(driver)
