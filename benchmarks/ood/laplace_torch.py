"""laplace-torch around the same weights: its last-layer posteriors, its own choice of the prior."""

import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.ood.methods import Judged, Said

STRUCTURES = {"Kronecker": "kron", "full": "full", "diagonal": "diag"}
AT_ONCE = 1000  # rows


def posteriors(judged: Judged, network: Any) -> Iterator[tuple[str, Said]]:
    """Yield laplace-torch's posteriors around a network.

    Raises:
        ImportError: if laplace-torch is not installed.
    """
    import torch
    from laplace import Laplace
    from torch.utils.data import DataLoader, TensorDataset

    torch.manual_seed(judged.seed)
    task, seed = judged.task, judged.seed
    model = _torch_network(network)
    data = (torch.tensor(task.pixels(seed, "train")), torch.tensor(task.truth(seed, "train")).long())
    loader = DataLoader(TensorDataset(*data), batch_size=AT_ONCE)
    pixels = torch.tensor(np.asarray(judged.pixels))
    for name, structure in STRUCTURES.items():
        begin = time.perf_counter()
        belief = Laplace(model, "classification", subset_of_weights="last_layer", hessian_structure=structure)
        belief.fit(loader)
        belief.optimize_prior_precision(method="marglik")
        fitted = time.perf_counter()
        with torch.no_grad():
            parts = [
                belief(part, pred_type="glm", link_approx="mc", n_samples=64)
                for part in pixels.split(AT_ONCE)
            ]
        chances = torch.cat(parts).clamp_min(1e-12).log().numpy()
        seconds = (time.perf_counter() - fitted) * 1e4 / len(pixels)
        yield f"laplace-torch, last layer, {name}", Said(judged.split(chances), None, fitted - begin, seconds)


def _torch_network(network: Any) -> Any:
    """Return the same network in PyTorch."""
    import torch

    layers: list[Any] = []
    for layer in (*network.hidden, network.last):
        copy = torch.nn.Linear(layer.in_features, layer.out_features)
        with torch.no_grad():
            copy.weight.copy_(torch.tensor(np.asarray(layer.weight)))
            copy.bias.copy_(torch.tensor(np.asarray(layer.bias)))
        layers += [copy, torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1]).eval()
