"""Saved outputs of real networks: what scaling mends, and whether prediction sets keep their word."""

import contextlib
import io
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from benchmarks import measure
from foresee import calibration as c

CLAIM = (
    "temperature scaling brings the calibration error of real networks down to what others measured, "
    "and prediction sets hold the true class as often as stated, within the exact band"
)
DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data" / "logits"
SPLITS, BINS, LEVEL = 10, 15, 0.9
METHODS = ("none", "temperature", "vector", "isotonic")
PUBLISHED = {  # ECE after temperature scaling, and mean size of LAC sets at 90 %, on one split
    "wideresnet-16-4-cifar-10": (0.0096, 0.97),
    "lenet-5-cifar-10": (0.019, 3.42),
    "wideresnet-16-4-cifar-100": (0.042, 2.22),
}
STRANGENESS = {"LAC": c.LeastAmbiguous(), "APS": c.Adaptive(), "RAPS": c.RegularisedAdaptive()}


@dataclass(frozen=True)
class Network:
    """Saved outputs of one network."""

    name: str
    logits: jax.Array
    labels: np.ndarray

    def splits(self, number: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield rows to fit on and rows to judge, half of all each."""
        for seed in range(number):
            order = np.random.default_rng(seed).permutation(len(self.labels))
            yield order[: len(order) // 2], order[len(order) // 2 :]


def networks(quick: bool) -> list[Network]:
    """Return the saved networks, or a made-up one that is twice as certain as it should be."""
    found = [DATA / f"{name}.npz" for name in PUBLISHED if (DATA / f"{name}.npz").exists()]
    if quick or not found:
        random = np.random.default_rng(0)
        right = 1.5 * random.normal(size=(1000, 4))
        labels = (right + random.gumbel(size=right.shape)).argmax(1)
        return [Network("made up", jnp.asarray(2 * right, jnp.float32), labels)]
    files = {path.stem: np.load(path) for path in found}
    return [
        Network(name, c.log_probabilities(content["predictions"]), content["ground_truth"])
        for name, content in files.items()
    ]


def mean_interval(values: np.ndarray) -> tuple[float, float, float]:
    """Return a mean over splits with its 95 % interval, which says how much the choice of split matters."""
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean()), float(values.mean() - half), float(values.mean() + half)


@jax.jit
def scores(probabilities: jax.Array, labels: jax.Array) -> jax.Array:
    """Return calibration error, negative log likelihood and Brier score."""
    return jnp.stack(
        [
            c.calibration_error(probabilities, labels, BINS),
            c.negative_log_likelihood(probabilities, labels),
            c.brier_score(probabilities, labels),
        ]
    )


def netcal_temperature(network: Network, fit: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Return netcal's fitted map of probabilities."""
    from netcal.scaling import TemperatureScaling

    probabilities = np.asarray(jax.nn.softmax(network.logits), np.float64)
    # It clips probabilities to the resolution of their dtype, and prints as it goes.
    peer = TemperatureScaling(method="mle", use_cuda=False)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        peer.fit(probabilities[fit], network.labels[fit], random_state=0)
    return lambda rows: np.asarray(peer.transform(probabilities[rows]))


def sklearn_isotonic(network: Network, fit: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Return scikit-learn's isotonic maps, class against rest, normalised."""
    from sklearn.isotonic import IsotonicRegression

    probabilities = np.asarray(jax.nn.softmax(network.logits), np.float64)
    maps = [
        IsotonicRegression(out_of_bounds="clip").fit(probabilities[fit, k], network.labels[fit] == k)
        for k in range(probabilities.shape[1])
    ]

    def scaled(rows: np.ndarray) -> np.ndarray:
        table = np.stack([one.predict(probabilities[rows, k]) for k, one in enumerate(maps)], axis=1)
        return table / table.sum(1, keepdims=True)

    return scaled


PEERS = {"netcal temperature": netcal_temperature, "scikit-learn isotonic": sklearn_isotonic}


def fitted(method: str, network: Network, fit: np.ndarray) -> Callable[[np.ndarray], jax.Array]:
    """Return our fitted map of rows, after it was computed."""
    if method == "none":
        return lambda rows: jax.nn.softmax(network.logits[rows])
    scaler = jax.block_until_ready(c.calibrate(network.logits[fit], network.labels[fit], method))
    return lambda rows: scaler(network.logits[rows])


def scaling(network: Network, report: measure.Report, splits: int) -> dict[str, np.ndarray]:
    """Score every method on every split, add the table, and return the scores of each."""
    makers = {name: lambda net, fit, name=name: fitted(name, net, fit) for name in METHODS}
    wanted = [name for name in PEERS if report.wanted(measure.Entry(name, lambda problem: None))]  # type: ignore
    makers |= {name: PEERS[name] for name in wanted}
    values: dict[str, list] = {name: [] for name in makers}
    seconds: dict[str, list[float]] = {name: [] for name in makers}
    missing: dict[str, str] = {}
    for fit, judge in network.splits(splits):
        for name, make in makers.items():
            if name in missing:
                continue
            begin = time.perf_counter()
            try:
                scale = make(network, fit)
            except ImportError as error:
                missing[name] = f"not run: {error}"
                continue
            seconds[name].append(time.perf_counter() - begin)
            table = jnp.asarray(scale(judge), jnp.float64)
            values[name].append(
                np.asarray(scores(table / table.sum(1, keepdims=True), network.labels[judge]))
            )
    lines = []
    for name in makers:
        if name in missing:
            lines.append((name, *[None] * 7, missing[name]))
            continue
        columns = np.asarray(values[name]).T
        ece = mean_interval(columns[0])
        warm = float(np.median(seconds[name][1:]))
        rest = (*map(float, columns[1:].mean(1)), seconds[name][0], warm, "")
        label = f"foresee {name}" if name in METHODS[1:] else name
        lines.append((label, *ece, *rest))
    report.table(
        f"{network.name}: {splits} splits in halves, ECE of {BINS} bins with 95 % interval over splits",
        ["", "ECE", "low", "high", "NLL", "Brier", "first fit [s]", "warm [s]", "note"],
        lines,
    )
    return {name: np.asarray(rows) for name, rows in values.items() if rows}


def judge_scaling(network: Network, values: dict[str, np.ndarray], report: measure.Report) -> None:
    """Gate what scaling must do, and keep the published figure beside ours."""
    before, after = values["none"], values["temperature"]
    text = f"{network.name}: temperature scaling lowers ECE, NLL and Brier score on every split"
    report.gate(text, bool((after < before).all()), f"mean {after.mean(0)}")
    ece = mean_interval(after[:, 0])
    report.facts[f"{network.name}: ECE, none"] = mean_interval(before[:, 0])
    report.facts[f"{network.name}: ECE, temperature"] = ece
    if network.name in PUBLISHED:
        published = PUBLISHED[network.name][0]
        text = f"{network.name}: ECE after temperature is at or below {published}, within what splits vary by"
        report.target(f"{network.name}: mean ECE after temperature", ece[0], published)
        report.gate(text, ece[1] <= published, f"{ece[0]:.4f} [{ece[1]:.4f}, {ece[2]:.4f}]")
    if "netcal temperature" in values:
        apart = np.abs(after - values["netcal temperature"])[:, 1].max()
        # A likelihood higher than ours would mean that our minimum is none.
        worse = float((after - values["netcal temperature"])[:, 1].mean())
        report.facts[f"{network.name}: NLL of temperature scaling minus netcal's"] = worse
        report.gate(
            f"{network.name}: NLL within 0.001 of netcal's or lower",
            worse < 1e-3,
            f"apart by up to {apart:.1e}",
        )


def sets(network: Network, report: measure.Report, splits: int) -> None:
    """Fit temperature and sets on one half, count coverage on the other, and gate it."""
    lines, rows = [], len(network.labels) // 2
    # A third of the first half for the temperature, the rest for the sets: no row is used twice.
    part = rows // 3
    # One of a thousand runs of the whole benchmark may leave the band by chance.
    confidence = 1 - 1e-3 / (SPLITS * len(STRANGENESS) * len(PUBLISHED))
    low, high = c.coverage_band(rows - part, len(network.labels) - rows, LEVEL, confidence)
    for name, strangeness in STRANGENESS.items():
        covered, size = [], []
        for number, (fit, judge) in enumerate(network.splits(splits)):
            scale = fitted("temperature", network, fit[:part])
            one, other = jax.random.split(jax.random.key(number))
            made = c.conformal_sets(
                scale(fit[part:]), network.labels[fit[part:]], LEVEL, strangeness, key=one
            )
            chosen = np.asarray(made(scale(judge), key=other))
            covered.append(chosen[np.arange(len(judge)), network.labels[judge]].mean())
            size.append(chosen.sum(1).mean())
        coverage, sizes = np.asarray(covered), np.asarray(size)
        text = f"{network.name}: {name} sets hold the true class within the exact band on every split"
        report.gate(text, bool(((coverage >= low) & (coverage <= high)).all()), f"{coverage}")
        known = PUBLISHED[network.name][1] if name == "LAC" and network.name in PUBLISHED else None
        shares = map(float, (coverage.mean(), coverage.min(), coverage.max(), low, high, sizes.mean()))
        lines.append((f"foresee {name}", *shares, known))
    report.table(
        f"{network.name}: {LEVEL:.0%} prediction sets",
        ["", "coverage", "least", "most", "band from", "to", "mean size", "published size"],
        lines,
    )


def main(arguments: list[str] | None = None) -> int:
    """Scale, score and make sets for every network."""
    options = measure.options(__doc__, arguments)
    report = measure.Report("calibration", CLAIM, options)
    splits = 2 if options.quick else SPLITS
    for network in networks(options.quick):
        judge_scaling(network, scaling(network, report, splits), report)
        sets(network, report, splits)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
