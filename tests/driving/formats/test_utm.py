import numpy as np

from foresee.driving.formats.utm import utm, utm_zone


def test_a_published_place():
    # the CN Tower at 43°38'33.24" N, 79°23'13.7" W, as quoted with UTM coordinates
    east, north = utm(np.array([43 + 38 / 60 + 33.24 / 3600]), np.array([-(79 + 23 / 60 + 13.7 / 3600)]), 17)
    assert utm_zone(-79.387) == 17
    np.testing.assert_allclose([east[0], north[0]], [630_084, 4_833_438], atol=1)


def test_the_central_meridian_is_an_arc_of_the_ellipse():
    latitude = np.linspace(-80, 84, 5)
    east, north = utm(latitude, np.full(5, 9.0), 32)
    np.testing.assert_allclose(east, 500_000, atol=1e-9)
    a, f = 6_378_137.0, 1 / 298.257223563
    e2 = f * (2 - f)
    for phi, y in zip(np.radians(latitude), north, strict=True):
        at = np.linspace(0, phi, 20_001)
        radius = a * (1 - e2) / (1 - e2 * np.sin(at) ** 2) ** 1.5
        arc = np.sum((radius[1:] + radius[:-1]) / 2 * np.diff(at))
        np.testing.assert_allclose(y, 0.9996 * arc, atol=2e-2, rtol=1e-9)


def test_it_is_conformal():
    latitude, longitude, h = 50.9, 7.1, 1e-6
    places = np.array([[latitude, longitude], [latitude + h, longitude], [latitude, longitude + h]])
    here, north, east = np.stack(utm(places[:, 0], places[:, 1], 32), axis=-1)
    up, aside = (north - here) / h, (east - here) / h
    a, f = 6_378_137.0, 1 / 298.257223563
    e2, phi = f * (2 - f), np.radians(latitude)
    meridian = a * (1 - e2) / (1 - e2 * np.sin(phi) ** 2) ** 1.5
    parallel = a / np.sqrt(1 - e2 * np.sin(phi) ** 2) * np.cos(phi)
    np.testing.assert_allclose(np.linalg.norm(up) / meridian, np.linalg.norm(aside) / parallel, rtol=1e-4)
    assert abs(up @ aside) < 1e-3 * np.linalg.norm(up) * np.linalg.norm(aside)


def test_zones():
    assert [utm_zone(x) for x in (-180.0, -0.1, 0.0, 6.0, 179.9, 180.0)] == [1, 30, 31, 32, 60, 1]
