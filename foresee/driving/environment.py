"""The highway task as a Gymnasium environment, `foresee/Highway-v0`, and its vector form.

Importing this module registers both; it needs `pip install 'foresee[gym]'`. Then

    gymnasium.make("foresee/Highway-v0")
    gymnasium.make_vec("foresee/Highway-v0", num_envs=64)

or, without an import of one's own, `gymnasium.make("foresee.driving.environment:foresee/Highway-v0")`.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from foresee.driving.highway import EGO, LARGEST, Highway, Outcome, State
from foresee.driving.picture import Frame, picture
from foresee.driving.vector import layout
from foresee.errors import MissingExtraError, OptionError

try:
    import gymnasium
    from gymnasium.utils import seeding
    from gymnasium.vector import AutoresetMode
    from gymnasium.vector.utils import batch_space
except ImportError as error:
    raise MissingExtraError("gymnasium", "gym") from error

NAME = "foresee/Highway-v0"
INFO = ("collision", "off_road", "arrived", "speed", "along")
ACTIONS = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)
OBSERVATIONS = gymnasium.spaces.Box(-LARGEST, LARGEST, (len(layout()),), np.float32)


@eqx.filter_jit
def _advance(
    highway: Highway, states: State, actions: Any, restarts: Any, seeds: Any
) -> tuple[State, Outcome]:
    """Take a step in many episodes, or begin anew in some of them."""

    def one(state: State, action: Any, restart: Any, seed: Any) -> tuple[State, Outcome]:
        return highway.advance(state, action, restart, key=jax.random.key(seed))

    return jax.vmap(one)(states, actions, restarts, seeds)


class _Batch:
    """Episodes side by side, in NumPy: what both environments are made of."""

    def __init__(self, highway: Highway, count: int):
        self.highway, self.count = highway, count
        blank = highway.blank()
        self.states: State = jax.vmap(lambda _: blank)(jnp.arange(count))

    def advance(
        self, actions: np.ndarray, restarts: np.ndarray, seeds: np.ndarray, *, keep: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, np.ndarray]]:
        """Return observations, rewards, terminations, truncations and the rest; kept episodes stand still."""
        moved, outcome = _advance(
            self.highway,
            self.states,
            jnp.asarray(actions),
            jnp.asarray(restarts),
            jnp.asarray(seeds, jnp.uint32),
        )
        if keep is not None:
            moved = _select(jnp.asarray(keep), self.states, moved)
        self.states = moved
        outcome = jax.tree.map(np.asarray, outcome)
        ended = (outcome.collision | outcome.off_road | outcome.arrived) & ~restarts
        return (
            outcome.observation.astype(np.float32),
            np.where(restarts, 0.0, outcome.reward).astype(np.float64),
            ended,
            outcome.timeout & ~restarts & ~ended,
            {name: getattr(outcome, name) for name in INFO},
        )

    def picture(self, number: int) -> Frame:
        """Draw one of the episodes."""
        world = jax.tree.map(lambda leaf: leaf[number], self.states.world)
        world = eqx.tree_at(lambda w: w.road, world, self.highway.road, is_leaf=lambda leaf: leaf is None)
        return picture(world, EGO)


def _select(chosen: Any, one: State, other: State) -> State:
    """Return the chosen episodes of one batch and all others of another."""
    return jax.tree.map(lambda a, b: jnp.where(chosen.reshape(-1, *[1] * (a.ndim - 1)), a, b), one, other)


class HighwayEnv(gymnasium.Env):
    """One vehicle to be driven down a highway; see `foresee.driving.highway.Highway` for the task.

    Observations are the 59 numbers named by `foresee.driving.vector.layout`, cut at ±10. An action is
    acceleration over 5 m/s² and curvature over the sharpest that is possible, both in [-1, 1]. The reward is
    that of `foresee.driving.highway.Reward`. An episode terminates on a collision, off the road and at its
    end, and is truncated when the time is over; `info` says which of these it was.

    Args:
        render_mode: "rgb_array" for pictures from above, or None.
        highway: the task; the usual one by default.
        options: for `Highway`, where no task is given.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012 - as Gymnasium has it

    def __init__(self, render_mode: str | None = None, highway: Highway | None = None, **options: Any):
        self.render_mode = _known(render_mode)
        self.observation_space, self.action_space = OBSERVATIONS, ACTIONS
        self._batch = _Batch(Highway(**options) if highway is None else highway, 1)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict]:
        """Begin an episode; with a seed, always the same one."""
        super().reset(seed=seed)
        observation, _, _, _, info = self._batch.advance(
            np.zeros((1, 2), np.float32), np.ones(1, bool), np.asarray([_draw_seed(self.np_random)])
        )
        return observation[0], _scalars(info)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
        """Drive for a step."""
        observation, reward, ended, cut, info = self._batch.advance(
            np.asarray(action, np.float32)[None], np.zeros(1, bool), np.zeros(1)
        )
        return observation[0], float(reward[0]), bool(ended[0]), bool(cut[0]), _scalars(info)

    def render(self) -> Any:
        """Return a picture from above, if asked for when the environment was made."""
        return None if self.render_mode is None else self._batch.picture(0)


class HighwayVectorEnv(gymnasium.vector.VectorEnv):
    """Many highways, all stepped by one compiled function; each is as `HighwayEnv` with its seed.

    Args:
        num_envs: how many.
        render_mode: "rgb_array" for a tuple of pictures, or None.
        autoreset_mode: what happens to an episode that is over: it begins anew in the next step (Gymnasium's
            usual way), in the same step (the last observation is then in `info["final_obs"]`), or not until
            `reset` is called with `options={"reset_mask": …}`.
        highway: the task; the usual one by default.
        options: for `Highway`, where no task is given.
    """

    def __init__(
        self,
        num_envs: int = 1,
        render_mode: str | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        highway: Highway | None = None,
        **options: Any,
    ):
        if num_envs < 1:
            raise OptionError(f"expected at least one environment, got {num_envs}")
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {**HighwayEnv.metadata, "autoreset_mode": self.autoreset_mode}
        self.num_envs, self.render_mode = num_envs, _known(render_mode)
        self.single_observation_space, self.single_action_space = OBSERVATIONS, ACTIONS
        self.observation_space = batch_space(OBSERVATIONS, num_envs)
        self.action_space = batch_space(ACTIONS, num_envs)
        self._batch = _Batch(Highway(**options) if highway is None else highway, num_envs)
        self._rngs = [seeding.np_random()[0] for _ in range(num_envs)]
        self._over = np.zeros(num_envs, bool)
        self._latest = np.zeros(self.observation_space.shape or (), np.float32)

    def reset(
        self,
        *,
        seed: int | list[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Any, dict]:
        """Begin all episodes, or those of `options["reset_mask"]`; seed k gives environment i the seed k + i.

        Raises:
            OptionError: if the number of seeds or the mask does not fit.
        """
        seeds = (
            [None if seed is None else seed + i for i in range(self.num_envs)]
            if not isinstance(seed, list)
            else seed
        )
        mask = np.asarray((options or {}).get("reset_mask", np.ones(self.num_envs, bool)))
        if len(seeds) != self.num_envs or mask.shape != (self.num_envs,) or mask.dtype != bool:
            raise OptionError(
                f"expected {self.num_envs} seeds and flags, got {len(seeds)} and {mask.dtype} {mask.shape}"
            )
        for i, one in enumerate(seeds):
            if one is not None and mask[i]:
                self._rngs[i] = seeding.np_random(one)[0]
        observation, _, _, _, info = self._restart(mask)
        self._latest = np.where(mask[:, None], observation, self._latest)
        self._over = self._over & ~mask
        return self._latest.copy(), _masked(info, mask)

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict]:
        """Drive all for a step.

        Raises:
            OptionError: if an episode is over that nobody has begun anew, where that is not done by itself.
        """
        following = self.autoreset_mode is AutoresetMode.NEXT_STEP
        if self._over.any() and not following:
            raise OptionError(f"expected a reset of environments {np.flatnonzero(self._over).tolist()} first")
        restarts = self._over if following else np.zeros(self.num_envs, bool)
        observation, reward, ended, cut, info = self._batch.advance(
            np.asarray(actions, np.float32), restarts, self._seeds(restarts)
        )
        over, infos = ended | cut, {}
        if self.autoreset_mode is AutoresetMode.SAME_STEP and over.any():
            for i in np.flatnonzero(over):
                last = {name: values[i] for name, values in info.items()}
                infos = self._add_info(infos, {"final_obs": observation[i], "final_info": last}, int(i))
            again, _, _, _, first = self._restart(over)
            observation = np.where(over[:, None], again, observation)
            info = {name: np.where(over, first[name], values) for name, values in info.items()}
        self._over = over if self.autoreset_mode is not AutoresetMode.SAME_STEP else np.zeros_like(over)
        self._latest = observation
        return observation.copy(), reward, ended, cut, infos | _masked(info, np.ones(self.num_envs, bool))

    def render(self) -> tuple[Any, ...] | None:
        """Return a picture of each from above, if asked for when the environments were made."""
        return None if self.render_mode is None else tuple(map(self._batch.picture, range(self.num_envs)))

    def _restart(self, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict]:
        actions = np.zeros((self.num_envs, 2), np.float32)
        return self._batch.advance(actions, chosen, self._seeds(chosen), keep=~chosen)

    def _seeds(self, chosen: np.ndarray) -> np.ndarray:
        """Return a fresh seed for every chosen episode from its own generator."""
        return np.asarray(
            [_draw_seed(rng) if yes else 0 for rng, yes in zip(self._rngs, chosen, strict=True)]
        )


def _draw_seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))


def _known(render_mode: str | None) -> str | None:
    if render_mode not in (None, "rgb_array"):
        raise OptionError(f"expected render_mode 'rgb_array' or None, got {render_mode!r}")
    return render_mode


def _scalars(info: dict[str, np.ndarray]) -> dict[str, Any]:
    return {name: values[0].item() for name, values in info.items()}


def _masked(info: dict[str, np.ndarray], there: np.ndarray) -> dict[str, np.ndarray]:
    """Return vector information as Gymnasium has it: values, and under `_name` for which they hold."""
    return {**info, **{f"_{name}": there.copy() for name in info}}


if NAME not in gymnasium.registry:
    gymnasium.register(
        NAME,
        entry_point="foresee.driving.environment:HighwayEnv",
        vector_entry_point="foresee.driving.environment:HighwayVectorEnv",
    )
