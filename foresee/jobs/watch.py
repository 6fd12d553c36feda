"""The monitor of the fourth stage: learned once, and put beside every driver."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray
from scipy.stats import binom

from foresee.driving.arenas import Arena, rare_events
from foresee.driving.driver import AbstractDriver
from foresee.driving.drivers.monitor import Monitor, Monitored
from foresee.driving.drivers.monitor_fit import FittedMonitor, Scored, fit_monitor, monitor_scores
from foresee.driving.drivers.stored import load_module, save_module
from foresee.driving.findings import MonitorFindings
from foresee.driving.futures.learned import Learned
from foresee.driving.futures.network import FutureModel
from foresee.driving.policies import LaneKeeper
from foresee.errors import CalibrationError
from foresee.jobs.parts import Parts, spread
from foresee.jobs.progress import Pieces
from foresee.storage import whole_file

FALSE_ALARM = 0.1  # share of harmless episodes in which there may be an alarm
EVENTS, EVENT_SECONDS = 64, 8.0  # made up, to learn from failures; as many more to calibrate and test [s]
MOST = 32  # recorded scenarios of each part
GUARDED = "_monitored"


@dataclass(frozen=True, eq=False)
class Watch:
    """A monitor, and how good it is; nothing of it where there is none.

    Attributes:
        monitor: the monitor.
        findings: for the report.
        numbers: for the summary.
        notes: why there is none.
    """

    monitor: Monitor | None = None
    findings: MonitorFindings | None = None
    numbers: dict[str, Any] = field(default_factory=lambda: {"monitor.auroc": None})
    notes: tuple[str, ...] = ()


class Said(AbstractDriver):
    """Does what it was told to.

    Attributes:
        action: that.
    """

    action: Float[Array, "2"]

    def start(self) -> None:
        """Return nothing: there is no memory."""

    def act(self, observation: Any, memory: None, *, key: PRNGKeyArray) -> tuple[Float[Array, "2"], None]:
        """Return it."""
        return self.action, None


class Guarded(AbstractDriver):
    """A driver under watch if the threshold of the monitor is finite; otherwise nobody looks at all.

    Attributes:
        driver: who drives.
        monitor: who watches.
    """

    driver: AbstractDriver
    monitor: Monitor

    def start(self) -> tuple[Any, Any]:
        """Return both memories."""
        return self.driver.start(), Monitored(Said(jnp.zeros(2)), self.monitor, "guarded").start()

    def act(
        self, observation: Any, memory: tuple[Any, Any], *, key: PRNGKeyArray
    ) -> tuple[Float[Array, "2"], tuple[Any, Any]]:
        """Return what the driver does, or what is safe."""
        action, own = self.driver.act(observation, memory[0], key=key)

        def watched(view: Any, action: Array, remembered: Any) -> tuple[Array, Any]:
            return Monitored(Said(action), self.monitor, "guarded").act(view, remembered, key=key)

        def alone(view: Any, action: Array, remembered: Any) -> tuple[Array, Any]:
            return action, remembered

        looked = jnp.isfinite(self.monitor.threshold)
        action, remembered = jax.lax.cond(looked, watched, alone, observation, action, memory[1])
        return action, (own, remembered)


def unguarded(monitor: Monitor) -> Monitor:
    """Return a monitor that never raises an alarm."""
    return replace(monitor, threshold=jnp.full_like(monitor.threshold, jnp.inf))


def learn_monitor(parts: Parts, model: FutureModel, pieces: Pieces, *, seed: int) -> Watch:
    """Learn what announces failures, of a lane keeper in the first part and in events made up.

    The threshold is from the second part and other events; how good it is, from the third part and others.
    There is none if there is no failure to learn from, or too little without one.

    Args:
        parts: the recording.
        model: the learned world.
        pieces: what is finished already.
        seed: of the events, and of everything random.
    """
    forecaster = Learned(model, dt=parts.scenarios["test"].dt)
    keys = jax.random.split(jax.random.key(seed), 5)
    events = [rare_events(EVENTS, EVENT_SECONDS, key=key) for key in keys[:3]]
    count = min(MOST, *(len(each) for each in parts.scenarios.values()))
    recorded = [spread(parts.scenarios[name], count) for name in ("train", "validation", "test")]
    arenas = [
        (Arena("recorded", own, "replay", None), Arena("events", made, "reactive", None))
        for own, made in zip(recorded, events, strict=True)
    ]
    path = pieces.path("monitor.eqx")
    if path.exists():
        monitor, said = load_module(path)
    else:
        given = {"forecaster": forecaster, "false_alarm": FALSE_ALARM, "key": keys[3]}
        try:
            fitted = fit_monitor(LaneKeeper(), arenas[0], arenas[1], **given)
        except CalibrationError as error:
            return Watch(notes=(f"there is no monitor: {error}",))
        monitor, said = fitted.monitor, _said(fitted)
        with whole_file(path) as temporary:
            save_module(temporary, monitor, said)
    held = pieces("monitor scores", lambda: _judged(monitor, arenas[2], keys[4]))
    findings = MonitorFindings(
        {"monitor": held["score"]}, held["failing"], {"monitor": float(monitor.threshold)}, FALSE_ALARM, 3.0
    )
    return Watch(monitor, findings, {**said, **held["numbers"]})


def _said(fitted: FittedMonitor) -> dict[str, Any]:
    return {
        "monitor.false_alarm": FALSE_ALARM,
        "monitor.threshold": float(fitted.monitor.threshold),
        "monitor.episodes": fitted.episodes,
        "monitor.failures": fitted.failures,
    }


def _judged(monitor: Monitor, arenas: Sequence[Arena], key: PRNGKeyArray) -> dict[str, Any]:
    """Return scores of frames that were not learned from, and how good they are."""
    scored = [
        monitor_scores(LaneKeeper(), monitor, arena, key=sub)
        for arena, sub in zip(arenas, jax.random.split(key, len(arenas)), strict=True)
    ]
    events = scored[1]
    area, alarms = events.auroc(), events.false_alarms(float(monitor.threshold))
    ordinary = scored[0].false_alarms(float(monitor.threshold))
    numbers = {
        "monitor.auroc": area.value,
        "monitor.auroc_ci": [area.low, area.high],
        "monitor.false_alarms": alarms.value,
        "monitor.false_alarms_ci": [alarms.low, alarms.high],
        "monitor.false_alarms_recorded": ordinary.value,
        "monitor.false_alarms_recorded_ci": [ordinary.low, ordinary.high],
        "monitor.false_alarms_band": _band(events),
    }
    return {"score": events.score[events.counted], "failing": events.soon[events.counted], "numbers": numbers}


def _band(scored: Scored) -> list[float]:
    """Return where the share of false alarms is with 95 % probability if the stated one is right."""
    harmless = int((~scored.failed & scored.counted.any(axis=1)).sum())
    if not harmless:
        return [float("nan"), float("nan")]
    return [float(binom.ppf(level, harmless, FALSE_ALARM) / harmless) for level in (0.025, 0.975)]


def guarded_branch(driver: AbstractDriver, monitor: Monitor | None, watched: bool) -> AbstractDriver:
    """Return a driver with the monitor, which looks only if asked to; without one as it is."""
    if monitor is None:
        return driver
    return Guarded(driver, monitor if watched else unguarded(monitor))
