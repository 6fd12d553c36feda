"""What the learned world foretold while somebody drove: futures along the clips of the replay."""

from collections.abc import Sequence
from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from foresee.driving.evaluate import Evaluation
from foresee.driving.findings import Foresight
from foresee.driving.forecast import Futures
from foresee.driving.futures.learned import Learned, Remembered
from foresee.driving.futures.network import FutureModel
from foresee.driving.observe import observe
from foresee.driving.scenario import Scenario
from foresee.driving.sensing import know_exactly
from foresee.driving.simulate import Frame
from foresee.driving.world import World

NEAREST, HORIZON, BETWEEN = 8, 4.0, 0.5  # vehicles, how far they are foretold [s], and how often [s]
SEEN = ("x", "y", "heading", "speed", "acceleration", "curvature", "alive", "lane", "along", "offset")


def foresight_of(
    model: FutureModel, evaluations: Sequence[Evaluation]
) -> dict[tuple[int, str, str], Foresight]:
    """Return what a world foretells along the kept episodes, by place, driver and kind of traffic."""
    out = {}
    for evaluation in evaluations:
        dt = evaluation.scenarios.dt
        every, forecaster = max(round(BETWEEN / dt), 1), Learned(model, dt=dt)
        for k, place in enumerate(evaluation.episodes.scenario):
            scenario = jax.tree.map(lambda leaf, place=place: leaf[place], evaluation.scenarios.scenario)
            frames = jax.tree.map(lambda leaf, k=k: jnp.asarray(leaf[k]), evaluation.episodes.frames)
            told, slots = _look(forecaster, scenario, replace(frames, beliefs=None))
            key = (int(place), evaluation.driver, evaluation.mode)
            out[key] = _thinned(told, np.asarray(slots), every)
    return out


@eqx.filter_jit
def _look(forecaster: Learned, scenario: Scenario, frames: Frame) -> tuple[Futures, Int[Array, "T S"]]:
    def look(memory: Remembered, frame: Frame) -> tuple[Remembered, tuple[Futures, Array]]:
        world: World = replace(scenario.world, **{name: getattr(frame, name) for name in SEEN})
        view = observe(world, scenario.ego, know_exactly(world, scenario.ego))
        outlook, memory = forecaster.look(view, memory)
        slots = outlook.slots[:NEAREST]
        return memory, (outlook.futures.select(slots), slots)

    return jax.lax.scan(look, forecaster.start(), frames)[1]


def _thinned(told: Futures, slots: np.ndarray, every: int) -> Foresight:
    """Keep some of the frames, and the futures up to the horizon."""
    times = np.asarray(told.times)[0]
    chosen, points = np.arange(0, len(slots), every), times <= HORIZON + 1e-6
    leaves = ("x", "y", "heading", "along_sd", "across_sd")
    kept = {name: np.asarray(getattr(told, name))[chosen][..., points].astype(float) for name in leaves}
    weights, known = (np.asarray(getattr(told, name))[chosen] for name in ("weights", "known"))
    return Foresight(
        chosen, slots[chosen].astype(int), times[points].astype(float), **kept,
        weights=weights.astype(float), known=known.astype(bool),
    )  # fmt: skip
