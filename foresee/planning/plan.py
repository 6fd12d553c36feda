"""The one call: inputs that are expected to cost least."""

from collections.abc import Callable
from functools import cache, partial, wraps
from typing import Any

import jax
from jax.core import Tracer
from jaxtyping import Array, Float, PRNGKeyArray

from foresee.beliefs.belief import AbstractBelief
from foresee.beliefs.frozen import Frozen, freeze
from foresee.planning.ilqr import Ilqr
from foresee.planning.planner import AbstractPlanner, Plan
from foresee.planning.problem import Problem

# XLA's newer code generator for CPUs takes three times as long to compile loops over tiny arrays, and makes
# them half as fast again (jax 0.10).
OPTIONS = {"cpu": {"xla_cpu_use_fusion_emitters": False}}


def compiled(function: Callable) -> Callable:
    """Compile a function that plans, as `jax.jit` does, with the compiler set up for what planners do.

    Arguments may hold functions, as problems do; they count as constants.
    """

    @cache
    def runners() -> tuple[Callable, Callable]:
        compile_ = partial(jax.jit, compiler_options=OPTIONS.get(jax.default_backend()))

        def joined(common: Frozen, values: Any) -> Any:
            return function(*common.join(values))

        return compile_(function), compile_(joined, static_argnums=0)

    @wraps(function)
    def call(*arguments: Any) -> Any:
        plain, joined = runners()
        if all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(arguments)):
            return plain(*arguments)  # setting the rest aside takes a third of a millisecond
        values, common = freeze(arguments)
        return joined(common, values)

    return call


def _plan(planner: AbstractPlanner, problem: Problem, belief: Any, warm: Any, key: Any) -> Plan:
    return planner(problem, belief, warm, key=key)


_alone = compiled(_plan)


def plan(
    problem: Problem,
    belief: AbstractBelief | Float[Array, "..."],
    warm: Float[Array, "..."] | None = None,
    *,
    key: PRNGKeyArray,
    planner: AbstractPlanner | None = None,
) -> Plan:
    """Return the inputs that a planner finds to cost least, and what is expected to come of them.

    Compiles by itself where nothing around it is compiled; then other numbers in the same problem compile
    nothing. Inside `jax.jit`, `jax.vmap` or `jax.grad` it is a plain function.

    Args:
        problem: what to minimise.
        belief: about the state now; a vector is one that is certain.
        warm: inputs to begin with, as those of the last plan; the nearest to zero by default.
        key: source of randomness, for planners that use any.
        planner: how to look; `Ilqr()` by default.

    Raises:
        ShapeError: if the state is no vector or `warm` does not fit.
    """
    arguments = (planner or Ilqr(), problem, belief, warm, key)
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(arguments)):
        return _plan(*arguments)
    return _alone(*arguments)
