"""NumPyro on the smuggler's den; imports NumPyro only when it is called."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def numpyro_run(kind: str, y: float, seed: int, *, chains: int, draws: int, warmup: int) -> dict[str, Any]:
    """Return draws by chain of a new `MCMC`: a second run of the same one with other data raises."""
    import numpyro
    import numpyro.distributions as dist
    from numpyro.infer import MCMC, NUTS

    def model(y):
        if kind == "flat prior":
            place = numpyro.sample("place", dist.Uniform(-2.0, 2.0).expand([2]))
        else:
            place = numpyro.sample("place", dist.Laplace(jnp.array([-1.5, 1.0]), 0.1))
        signal = numpyro.sample("signal", dist.Normal(9.5, 0.5))
        numpyro.sample("y", dist.Normal(signal * jnp.sqrt(jnp.sum(place**2)), 1.5), obs=y)

    sampler = MCMC(
        NUTS(model),
        num_warmup=warmup,
        num_samples=draws,
        num_chains=chains,
        chain_method="vectorized",
        progress_bar=False,
    )
    sampler.run(jax.random.key(seed), y)
    return sampler.get_samples(group_by_chain=True)


def effective_size(draws: dict[str, Any]) -> float:
    """Return the smallest effective size of any unknown, as NumPyro computes it."""
    from numpyro.diagnostics import effective_sample_size

    return float(min(np.min(effective_sample_size(np.asarray(leaf))) for leaf in draws.values()))
