"""Linear conditionals with Gaussian noise: y = A x + B u + c + noise."""

import abc
from typing import Any

import equinox as eqx
from jaxtyping import Array, Float

from foresee import linalg
from foresee.beliefs.belief import AbstractConditional
from foresee.beliefs.gaussian import DiagonalGaussian, Gaussian, as_float, check_covariance
from foresee.errors import ShapeError


def _optional_float(value: Any) -> Array | None:
    return None if value is None else as_float(value)


class AbstractLinear(AbstractConditional):
    """A conditional that is linear in x once the input and the duration are known."""

    @abc.abstractmethod
    def linear(self, u: Any = None, dt: Any = 1.0) -> "LinearGaussian":
        """Return the matrices for the input `u` and the duration `dt` in seconds."""


class LinearGaussian(AbstractLinear):
    """y = A x + B u + c + noise, the same for every duration.

    Args:
        matrix: A.
        covariance: covariance matrix of the noise; or a vector, the variances of independent noise, which is
            faster.
        offset: c; None for zero.
        control: B; None where there is no input.
        circular: components of y that are angles in radians.

    Raises:
        ShapeError: if the shapes do not fit each other.
        CovarianceError: if the covariance is not one.
    """

    matrix: Float[Array, "m n"] = eqx.field(converter=as_float)
    covariance: Float[Array, "m m"] | Float[Array, " m"] = eqx.field(converter=as_float)
    offset: Float[Array, " m"] | None = eqx.field(converter=_optional_float, default=None)
    control: Float[Array, "m k"] | None = eqx.field(converter=_optional_float, default=None)
    circular: tuple[int, ...] = eqx.field(static=True, default=())

    def __check_init__(self) -> None:
        """Check that the shapes fit each other and that the covariance is one."""
        rows = self.matrix.shape[0]
        if self.covariance.shape not in ((rows, rows), (rows,)):
            raise ShapeError(
                f"LinearGaussian: expected a covariance of shape ({rows}, {rows}) or ({rows},) for a matrix "
                f"of shape {self.matrix.shape}, got {self.covariance.shape}"
            )
        if self.offset is not None and self.offset.shape != (rows,):
            raise ShapeError(
                f"LinearGaussian: expected an offset of shape ({rows},), got {self.offset.shape}"
            )
        if self.control is not None and self.control.shape[0] != rows:
            raise ShapeError(
                f"LinearGaussian: expected a control matrix with {rows} rows, got {self.control.shape}"
            )
        if self.covariance.ndim == 2:
            check_covariance(self.covariance, "LinearGaussian")

    def linear(self, u: Any = None, dt: Any = 1.0) -> "LinearGaussian":
        """Return this model with the input's effect moved into the offset."""
        if self.control is None or u is None:
            return self
        push = linalg.matvec(self.control, u)
        offset = push if self.offset is None else self.offset + push
        return LinearGaussian(self.matrix, self.covariance, offset, None, self.circular)

    def apply(self, x: Float[Array, " n"]) -> Float[Array, " m"]:
        """Return A x + c, the expectation of y."""
        y = linalg.matvec(self.matrix, x)
        return y if self.offset is None else y + self.offset

    def __call__(self, x: Float[Array, " n"], u: Any = None, dt: Any = 1.0) -> Gaussian | DiagonalGaussian:
        """Return the belief about y at x."""
        model = self.linear(u, dt)
        kind = Gaussian if self.covariance.ndim == 2 else DiagonalGaussian
        return kind(model.apply(x), self.covariance, self.circular)
