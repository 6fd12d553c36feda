"""A training run on one page: losses, gradient norms to look at and to listen to, and paths over the simplex.

The function to call first is `training_page`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.typing import ArrayLike
from matplotlib.axes import Axes

from foresee.errors import OptionError
from foresee.fit import Fitted
from foresee.report.detection import series_look
from foresee.report.gradients import draw_gradient_norms, sound_of
from foresee.report.page import Figure, Figures, Page, Section, Text
from foresee.report.plots import GREY, VERMILLION, drawing, legend_above
from foresee.report.simplex import draw_simplex
from foresee.report.sound import gradient_sound
from foresee.report.words import count, number
from foresee.storage import whole_file


def training_page(
    fitted: Fitted,
    *,
    title: str = "Training",
    labels: ArrayLike | None = None,
    classes: Sequence[str] = ("0", "1", "2"),
    member: int | None = None,
) -> Page:
    """Return a page about a training run: what was recorded of it is shown, the rest is left out.

    Args:
        fitted: result of `foresee.fit.fit`; with `record_gradients` it has norms, and with a `watch` that
            returns probabilities of three classes for some samples, paths over the simplex.
        title: of the page.
        labels: true classes of the watched samples, shape (samples,).
        classes: names of the three classes.
        member: which of the members is shown, where several were trained.

    Raises:
        OptionError: if there are members and none is named, or the other way round.
    """
    run = _one_member(fitted, member)
    epochs = int(run.epochs)
    losses = np.asarray(run.losses, float)[:epochs]
    held_out = None if run.validation_losses is None else np.asarray(run.validation_losses, float)[:epochs]
    best = None if held_out is None else int(run.best_epoch)
    words = f"{count(epochs, 'epoch')}; training loss at the end {number(losses[-1], 4)}"
    if held_out is not None and best:
        words += f"; validation loss at best {number(held_out[best - 1], 4)}, after epoch {best}"
    curves = [draw_losses(losses, held_out, best)]
    seen = run.watched
    if isinstance(seen, jax.Array | np.ndarray) and seen.ndim == 3 and seen.shape[-1] == 3:
        curves.append(draw_simplex(np.asarray(seen, float)[: epochs + 1], labels, classes))
    sections = [Section("Learning", (Figures(tuple(curves)),))]
    norms = recorded_norms(run)
    if norms:
        sections.append(Section("Gradients", (draw_gradient_norms(norms), sound_of(gradient_sound(norms)))))
    if not bool(np.all(np.asarray(run.finite))):
        warning = Text(
            "**Something is no number.** A loss or a parameter of the returned model is NaN or infinite."
        )
        sections.insert(0, Section("Warning", (warning,)))
    return Page(title, words + ".", tuple(sections))


def write_training(folder: str | Path, fitted: Fitted, *, member: int | None = None, **options: Any) -> None:
    """Write the page of a training run as training.html and, where norms were recorded, gradients.wav.

    Args:
        folder: where to, made if it is not there; each file appears whole or not at all.
        fitted: result of `foresee.fit.fit`.
        member: which of the members is shown, where several were trained.
        options: the other arguments of `training_page`.

    Raises:
        OptionError: if there are members and none is named, or the other way round.
    """
    page = training_page(fitted, member=member, **options)
    norms = recorded_norms(_one_member(fitted, member))
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with whole_file(folder / "training.html") as temporary:
        temporary.write_text(page.html(), encoding="utf-8")
    if norms:
        with whole_file(folder / "gradients.wav") as temporary:
            temporary.write_bytes(gradient_sound(norms).wav)


def recorded_norms(run: Fitted) -> dict[str, np.ndarray]:
    """Return the gradient norms of the steps that one model ran, by layer; none where none were recorded."""
    if not run.gradient_norms:
        return {}
    steps = int(run.epochs) * (len(next(iter(run.gradient_norms.values()))) // len(run.losses))
    return {name: np.asarray(values, float)[:steps] for name, values in run.gradient_norms.items()}


def draw_losses(
    losses: ArrayLike, validation: ArrayLike | None = None, best_epoch: int | None = None
) -> Figure:
    """Draw the losses of every epoch.

    Args:
        losses: mean training loss of every epoch.
        validation: mean validation loss after every epoch.
        best_epoch: epochs run when the validation loss was least.
    """
    series = {"training": np.ravel(np.asarray(losses, float))}
    if validation is not None:
        series["validation"] = np.ravel(np.asarray(validation, float))
    with drawing(4.7, 3.0) as result:
        axes = result.canvas.subplots()
        for place, (name, values) in enumerate(series.items()):
            epochs = np.arange(1, len(values) + 1)
            marker = "o" if len(values) < 2 else None
            axes.plot(epochs, values, label=name, marker=marker, ms=4, **series_look(place))
            _mark_broken(axes, epochs, values)
        if best_epoch:
            axes.axvline(best_epoch, color=GREY, lw=0.9, ls=(0, (4, 3)), label="best validation")
        numbers = np.concatenate(list(series.values()))
        good = numbers[np.isfinite(numbers)]
        if good.size and good.min() > 0 and good.max() > 30 * good.min():
            axes.set_yscale("log")
        axes.locator_params(axis="x", integer=True)
        axes.set_xlabel("epoch")
        axes.set_ylabel("mean loss")
        legend_above(axes)
    return Figure(
        result.svg,
        f"Loss over {len(series['training'])} epochs: {', '.join(series)}.",
        "**Losses.** A validation loss that rises while the training loss falls says that the model "
        "begins to learn its examples by heart.",
    )


def _one_member(fitted: Fitted, member: int | None) -> Any:
    single = np.ndim(fitted.epochs) == 0
    if single != (member is None):
        members = 0 if single else len(np.asarray(fitted.epochs))
        expected = "no member, as one model was trained" if single else f"a member of 0 to {members - 1}"
        raise OptionError(f"training_page: expected {expected}, got {member}")
    if member is None:
        return fitted
    if not 0 <= member < len(np.asarray(fitted.epochs)):
        last = len(np.asarray(fitted.epochs)) - 1
        raise OptionError(f"training_page: expected a member of 0 to {last}, got {member}")
    record = (
        fitted.losses,
        fitted.validation_losses,
        fitted.best_epoch,
        fitted.epochs,
        fitted.watched,
        fitted.gradient_norms,
        fitted.finite,
    )
    return Fitted(None, None, *jax.tree.map(lambda leaf: leaf[member], record))


def _mark_broken(axes: Axes, epochs: np.ndarray, values: np.ndarray) -> None:
    for epoch in epochs[~np.isfinite(values)]:
        axes.axvline(epoch, color=VERMILLION, alpha=0.4, lw=1.0, zorder=0)
