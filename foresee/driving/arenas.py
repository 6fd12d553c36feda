"""Where drivers are compared: recorded traffic seen well and badly, and rare events with little room."""

from dataclasses import dataclass

from jaxtyping import PRNGKeyArray

from foresee.driving.generate import Kind
from foresee.driving.generated import generated_scenarios
from foresee.driving.rare_events import Parameters
from foresee.driving.raw_sensing import RawSensing
from foresee.driving.scenario import Scenarios
from foresee.driving.sensing import AbstractSensing, Sensing
from foresee.driving.simulate import Mode

RARE: tuple[Kind, ...] = ("cut_in", "hard_braking", "occluded", "merge", "debris")
# They see positions alone, within 100 m and not through vehicles: how fast a newcomer is takes time to learn.
EYES = Sensing(position_sd=1.5, dropout=0.3)
BAD_EYES = Sensing(position_sd=1.0, velocity_sd=2.0, dropout=0.1)
WORSE_EYES = Sensing(position_sd=1.5, velocity_sd=3.0, dropout=0.3)
RAW_BAD_EYES, RAW_WORSE_EYES = RawSensing(BAD_EYES), RawSensing(WORSE_EYES)
VEHICLES = 20


@dataclass(frozen=True, eq=False)
class Arena:
    """Situations, what the others do in them, and how the driver sees them; `evaluate` takes all three.

    Attributes:
        name: for people.
        scenarios: the situations.
        mode: what the others do, as in `foresee.driving.simulate.simulate`.
        sensing: how the driver sees the others; None: exactly.
    """

    name: str
    scenarios: Scenarios
    mode: Mode
    sensing: AbstractSensing | None


def arenas(recorded: Scenarios, events: Scenarios, *, filtered: bool = True) -> tuple[Arena, ...]:
    """Return the arenas: recorded traffic seen clearly, through bad and worse eyes, and rare events.

    Args:
        recorded: situations of recorded traffic, which is replayed.
        events: rare events, in which the others react; a filter behind eyes that see positions sees them.
        filtered: whether beliefs are those of a filter behind the bad eyes too, or the raw detections.
    """
    bad, worse = (BAD_EYES, WORSE_EYES) if filtered else (RAW_BAD_EYES, RAW_WORSE_EYES)
    return (
        Arena("clean", recorded, "replay", None),
        Arena("bad eyes", recorded, "replay", bad),
        Arena("worse eyes", recorded, "replay", worse),
        Arena("rare events", events, "reactive", EYES),
    )


def rare_events(
    count: int, seconds: float | int = 10.0, *, key: PRNGKeyArray, parameters: Parameters | None = None
) -> Scenarios:
    """Draw rare events, as many of each of `RARE` as of the others, so hard that good drivers fail in some.

    Args:
        count: how many in all.
        seconds: how long each lasts [s].
        key: the randomness.
        parameters: the distributions, by default `hard_parameters()`.

    Raises:
        OptionError: if there is to be none.
    """
    hard = hard_parameters() if parameters is None else parameters
    return generated_scenarios(
        count, kinds=RARE, vehicles=VEHICLES, seconds=seconds, key=key, parameters=hard
    )


def hard_parameters() -> Parameters:
    """Return how rare events are distributed that begin at once and leave hardly more room than is needed.

    Speeds are those of a motorway, gaps are next to the least from which an alert driver gets away without a
    touch, and vehicles brake to a stop or cut in much slower. Seen with `EYES`, and with everybody believed
    to go on as it does, a driver that simulates and scores proposals fails in 10 to 30 % of them.
    """
    return Parameters(
        speed=(28.0, 34.0),
        begin=(0.3, 1.0),
        cut_in_headway=(0.0, 0.0),
        cut_in_slower=(4.0, 13.0),
        braking_headway=(0.0, 0.6),
        braking=(6.0, 8.0),
        braking_to=(0.0, 0.1),
        debris_time=(0.0, 0.0),
        merge_ahead=(40.0, 70.0),
        merge_slower=(0.5, 0.7),
        occluded_headway=(1.2, 1.5),
        reveal_headway=(0.0, 0.0),
        swerve_time=(1.8, 2.2),
        margin=1.5,  # closing in at 13 m/s within one frame is 1.3 m
    )
