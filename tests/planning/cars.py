"""The bicycle that parks past a soft disc, as it is stated with the cold starts."""

import equinox as eqx
import jax
import jax.numpy as jnp

from foresee.planning import Problem, Quadratic, SoftDiscs, Total


class Car(eqx.Module):
    """Euler steps of a bicycle: state (x, y, heading, speed), input (acceleration, steering)."""

    wheelbase: jax.Array
    dt: jax.Array

    def __call__(self, x, u):
        _, _, heading, speed = x
        turn = speed / self.wheelbase * jnp.tan(u[1])
        return x + self.dt * jnp.stack([speed * jnp.cos(heading), speed * jnp.sin(heading), turn, u[0]])


def parking(horizon=40, dt=0.15, weight=50.0, wheelbase=2.5, goal=(9.0, 3.0, 0.0, 0.0), limits=(3.0, 0.6)):
    """Return the problem; its numbers are those of the file unless others are given."""
    limits, goal = jnp.asarray(limits), jnp.asarray(goal)
    disc = SoftDiscs(jnp.asarray([[4.5, 1.5]]), jnp.asarray([1.2]), weight)
    stage = Quadratic(jnp.asarray([0.1, 0.1, 0.1, 0.02]), jnp.asarray([0.05, 0.5]), goal)
    end = Quadratic(jnp.asarray([50.0, 50.0, 50.0, 10.0]), goal=goal)
    car = Car(jnp.asarray(wheelbase), jnp.asarray(dt))
    return Problem(car, Total(stage, disc), Total(end, disc), -limits, limits, horizon)
