"""One agent among others as a vector: a set encoder with attention, for others of any number and order."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from foresee.errors import OptionError

MASKED = -1e9


class AgentEncoder(eqx.Module):
    """An encoding of an agent and of those around it, which no order of the others changes.

    Every other is first made a message, given the agent itself; the agent asks all messages by attention with
    several heads (Vaswani et al. 2017, equation 1), and takes the largest of each feature as well.

    Args:
        own: how many numbers describe the agent.
        other: how many numbers describe another one, as the agent sees it.
        width: size of the encoding and of all layers before it.
        heads: of the attention.
        dropout: probability that a feature is left out in training.
        key: source of the first weights.

    Raises:
        OptionError: if the width cannot be divided among the heads.
    """

    own_in: eqx.nn.Linear
    own_mid: eqx.nn.Linear
    other_in: eqx.nn.Linear
    other_mid: eqx.nn.Linear
    ask: eqx.nn.Linear
    answer: eqx.nn.Linear
    tell: eqx.nn.Linear
    join: eqx.nn.Linear
    out: eqx.nn.Linear
    drop: eqx.nn.Dropout
    heads: int = eqx.field(static=True)

    def __init__(
        self,
        own: int,
        other: int,
        *,
        width: int = 64,
        heads: int = 4,
        dropout: float = 0.1,
        key: PRNGKeyArray,
    ):
        if width % heads:
            raise OptionError(f"expected a width that {heads} heads can divide, got {width}")
        keys = jax.random.split(key, 9)
        linear = eqx.nn.Linear
        self.own_in, self.own_mid = linear(own, width, key=keys[0]), linear(width, width, key=keys[1])
        self.other_in = linear(other, width, key=keys[2])
        self.other_mid = linear(width, width, key=keys[3])
        self.ask = linear(width, width, use_bias=False, key=keys[4])
        self.answer = linear(width, width, use_bias=False, key=keys[5])
        self.tell = linear(width, width, key=keys[6])
        self.join = linear(3 * width, width, key=keys[7])
        self.out = linear(width, width, key=keys[8])
        self.drop = eqx.nn.Dropout(dropout)
        self.heads = heads

    def __call__(
        self,
        own: Float[Array, " F"],
        others: Float[Array, "N G"],
        there: Bool[Array, " N"],
        *,
        key: PRNGKeyArray | None = None,
    ) -> Float[Array, " W"]:
        """Return the encoding.

        Args:
            own: the agent.
            others: the others as it sees them.
            there: which rows of `others` hold one.
            key: source of what is left out; None where nothing is.
        """
        first, second = (None, None) if key is None else jax.random.split(key)
        self_ = jax.nn.silu(self.own_in(own))
        messages = jax.nn.silu(jax.vmap(self.other_in)(others) + self.own_mid(self_))
        messages = jax.nn.silu(jax.vmap(self.other_mid)(messages))
        asked = self.ask(self_).reshape(self.heads, -1)
        answers = jax.vmap(self.answer)(messages).reshape(len(others), self.heads, -1)
        told = jax.vmap(self.tell)(messages).reshape(len(others), self.heads, -1)
        score = jnp.einsum("hd,nhd->hn", asked, answers) / jnp.sqrt(asked.shape[1])
        # Where nobody is there, all weights are equal and what is told is masked away.
        weight = jax.nn.softmax(jnp.where(there, score, MASKED), axis=-1) * there
        heard = jnp.einsum("hn,nhd->hd", weight, told).reshape(-1)
        largest = jnp.where(there[:, None], messages, -1.0).max(axis=0, initial=-1.0)
        joined = self.drop(jnp.concatenate([self_, heard, largest]), key=first, inference=key is None)
        hidden = self.drop(jax.nn.silu(self.join(joined)), key=second, inference=key is None)
        return self_ + jax.nn.silu(self.out(hidden))
