"""The density of entropies against SciPy's kernel density estimate."""

import jax.numpy as jnp
import numpy as np
from scipy import stats

import foresee.calibration as c


def test_it_is_scipys_kernel_density_estimate_and_flags_what_is_too_certain():
    random = np.random.default_rng(0)
    known = c.NetworkOutputs(logits=random.normal(size=(200, 3)) * 2)
    asked = c.NetworkOutputs(logits=np.r_[random.normal(size=(20, 3)) * 2, [[40.0, 0.0, 0.0]]])
    fitted = c.fit_entropy_density(known, 0.3)
    log_known, log_asked = (np.log(np.asarray(c.Entropy()(x))) for x in (known, asked))
    kernel = stats.gaussian_kde(log_known, bw_method=0.3 / log_known.std(ddof=1))
    scores = fitted(asked)
    np.testing.assert_allclose(scores[:20], -kernel.logpdf(log_asked[:20]), rtol=1e-8)
    assert scores[20] > scores[:20].max()
    iqr = np.subtract(*np.quantile(log_known, [0.75, 0.25]))
    silverman = 0.9 * min(log_known.std(), iqr / 1.34) * 200**-0.2
    np.testing.assert_allclose(c.fit_entropy_density(known).bandwidth, silverman)
    single = c.fit_entropy_density(c.NetworkOutputs(logits=jnp.asarray(known.logits, jnp.float32)), 0.3)
    assert single(asked).dtype in (jnp.float32, jnp.float64)
    np.testing.assert_allclose(single(asked)[:20], scores[:20], rtol=1e-3)
