"""What every learned world is: p(outcome | context, action). `one_step` is the loss that `fit` takes."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from foresee.beliefs.belief import AbstractBelief, AbstractConditional
from foresee.errors import OptionError, ShapeError
from foresee.posteriors.standardise import Scales

# Learned noise starts as this share of the outcomes' deviation. With all of it no mode and no latent variable
# would explain anything better than the noise does, and training would begin at a saddle.
START = 0.3


class AbstractWorld(AbstractConditional):
    """A learned conditional p(outcome | context, action), for one step of the data it was trained on."""

    @abc.abstractmethod
    def __call__(
        self,
        context: Float[Array, " context"],
        action: Float[Array, " action"] | None = None,
        dt: Any = 1.0,
        *,
        key: PRNGKeyArray | None = None,
    ) -> AbstractBelief:
        """Return the belief about the outcome.

        Args:
            context: an encoding of the past.
            action: what is done; None where the world takes none.
            dt: ignored: the duration is that of the data.
            key: randomness of dropout layers in training; none is needed in inference.
        """

    @abc.abstractmethod
    def loss(
        self,
        context: Float[Array, " context"],
        action: Float[Array, " action"] | None,
        outcome: Float[Array, " outcome"],
        *,
        key: PRNGKeyArray,
    ) -> Float[Array, ""]:
        """Return what training minimises, for one example."""


def one_step(
    world: AbstractWorld, example: tuple[Array, Array | None, Array], *, key: PRNGKeyArray
) -> Float[Array, ""]:
    """Return the world's own loss of an example (context, action, outcome): the loss that `fit` takes."""
    context, action, outcome = example
    return world.loss(context, action, outcome, key=key)


def joined(
    context: Float[Array, " context"], action: Float[Array, " action"] | None
) -> Float[Array, " inputs"]:
    """Return context and action as one vector."""
    return context if action is None else jnp.concatenate([context, action])


def perceptron(
    inputs: int, outputs: int, *, width: int = 64, depth: int = 2, dropout: float = 0.0, key: PRNGKeyArray
) -> eqx.nn.Sequential:
    """Return a network of dense layers and rectifiers.

    Args:
        inputs: size of the input.
        outputs: size of the output.
        width: units of a hidden layer.
        depth: number of hidden layers.
        dropout: probability that a hidden unit is left out in training; 0 makes no such layer.
        key: source of the first weights.

    Raises:
        OptionError: if an option has a value nothing can be done with.
    """
    if min(inputs, outputs, width) < 1 or depth < 0 or not 0 <= dropout < 1:
        raise OptionError(
            "perceptron: expected sizes of at least 1, a depth of at least 0 and dropout in [0, 1), got "
            f"{inputs}, {outputs}, {width}, {depth}, {dropout}"
        )
    sizes = [inputs, *[width] * depth]
    layers: list[Any] = []
    for size, following, sub in zip(sizes, sizes[1:], jax.random.split(key, depth + 1)[1:], strict=False):
        layers += [eqx.nn.Linear(size, following, key=sub), eqx.nn.Lambda(jax.nn.relu)]
        layers += [eqx.nn.Dropout(dropout)] if dropout else []
    return eqx.nn.Sequential([*layers, eqx.nn.Linear(sizes[-1], outputs, key=jax.random.split(key)[0])])


def checked_scales(scales: Scales | None, context: int, action: int, outcome: int, owner: str) -> Scales:
    """Return the scales, those that change nothing where there are none.

    Raises:
        ShapeError: if they are not those of such inputs and outcomes.
    """
    inputs = context + action
    if scales is None:
        return Scales(jnp.zeros(inputs), jnp.ones(inputs), jnp.zeros(outcome), jnp.ones(outcome))
    if scales.inputs.shape != (inputs,) or scales.targets.shape != (outcome,):
        raise ShapeError(
            f"{owner}: expected scales of {inputs} inputs and {outcome} outcomes, got those of "
            f"{scales.inputs.shape} and {scales.targets.shape}"
        )
    return scales


def checked_inputs(
    size: int, context: Float[Array, " context"], action: Float[Array, " action"] | None, owner: str
) -> Float[Array, " inputs"]:
    """Return context and action as one vector.

    Raises:
        ShapeError: if it has another size than the world was made for.
    """
    inputs = joined(context, action)
    if inputs.size != size:
        actions = 0 if action is None else action.size
        raise ShapeError(
            f"{owner}: expected context and action of {size} numbers together, got "
            f"{context.size} and {actions}"
        )
    return inputs


def standard_inputs(
    scales: Scales, context: Float[Array, " context"], action: Float[Array, " action"] | None, owner: str
) -> Float[Array, " inputs"]:
    """Return context and action, standardised, as one vector.

    Raises:
        ShapeError: if it has another size than the world was made for.
    """
    inputs = checked_inputs(scales.inputs.size, context, action, owner)
    return (inputs - scales.inputs) / scales.input_deviations
