from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from foresee.beliefs import Points
from foresee.errors import OptionError, PosteriorError, ShapeError
from foresee.fit import fit
from foresee.posteriors.l2m import SecondMoments, l2m, l2m_curvature, l2m_ensemble, second_moments
from foresee.posteriors.likelihood import CategoricalLikelihood, GaussianLikelihood, SupervisedLoss
from foresee.posteriors.predict import certain, predict, predict_rows

KEY = jax.random.key(0)
CLASSES = CategoricalLikelihood()
ADAM = optax.adam(2e-2)
ROWS, BATCH = 45, 5
STEPS = 3
said_of = eqx.filter_jit(predict)


def make_network(key):
    return eqx.nn.MLP(2, 3, 8, 1, key=key)


def arrays(tree):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(eqx.filter(tree, eqx.is_inexact_array))]


@pytest.fixture(scope="module")
def sets():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3 * ROWS, 2))
    y = np.argmax(x @ rng.normal(size=(2, 3)) + 0.7 * rng.gumbel(size=(3 * ROWS, 3)), axis=1)
    pairs = [(jnp.asarray(x[i::3]), jnp.asarray(y[i::3])) for i in range(3)]
    return pairs


@pytest.fixture(scope="module")
def ensemble(sets):
    networks = eqx.filter_vmap(make_network)(jax.random.split(KEY, 2))
    return fit(
        networks,
        SupervisedLoss(CLASSES),
        sets[0],
        key=KEY,
        optimizer=ADAM,
        epochs=80,
        batch_size=BATCH,
        members=2,
    )


def variances(belief) -> Any:
    return belief.weights.variance


def member(stacked, index):
    return jax.tree.map(lambda leaf: leaf[index] if eqx.is_array(leaf) else leaf, stacked)


@pytest.fixture(scope="module")
def trained(ensemble):
    return member(ensemble.model, 0), member(ensemble.optimizer_state, 0)


@pytest.fixture(scope="module")
def tuned(trained, sets):
    return l2m(trained[0], trained[1], CLASSES, sets[0], batch_size=BATCH, validation=sets[1])


@pytest.fixture(scope="module")
def mixture(ensemble, sets):
    return l2m_ensemble(
        ensemble.model, ensemble.optimizer_state, CLASSES, sets[0], batch_size=BATCH, validation=sets[1]
    )


def test_a_linear_model_with_exact_second_moments_has_the_diagonal_laplace_posterior():
    rng = np.random.default_rng(1)
    x, noise, precision = rng.normal(size=(50, 3)), 0.3, 2.0
    layer = eqx.nn.Linear(3, 1, key=KEY)
    fisher = np.append((x**2).sum(0), len(x)) / noise**2  # Σ x² / σ², closed form
    v = eqx.tree_at(
        lambda own: (own.weight, own.bias),
        layer,
        (jnp.asarray(fisher[None, :3]) / (50 * 5), jnp.asarray(fisher[3:]) / (50 * 5)),
    )
    likelihood = GaussianLikelihood(noise)
    belief = l2m(
        layer, SecondMoments(v, jnp.ones(())), likelihood, x, batch_size=5, prior_precision=precision
    )
    expected = 1 / (fisher + precision)
    np.testing.assert_allclose(np.concatenate([leaf.ravel() for leaf in arrays(variances(belief))]), expected)
    said = said_of(belief, likelihood, jnp.asarray(x[0]), key=KEY)
    np.testing.assert_allclose(said.epistemic(), [np.append(x[0], 1.0) ** 2 @ expected])
    np.testing.assert_allclose(said.aleatoric(), [noise**2])


def test_squared_gradients_of_batches_average_to_the_fisher_information_over_the_batch_size():
    rng = np.random.default_rng(2)
    x, noise = rng.normal(size=(2000, 3)), 0.5
    residuals = noise * rng.normal(size=2000)
    scores = -x * residuals[:, None] / noise**2  # of every row at the true weights
    batches = rng.integers(2000, size=(4000, 16))
    v = (scores[batches].mean(1) ** 2).mean(0)
    np.testing.assert_allclose(2000 * 16 * v, (x**2).sum(0) / noise**2, rtol=0.15)


def accumulated(gradients, decay, correct=True):
    """Textbook twin: v ← decay · v + (1 − decay) · g², divided by 1 − decayᵗ."""
    v = 0.0
    for gradient in gradients:
        v = decay * v + (1 - decay) * gradient**2
    return v / (1 - decay ** len(gradients)) if correct else v


def labels(network):
    names = eqx.tree_at(lambda own: (own.weight, own.bias), network, ("a", "b"))
    return names


OPTIMIZERS = {
    "adam": (optax.adam(1e-2, b2=0.95), 0.95, True),
    "adamw in a chain": (
        optax.chain(
            optax.clip_by_global_norm(1e9), optax.adamw(1e-2), optax.scale_by_schedule(lambda t: 1.0)
        ),
        None,
        True,
    ),
    "nadam": (optax.nadam(1e-2), None, True),
    "amsgrad": (optax.amsgrad(1e-2), None, True),
    "rmsprop": (optax.rmsprop(1e-2, decay=0.8), None, False),
    "rmsprop, corrected": (optax.rmsprop(1e-2, decay=0.8, bias_correction=True), 0.8, True),
    "rmsprop, centred": (optax.rmsprop(1e-2, decay=0.8, centered=True), None, False),
    "injected": (optax.inject_hyperparams(optax.adamw)(1e-2, b2=0.9), None, True),
    "injected in a chain": (optax.chain(optax.inject_hyperparams(optax.adam)(1e-2, b2=0.9)), None, True),
    "parts": (
        optax.multi_transform({"a": optax.adam(1e-2), "b": optax.adamw(1e-3)}, labels),
        None,
        True,
    ),
}
DECAYS = {"rmsprop": 0.8, "rmsprop, centred": 0.8, "injected": 0.9, "injected in a chain": 0.9}


@pytest.fixture(scope="module")
def layer():
    return eqx.nn.Linear(2, 2, key=KEY)


@pytest.fixture(scope="module")
def gradients(layer):
    keys = jax.random.split(KEY, STEPS)
    return [jax.tree.map(lambda leaf, key=key: jax.random.normal(key, leaf.shape), layer) for key in keys]


def ended(optimizer, network, gradients):
    state = optimizer.init(network)
    for gradient in gradients:
        _, state = optimizer.update(gradient, state, network)
    return state


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_second_moments_are_found_and_corrected(name, layer, gradients):
    optimizer, decay, correct = OPTIMIZERS[name]
    state = ended(optimizer, layer, gradients)
    found = second_moments(state, layer, decay=decay)
    rate = decay or DECAYS.get(name, 0.999)
    for got, *rows in zip(arrays(found.values), *map(arrays, gradients), strict=True):
        np.testing.assert_allclose(got, accumulated(rows, rate, correct), rtol=1e-5)
    expected = 1 - rate**STEPS if correct else np.nan
    np.testing.assert_allclose(found.filled, expected, rtol=1e-5)


def test_accumulated_gradients_count_as_one_step(layer, gradients):
    state = ended(optax.MultiSteps(optax.adam(1e-2), 2), layer, [*gradients, gradients[0]])
    found = second_moments(state, layer)
    pairs = [(gradients[0], gradients[1]), (gradients[2], gradients[0])]
    for index, got in enumerate(arrays(found.values)):
        means = [0.5 * (arrays(a)[index] + arrays(b)[index]) for a, b in pairs]
        np.testing.assert_allclose(got, accumulated(means, 0.999), rtol=1e-5)


def test_weights_that_were_not_trained_are_not_in_doubt(layer, gradients):
    mask = eqx.tree_at(lambda own: (own.weight, own.bias), layer, (True, False))
    state = ended(optax.masked(optax.adam(1e-2), mask), layer, gradients)
    belief = l2m(layer, state, GaussianLikelihood(1.0), jnp.zeros(9), batch_size=3, prior_precision=1.0)
    assert belief.weights.mean().bias is None
    drawn = belief.sample(key=KEY)
    np.testing.assert_array_equal(drawn.bias, layer.bias)
    assert not np.any(drawn.weight == layer.weight)


def test_only_the_last_layer_or_what_a_filter_says_is_in_doubt(trained, sets):
    network, state = trained
    last = l2m_curvature(network, state, ROWS, batch_size=BATCH, which="last")
    assert [leaf.shape for leaf in jax.tree.leaves(last.weights)] == [(3, 8), (3,)]
    matrices = l2m_curvature(
        network, state, ROWS, batch_size=BATCH, which=lambda leaf: eqx.is_array(leaf) and leaf.ndim == 2
    )
    assert [leaf.shape for leaf in jax.tree.leaves(matrices.curvature)] == [(8, 2), (3, 8)]


def test_weights_without_a_gradient_are_as_doubtful_as_the_prior(trained):
    network, state = trained
    dead = eqx.tree_at(lambda own: own[0].nu.layers[0].weight, state, replace_fn=jnp.zeros_like)
    curvature = l2m_curvature(network, dead, ROWS, batch_size=BATCH)
    assert 0 < float(curvature.zeros()) < 1
    variance = variances(curvature.belief(1e-9))
    np.testing.assert_allclose(variance.layers[0].weight, 1e9)
    assert np.isfinite(float(curvature.tune().prior_precision))
    with pytest.raises(PosteriorError, match="16 of 51"):
        curvature.belief(0.0)


def mean_loss(belief, rows, **options):
    said = predict_rows(belief, CLASSES, rows[0], key=KEY, **options)
    return float(-jnp.mean(jax.vmap(lambda one, y: one.log_prob(y))(said, rows[1])))


def test_tuned_on_validation_rows_it_predicts_them_no_worse_than_the_plain_networks(
    mixture, tuned, ensemble, trained, sets
):
    margin = 5e-3  # other draws of the logits than in tuning
    assert mean_loss(tuned, sets[1]) <= mean_loss(certain(trained[0]), sets[1]) + margin
    assert mean_loss(mixture, sets[1]) <= mean_loss(Points(ensemble.model), sets[1]) + margin
    assert mean_loss(tuned, sets[2]) < mean_loss(certain(trained[0]), sets[2])  # new rows


def test_it_doubts_more_far_from_the_data(tuned):
    near, far = (eqx.filter_jit(tuned.outputs)(size * jnp.ones(2)) for size in (0.0, 30.0))
    assert np.all(jnp.diagonal(far.covariance) > jnp.diagonal(near.covariance))


def test_stacked_members_equal_one_after_the_other(ensemble, sets):
    options: Any = {"batch_size": BATCH, "prior_precision": 2.0}
    stacked = l2m_ensemble(ensemble.model, ensemble.optimizer_state, CLASSES, sets[0], **options)
    for index in range(2):
        parts = member(ensemble.model, index), member(ensemble.optimizer_state, index)
        alone = l2m(*parts, CLASSES, sets[0], **options)
        for one, other in zip(arrays(alone), arrays(stacked.component(index)), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-9)


def test_compiled_it_is_the_same(trained, sets):
    def build(network, state):
        return l2m(network, state, CLASSES, sets[0], batch_size=BATCH)

    for one, other in zip(arrays(build(*trained)), arrays(eqx.filter_jit(build)(*trained)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_the_mixture_predicts_with_all_members(mixture, sets):
    x = sets[2][0][0]
    said = said_of(mixture, CLASSES, x, key=KEY, n=4000)
    each = [said_of(mixture.component(i), CLASSES, x, key=KEY, n=4000).probabilities() for i in range(2)]
    np.testing.assert_allclose(said.probabilities(), (each[0] + each[1]) / 2, atol=0.02)
    np.testing.assert_allclose(said.probabilities().sum(), 1.0)
    for method in ("linear", "samples"):
        rows: Any = predict_rows(mixture, CLASSES, sets[2][0][:3], key=KEY, n=6, method=method)
        assert rows.logits.shape == (3, 6, 3)
        assert np.isfinite(rows.logits).all()


def test_a_mixture_of_regressions_adds_the_members_disagreement(layer, gradients):
    state = ended(ADAM, layer, gradients)
    both = eqx.filter_vmap(lambda shift: jax.tree.map(lambda leaf: leaf + shift, layer))(
        jnp.asarray([0.0, 1.0])
    )
    states = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), state)
    likelihood = GaussianLikelihood(0.1)
    belief = l2m_ensemble(both, states, likelihood, jnp.zeros(9), batch_size=3, prior_precision=4.0)
    x = jnp.asarray([0.3, -0.2])
    said = said_of(belief, likelihood, x, key=KEY)
    ones = [said_of(belief.component(i), likelihood, x, key=KEY) for i in range(2)]
    means = np.stack([one.mean() for one in ones])
    np.testing.assert_allclose(said.mean(), means.mean(0))
    expected = np.mean([one.epistemic() for one in ones], axis=0) + means.var(0)
    np.testing.assert_allclose(said.epistemic(), expected)


def test_what_cannot_be_used_is_refused_by_name(trained, layer, gradients, sets):
    network, state = trained
    common: Any = {"batch_size": BATCH}
    sgd = optax.sgd(1e-2, momentum=0.9).init(network.layers[0])
    with pytest.raises(PosteriorError, match="TraceState"):
        l2m(network, sgd, CLASSES, sets[0], **common)
    with pytest.raises(PosteriorError, match="taken a step"):
        second_moments(ADAM.init(layer), layer)
    with pytest.raises(PosteriorError, match=r"\.bias, which it does not have"):
        l2m(network, ended(ADAM, layer, gradients), CLASSES, sets[0], **common)
    with pytest.raises(ShapeError, match=r"expected shape \(8, 2\) for \.layers\[0\]\.weight, got \(5, 2\)"):
        second_moments(ADAM.init(eqx.filter(eqx.nn.MLP(2, 3, 5, 1, key=KEY), eqx.is_array)), network)
    with pytest.raises(PosteriorError, match="below the 45 rows, got 45"):
        l2m(network, state, CLASSES, sets[0], batch_size=45)
    with pytest.raises(OptionError, match="decay between"):
        l2m(network, state, CLASSES, sets[0], decay=1.5, **common)
    with pytest.raises(OptionError, match="'first'"):
        l2m(network, state, CLASSES, sets[0], which="first", **common)
    with pytest.raises(ShapeError, match="the same rows"):
        l2m(network, state, CLASSES, (jnp.zeros(3), jnp.zeros(4)), **common)
    bias_only = SecondMoments(eqx.tree_at(lambda own: own.weight, layer, None), jnp.ones(()))
    with pytest.raises(PosteriorError, match="none for any of them"):
        l2m(
            layer,
            bias_only,
            CLASSES,
            sets[0],
            which=lambda leaf: eqx.is_array(leaf) and leaf.ndim == 2,
            **common,
        )
