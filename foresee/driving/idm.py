"""The intelligent driver model: how hard one accelerates behind somebody.

Source: Treiber, Hennecke, Helbing (2000), "Congested traffic states in empirical observations and microscopic
simulations", equations 3 and 4.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from foresee.driving.world import Manners

EXPONENT = 4
COOLNESS = 0.99
CLOSEST = 0.1


def idm_acceleration(
    manners: Manners,
    speed: Float[Array, "*v"],
    gap: Float[Array, "*v"],
    ahead: Float[Array, "*v"],
) -> Float[Array, "*v"]:
    """Return the acceleration that drivers choose [m/s²].

    Args:
        manners: their manners.
        speed: their speed [m/s].
        gap: from bumper to bumper [m]; below 0.1 m everybody brakes as for 0.1 m.
        ahead: speed of the one ahead [m/s].
    """
    room = desired_gap(manners, speed, speed - ahead)
    free = 1 - (speed / manners.desired_speed) ** EXPONENT
    return manners.strength * (free - (room / jnp.maximum(gap, CLOSEST)) ** 2)


def cool_acceleration(
    manners: Manners,
    speed: Float[Array, "*v"],
    gap: Float[Array, "*v"],
    ahead: Float[Array, "*v"],
    braking: Float[Array, "*v"],
) -> Float[Array, "*v"]:
    """Return the acceleration of drivers who keep cool when somebody cuts in: the enhanced model [m/s²].

    Where the intelligent driver model brakes harder than is needed if the one ahead goes on as it does, only
    a little more than what is needed is taken. Source: Kesting, Treiber, Helbing (2010), "Enhanced
    intelligent driver model to access the impact of driving strategies on traffic capacity", equations 2.4
    and 2.5, coolness 0.99.

    Args:
        manners: their manners.
        speed: their speed [m/s].
        gap: from bumper to bumper [m]; below 0.1 m everybody brakes as for 0.1 m.
        ahead: speed of the one ahead [m/s].
        braking: acceleration of the one ahead [m/s²].
    """
    plain = idm_acceleration(manners, speed, gap, ahead)
    room, closing = jnp.maximum(gap, CLOSEST), speed - ahead
    lead = jnp.minimum(braking, manners.strength)
    stops = ahead * closing < -2 * room * lead
    brakes = jnp.where(stops, jnp.maximum(ahead**2 - 2 * room * lead, 1e-6), 1.0)
    constant = jnp.where(stops, speed**2 * lead / brakes, lead - jnp.maximum(closing, 0.0) ** 2 / (2 * room))
    gentle = constant + manners.comfort * jnp.tanh((plain - constant) / manners.comfort)
    return jnp.where(plain >= constant, plain, (1 - COOLNESS) * plain + COOLNESS * gentle)


def desired_gap(
    manners: Manners, speed: Float[Array, "*v"], closing: Float[Array, "*v"]
) -> Float[Array, "*v"]:
    """Return the gap that drivers want at a speed, when closing in at another one [m]."""
    dynamic = speed * manners.headway + speed * closing / (2 * jnp.sqrt(manners.strength * manners.comfort))
    return manners.standstill + jnp.maximum(dynamic, 0.0)


def equilibrium_gap(manners: Manners, speed: Float[Array, "*v"]) -> Float[Array, "*v"]:
    """Return the gap at which a driver neither accelerates nor brakes behind one as fast, equation 9 [m]."""
    share = jnp.sqrt(jnp.maximum(1 - (speed / manners.desired_speed) ** EXPONENT, 1e-9))
    return desired_gap(manners, speed, jnp.zeros_like(speed)) / share
