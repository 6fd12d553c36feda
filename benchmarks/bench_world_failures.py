"""How learned worlds are known to fail, each failure as a number beside what helps against it."""

import sys
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import measure
from benchmarks.world_toys import (
    EFFECT,
    FORK_NOISE,
    GAP,
    branch_distance,
    curve,
    first,
    fork,
    fork_loss,
    hidden,
    keys,
    over,
    seen,
    spread,
    swing,
    trained,
    windows,
)
from foresee.beliefs import Points
from foresee.posteriors import GaussianLikelihood, RandomizedPrior, dropout, l2m, scales
from foresee.posteriors.l2m import SecondMoments, second_moments
from foresee.worlds import (
    Deterministic,
    LatentVariable,
    MixtureOfExperts,
    Normaliser,
    Unrolled,
    Within,
    mean_step,
    unroll,
    variances,
)

CLAIM = "five known failures of learned worlds are there, and what is offered against each of them helps"
BETAS, QUICK_BETAS = (0.001, 0.01, 0.1, 1.0, 2.0, 8.0), (1.0, 8.0)  # on the fork
SMALL_BETAS, QUICK_SMALL = (1e-6, 1e-3, 1.0), (1e-6, 1e-6)  # for changed actions; as many, to compile once
HORIZONS = (10, 30, 100)
WINDOW, QUICK_WINDOW = 20, 5  # steps of unrolled training


def latents(data: Any, epochs: int, betas: Any, seeds: int) -> tuple[Any, Any]:
    """Train latent-variable worlds for all β, latent dropouts and seeds; return them and which is which."""
    grid = [(beta, rate) for beta in betas for rate in (0.0, 0.5) for _ in range(seeds)]
    beta, rate = (jnp.asarray([row[index] for row in grid]) for index in (0, 1))

    def make(key, beta, rate):
        return LatentVariable(1, 1, 1, 2, beta=beta, latent_dropout=rate, width=32, key=key)

    return trained(make, data, epochs, (keys(len(grid)), beta, rate)).model, grid


def by_cell(grid: Any, numbers: Any) -> dict[Any, Any]:
    """Return the numbers of all seeds for each β and latent dropout."""
    cells = list(dict.fromkeys(grid))
    return {
        cell: np.asarray([v for row, v in zip(grid, numbers, strict=True) if row == cell]) for cell in cells
    }


def blur(report: measure.Report, epochs: int, rows: int, seeds: int) -> None:
    """Say how far from any branch of a fork the predictions of one mean and of several modes are."""
    data, test = fork(rows), fork(500, 1)

    def modes(criterion):
        options = {"criterion": criterion, "weight": 1.0, "width": 32}
        return lambda key: MixtureOfExperts(1, 1, 1, 4, **options, key=key)

    makers = {
        "one mean": lambda key: Deterministic(1, 1, 1, width=32, key=key),
        "4 modes, likelihood": modes("mixture_likelihood"),
        "4 modes, winner takes all": modes("winner_takes_all"),
    }
    makers = dict(list(makers.items())[:2]) if report.options.quick else makers

    def judge(world, context, action, outcome):
        belief = world(context, action)
        if isinstance(world, Deterministic):
            return branch_distance(belief.mean(), action), -belief.log_prob(outcome)
        distances = branch_distance(belief.components.location, action)
        return belief.weights() @ distances, -belief.log_prob(outcome)

    lines, found = [], {}
    for name, make in makers.items():
        distance, loss = over(trained(make, data, epochs, (keys(seeds),)).model, judge, test)
        found[name] = spread(distance)
        lines.append([name, *found[name], *spread(loss), fork_loss()])
    one, several, *_ = found.values()
    report.gate("one mean lies between the branches", one[0] > 0.8, f"{one[0]:.3f}")
    report.gate("modes lie on them", several[0] < 0.2, f"{several[0]:.3f}")
    columns = ["", "distance from a branch", "±", "NLL [nats]", "± ", "NLL of the truth"]
    report.table(f"blur: a fork, half the gap is 1; {seeds} seeds, ± standard error", columns, lines)


def insensitivity(report: measure.Report, epochs: int, rows: int, seeds: int) -> None:
    """Say which share of a changed action's effect is left when z comes from the recorded future."""
    betas = QUICK_SMALL if report.options.quick else SMALL_BETAS
    worlds, grid = latents(hidden(rows), epochs, betas, seeds)

    def share(world, context, action, outcome):
        z = world.posterior(context, action, outcome).mean()
        change = world.decode(context, action + 0.5, z) - world.decode(context, action - 0.5, z)
        return change[0] / EFFECT

    shares = by_cell(grid, over(worlds, share, hidden(200, 1)))
    lines = [
        [f"β = {beta:g}", rate, *spread(own), float(own.min()), float(own.max())]
        for (beta, rate), own in shares.items()
    ]
    off, on = (shares[betas[0], rate].mean() for rate in (0.0, 0.5))
    report.gate("latent dropout keeps more of the action's effect", on > off + 0.1, f"{off:.2f}, {on:.2f}")
    columns = ["", "latent dropout", "share of the effect", "±", "least", "most"]
    report.table(f"insensitivity: what is left of a changed action's effect, {seeds} seeds", columns, lines)


def collapse(report: measure.Report, epochs: int, rows: int, seeds: int) -> None:
    """Say what the latent variable carries and contributes as β grows, and how far from a branch it ends."""
    betas = QUICK_BETAS if report.options.quick else BETAS
    worlds, grid = latents(fork(rows), epochs, betas, seeds)

    def judge(world, context, action, outcome):
        belief: Any = world(context, action)
        means = belief.components.location
        made = jnp.std(means) / jnp.sqrt(GAP**2 + FORK_NOISE**2)
        distance = jnp.mean(branch_distance(means, action))
        return world.kl(context, action, outcome), made, distance, -belief.log_prob(outcome)

    kl, made, distance, loss = (by_cell(grid, values) for values in over(worlds, judge, fork(200, 1)))
    lines = [
        [f"β = {beta:g}", rate, *spread(kl[beta, rate]), *spread(made[beta, rate])]
        + [float(values[beta, rate].mean()) for values in (distance, loss)]
        for beta, rate in kl
    ]
    used, unused = kl[1.0, 0.0].mean(), kl[betas[-1], 0.0].mean()
    report.gate("a large β collapses the posterior", unused < 0.05 < 0.4 < used, f"{used:.3f}, {unused:.3f}")
    columns = ["", "latent dropout", "KL [nats]", "±", "spread made by z, share", "± "]
    columns += ["distance from a branch", "NLL [nats]"]
    report.table(f"posterior collapse: the fork, {seeds} seeds", columns, lines)


def drift(report: measure.Report, epochs: int, episodes: int, seeds: int) -> None:
    """Say how far rollouts are from the truth after 10, 30 and 100 steps."""
    length = QUICK_WINDOW if report.options.quick else WINDOW
    states, torques = swing(episodes, 2 * length, 0)
    states = seen(states)
    one = windows(states, torques, 1)
    start, action, following = one[0], one[1][:, 0], one[2][:, 0]
    units = scales(jnp.concatenate([start, action], axis=1), following - start)
    truth, held_out = (jnp.asarray(each) for each in swing(100, max(HORIZONS), 1))

    def size(apart):
        return jnp.sqrt(jnp.mean(jnp.sum(apart**2, axis=-1), axis=0))

    @eqx.filter_jit
    def errors(worlds):
        def one(world):
            def go(start, actions):
                return unroll(lambda state, action: mean_step(world, state, action), start, actions)

            return size(jax.vmap(go)(truth[:, 0], held_out) - truth[:, 1:])

        return jnp.mean(eqx.filter_vmap(one)(worlds), axis=0)

    def make(key):
        return Deterministic(2, 1, 2, width=32, scales=units, key=key)

    found = {"at rest, always": size(truth[:, 1:])}
    for name, window in (("trained on one step", 1), (f"trained on {length} steps, unrolled", length)):
        data, batch = windows(states, torques, window), max(4, 640 // window)  # as many transitions a step
        found[name] = errors(trained(make, data, epochs, (keys(seeds),), Unrolled(), batch).model)
    lines = [[name, *(float(error[t - 1]) for t in HORIZONS)] for name, error in found.items()]
    if not report.options.quick:
        one, unrolled = (line[1 + HORIZONS.index(30)] for line in lines[1:])
        report.gate("unrolled training drifts less", unrolled < 0.7 * one, f"{unrolled:.3f}, {one:.3f}")
    columns = ["", *(f"after {t} steps" for t in HORIZONS)]
    report.table(f"drift: error of a pendulum's rollout, √(rad² + rad²/s²), {seeds} seeds", columns, lines)


def beliefs(epochs: int, rows: int, members: int, quick: bool) -> dict[str, Any]:
    """Return a belief about worlds of every kind, all from the same rows."""
    data, kept = curve(rows, 0, 1, 0), curve(200, 0, 1, 1)

    def make(key, rate=0.0):
        return Deterministic(1, 1, 1, dropout=rate, width=32, key=key)

    def with_prior(key):
        base, prior = jax.random.split(key)
        random = RandomizedPrior(make(base).network, make(prior).network, 3.0)
        return eqx.tree_at(lambda world: world.network, make(base), random)

    plain = trained(make, data, epochs, (keys(members),))
    one, state = first(plain.model), first(plain.optimizer_state)
    moments = second_moments(state, one)
    tuned = l2m(
        one.network,
        SecondMoments(moments.values.network, moments.filled),
        GaussianLikelihood(jnp.exp(one.log_noise)),
        data,
        batch_size=64,
        validation=(jnp.concatenate(kept[:2], axis=1), kept[2]),
    )
    alone = jax.tree.map(lambda leaf: leaf[:1] if eqx.is_array(leaf) else leaf, plain.model)
    linearised = Within(tuned, one, lambda world: world.network)
    found = {
        "one network": Points(alone),
        "L2M, linearised": linearised,
        f"ensemble of {members}": Points(plain.model),
    }
    if quick:
        return found
    left_out = first(trained(lambda key: make(key, 0.1), data, epochs, (keys(1),)).model)
    masked = dropout(left_out.network, masks="network")
    return found | {
        "L2M, drawn": linearised.points(100, key=jax.random.key(3)),
        "dropout .1": Within(masked, left_out, lambda world: world.network),
        "with randomized priors": Points(trained(with_prior, data, epochs, (keys(members),)).model),
    }


def confidence(report: measure.Report, epochs: int, rows: int, members: int) -> None:
    """Say how large errors are beside the stated doubt, on the data and off them."""
    places = {"on": curve(200, 0, 1, 2), "off": curve(200, 2, 3, 3)}
    lines, ratios = [], {}
    for name, belief in beliefs(epochs, rows, members, report.options.quick).items():
        # Averaged predictions where the belief is a list of worlds, those of the mean world otherwise.
        centre = belief if isinstance(belief, Points) else Points(jax.tree.map(_alone, belief.mean()))

        @eqx.filter_jit
        def judged(belief, centre, context, action, outcome):
            def doubt(world):
                return world(context, action).mean()[None]

            said = centre.expect(lambda world: (world(context, action).mean(), jnp.exp(2 * world.log_noise)))
            between = variances(belief, doubt, 100, key=jax.random.key(2))[0]
            return (said[0] - outcome)[0] ** 2, between, between + said[1][0]

        every = jax.vmap(lambda *row, own=(belief, centre), judged=judged: judged(*own, *row))
        found = {place: every(*test) for place, test in places.items()}
        line: list[Any] = [name]
        for place, (squared, _, total) in found.items():
            ratios[name, place] = float(jnp.sqrt(jnp.mean(squared / total)))
            line += [*(float(jnp.sqrt(jnp.mean(value))) for value in (squared, total)), ratios[name, place]]
        usual = Normaliser.fit(found["on"][1][:, None])
        cost = float(jnp.mean(jax.vmap(usual)(found["off"][1][:, None])))
        lines.append([*line, None if name == "one network" else cost])
    best = min(ratio for (_, place), ratio in ratios.items() if place == "off")
    alone = ratios["one network", "off"]
    report.gate(
        "doubt about weights foresees errors off the data", best < alone / 2, f"{best:.3g}, {alone:.3g}"
    )
    parts = ("error", "stated", "ratio")
    columns = ["", *(f"{place}: {part}" for place in places for part in parts), "U off"]
    title = "confidence: errors and stated standard deviations on the data (|c| < 1) and off (2 < |c| < 3)"
    report.table(title, columns, lines)


def _alone(leaf: Any) -> Any:
    return leaf[None] if eqx.is_array(leaf) else leaf


def main(arguments: list[str] | None = None) -> int:
    """Show all failures one after another."""
    options = measure.options(__doc__, arguments)
    report = measure.Report("world_failures", CLAIM, options)
    quick = options.quick
    seeds, rows = (2, 256) if quick else (5, 1024)
    with jax.enable_x64(False):
        blur(report, 100 if quick else 150, rows, seeds)
        insensitivity(report, 60 if quick else 150, rows, seeds)
        collapse(report, 60 if quick else 150, rows, seeds)
        drift(report, 10 if quick else 400, 8 if quick else 100, seeds)
        confidence(report, 60 if quick else 300, rows, 3 if quick else 10)
    report.console.print("all of it by foresee.worlds; docs/worlds.md says what follows")
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
