"""An off-the-shelf learner on the vector environment, in a run small enough for a test."""

import time

import numpy as np
import pytest

gymnasium = pytest.importorskip("gymnasium")
learners = pytest.importorskip("stable_baselines3")
vectors = pytest.importorskip("stable_baselines3.common.vec_env")

from foresee.driving.environment import HighwayVectorEnv  # noqa: E402


class AsVecEnv(vectors.VecEnv):
    """Gymnasium's vector environment behind the older interface of stable-baselines3."""

    def __init__(self, envs: HighwayVectorEnv):
        self.envs = envs
        super().__init__(envs.num_envs, envs.single_observation_space, envs.single_action_space)
        self.returns, self.finished = np.zeros(envs.num_envs), []

    def reset(self):
        return self.envs.reset(seed=0)[0]

    def step_async(self, actions):
        self.actions = actions

    def step_wait(self):
        observation, reward, ended, cut, info = self.envs.step(self.actions)
        self.returns += reward
        infos = [{} for _ in range(self.num_envs)]
        for i in np.flatnonzero(ended | cut):
            infos[i] = {"terminal_observation": info["final_obs"][i], "TimeLimit.truncated": bool(cut[i])}
            self.finished.append(self.returns[i])
            self.returns[i] = 0.0
        return observation, reward.astype(np.float32), ended | cut, infos

    def close(self):
        self.envs.close()

    def get_attr(self, attr_name, indices=None):
        return [getattr(self.envs, attr_name, None)] * self.num_envs

    def set_attr(self, attr_name, value, indices=None):
        raise AttributeError(attr_name)

    def env_method(self, method_name, *args, indices=None, **kwargs):
        raise AttributeError(method_name)

    def env_is_wrapped(self, wrapper_class, indices=None):
        return [False] * self.num_envs


@pytest.mark.slow
def test_a_learner_gets_better():
    envs = AsVecEnv(HighwayVectorEnv(32, autoreset_mode="SameStep", vehicles=12, length=600.0, duration=15.0))
    learner = learners.PPO(
        "MlpPolicy", envs, n_steps=64, batch_size=512, n_epochs=6, learning_rate=1e-3, gamma=0.98, seed=0,
        policy_kwargs={"log_std_init": -1.0}, device="cpu",
    )  # fmt: skip
    begun = time.perf_counter()
    learner.learn(60_000)
    first, last = np.mean(envs.finished[:60]), np.mean(envs.finished[-60:])
    print(f"return {first:.1f} at first, {last:.1f} at last, {time.perf_counter() - begun:.0f} s")
    assert last > first + 20.0
