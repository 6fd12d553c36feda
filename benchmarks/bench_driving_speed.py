"""How fast drivers are trained and decide, how much memory that takes, and the same on eight devices.

Networks have the sizes of the main job and their first weights: what they have learned changes no time.
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from benchmarks import measure
from foresee.driving import Scenarios, generated_scenarios
from foresee.driving.driver import AbstractDriver
from foresee.driving.drivers.mpc import Mpc
from foresee.driving.drivers.pdm import ExpectedPdm, Pdm
from foresee.driving.drivers.policy import new_policies, new_policy
from foresee.driving.drivers.rollout import windows
from foresee.driving.drivers.safepathnet import SafePathNet
from foresee.driving.drivers.unrolled import Coefficients, train_unrolled
from foresee.driving.futures.doubt import Past, fit_doubt
from foresee.driving.futures.learned import Learned
from foresee.driving.futures.network import FutureModel, FutureNetwork
from foresee.driving.observe import observe
from foresee.driving.sensing import know_exactly
from foresee.jobs.policies import NEAREST, RARELY, SECONDS, SIZES, STEP
from foresee.jobs.worlds import NETWORKS, WIDTH

CLAIM = "a policy and its world decide within a few milliseconds; eight devices train what one trains"
DEVICES = 8
MANY = 1000


def situations(count: int) -> Scenarios:
    """Return windows of ordinary traffic to train in."""
    made = generated_scenarios(count, vehicles=24, seconds=10, key=jax.random.key(0))
    thin = round(STEP / made.dt)
    return windows(made, seconds=SECONDS, every=1.0, nearest=NEAREST, thin=thin)


def world() -> FutureModel:
    """Return the networks of the main job, untrained."""
    keys = jax.random.split(jax.random.key(1), NETWORKS)
    return FutureModel(eqx.filter_vmap(lambda key: FutureNetwork(width=WIDTH, key=key))(keys))


def warm(work: Callable[[], Any], repeats: int) -> tuple[float, float]:
    """Return the time of the first call, and the median of some more [s]."""
    times = []
    for _ in range(repeats + 1):
        begin = time.perf_counter()
        jax.block_until_ready(work())
        times.append(time.perf_counter() - begin)
    return times[0], float(np.median(times[1:]))


def training(report: measure.Report, cut: Scenarios, model: FutureModel) -> None:
    """Time epochs of policies that learn from the closed loop, without doubt and with it."""
    first = new_policies(1, *SIZES, key=jax.random.key(2))
    doubt = {"doubt": fit_doubt(model, cut), "doubt_every": RARELY, "traffic": Past(cut.dt)}
    kinds: dict[str, tuple[dict[str, Coefficients], dict[str, Any]]] = {
        "MPER": ({"mper": Coefficients(imitation=1.0)}, {}),
        "MPUR": ({"mpur": Coefficients(task=1.0, doubt=0.5)}, doubt),
    }
    rows, steps = [], len(cut) * (cut.scenario.record.x.shape[1] - 1)
    for name, (methods, options) in kinds.items():

        def work(methods: Any = methods, options: Any = options) -> Any:
            made = train_unrolled(first, cut, methods=methods, epochs=1, key=jax.random.key(3), **options)
            return jax.tree.leaves(eqx.filter(made.policies, eqx.is_array))

        begun, lasted = warm(work, 1 if report.options.quick else 3)
        rows.append((name, len(cut), f"{begun:.1f}", f"{lasted:.2f}", f"{steps / lasted:,.0f}"))
        report.facts[f"{name}: scene-steps per second"] = steps / lasted
    report.table(
        "training, batches of 32", ["method", "windows", "first [s]", "epoch [s]", "scene-steps/s"], rows
    )


def deciding(report: measure.Report, cut: Scenarios, model: FutureModel) -> None:
    """Time one decision, alone and for many vehicles at once."""
    forecaster = Learned(model, dt=0.1)
    drivers: dict[str, AbstractDriver] = {
        "policy": new_policy(*SIZES, key=jax.random.key(4)),
        "PDM": Pdm(),
        "PDM in doubt": ExpectedPdm(),
        "world and SafePathNet": SafePathNet(forecaster),
        "world and MPC": Mpc(forecaster),
    }
    rows = []
    for name, driver in drivers.items():
        cells = []
        for count in (1, 10 if report.options.quick else MANY):
            chosen = np.arange(count) % len(cut)
            worlds = jax.tree.map(lambda leaf, chosen=chosen: leaf[chosen], cut.scenario.world)

            def act(driver: AbstractDriver, worlds: Any) -> Any:
                def one(now: Any) -> Any:
                    view = observe(now, 0, know_exactly(now, 0))
                    return driver.act(view, driver.start(), key=jax.random.key(0))[0]

                return jax.vmap(one)(worlds)

            work = eqx.filter_jit(act)
            told = partial(work, driver, worlds)
            _, lasted = warm(told, report.options.rounds)
            cells += [f"{1e3 * lasted:.2f}", f"{1e6 * lasted / count:.0f}"]
            report.facts[f"{name}: seconds for {count}"] = lasted
        rows.append((name, cells[0], *cells[2:]))
    report.table("one decision", ["driver", "alone [ms]", f"{MANY} at once [ms]", "[µs] each"], rows)


def sharded(quick: bool) -> dict[str, list[float]]:
    """Return the losses of a training on one device and on all that there are."""
    cut = situations(4 if quick else 8)
    cut = cut.select(np.arange(len(cut) // DEVICES * DEVICES))
    first = new_policies(2, 8, 1, key=jax.random.key(2))
    options: dict[str, Any] = {
        "methods": {"mper": Coefficients(imitation=1.0)}, "epochs": 2, "batch_size": DEVICES,
        "key": jax.random.key(3),
    }  # fmt: skip
    mesh = NamedSharding(Mesh(np.array(jax.devices()), ("rows",)), PartitionSpec("rows"))
    one = train_unrolled(first, cut, **options).fitted.losses
    every = train_unrolled(first, cut, sharding=mesh, **options).fitted.losses
    return {
        "devices": [len(jax.devices())],
        "one": np.ravel(one).tolist(),
        "every": np.ravel(every).tolist(),
    }


def on_eight_devices(report: measure.Report) -> None:
    """Train on eight devices that share the processor, in a process of their own, and compare the losses."""
    flags = f"--xla_force_host_platform_device_count={DEVICES}"
    line = [sys.executable, "-m", "benchmarks.bench_driving_speed", "--sharded"]
    line += ["--quick"] if report.options.quick else []
    told = subprocess.run(
        line, env=os.environ | {"XLA_FLAGS": flags}, capture_output=True, text=True, check=False
    )
    if told.returncode:
        report.gate("training on eight devices runs", False, told.stderr.strip()[-300:])
        return
    losses = json.loads(told.stdout.strip().splitlines()[-1])
    apart = float(np.max(np.abs(np.array(losses["one"]) / np.array(losses["every"]) - 1)))
    report.gate("there are eight devices", losses["devices"] == [DEVICES], str(losses["devices"]))
    report.gate("eight devices lose what one loses", apart < 1e-4, f"{apart:.1e} apart")
    report.facts["eight devices: largest relative difference of losses"] = apart


def main(arguments: list[str] | None = None) -> int:
    """Time training and decisions."""
    given = sys.argv[1:] if arguments is None else arguments
    jax.config.update("jax_enable_x64", False)  # as in use
    if "--sharded" in given:
        print(json.dumps(sharded("--quick" in given)))
        return 0
    options = measure.options(__doc__, arguments)
    report = measure.Report("driving_speed", CLAIM, options)
    cut, model = situations(4 if options.quick else 40), world()
    deciding(report, cut, model)
    training(report, cut, model)
    on_eight_devices(report)
    report.facts["peak memory [GB]"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    report.console.print(f"peak memory of the process: {report.facts['peak memory [GB]']:.1f} GB")
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
