"""Parameters are data: other noise and other observations of the same shape compile nothing."""

import sys
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import measure
from benchmarks.peers.problem import Linear, simulate

SAME = 1e-7  # relative; dynamax adds 1e-9 to the diagonal of what it solves, which shows at small noise
CLAIM = "a second call with other noise and other data of the same shape neither traces nor compiles"


class Counter:
    """Counts what JAX traces and compiles while it is active."""

    active: "Counter | None" = None

    def __init__(self) -> None:
        self.traces = self.compilations = 0

    def __enter__(self) -> "Counter":
        Counter.active = self
        return self

    def __exit__(self, *_: object) -> None:
        Counter.active = None


def _listen(event: str, *_: object, **__: object) -> None:
    if Counter.active is not None:
        Counter.active.traces += "jaxpr_trace" in event
        Counter.active.compilations += "backend_compile" in event


def foresee(problem: Linear) -> Callable[[float, np.ndarray], object]:
    """Call `run` as it is, with models made anew from numbers every time."""
    from foresee.beliefs import Gaussian
    from foresee.dynamics import ConstantVelocity, Position
    from foresee.filters import KalmanFilter, run

    prior = Gaussian(problem.prior_mean, problem.prior_covariance)

    def call(noise: float, observations: np.ndarray):
        motion, sensor = ConstantVelocity(noise), Position(np.full(2, noise), size=4)
        return run(KalmanFilter(), motion, sensor, prior, observations).log_evidence

    return call


def foresee_gradient(problem: Linear) -> Callable[[float, np.ndarray], object]:
    """Take the gradient of the evidence with respect to the models, under jit."""
    import equinox as eqx

    from foresee.beliefs import Gaussian
    from foresee.dynamics import ConstantVelocity, Position
    from foresee.filters import KalmanFilter, run

    prior = Gaussian(problem.prior_mean, problem.prior_covariance)

    @eqx.filter_jit
    @eqx.filter_grad
    def gradient(models, observations):
        return run(KalmanFilter(), *models, prior, observations).log_evidence

    def call(noise: float, observations: np.ndarray):
        found = gradient((ConstantVelocity(noise), Position(np.full(2, noise), size=4)), observations)
        return found[0].acceleration_density

    return call


def _dynamax_parameters(problem: Linear, noise: float):
    from dynamax.linear_gaussian_ssm.inference import make_lgssm_params

    transition, spread, sensor, _ = problem.matrices()
    mean, covariance = problem.prior_mean, problem.prior_covariance
    spread = spread / problem.density * noise
    first = (transition @ mean, transition @ covariance @ transition.T + spread)
    return make_lgssm_params(*map(jnp.asarray, (*first, transition, spread, sensor, np.eye(2) * noise)))


def dynamax(problem: Linear) -> Callable[[float, np.ndarray], object]:
    """Hand the parameters to a compiled function as an argument."""
    from dynamax.linear_gaussian_ssm.inference import lgssm_filter

    compiled = jax.jit(
        lambda parameters, observations: lgssm_filter(parameters, observations).marginal_loglik
    )
    return lambda noise, observations: compiled(_dynamax_parameters(problem, noise), observations)


def dynamax_closure(problem: Linear) -> Callable[[float, np.ndarray], object]:
    """Compile a function that closes over the parameters."""
    from dynamax.linear_gaussian_ssm.inference import lgssm_filter

    def call(noise: float, observations: np.ndarray):
        parameters = _dynamax_parameters(problem, noise)
        return jax.jit(lambda values: lgssm_filter(parameters, values).marginal_loglik)(observations)

    return call


def kalman_py(problem: Linear) -> Callable[[float, np.ndarray], object]:
    """Make a filter from the parameters."""
    from kalman_py import KalmanFilter

    transition, spread, sensor, _ = problem.matrices()

    def call(noise: float, observations: np.ndarray):
        prior = (problem.prior_mean, problem.prior_covariance)
        filter = KalmanFilter(transition, sensor, spread / problem.density * noise, np.eye(2) * noise, *prior)
        return filter.filter(observations, backend="jax").log_likelihood

    return call


def smcx(problem: Linear) -> Callable[[float, np.ndarray], object]:
    """Call the filter as it is."""
    import smcx as library

    transition, spread, sensor, _ = problem.matrices()

    def call(noise: float, observations: np.ndarray):
        moved = spread / problem.density * noise
        first = transition @ problem.prior_covariance @ transition.T + moved
        matrices = map(jnp.asarray, (problem.prior_mean, first, transition, moved, sensor, np.eye(2) * noise))
        return library.kalman_filter(*matrices, jnp.asarray(observations)).marginal_loglik

    return call


def cuthbert(problem: Linear) -> Callable[[float, np.ndarray], object]:
    """Build a filter object, which holds its parameters in closures, and compile it."""
    import cuthbert as library
    from cuthbert.gaussian import kalman

    transition, spread, sensor, _ = problem.matrices()
    zero, level = np.zeros(4), np.zeros(2)

    def call(noise: float, observations: np.ndarray):
        factor, sensor_factor = np.linalg.cholesky(spread / problem.density * noise), np.eye(2) * noise**0.5
        method = kalman.build_filter(
            problem.prior_mean,
            np.linalg.cholesky(problem.prior_covariance),
            lambda row: (jnp.asarray(transition), jnp.asarray(zero), jnp.asarray(factor)),
            lambda row: (jnp.asarray(sensor), jnp.asarray(level), jnp.asarray(sensor_factor), row),
        )
        compiled = jax.jit(lambda values: library.filter(method, values, method.init_prepare()))
        return compiled(observations).log_normalizing_constant[-1]

    return call


CANDIDATES = {
    "foresee": (foresee, "models made anew for every call"),
    "foresee, gradient": (foresee_gradient, "gradient of the evidence, models as arguments"),
    "dynamax, parameters as argument": (dynamax, "under a jit of the user"),
    "dynamax, closing over parameters": (dynamax_closure, "under a jit of the user, for every value"),
    "kalman-py": (kalman_py, "filter made anew for every call"),
    "smcx": (smcx, "called as it is"),
    "cuthbert": (cuthbert, "filter built anew for every value, under a jit of the user"),
}


def main(arguments: list[str] | None = None) -> int:
    """Run every candidate with a number of noise values."""
    options = measure.options(__doc__, arguments)
    jax.monitoring.register_event_duration_secs_listener(_listen)
    report = measure.Report("compile_once", CLAIM, options)
    problem = simulate(50 if options.quick else 1_000)
    values = np.geomspace(0.05, 5.0, 4 if options.quick else 20)
    random = np.random.default_rng(2)
    data = [problem.observations + 0.1 * random.normal(size=problem.observations.shape) for _ in values]
    lines, evidences = [], {}
    for name, (make, note) in CANDIDATES.items():
        ours = name.startswith("foresee")
        if not (ours or options.peers is None or any(word.lower() in name for word in options.peers)):
            continue
        try:
            call = make(problem)
            begin = time.perf_counter()
            found = [float(call(float(values[0]), data[0]))]
            first, begin = time.perf_counter() - begin, time.perf_counter()
            with Counter() as counter:
                found += [
                    float(call(float(noise), series))
                    for noise, series in zip(values[1:], data[1:], strict=True)
                ]
            rest = (time.perf_counter() - begin) / (len(values) - 1)
        except Exception as error:  # a peer that cannot run here gets a line that says so
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:100]
            lines.append((name, "", "", "", "", f"not run: {reason}; {note}"))
            report.gate(f"{name} runs", not ours, reason)
            continue
        evidences[name] = np.array(found)
        lines.append((name, counter.traces, counter.compilations, first, 1e3 * rest, note))
        if ours:
            report.gate(f"{name}: no trace after the first call", counter.traces == 0, str(counter.traces))
            report.gate(
                f"{name}: no compilation after the first call",
                counter.compilations == 0,
                str(counter.compilations),
            )
        elif "foresee" in evidences:
            error = np.abs(evidences[name] - evidences["foresee"]) / (1 + np.abs(evidences["foresee"]))
            report.gate(f"{name}: same evidences", float(error.max()) < SAME, f"{error.max():.1e}")
    columns = ("", "traces", "compilations", "first call s", "later calls ms", "note")
    report.table(
        f"{len(values)} noise values, each with other data; counted after the first call", columns, lines
    )
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
