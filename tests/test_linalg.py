"""Small linear algebra against NumPy's, alone, in a batch and under every derivative."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from foresee import linalg

SIZES = [1, 2, 4, 7, 9, 20]  # below and above both limits of "tiny"


def _draw(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


def _spd(n, seed=0):
    root = np.random.default_rng(seed).normal(size=(n, n))
    return root @ root.T + 0.1 * np.eye(n)


def test_angles_wrap_to_the_half_open_interval():
    angle = np.array([0.0, np.pi, -np.pi, 3 * np.pi, 3.5, -3.5, 100.0, -1e4])
    wrapped = np.asarray(linalg.wrap_angle(jnp.asarray(angle)))
    assert np.all((wrapped >= -np.pi) & (wrapped < np.pi))
    assert_allclose(np.exp(1j * wrapped), np.exp(1j * angle), atol=1e-9)
    assert wrapped[1] == -np.pi


def test_only_named_components_wrap():
    vector = jnp.array([4.0, 4.0, -4.0])
    assert_allclose(linalg.wrap_components(vector, (1, 2)), [4.0, 4.0 - 2 * np.pi, 2 * np.pi - 4.0])
    assert linalg.wrap_components(vector, ()) is vector


@pytest.mark.parametrize("n", SIZES)
def test_products_agree_with_numpy(n):
    left, right, vector = _draw(n, n + 1), _draw(n + 1, 3, seed=1), _draw(n + 1, seed=2)
    assert_allclose(linalg.matmul(left, right), np.asarray(left) @ np.asarray(right), atol=1e-12)
    assert_allclose(linalg.matvec(left, vector), np.asarray(left) @ np.asarray(vector), atol=1e-12)
    spd = _spd(n + 1)
    twin = np.asarray(left) @ spd @ np.asarray(left).T
    assert_allclose(linalg.sandwich(left, jnp.asarray(spd)), twin, rtol=1e-10, atol=1e-10)


PRODUCTS = [
    (linalg.matmul, (4, 3), (3, 5)),
    (linalg.matvec, (4, 3), (3,)),
    (linalg.matmul, (1, 1), (1, 1)),
    (linalg.matmul, (20, 3), (3, 2)),
]


@pytest.mark.parametrize(("product", "a", "b"), PRODUCTS)
@pytest.mark.parametrize("axes", [(0, 0), (0, None), (None, 0)])
def test_batched_products_agree_with_numpy(product, a, b, axes):
    left = _draw(*((6, *a) if axes[0] == 0 else a))
    right = _draw(*((6, *b) if axes[1] == 0 else b), seed=1)
    got = jax.jit(jax.vmap(product, axes))(left, right)
    for i in range(6):
        one, other = left[i] if axes[0] == 0 else left, right[i] if axes[1] == 0 else right
        assert_allclose(got[i], np.asarray(one) @ np.asarray(other), atol=1e-12)


def test_doubly_batched_products_agree_with_numpy():
    left, right = _draw(3, 2, 2), _draw(4, 2, 2, seed=1)
    got = jax.vmap(lambda a: jax.vmap(lambda b: linalg.matmul(a, b))(right))(left)
    assert_allclose(got, np.einsum("aij,bjk->abik", left, right), atol=1e-12)


@pytest.mark.parametrize(("product", "a", "b"), PRODUCTS)
def test_derivatives_of_products_agree_with_the_plain_product(product, a, b):
    left, right = _draw(*a), _draw(*b, seed=1)
    moves = _draw(*a, seed=2), _draw(*b, seed=3)

    def derivatives(multiply, left, right, moves):
        def cost(x, y):
            return jnp.sum(jnp.sin(multiply(x, y)))

        def total(x, y):
            return jnp.sum(jax.vmap(lambda row: cost(row, y))(jnp.stack([x, 2 * x])))

        batch = jnp.stack([left, 2 * left, -left])
        by_argument = [
            (
                jax.grad(cost, argument)(left, right),
                jax.hessian(cost, argument)(left, right),
                jax.vmap(jax.grad(cost, argument), (0, None))(batch, right),
            )
            for argument in (0, 1)
        ]
        return jax.jvp(cost, (left, right), moves), by_argument, jax.grad(total)(left, right)

    compiled = jax.jit(derivatives, static_argnums=0)
    ours, plain = (compiled(multiply, left, right, moves) for multiply in (product, jnp.matmul))
    for fast, slow in zip(jax.tree.leaves(ours), jax.tree.leaves(plain), strict=True):
        assert_allclose(fast, slow, atol=1e-12)


def test_products_inside_a_scan_under_grad_of_vmap():
    matrix, start = 0.3 * _draw(3, 3), _draw(5, 3, seed=1)

    def cost(multiply, matrix):
        def one(x):
            return jnp.sum(jax.lax.scan(lambda c, _: (multiply(matrix, c), None), x, length=4)[0] ** 2)

        return jnp.sum(jax.vmap(one)(start))

    fast = jax.jit(jax.grad(lambda a: cost(linalg.matvec, a)))(matrix)
    assert_allclose(fast, jax.grad(lambda a: cost(jnp.matmul, a))(matrix), atol=1e-12)


@pytest.mark.parametrize("n", SIZES)
def test_cholesky_and_solves_agree_with_numpy(n):
    matrix, right, vector = _spd(n), _draw(n, 3), _draw(n, seed=1)
    factor = linalg.cholesky(jnp.asarray(matrix))
    assert_allclose(factor, np.linalg.cholesky(matrix), atol=1e-10)
    assert_allclose(linalg.solve_lower(factor, right), np.linalg.solve(factor, right), atol=1e-8)
    assert_allclose(linalg.solve_lower(factor, vector), np.linalg.solve(factor, vector), atol=1e-8)
    assert_allclose(linalg.solve_upper(factor, right), np.linalg.solve(factor.T, right), atol=1e-8)
    assert_allclose(linalg.solve_upper(factor, vector), np.linalg.solve(factor.T, vector), atol=1e-8)
    assert_allclose(linalg.solve_spd(jnp.asarray(matrix), right), np.linalg.solve(matrix, right), atol=1e-7)


@pytest.mark.parametrize("n", [2, 5])
def test_gradient_of_the_log_determinant(n):
    matrix = jnp.asarray(_spd(n))

    def log_determinant(scale):
        factor = linalg.cholesky(matrix + scale * jnp.eye(n))
        return 2 * jnp.sum(jnp.log(jnp.diagonal(factor)))

    assert_allclose(
        jax.grad(log_determinant)(0.5), np.trace(np.linalg.inv(matrix + 0.5 * np.eye(n))), rtol=1e-10
    )


@pytest.mark.parametrize(
    "matrix",
    [
        np.zeros((3, 3)),
        np.diag([1.0, 0.0, 2.0]),
        np.outer([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]),
        np.array([[0.0, 0.0], [0.0, 4.0]]),
    ],
)
def test_cholesky_of_a_singular_matrix_still_is_a_root(matrix):
    factor = np.asarray(linalg.cholesky(jnp.asarray(matrix)))
    assert_allclose(factor @ factor.T, matrix, atol=1e-12)
    assert_array_equal(factor, np.tril(factor))
    gradient = jax.grad(lambda m: jnp.sum(linalg.cholesky(m)))(jnp.asarray(matrix))
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("n", [1, 3, 9])
def test_unit_lower_factor(n):
    matrix = _spd(n)
    factor, variances = linalg.unit_lower(jnp.asarray(matrix))
    assert_allclose(np.diagonal(factor), 1.0)
    assert_allclose(factor @ jnp.diag(variances) @ factor.T, matrix, atol=1e-10)


def test_hidden_components_are_those_of_the_identity():
    matrix, seen = _spd(3), np.array([True, False, True])
    hidden = np.asarray(linalg.hide_unseen(jnp.asarray(matrix), jnp.asarray(seen)))
    assert_allclose(hidden[np.ix_(seen, seen)], matrix[np.ix_(seen, seen)])
    assert_array_equal(hidden[1], [0, 1, 0])
    assert_array_equal(hidden[:, 1], [0, 1, 0])
    poisoned = jnp.asarray(matrix).at[1].set(jnp.nan).at[:, 1].set(jnp.nan)
    assert_array_equal(linalg.hide_unseen(poisoned, jnp.asarray(seen)), hidden)


def test_symmetric_part_and_diagonal():
    matrix = _draw(3, 3)
    assert_allclose(linalg.symmetrize(matrix), (np.asarray(matrix) + np.asarray(matrix).T) / 2)
    assert_allclose(linalg.add_diagonal(matrix, jnp.arange(3.0)), matrix + np.diag([0.0, 1.0, 2.0]))
