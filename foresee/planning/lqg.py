"""LQG: a regulator that acts on what a steady observer believes, each designed without the other."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from foresee import linalg
from foresee.beliefs.gaussian import Gaussian, check_covariance
from foresee.errors import PlanningError, ShapeError
from foresee.planning.lqr import check_shapes, lqr, riccati


class Observer(eqx.Module):
    """The Kalman filter once its gain has settled: x̂' = A x̂ + B u + L (y' - C (A x̂ + B u)).

    Attributes:
        gain: L.
        covariance: of the state given all observations up to now.
        predicted: of the state given all but the last.
    """

    gain: Float[Array, "n k"]
    covariance: Float[Array, "n n"]
    predicted: Float[Array, "n n"]


def steady_observer(a: Any, output: Any, motion_noise: Any, sensor_noise: Any) -> Observer:
    """Return the observer of x' = A x + w, y = C x + v, by the Riccati equation of the transposed system.

    Args:
        a: A (n, n).
        output: C (k, n).
        motion_noise: covariance of w (n, n).
        sensor_noise: covariance of v (k, k), positive definite.

    Raises:
        ShapeError: if the shapes do not fit each other.
        CovarianceError: if a covariance is not one.
        PlanningError: if the observer does not settle.
    """
    a, output = np.asarray(a, float), np.asarray(output, float)
    check_shapes(a, output.T if output.ndim == 2 else output, "steady_observer")
    motion_noise, sensor_noise = np.asarray(motion_noise, float), np.asarray(sensor_noise, float)
    for noise, size, name in (
        (motion_noise, a.shape[0], "motion"),
        (sensor_noise, output.shape[0], "sensor"),
    ):
        if noise.shape != (size, size):
            raise ShapeError(f"steady_observer: expected {name} noise {(size, size)}, got {noise.shape}")
        check_covariance(jnp.asarray(noise), f"steady_observer, {name} noise")
    predicted = riccati(a.T, output.T, motion_noise, sensor_noise, "steady_observer")
    innovation = output @ predicted @ output.T + sensor_noise
    gain = np.linalg.solve(innovation, output @ predicted).T
    covariance = predicted - gain @ innovation @ gain.T
    return Observer(jnp.asarray(gain), jnp.asarray(0.5 * (covariance + covariance.T)), jnp.asarray(predicted))


class Lqg(eqx.Module):
    """A controller that remembers a belief: it predicts, corrects by what it sees, and regulates the mean.

    Attributes:
        a: A.
        b: B.
        output: C.
        regulator: K, so that u = -K x̂.
        observer: how x̂ is kept.
        cost: of a step in the long run, with the noise that it was designed for.
    """

    a: Float[Array, "n n"]
    b: Float[Array, "n m"]
    output: Float[Array, "k n"]
    regulator: Float[Array, "m n"]
    observer: Observer
    cost: Float[Array, ""]

    def start(self, x: Float[Array, " n"]) -> Gaussian:
        """Return the belief to begin with, around a first guess."""
        return Gaussian(x, self.observer.predicted)

    def act(self, belief: Gaussian, y: Float[Array, " k"]) -> tuple[Float[Array, " m"], Gaussian]:
        """Return the input after an observation, and the belief about the state that it leads to."""
        mean = belief.mean()
        mean = mean + linalg.matvec(self.observer.gain, y - linalg.matvec(self.output, mean))
        u = -linalg.matvec(self.regulator, mean)
        onward = linalg.matvec(self.a, mean) + linalg.matvec(self.b, u)
        return u, Gaussian(onward, self.observer.predicted)

    def closed_loop(self) -> Float[Array, "k k"]:
        """Return the matrix that moves (x, error of the prediction) when nothing is random.

        It is block triangular, with A - B K and A - A L C on its diagonal: the poles of the whole are those
        of regulator and observer together, whichever the other one is (the separation principle).
        """
        a, b, gain = self.a, self.b, self.regulator
        lasting = jnp.eye(a.shape[0]) - self.observer.gain @ self.output
        return jnp.block([[a - b @ gain, b @ gain @ lasting], [jnp.zeros_like(a), a @ lasting]])


def lqg(a: Any, b: Any, output: Any, state: Any, inputs: Any, motion_noise: Any, sensor_noise: Any) -> Lqg:
    """Return the controller of least mean xᵀ Q x + uᵀ R u under noise (Åström 1970, chapter 8).

    Args:
        a: A (n, n).
        b: B (n, m).
        output: C (k, n).
        state: Q (n, n).
        inputs: R (m, m), positive definite.
        motion_noise: covariance of the noise on the state.
        sensor_noise: covariance of the noise on the observations.

    Raises:
        ShapeError: if the shapes do not fit each other.
        PlanningError: if there is no such controller.
    """
    regulator = lqr(a, b, state, inputs)
    observer = steady_observer(a, output, motion_noise, sensor_noise)
    value, gain = np.asarray(regulator.value), np.asarray(regulator.gain)
    weight = np.asarray(inputs, float) + np.asarray(b).T @ value @ np.asarray(b)
    # What the noise costs if the state were seen, and what not seeing it adds.
    cost = np.trace(value @ np.asarray(motion_noise, float))
    cost += np.trace(gain.T @ weight @ gain @ np.asarray(observer.covariance))
    if not np.isfinite(cost):
        raise PlanningError(f"lqg: expected a finite cost, got {cost}")
    a, b, output = (jnp.asarray(part, float) for part in (a, b, output))
    return Lqg(a, b, output, jnp.asarray(gain), observer, jnp.asarray(cost))
