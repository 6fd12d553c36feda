"""Small dense linear algebra that compiles well inside a scan, and angles.

The matrices of a filter are tiny and its loop is long, so what costs time is the number of kernels per step,
not the number of multiplications. For a single instance a product written as multiply-and-sum fuses with its
neighbours (three times faster than calls of `dot` on a CPU); for a batch it depends on which argument has the
batch axis. `matmul` and `matvec` choose when `vmap` is applied; callers write the code for one instance only.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap
from jaxtyping import Array, Bool, Float

UNROLLED = 8  # largest size treated as "tiny": unrolled factorisations and fused products


def wrap_angle(angle: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Map angles in radians to the interval [-π, π)."""
    return jnp.mod(angle + jnp.pi, 2 * jnp.pi) - jnp.pi


def wrap_components(vector: Float[Array, " n"], circular: tuple[int, ...]) -> Float[Array, " n"]:
    """Wrap the components named in `circular` to [-π, π) and leave the others as they are."""
    if not circular:
        return vector
    index = jnp.asarray(circular)
    return vector.at[index].set(wrap_angle(vector[index]))


def symmetrize(matrix: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """Return the symmetric part of a matrix, which removes the asymmetry left by rounding."""
    return 0.5 * (matrix + matrix.T)


def _outer_sum(left: Array, right: Array) -> Array:
    """Multiply as a written-out sum of outer products (of columns with numbers where `right` is a vector)."""
    total = left[:, :1] * right[:1] if right.ndim == 2 else left[:, 0] * right[0]
    for j in range(1, left.shape[1]):
        total = total + (left[:, j, None] * right[j] if right.ndim == 2 else left[:, j] * right[j])
    return total


def _two_faced(fused: Callable, batch: Callable) -> Callable:
    """Build a bilinear product that is `fused` for one instance and `batch` under `vmap`.

    `batch` also gets one flag for each argument, whether it has a batch axis. `custom_vmap` alone has no
    reverse-mode rule; the tangent is written with plain operations, which have one.
    """
    batched = custom_vmap(fused)

    @batched.def_vmap
    def _rule(axis_size, in_batched, left, right):
        return batch(left, right, *in_batched), True

    product = jax.custom_jvp(batched)

    @product.defjvp
    def _tangent(primals, tangents):
        (left, right), (d_left, d_right) = primals, tangents
        return product(left, right), jnp.matmul(d_left, right) + jnp.matmul(left, d_right)

    return product


def _batch_matmul(left: Array, right: Array, many_left: bool, many_right: bool) -> Array:
    """Multiply a batch with one matrix by the backend's product; batch with batch written out.

    For tiny matrices a batched `dot` on a CPU is a loop over calls, 5 to 30 times slower than the sum.
    """
    if many_left and many_right:
        return jax.vmap(_outer_sum)(left, right)
    return jnp.einsum("bij,jk->bik" if many_left else "ij,bjk->bik", left, right)


def _batch_matvec(left: Array, right: Array, many_left: bool, many_right: bool) -> Array:
    """Multiply written out, unless there are many matrices.

    With those a sum would be fused into each of its many uses in `condition`, and computed again each time.
    """
    if many_left:
        return jnp.einsum("bij,bj->bi" if many_right else "bij,j->bi", left, right)
    return jax.vmap(_outer_sum, in_axes=(None, 0))(left, right)


_small_matmul = _two_faced(
    lambda left, right: jnp.sum(left[:, :, None] * right[None, :, :], axis=1), _batch_matmul
)
_small_matvec = _two_faced(lambda left, right: jnp.sum(left * right[None, :], axis=1), _batch_matvec)


def _is_tiny(matrix: Array) -> bool:
    return max(matrix.shape) <= 2 * UNROLLED


def matmul(left: Float[Array, "n k"], right: Float[Array, "k m"]) -> Float[Array, "n m"]:
    """Multiply two matrices, fused with the surrounding operations when they are tiny."""
    if _is_tiny(left) and _is_tiny(right) and left.dtype == right.dtype:
        return _small_matmul(left, right)
    return left @ right


def matvec(matrix: Float[Array, "n k"], vector: Float[Array, " k"]) -> Float[Array, " n"]:
    """Multiply a matrix with a vector, fused with the surrounding operations when they are tiny."""
    if _is_tiny(matrix) and matrix.dtype == vector.dtype:
        return _small_matvec(matrix, vector)
    return matrix @ vector


def sandwich(matrix: Float[Array, "m n"], covariance: Float[Array, "n n"]) -> Float[Array, "m m"]:
    """Return A P Aᵀ, the covariance of A x for x with covariance P."""
    return matmul(matmul(matrix, covariance), matrix.T)


def cholesky(matrix: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """Factor a positive semi-definite matrix as L Lᵀ with L lower triangular.

    Unrolled for tiny sizes, where the call of LAPACK would dominate. A pivot that is not positive, as an
    exactly known component has, gives a column of zeros instead of NaN (tiny sizes only).
    """
    n = matrix.shape[0]
    if n > UNROLLED:
        return jnp.linalg.cholesky(matrix)
    columns: list[Array] = []
    rest = matrix
    for j in range(n):
        pivot = rest[j, j]
        positive = pivot > 0
        root = jnp.sqrt(jnp.where(positive, pivot, 1.0))
        column = jnp.where(positive & (jnp.arange(n) >= j), rest[:, j] / root, 0.0)
        columns.append(column)
        rest = rest - column[:, None] * column[None, :]
    return jnp.stack(columns, axis=1)


def solve_lower(factor: Float[Array, "n n"], right: Float[Array, "n *k"]) -> Float[Array, "n *k"]:
    """Solve L x = b for lower triangular L by forward substitution."""
    n = factor.shape[0]
    if n > UNROLLED:
        return jax.scipy.linalg.solve_triangular(factor, right, lower=True)
    rows: list[Array] = []
    for i in range(n):
        value = right[i]
        for j in range(i):
            value = value - factor[i, j] * rows[j]
        rows.append(value / factor[i, i])
    return jnp.stack(rows)


def solve_upper(factor: Float[Array, "n n"], right: Float[Array, "n *k"]) -> Float[Array, "n *k"]:
    """Solve Lᵀ x = b for lower triangular L by backward substitution."""
    n = factor.shape[0]
    if n > UNROLLED:
        return jax.scipy.linalg.solve_triangular(factor, right, lower=True, trans=1)
    rows: list[Array] = [right[0]] * n
    for i in reversed(range(n)):
        value = right[i]
        for j in range(i + 1, n):
            value = value - factor[j, i] * rows[j]
        rows[i] = value / factor[i, i]
    return jnp.stack(rows)


def solve_spd(matrix: Float[Array, "n n"], right: Float[Array, "n *k"]) -> Float[Array, "n *k"]:
    """Solve A x = b for a symmetric positive definite A through its Cholesky factor."""
    factor = cholesky(matrix)
    return solve_upper(factor, solve_lower(factor, right))


def unit_lower(
    covariance: Float[Array, "m m"],
) -> tuple[Float[Array, "m m"], Float[Array, " m"]]:
    """Factor a positive definite matrix as L diag(d) Lᵀ with a unit lower triangular L; return (L, d)."""
    factor = cholesky(covariance)
    scale = jnp.diagonal(factor)
    return factor / scale[None, :], scale**2


def hide_unseen(covariance: Float[Array, "m m"], seen: Bool[Array, " m"]) -> Float[Array, "m m"]:
    """Replace the rows and columns of unseen components by those of the identity."""
    both = seen[:, None] & seen[None, :]
    return jnp.where(both, covariance, jnp.eye(covariance.shape[0], dtype=covariance.dtype))


def add_diagonal(matrix: Float[Array, "n n"], diagonal: Float[Array, " n"]) -> Float[Array, "n n"]:
    """Return the matrix with a vector added to its diagonal."""
    return matrix + jnp.diag(diagonal)
