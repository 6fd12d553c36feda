"""A situation to be driven: traffic at its start, what was recorded of it, and which vehicle is the ego."""

from collections.abc import Sequence
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from foresee.driving.world import World
from foresee.errors import ShapeError


class Record(eqx.Module):
    """Where every vehicle was in every frame: recorded, or simulated with a driver of reference.

    Where `present` is False the other values mean nothing. Units as in `World`.
    """

    x: Float[Array, "*t V"]
    y: Float[Array, "*t V"]
    heading: Float[Array, "*t V"]
    speed: Float[Array, "*t V"]
    acceleration: Float[Array, "*t V"]
    curvature: Float[Array, "*t V"]
    lane: Int[Array, "*t V"]
    along: Float[Array, "*t V"]
    offset: Float[Array, "*t V"]
    present: Bool[Array, "*t V"]

    @property
    def frames(self) -> int:
        """Number of frames, the start included."""
        return self.x.shape[-2]


class Script(eqx.Module):
    """Actions and target lanes that are forced on some reactive vehicles, so that something happens.

    Attributes:
        actions: acceleration [m/s²] and curvature [1/m].
        scripted: where the action replaces the driver's own.
        target: lane that the driver is made to change to, -1 for its own choice.
    """

    actions: Float[Array, "*b T V 2"]
    scripted: Bool[Array, "*b T V"]
    target: Int[Array, "*b T V"]


class Scenario(eqx.Module):
    """One situation; the ego is driven from frame `handover` to frame `frames`.

    Attributes:
        world: the traffic in frame 0; slots of vehicles that come later are dead.
        record: what all vehicles did, the ego too; row 0 is frame 0.
        ego: slot of the vehicle that is driven.
        handover: the frame in which the driver takes over; before it the ego follows its record.
        frames: the last frame that counts, at most the record's last one.
        script: what is forced on others in reactive traffic, or None.
    """

    world: World
    record: Record
    ego: Int[Array, "*b"]
    handover: Int[Array, "*b"]
    frames: Int[Array, "*b"]
    script: Script | None = None


@dataclass(frozen=True, eq=False)
class Scenarios:
    """Many situations of the same shape, with their names.

    Attributes:
        names: one per scenario, for people.
        groups: scenarios of the same group are not independent (same scene): intervals are drawn by group.
        scenario: all of them, stacked along a leading axis.
        dt: time between two frames [s].
        vehicles: names of the vehicles in the slots of every scenario, the ego's first; empty if they have
            none.
        starts: frame of the recorded scene with which every scenario begins; empty if nothing was recorded.
    """

    names: tuple[str, ...]
    groups: tuple[str, ...]
    scenario: Scenario
    dt: float
    vehicles: tuple[tuple[str, ...], ...] = ()
    starts: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def select(self, chosen: Sequence[int] | np.ndarray) -> "Scenarios":
        """Keep the scenarios with the given positions, or those where a mask is true."""
        places = np.arange(len(self))[np.asarray(chosen)]
        return Scenarios(
            tuple(self.names[i] for i in places),
            tuple(self.groups[i] for i in places),
            jax.tree.map(lambda leaf: leaf[places], self.scenario),
            self.dt,
            tuple(self.vehicles[i] for i in places) if self.vehicles else (),
            tuple(self.starts[i] for i in places) if self.starts else (),
        )


def stack_scenarios(
    scenarios: Sequence[Scenario], names: Sequence[str], dt: float | int, groups: Sequence[str] | None = None
) -> Scenarios:
    """Put scenarios of the same shape into one batch.

    Raises:
        ShapeError: if there is none, or their shapes or numbers of names differ.
    """
    if not scenarios or len(names) != len(scenarios):
        raise ShapeError(f"expected a name for each of at least one scenario, got {len(names)} names")
    shapes = {str(jax.tree.map(jnp.shape, scenario)) for scenario in scenarios}
    if len(shapes) > 1:
        raise ShapeError("expected scenarios of one shape, got several; pad vehicles, frames and lanes")
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *scenarios)
    return Scenarios(tuple(names), tuple(groups or names), stacked, float(dt))
