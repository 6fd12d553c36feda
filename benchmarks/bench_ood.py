"""Doubt on images: MNIST with two digits held out, and letters that no network has seen.

Two tasks. "8 digits": 4 and 7 are held out and are the hard strange rows. "10 digits": all are trained on.
The letters of notMNIST are strange to both (easy). 10,000 training rows, 2,500 to tune posteriors by, 5,000
to calibrate with, 10,000 to test on; new ones for every seed. Nothing is chosen by test rows or strange rows.
"""

import contextlib
import dataclasses
import io
import sys
from typing import Any

import jax
import numpy as np

from benchmarks import measure
from benchmarks.ood import data, judge, laplace_torch, methods, page
from benchmarks.ood.networks import Recipe, train

CLAIM = (
    "one network, calibrated and with a distance to its training rows, is right about its doubt and notices "
    "strange pictures; L2M betters the plain network significantly and costs its tuning only"
)
SEEDS, MEMBERS = 5, 5
PLAIN = Recipe()
# The wider one was chosen by the loss of validation rows. The plain one runs until its training loss falls no
# more, as a Laplace approximation assumes.
WIDE = Recipe((256, 128), shift=2, dropout=0.1, rate=2e-3, decay=1e-2, epochs=40, batch=100)
COMBINED = "wider, with moved pictures, temperature"
TARGETS = {"NLL": 0.17, "ECE": 0.008, "easy": 0.995, "hard": 0.92}
COLUMNS = {
    "accuracy": 4,
    "NLL": 4,
    "ECE": 4,
    "Brier": 4,
    "hard, entropy": 3,
    "hard, disagreement": 3,
    "easy, entropy": 3,
    "easy, disagreement": 3,
}
DIFFERENCES = ("NLL", "ECE", "Brier", "hard, entropy", "easy, entropy")


def studied(report: measure.Report, task: data.Task, networks: methods.Networks) -> judge.Study:
    """Run every method with every seed; laplace-torch where all classes are known."""
    found: judge.Found = {}
    firsts: list[Any] = []
    scores, perfect, official = [], [], []
    for seed in range(len(task.seeds)):
        judged = methods.Judged(task, seed)
        said = {}
        for name, one in methods.methods(judged, networks, report.options.quick):
            found.setdefault(name, []).append(judge.measures(judged, one))
            said[name] = one
        if "hard" not in judged.split(judged.pixels):
            for name, one in peer_posteriors(report, judged, networks.plain.network(seed)):
                found.setdefault(name, []).append(judge.measures(judged, one))
        own = judge.wide_scores(judged, networks.wide.network(seed))
        scores.append(judge.areas(own))
        perfect.append(judge.perfect_error(judged, said[COMBINED]))
        official.append(judge.official_error(judged, said[COMBINED]))
        if seed == 0:
            firsts = [said, judged, own]
    return judge.Study(found, firsts[0], firsts[1], scores, firsts[2], perfect, official)


def peer_posteriors(report: measure.Report, judged: methods.Judged, network: Any) -> list[tuple[str, Any]]:
    """Return what laplace-torch says, or nothing and a note where it is not installed."""
    named = report.options.peers
    if named is not None and not any(name.lower() in "laplace-torch" for name in named):
        return []
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            return list(laplace_torch.posteriors(judged, network))
    except Exception as error:  # whatever a peer raises must not cost the study
        kind = "" if isinstance(error, ImportError) else f"{type(error).__name__}: "
        report.facts["laplace-torch"] = f"not run: {kind}{error}"
        return []


def show(report: measure.Report, task: data.Task, study: judge.Study) -> None:
    """Print the table of all methods, and the paired differences to the plain network."""
    rows = []
    for name, seeds in study.found.items():
        cells = [judge.words([seed[key] for seed in seeds], digits) for key, digits in COLUMNS.items()]
        # The first seed compiles, so the least is what it costs from then on.
        times = [min(seed[key] for seed in seeds) for key in ("fit s", "predict s")]
        rows.append((name, *cells, *times, seeds[0]["fit s"]))
    seconds = ("fit s", "predict s", "first fit s")
    report.table(f"{task.name}: every method, mean and 95 % over seeds", ["", *COLUMNS, *seconds], rows)
    rows = []
    for name, seeds in study.found.items():
        if name == "plain" or len(seeds) < 2:
            continue
        pairs = list(zip(seeds, study.found["plain"], strict=True))
        cells = [judge.words([own[key] - base[key] for own, base in pairs]) for key in DIFFERENCES]
        rows.append((name, *cells))
    report.table(f"{task.name}: less the plain network, same seeds", ["", *DIFFERENCES], rows)


def show_scores(
    report: measure.Report, studies: dict[str, judge.Study], pretended: dict[str, dict[str, float]], best: str
) -> None:
    """Print how well scores of the wider network tell strange rows apart; the first two columns choose."""
    ranked = sorted(pretended, key=lambda name: -np.mean(list(pretended[name].values())))
    names = [name for name in pretended if "+" not in name]
    names += [name for name in ranked[:3] if name not in names]
    columns = ["score", "left-out class", "cut pictures"]
    parts = [
        (f"{split}, {name}", study.scores, split)
        for name, study in studies.items()
        for split in ("hard", "easy")
        if split in study.scores[0][best]
    ]
    rows = []
    for name in names:
        cells = [judge.words([seed[name][split] for seed in scores]) for _, scores, split in parts]
        shown = f"{name} (chosen)" if name == best else name
        rows.append((shown, pretended[name]["hard"], pretended[name]["easy"], *cells))
    columns += [title for title, _, _ in parts]
    report.table("AUROC of the wider network's scores, mean and 95 % over seeds", columns, rows)


def targets(report: measure.Report, name: str, study: judge.Study, best: str) -> None:
    """Compare with what was hoped for, and gate what must hold."""
    for key in ("NLL", "ECE"):
        mean = float(np.mean([seed[key] for seed in study.found[COMBINED]]))
        report.target(f"{name}: {key} of '{COMBINED}'", mean, TARGETS[key])
    for split in study.scores[0][best]:
        missing = 1 - float(np.mean([seed[best][split] for seed in study.scores]))
        report.target(f"{name}, {split}: 1 − AUROC of '{best}'", missing, 1 - TARGETS[split])
    for key in ("NLL", "ECE"):
        pairs = zip(study.found["L2M, all weights"], study.found["plain"], strict=True)
        _, _, high = judge.interval([own[key] - base[key] for own, base in pairs])
        report.target(f"{name}: {key} of L2M less the plain network's, upper 95 % bound", high, 0.0)
    tables = [table for said in study.said.values() for table in said.chances.values()]
    whole = all(np.isfinite(table).all() for table in tables)
    report.gate(f"{name}: every probability is finite", whole)


def main(arguments: list[str] | None = None) -> int:
    """Run the study."""
    options = measure.options(__doc__, arguments)
    jax.config.update("jax_enable_x64", False)  # as in use
    report = measure.Report("ood", CLAIM, options)
    images, sizes, seeds = None if options.quick else data.real_images(), data.Sizes(), SEEDS
    plain, wide, members, gammas, held = PLAIN, WIDE, MEMBERS, (1, 2, 3), (4, 7)
    real = images is not None
    if not real:
        report.facts["images"] = "made up"
        images, seeds, members, gammas, held = data.made_up_images(1500), 2, 2, (2,), (1,)
        sizes = data.Sizes(200, 60, 200, 200, 60, 150)
        plain = dataclasses.replace(PLAIN, widths=(8,), epochs=3, batch=50)
        wide = dataclasses.replace(WIDE, widths=(8, 8), shift=1, epochs=3, batch=50)
    eight = data.task("8 digits", images, held, seeds, sizes)
    ten = data.task("10 digits", images, (), seeds, sizes)
    tasks = [eight, ten] if real else [eight]  # most of a quick run is compilation
    ignorant = np.stack([data.pretend(eight, seed)["rows"] for seed in range(seeds)])
    networks = methods.train_all(eight, plain, wide, members, gammas)
    pretenders = train(eight, wide, rows=ignorant)
    best, means = judge.chosen([judge.pretended(eight, seed, pretenders) for seed in range(seeds)])
    report.facts["score chosen by a left-out class and cut pictures"] = best
    studies = {}
    for task in tasks:
        if task is ten:
            networks = methods.train_all(ten, plain, wide, 1, ())
        study = studies[task.name] = studied(report, task, networks)
        show(report, task, study)
        report.facts[f"{task.name}: ECE of exactly right probabilities"] = float(np.mean(study.perfect))
        report.facts[f"{task.name}: ECE on MNIST's test part alone"] = judge.words(study.official)
        report.facts[f"{task.name}: seeds"] = study.found
        targets(report, task.name, study, best)
    show_scores(report, studies, means, best)
    page.write(options.out / "ood.html", eight, studies[eight.name], best)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
