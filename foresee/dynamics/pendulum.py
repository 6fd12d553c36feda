"""A pendulum of any number of links: with two or more a chaotic test bed for filters and planners."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from foresee import linalg
from foresee.beliefs.belief import AbstractConditional
from foresee.beliefs.gaussian import Gaussian, as_float
from foresee.dynamics.check import check_not_negative, check_positive, check_size
from foresee.errors import ForeseeError, ShapeError


class Pendulum(AbstractConditional):
    """Links hung one below the other from a fixed point: state [angles…, angular velocities…].

    Units rad and rad/s. Every angle is that of its link against the vertical, zero hanging down, and
    circular. The equations of motion are M(θ) θ̈ = ∂L/∂θ − (∂²L/∂θ̇∂θ) θ̇ + Q with the mass matrix M =
    ∂²L/∂θ̇², by automatic differentiation of the Lagrangian L; Q holds damping and torques. They are
    integrated by the classical Runge–Kutta method of order four. The input u, if given, is one torque in N m
    per joint, held over dt, that turns the link and pushes back on the link before it; torque noise acts in
    the same places. Its covariance is taken to first order around the middle of the step, so dt must be short
    against the swing.

    Args:
        masses: mass of every link in kg.
        lengths: length of every link in m.
        gravity: in m/s².
        damping: friction torque of every joint per difference of angular velocity, in N m s; one number for
            all joints or one each.
        torque_density: spectral density of the noise torque at every joint in N² m² s; one number or one
            each.
        rods: whether the links are uniform rods; otherwise the mass is a point at the link's end.
        steps: Runge–Kutta steps per call.

    Raises:
        ShapeError: if the shapes do not fit each other.
        ForeseeError: if a mass or length is not positive or a density or damping negative.
    """

    masses: Float[Array, " n"] = eqx.field(converter=as_float)
    lengths: Float[Array, " n"] = eqx.field(converter=as_float)
    gravity: Float[Array, ""] = eqx.field(converter=as_float, default=9.81)
    damping: Float[Array, ""] | Float[Array, " n"] = eqx.field(converter=as_float, default=0.0)
    torque_density: Float[Array, ""] | Float[Array, " n"] = eqx.field(converter=as_float, default=0.0)
    rods: bool = eqx.field(static=True, default=False)
    steps: int = eqx.field(static=True, default=1)

    def __check_init__(self) -> None:
        """Check shapes and signs."""
        if self.masses.ndim != 1 or self.masses.shape != self.lengths.shape or not self.masses.size:
            raise ShapeError(
                f"Pendulum: expected as many masses as lengths, got shapes {self.masses.shape} and "
                f"{self.lengths.shape}"
            )
        for name in ("damping", "torque_density"):
            shape = getattr(self, name).shape
            if shape not in ((), self.masses.shape):
                raise ShapeError(f"Pendulum: expected {name} of shape () or {self.masses.shape}, got {shape}")
        if self.steps < 1:
            raise ForeseeError(f"Pendulum: expected steps ≥ 1, got {self.steps}")
        check_positive(self, "masses", "lengths")
        check_not_negative(self, "damping", "torque_density")

    @property
    def links(self) -> int:
        """Number of links."""
        return self.masses.shape[0]

    def _energies(self, angles: Float[Array, " n"], rates: Float[Array, " n"]) -> tuple[Array, Array]:
        """Return the kinetic and the potential energy in J."""
        sine, cosine = self.lengths * jnp.sin(angles), self.lengths * jnp.cos(angles)
        # The centre of a link's mass is reached over all links before it and, for a rod, half of its own.
        own = 0.5 if self.rods else 1.0
        reach = jnp.asarray(np.tri(self.links, k=-1) + own * np.eye(self.links), angles.dtype)
        height = -jnp.sum(reach * cosine, axis=1)
        vx, vy = jnp.sum(reach * (cosine * rates), axis=1), jnp.sum(reach * (sine * rates), axis=1)
        kinetic = 0.5 * jnp.sum(self.masses * (vx**2 + vy**2))
        if self.rods:
            kinetic = kinetic + jnp.sum(self.masses * self.lengths**2 * rates**2) / 24
        return kinetic, self.gravity * jnp.sum(self.masses * height)

    def energy(self, x: Float[Array, " m"]) -> Float[Array, ""]:
        """Return the total energy in J, zero at the height of the fixed point and at rest."""
        check_size(self, x, 2 * self.links)
        kinetic, potential = self._energies(x[: self.links], x[self.links :])
        return kinetic + potential

    def _joints(self, torques: Float[Array, " n"]) -> Float[Array, " n"]:
        """Return the generalised forces of torques at the joints, which push back on the link before."""
        return torques - jnp.concatenate([torques[1:], jnp.zeros_like(torques[:1])])

    def _mass(self, angles: Float[Array, " n"]) -> Float[Array, "n n"]:
        """Return the mass matrix; the kinetic energy is quadratic, so any rates will do."""
        return jax.hessian(lambda rates: self._energies(angles, rates)[0])(jnp.zeros_like(angles))

    def accelerations(self, x: Float[Array, " m"], u: Float[Array, " n"] | None = None) -> Float[Array, " n"]:
        """Return the angular accelerations in rad/s² under joint torques `u` in N m."""
        check_size(self, x, 2 * self.links)
        angles, rates = x[: self.links], x[self.links :]

        def lagrangian(q: Array, v: Array) -> Array:
            kinetic, potential = self._energies(q, v)
            return kinetic - potential

        def momentum(q: Array) -> Array:
            return jax.grad(lagrangian, 1)(q, rates)

        _, drift = jax.jvp(momentum, (angles,), (rates,))
        torques = -self.damping * (rates - jnp.concatenate([jnp.zeros_like(rates[:1]), rates[:-1]]))
        torques = torques if u is None else torques + u
        force = jax.grad(lagrangian)(angles, rates) - drift + self._joints(torques)
        return linalg.solve_spd(self._mass(angles), force)

    def flow(self, x: Float[Array, " m"], u: Any = None, dt: Any = 1.0) -> Float[Array, " m"]:
        """Return the state after `dt` seconds without noise; its angles are not wrapped."""
        h = dt / self.steps

        def rate(point: Array) -> Array:
            return jnp.concatenate([point[self.links :], self.accelerations(point, u)])

        def step(point: Array, _: None) -> tuple[Array, None]:
            first = rate(point)
            second = rate(point + 0.5 * h * first)
            third = rate(point + 0.5 * h * second)
            fourth = rate(point + h * third)
            return point + h / 6 * (first + 2 * second + 2 * third + fourth), None

        return step(x, None)[0] if self.steps == 1 else jax.lax.scan(step, x, None, length=self.steps)[0]

    def __call__(self, x: Float[Array, " m"], u: Float[Array, " n"] | None = None, dt: Any = 1.0) -> Gaussian:
        """Return the belief about the state after `dt` seconds; its angles are not wrapped."""
        check_size(self, x, 2 * self.links)
        if u is not None:
            check_size(self, u, self.links, "an input")
        mean = self.flow(x, u, dt)
        push = jax.vmap(self._joints, 1, 1)(jnp.eye(self.links, dtype=x.dtype))
        gain = linalg.solve_spd(self._mass(0.5 * (x + mean)[: self.links]), push)
        noise = linalg.symmetrize(linalg.matmul(gain * self.torque_density, gain.T))
        covariance = jnp.block([[noise * dt**3 / 3, noise * dt**2 / 2], [noise * dt**2 / 2, noise * dt]])
        return Gaussian(mean, covariance, tuple(range(self.links)))
