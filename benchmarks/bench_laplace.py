"""Laplace approximations of one network beside laplace-torch's: equal posteriors, seconds, how good."""

import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks import measure
from foresee.calibration import auroc, calibration_error, negative_log_likelihood
from foresee.fit import fit
from foresee.posteriors.evidence import maximise_evidence
from foresee.posteriors.laplace import curvature_of, laplace, posterior
from foresee.posteriors.likelihood import CategoricalLikelihood, SupervisedLoss
from foresee.posteriors.predict import certain, predict_rows

CLAIM = "the posteriors are those of laplace-torch, to rounding, and are found and used faster"
DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data" / "images"
CLASSES = CategoricalLikelihood()
KEY = jax.random.key(0)
PRECISION = 3.0  # the same on both sides where posteriors are compared
STRUCTURES = {
    "last_full": ("last_layer", "full"),
    "last_kronecker": ("last_layer", "kron"),
    "last_diagonal": ("last_layer", "diag"),
    "diagonal": ("all", "diag"),
    "kronecker": ("all", "kron"),
}
TRAIN, HELD, TEST, FAR = 10_000, 1_000, 2_000, 2_000
TIMED = 500  # rows predicted against the clock
COMPARED, CHECKED = 500, 50  # rows fitted and predicted in float64
WIDTH = 100


def images(quick: bool) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return rows to train on, keep back and test on, and others of no known class; made up if `quick`."""
    if quick or not DATA.exists():
        draw = np.random.default_rng(0)
        centres = draw.normal(size=(3, 6))
        labels = draw.integers(0, 3, 240)
        rows = centres[labels] + draw.normal(size=(240, 6))
        cut = {"train": slice(120), "held": slice(120, 160), "test": slice(160, 240)}
        parts = {name: (rows[own], labels[own]) for name, own in cut.items()}
        return parts | {"far": (5 * draw.normal(size=(80, 6)), np.zeros(80, int))}
    with np.load(DATA / "mnist_convnetjs.npz") as file:
        x, y = file["x"].reshape(len(file["x"]), -1) / 255.0, file["y"].astype(int)
    with np.load(DATA / "notmnist_test.npz") as file:
        name = next(key for key in file.files if file[key].ndim >= 2)
        far = file[name].reshape(len(file[name]), -1)[:FAR] / 255.0
    order = np.random.default_rng(0).permutation(60_000)
    train, held = order[:TRAIN], order[TRAIN : TRAIN + HELD]
    test = slice(60_000, 60_000 + TEST)
    return {
        "train": (x[train], y[train]),
        "held": (x[held], y[held]),
        "test": (x[test], y[test]),
        "far": (far, np.zeros(len(far), int)),
    }


def as_type(parts: Any, kind: Any) -> Any:
    """Return the same with all floating point arrays of one kind."""
    return jax.tree.map(lambda a: jnp.asarray(a, kind) if eqx.is_inexact_array_like(a) else a, parts)


def trained(rows: tuple[Any, Any], quick: bool) -> Any:
    """Return the network that all posteriors are about."""
    classes = int(rows[1].max()) + 1
    width, depth = (5, 1) if quick else (WIDTH, 2)
    network = eqx.nn.MLP(rows[0].shape[1], classes, width, depth, jax.nn.relu, key=KEY)
    loss = SupervisedLoss(CLASSES)
    optimizer = optax.adamw(1e-3, weight_decay=1e-4)
    return fit(network, loss, rows, key=KEY, optimizer=optimizer, epochs=2 if quick else 15).model


class Torch:
    """The same network in PyTorch, with laplace-torch's posterior about it."""

    def __init__(self, network: Any, rows: tuple[Any, Any], structure: str, kind: str):
        import torch
        from laplace import Laplace

        class One(torch.nn.Module):
            """Appends the one that a bias is multiplied by, so that both share a factor."""

            def forward(self, x):
                return torch.cat([x, torch.ones_like(x[:, :1])], 1)

        self.torch = torch
        self.kind = getattr(torch, kind)
        joint, modules = "kron" in structure, []
        for layer in network.layers:
            linear = torch.nn.Linear(layer.in_features + joint, layer.out_features, bias=not joint)
            weight, bias = np.array(layer.weight), np.array(layer.bias)
            with torch.no_grad():
                table = np.concatenate([weight, bias[:, None]], 1) if joint else weight
                linear.weight.copy_(torch.from_numpy(table))
                if not joint:
                    linear.bias.copy_(torch.from_numpy(bias))
            modules += [*([One()] if joint else []), linear, torch.nn.ReLU()]
        model = torch.nn.Sequential(*modules[:-1]).to(self.kind).eval()
        subset, hessian = STRUCTURES[structure]
        self.make = lambda: Laplace(
            model,
            "classification",
            subset_of_weights=subset,
            hessian_structure=hessian,
            prior_precision=PRECISION,
        )
        x, y = self.tensor(rows[0]), torch.from_numpy(np.array(rows[1]))
        self.loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=128)

    def tensor(self, x: Any) -> Any:
        """Return rows as a tensor."""
        return self.torch.from_numpy(np.array(x)).to(self.kind)

    def fit(self) -> Any:
        """Return the fitted posterior."""
        found = self.make()
        found.fit(self.loader)
        return found

    def outputs(self, found: Any, x: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return means and covariances of the logits, some rows at a time."""
        parts = [found._glm_predictive_distribution(part) for part in self.tensor(x).split(100)]
        means, covariances = (self.torch.cat(own).detach().numpy() for own in zip(*parts, strict=True))
        return means, covariances

    def probabilities(self, found: Any, x: Any) -> np.ndarray:
        """Return its recommended predictions."""
        parts = [found(part, pred_type="glm", link_approx="probit") for part in self.tensor(x).split(100)]
        return self.torch.cat(parts).detach().numpy()


@eqx.filter_jit
def outputs(belief: Any, x: Any) -> tuple[Any, Any]:
    """Return means and covariances of the logits, some rows at a time."""

    def one(x):
        found = belief.outputs(x)
        return found.mean(), found.covariance

    return jax.lax.map(one, x, batch_size=250)


def seconds(work: Callable[[], Any], repeats: int) -> tuple[float, float, Any]:
    """Return the seconds of the first call and the least of the others, and the result."""
    times = []
    for _ in range(repeats + 1):
        begin = time.perf_counter()
        result = jax.block_until_ready(work())
        times.append(time.perf_counter() - begin)
    return times[0], min(times[1:] or times), result


def quality(name: str, probabilities: Any, parts: dict, precision: float | None, at: str) -> tuple:
    """Return one row of the table of how good predictions are."""
    chances = {own: np.asarray(probabilities(parts[own][0]), float) for own in ("test", "far")}
    chances = {own: p / p.sum(1, keepdims=True) for own, p in chances.items()}
    labels = parts["test"][1]
    doubt = {own: -np.sum(p * np.log(np.maximum(p, 1e-30)), 1) for own, p in chances.items()}
    far = np.repeat([0, 1], [len(doubt["test"]), len(doubt["far"])])
    detected = float(auroc(np.concatenate([doubt["test"], doubt["far"]]), far))
    accuracy = float(np.mean(chances["test"].argmax(1) == labels))
    nll = float(negative_log_likelihood(chances["test"], labels))
    ece = float(calibration_error(chances["test"], labels))
    return (name, at, precision, accuracy, nll, ece, detected)


def compared(report: measure.Report, network: Any, parts: dict) -> None:
    """Gate that posteriors equal laplace-torch's, in float64 on some rows."""
    some, new = tuple(own[:COMPARED] for own in parts["train"]), parts["test"][0][:CHECKED]
    network = as_type(network, jnp.float64)
    for structure in STRUCTURES:
        belief = laplace(
            network, CLASSES, as_type(some, jnp.float64), structure=structure, prior_precision=PRECISION
        )
        means, covariances = outputs(belief, as_type(new, jnp.float64))
        peer = Torch(network, some, structure, "float64")
        their_means, theirs = peer.outputs(peer.fit(), new)
        scale = np.abs(theirs).max()
        worst = max(
            float(np.abs(covariances - theirs).max() / scale), float(np.abs(means - their_means).max())
        )
        report.gate(
            f"{structure}: covariances of the logits equal laplace-torch's to 1e-6",
            worst < 1e-6,
            f"{worst:.1e}",
        )


def own_rows(report: measure.Report, network: Any, parts: dict, repeats: int) -> tuple[list, list]:
    """Return our rows of both tables."""
    times, goods = [], []
    plain = certain(network)

    def chances(belief):
        return lambda x: jax.vmap(lambda one: one.probabilities())(
            predict_rows(belief, CLASSES, x, key=KEY, n=100)
        )

    goods.append(quality("the network alone", chances(plain), parts, None, ""))
    for structure in ("last_kronecker", "diagonal") if report.options.quick else STRUCTURES:
        measured = partial(curvature_of, network, CLASSES, parts["train"], structure=structure)
        first, warm, curvature = seconds(measured, repeats)
        tuning = seconds(partial(maximise_evidence, curvature), repeats)
        best = tuning[2]
        report.gate(f"{structure}: the evidence has a maximum", bool(best.converged))
        belief = posterior(curvature, best.prior_precision[0])
        predicting = seconds(partial(outputs, belief, parts["test"][0][:TIMED]), repeats)
        times.append(("foresee", structure, first, warm, tuning[1], predicting[1]))
        precision = float(best.prior_precision[0])
        goods.append(quality(f"foresee {structure}", chances(belief), parts, precision, "evidence"))
        if report.options.quick:
            continue
        chosen = laplace(network, CLASSES, parts["train"], structure=structure, validation=parts["held"])
        goods.append(quality(f"foresee {structure}", chances(chosen), parts, None, "validation"))
    return times, goods


def their_rows(network: Any, parts: dict) -> tuple[list, list]:
    """Return laplace-torch's rows of both tables, or the reason why there are none."""
    times, goods = [], []
    for structure in STRUCTURES:
        peer = Torch(network, parts["train"], structure, "float32")
        first, warm, found = seconds(peer.fit, 0)  # PyTorch compiles nothing, and a minute is long enough
        predicting = seconds(partial(peer.outputs, found, parts["test"][0][:TIMED]), 1)
        begin = time.perf_counter()
        found.optimize_prior_precision(pred_type="glm", method="marglik", prior_structure="scalar")
        tuning = time.perf_counter() - begin
        times.append(("laplace-torch", structure, first, warm, tuning, predicting[1]))
        precision = float(found.prior_precision)
        goods.append(
            quality(
                f"laplace-torch {structure}", partial(peer.probabilities, found), parts, precision, "evidence"
            )
        )
    return times, goods


def main(arguments: list[str] | None = None) -> int:
    """Train once, then fit, compare, time and judge every posterior."""
    options = measure.options(__doc__, arguments)
    report = measure.Report("laplace", CLAIM, options)
    with jax.enable_x64(False):
        parts = as_type(images(options.quick), jnp.float32)
        network = trained(parts["train"], options.quick)
        times, goods = own_rows(report, network, parts, 1 if options.quick else 3)
    if options.peers is None or any("laplace" in name for name in options.peers):
        try:
            import laplace  # noqa: F401
        except ImportError as error:
            report.facts["laplace-torch"] = f"not run: {error}"
        else:
            report.facts["versions"] = {name: version(name) for name in ("laplace-torch", "torch")}
            compared(report, network, parts)
            with jax.enable_x64(False):
                more = their_rows(network, parts)
            times, goods = times + more[0], goods + more[1]
    names = (
        "",
        "structure",
        "first fit [s]",
        "fit [s]",
        "prior [s]",
        f"predict {TIMED} rows [s]",
    )
    report.table(
        f"seconds, {len(parts['train'][1])} rows, float32", names, sorted(times, key=lambda row: row[1])
    )
    names = ("", "prior by", "prior precision", "accuracy", "NLL", "ECE", "far AUROC")
    report.table("predictions on the test rows, and notMNIST by entropy", names, sorted(goods))
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
