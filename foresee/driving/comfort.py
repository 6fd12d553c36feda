"""How comfortable a ride was: accelerations and jerks, smoothed, against nuPlan's limits."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

LIMITS = {
    "ego_lon_acceleration": (-4.05, 2.40),
    "ego_lat_acceleration": (-4.89, 4.89),
    "ego_yaw_rate": (-0.95, 0.95),
    "ego_yaw_acceleration": (-1.93, 1.93),
    "ego_lon_jerk": (-4.13, 4.13),
    "ego_jerk": (-8.37, 8.37),
}
SHORT, LONG = 0.4, 0.7  # half the window for values and for rates of change [s]


def comfort(
    acceleration: Float[Array, " T"],
    curvature: Float[Array, " T"],
    speed: Float[Array, " T"],
    counted: Bool[Array, " T"],
    dt: float,
) -> dict[str, Float[Array, " T"]]:
    """Return the six quantities that nuPlan limits, by its names, in every frame; 0 where not counted.

    Values are smoothed by a parabola fitted to the frames within 0.4 s, rates of change are the slope of one
    fitted to those within 0.7 s: inside of a ride these are the filters of Savitzky and Golay (1964), and at
    its ends the same fit to the frames that there are. Units: m/s², rad/s, rad/s², m/s³.

    Args:
        acceleration: along the heading, that led to each frame [m/s²].
        curvature: of the path that led to each frame [1/m].
        speed: in each frame [m/s].
        counted: frames that the driver is answerable for, without a gap.
        dt: time between frames [s].
    """
    # Along, across and turning.
    signals = jnp.stack([acceleration, speed**2 * curvature, speed * curvature])
    values, _ = parabola(signals, counted, SHORT, dt)
    _, rates = parabola(signals, counted, LONG, dt)
    out = {
        "ego_lon_acceleration": values[0],
        "ego_lat_acceleration": values[1],
        "ego_yaw_rate": values[2],
        "ego_yaw_acceleration": rates[2],
        "ego_lon_jerk": rates[0],
        "ego_jerk": jnp.hypot(rates[0], rates[1]),
    }
    return {name: jnp.where(counted, values, 0.0) for name, values in out.items()}


def within(values: dict[str, Float[Array, " T"]]) -> dict[str, Bool[Array, ""]]:
    """Return which of the six quantities stayed within its limits all the time."""
    return {
        name: jnp.all((values[name] >= low) & (values[name] <= high)) for name, (low, high) in LIMITS.items()
    }


def parabola(
    values: Float[Array, "K T"], counted: Bool[Array, " T"], half: float, dt: float
) -> tuple[Float[Array, "K T"], Float[Array, "K T"]]:
    """Return value and slope, at every frame, of the parabola fitted to the counted frames around it.

    Where too few frames are around for a parabola, the frame's own value and slope 0.

    Args:
        values: some signals.
        counted: frames that are fitted to.
        half: how far the frames reach to both sides [s].
        dt: time between frames [s].
    """
    reach = max(round(half / dt), 1)
    tau = jnp.arange(-reach, reach + 1) / reach
    powers = tau ** jnp.arange(5)[:, None]
    window = jnp.arange(values.shape[1])[:, None] + jnp.arange(2 * reach + 1)
    weight = jnp.pad(counted.astype(values.dtype), reach)[window]
    # Relative to the frame's own value, so that float32 is good enough.
    level = weight * (jnp.pad(values, ((0, 0), (reach, reach)))[:, window] - values[..., None])
    s0, s1, s2, s3, s4 = (weight @ powers.T).T
    y0, y1, y2 = jnp.moveaxis(level @ powers[:3].T, -1, 0)
    # Cramer's rule for the normal equations of a + b τ + c τ².
    c0, c1, c2 = s2 * s4 - s3 * s3, s2 * s3 - s1 * s4, s1 * s3 - s2 * s2
    determinant = s0 * c0 + s1 * c1 + s2 * c2
    enough = (s0 >= 3) & (determinant > 1e-6)
    safe = jnp.where(enough, determinant, 1.0)
    value = (y0 * c0 + y1 * c1 + y2 * c2) / safe
    slope = (y0 * c1 + y1 * (s0 * s4 - s2 * s2) + y2 * (s1 * s2 - s0 * s3)) / safe / (reach * dt)
    return values + jnp.where(enough, value, 0.0), jnp.where(enough, slope, 0.0)
