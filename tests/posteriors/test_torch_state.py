import subprocess
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from foresee.errors import PosteriorError, ShapeError
from foresee.posteriors.likelihood import CategoricalLikelihood
from foresee.posteriors.torch_state import (
    in_order,
    l2m_from_torch,
    torch_parameters,
    torch_second_moments,
)

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)


class Tensor:
    """As much of a tensor of PyTorch as is looked at."""

    def __init__(self, values):
        self.values = np.asarray(values)
        self.shape = self.values.shape

    def detach(self):
        return self

    def cpu(self):
        return self

    def numpy(self):
        return self.values


class Model:
    def __init__(self, shapes):
        self.held = [(name, Tensor(RNG.normal(size=shape))) for name, shape in shapes.items()]

    def named_parameters(self):
        return iter(self.held)


class Optimizer:
    def __init__(self, model, key, options, order=None):
        tensors = [tensor for _, tensor in model.held]
        tensors = [tensors[index] for index in order or range(len(tensors))]
        self.param_groups = [{"params": tensors, **options}]
        self.state = {
            index: {"step": Tensor(4.0), key: Tensor(np.abs(tensor.values))}
            for index, tensor in enumerate(tensors)
        }

    def state_dict(self):
        groups = [{**group, "params": list(range(len(group["params"])))} for group in self.param_groups]
        return {"state": self.state, "param_groups": groups}


SHAPES = {"0.weight": (5, 2), "0.bias": (5,), "2.weight": (3, 5), "2.bias": (3,)}


@pytest.fixture(scope="module")
def model():
    return Model(SHAPES)


@pytest.fixture(scope="module")
def network():
    return eqx.nn.MLP(2, 3, 5, 1, key=KEY)


@pytest.mark.parametrize(
    ("key", "options", "decay"),
    [("exp_avg_sq", {"betas": (0.9, 0.99)}, 0.99), ("square_avg", {"alpha": 0.8}, 0.8)],
)
def test_second_moments_are_corrected_by_the_optimisers_own_decay_and_steps(model, key, options, decay):
    optimizer = Optimizer(model, key, options)
    for given in (optimizer, optimizer.state_dict()):
        found = torch_second_moments(given, model)
        assert list(found) == list(SHAPES)
        for name, tensor in model.named_parameters():
            np.testing.assert_allclose(found[name], np.abs(tensor.values) / (1 - decay**4))


def test_parameters_are_known_by_identity_or_name_where_the_order_differs(model):
    optimizer = Optimizer(model, "exp_avg_sq", {"betas": (0.9, 0.99)}, order=[2, 3, 0, 1])
    found = torch_second_moments(optimizer, model)
    assert {name: value.shape for name, value in found.items()} == SHAPES
    held = optimizer.state_dict()
    with pytest.raises(ShapeError, match=r"expected shape \(5, 2\) for 0\.weight, got \(3, 5\)"):
        torch_second_moments(held, model)
    held["param_groups"][0]["param_names"] = ["2.weight", "2.bias", "0.weight", "0.bias"]
    np.testing.assert_array_equal(torch_second_moments(held, model)["0.bias"], found["0.bias"])


def test_the_belief_is_l2m_of_the_copied_network(model, network):
    optimizer = Optimizer(model, "exp_avg_sq", {"betas": (0.9, 0.99)})
    del optimizer.state[0]  # a parameter that was frozen
    belief = l2m_from_torch(
        network, model, optimizer, CategoricalLikelihood(), np.zeros(50), batch_size=5, prior_precision=2.0
    )
    tensors = {name: tensor.values for name, tensor in model.named_parameters()}
    x = np.array([0.3, -1.0])
    hidden = np.maximum(tensors["0.weight"] @ x + tensors["0.bias"], 0)
    np.testing.assert_allclose(
        belief.mean()(jnp.asarray(x)), tensors["2.weight"] @ hidden + tensors["2.bias"]
    )
    variances = belief.weights.variance  # pyright: ignore
    assert variances.layers[0].weight is None
    v = np.abs(tensors["2.weight"]) / (1 - 0.99**4)
    np.testing.assert_allclose(variances.layers[1].weight, 1 / (50 * 5 * v + 2.0))


def test_convolutions_take_their_bias_with_more_axes():
    layer = eqx.nn.Conv2d(1, 4, 3, key=KEY)
    arrays = torch_parameters({"weight": RNG.normal(size=(4, 1, 3, 3)), "bias": RNG.normal(size=4)})
    placed = in_order(layer, arrays)
    np.testing.assert_array_equal(placed.bias[:, 0, 0], arrays["bias"])


def test_what_does_not_fit_is_refused(model, network):
    with pytest.raises(PosteriorError, match="momentum_buffer"):
        torch_second_moments(Optimizer(model, "momentum_buffer", {}), model)
    fresh = Optimizer(model, "exp_avg_sq", {"betas": (0.9, 0.99)})
    fresh.state = {}
    with pytest.raises(PosteriorError, match="taken a step"):
        torch_second_moments(fresh, model)
    with pytest.raises(PosteriorError, match="expected 4, as the network has, got 1"):
        in_order(network, {"0.weight": jnp.zeros((5, 2))})
    with pytest.raises(ShapeError, match=r"\(5, 2\) for \.layers\[0\]\.weight, got \(2, 5\) of 0\.weight"):
        in_order(network, torch_parameters(Model({**SHAPES, "0.weight": (2, 5)})))


def test_pytorch_is_never_imported():
    code = "import sys, foresee.posteriors.torch_state; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_with_pytorch_itself(network):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    layers = torch.nn.Sequential(torch.nn.Linear(2, 5), torch.nn.ReLU(), torch.nn.Linear(5, 3))
    optimizer = torch.optim.AdamW(layers.parameters(), lr=1e-2)
    x, y = torch.randn(60, 2), torch.arange(60) % 3
    averages = [0.0 for _ in layers.parameters()]
    for rows in (slice(0, 20), slice(20, 40), slice(40, 60)):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(layers(x[rows]), y[rows]).backward()
        optimizer.step()
        for index, parameter in enumerate(layers.parameters()):
            averages[index] = 0.999 * averages[index] + 0.001 * parameter.grad.numpy() ** 2
    found = torch_second_moments(optimizer, layers)
    for value, average in zip(found.values(), averages, strict=True):
        np.testing.assert_allclose(value, average / (1 - 0.999**3), rtol=1e-5)
    belief = l2m_from_torch(
        network, layers, optimizer, CategoricalLikelihood(), x.numpy(), batch_size=20, prior_precision=1.0
    )
    outputs = jax.vmap(belief.mean())(jnp.asarray(x.numpy()))
    np.testing.assert_allclose(outputs, layers(x).detach().numpy(), atol=1e-6)
