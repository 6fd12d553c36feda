"""Many drivers in one compiled program, and their evaluation in every kind of traffic."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from threading import Event, Lock
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from foresee.driving.driver import AbstractDriver
from foresee.driving.evaluate import Evaluation, evaluate
from foresee.driving.scenario import Scenarios
from foresee.driving.sensing import AbstractSensing
from foresee.driving.traffic_model import AbstractTraffic

AT_ONCE = 2  # evaluations under way: most of the time is compilation, which keeps one core busy
Progress = Callable[[str, float], None]


class OneOf(AbstractDriver):
    """One of several drivers, chosen by a number, so that one compilation serves all.

    Attributes:
        drivers: the drivers.
        chosen: the number of the one that drives.
    """

    drivers: tuple[AbstractDriver, ...]
    chosen: Int[Array, ""]

    def start(self) -> tuple[Any, ...]:
        """Return the memories of all, though only one of them is going to be used."""
        return tuple(driver.start() for driver in self.drivers)

    def act(
        self, observation: Any, memory: tuple[Any, ...], *, key: PRNGKeyArray
    ) -> tuple[Float[Array, "2"], tuple[Any, ...]]:
        """Return what the chosen driver does."""

        def alone(place: int) -> Callable[..., tuple[Array, tuple[Any, ...]]]:
            def act(view: Any, memory: tuple[Any, ...], key: Array) -> tuple[Array, tuple[Any, ...]]:
                action, own = self.drivers[place].act(view, memory[place], key=key)
                return action, (*memory[:place], own, *memory[place + 1 :])

            return act

        acts = [alone(place) for place in range(len(self.drivers))]
        return jax.lax.switch(self.chosen, acts, observation, memory, key)


def one_of(drivers: Sequence[AbstractDriver], chosen: int) -> OneOf:
    """Return one of several drivers; the others stay with it, so that all are the same program."""
    return OneOf(tuple(drivers), jnp.asarray(chosen, jnp.int32))


@dataclass(frozen=True, eq=False)
class Entrant:
    """Somebody who takes part.

    Attributes:
        name: what the driver is called.
        driver: who drives.
        seed: which of several trainings it comes from.
        program: entrants with the same one are compiled together.
        sensing: how it sees the others; None: exactly.
    """

    name: str
    driver: AbstractDriver
    seed: int = 0
    program: str = "fleet"
    sensing: AbstractSensing | None = None


def drive_entrants(
    entrants: Sequence[Entrant],
    modes: Sequence[str],
    scenarios: Scenarios,
    *,
    seed: int,
    traffic: AbstractTraffic | None = None,
    keep: int = 0,
    together: bool = False,
    finish: Callable[[Entrant, str, Callable[[], Evaluation]], Any] = lambda entrant, mode, run: run(),
    progress: Progress,
) -> dict[tuple[str, str, int], Any]:
    """Let everybody drive all scenarios in all kinds of traffic, two programs at a time.

    A program is compiled once, by the first who drives in it.

    Args:
        entrants: who drives.
        modes: kinds of traffic.
        scenarios: what is driven.
        seed: of the drivers' own randomness and of what they see.
        traffic: moves the others in learned traffic.
        keep: number of episodes to keep.
        together: whether all kinds of traffic are one program, which saves time if drivers are larger than
            traffic.
        finish: called with who drives, the kind of traffic, and what to call for the evaluation; what it
            returns is kept instead.
        progress: called with what is being done and the share of it that is done.
    """
    shares: dict[tuple[str, str, int], float] = {}
    total, guard, stopped = len(entrants) * len(modes), Lock(), Event()

    def run(entrant: Entrant, mode: str) -> Any:
        place = (entrant.name, mode, entrant.seed)

        def follow(share: float) -> None:
            if stopped.is_set():
                raise RuntimeError("interrupted")
            with guard:
                shares[place] = share
                ready = sum(each == 1.0 for each in shares.values())
                progress(f"{ready} of {total} evaluations", sum(shares.values()) / total)

        def judge() -> Evaluation:
            return _evaluated(entrant, scenarios, mode, seed, traffic, keep, together, follow)

        follow(0.0)
        done = finish(entrant, mode, judge)
        follow(1.0)
        return done

    # The slow ones come last in a table, and first here. Whoever is the first in a program compiles it.
    every = [(each, mode) for each in reversed(entrants) for mode in modes]
    first = {(each.program, together or mode): (each, mode) for each, mode in reversed(every)}
    rounds = (list(first.values())[::-1], [each for each in every if each not in first.values()])
    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        found = {}
        for several in rounds:
            under_way = [(each.name, mode, each.seed, pool.submit(run, each, mode)) for each, mode in several]
            found |= {tuple(place): future.result() for *place, future in under_way}
    finally:
        stopped.set()
        pool.shutdown(wait=False, cancel_futures=True)
    return {
        (each.name, mode, each.seed): found[each.name, mode, each.seed] for each in entrants for mode in modes
    }


def _evaluated(
    entrant: Entrant,
    scenarios: Scenarios,
    mode: Any,
    seed: int,
    traffic: AbstractTraffic | None,
    keep: int,
    together: bool,
    follow: Callable[[float], None],
) -> Evaluation:
    judged = evaluate(
        entrant.driver,
        scenarios,
        mode,
        sensing=entrant.sensing,
        traffic=traffic if together or mode == "learned" else None,
        one_program=together,
        key=jax.random.key(seed),
        keep=keep,
        progress=lambda _, share: follow(min(share, 0.999)),
    )
    return replace(judged, driver=entrant.name)
