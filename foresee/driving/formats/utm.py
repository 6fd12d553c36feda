"""The transverse Mercator projection of UTM on the WGS 84 ellipsoid.

Source: Karney (2011), "Transverse Mercator with an accuracy of a few nanometers", equations 7 to 12 and 35,
whose series is cut here after the fourth power: within a millimetre inside a zone and far beyond its edges.
"""

import math

import numpy as np
from jaxtyping import Float

RADIUS = 6_378_137.0
FLATTENING = 1 / 298.257223563
SCALE = 0.9996
EAST = 500_000.0


def utm_zone(longitude: float) -> int:
    """Number of the zone that holds a longitude [degrees]; the exceptions around Norway are not made."""
    return int(math.floor((longitude + 180) / 6) % 60) + 1


def utm(
    latitude: Float[np.ndarray, " N"], longitude: Float[np.ndarray, " N"], zone: int
) -> tuple[Float[np.ndarray, " N"], Float[np.ndarray, " N"]]:
    """Easting and northing in a zone [m], negative south of the equator.

    Args:
        latitude: geodetic latitude [degrees].
        longitude: longitude [degrees].
        zone: number of the zone, 1 to 60.
    """
    n = FLATTENING / (2 - FLATTENING)
    e = math.sqrt(FLATTENING * (2 - FLATTENING))
    tau = np.tan(np.radians(latitude))
    turned = np.radians(longitude - (6 * zone - 183))
    sigma = np.sinh(e * np.arctanh(e * tau / np.hypot(1, tau)))
    conformal = tau * np.hypot(1, sigma) - sigma * np.hypot(1, tau)
    up = np.arctan2(conformal, np.cos(turned))
    aside = np.arcsinh(np.sin(turned) / np.hypot(conformal, np.cos(turned)))
    series = (
        n / 2 - 2 * n**2 / 3 + 5 * n**3 / 16 + 41 * n**4 / 180,
        13 * n**2 / 48 - 3 * n**3 / 5 + 557 * n**4 / 1440,
        61 * n**3 / 240 - 103 * n**4 / 140,
        49561 * n**4 / 161280,
    )
    north, east = up, aside
    for j, a in enumerate(series, start=1):
        north = north + a * np.sin(2 * j * up) * np.cosh(2 * j * aside)
        east = east + a * np.cos(2 * j * up) * np.sinh(2 * j * aside)
    mean_radius = RADIUS / (1 + n) * (1 + n**2 / 4 + n**4 / 64)
    return EAST + SCALE * mean_radius * east, SCALE * mean_radius * north
