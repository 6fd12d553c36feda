"""Logits and labels of which it is known how they should be scaled."""

import numpy as np
import pytest
from scipy.special import softmax


@pytest.fixture(scope="session")
def sharp():
    """Logits 2.5 times too large, with the labels drawn from what they should be: (logits, labels)."""
    random = np.random.default_rng(0)
    right = random.normal(size=(2000, 4)) * 1.5
    labels = (softmax(right, 1).cumsum(1) < random.uniform(size=(2000, 1))).sum(1)
    return 2.5 * right, labels


@pytest.fixture(scope="session")
def saved(shared_data):
    """Return a function: name and seed → predictions, labels, rows to fit on, rows to judge."""

    def halves(name, seed=0):
        content = np.load(shared_data / "logits" / f"{name}.npz")
        order = np.random.default_rng(seed).permutation(len(content["ground_truth"]))
        half = len(order) // 2
        return content["predictions"], content["ground_truth"], order[:half], order[half:]

    return halves
