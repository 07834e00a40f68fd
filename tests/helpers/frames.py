"""Small models that learn from frames, and rollouts of them."""

from __future__ import annotations

from typing import Any

import torch as th
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger

from o1nano.agents.learning.packing import TrainingFrame
from o1nano.agents.learning.ppo import FramePPO
from o1nano.policies.actor_critic import ReasoningPolicy
from tests.helpers.tiny import TINY, ids, padded, shake, vec_env


class Recorder(BaseCallback):
    """Writes down every action with its environment, time, log-probability and value, and the ends of episodes."""

    def __init__(self) -> None:
        super().__init__()
        self.actions: dict[tuple[int, int], tuple[int, float, float]] = {}
        self.ends: list[tuple[int, int]] = []  # environment and time
        self.time = 0

    def _on_step(self) -> bool:
        values, log_probs = self.locals["values"].flatten(), self.locals["log_probs"]
        for env, action in enumerate(self.locals["actions"].flatten().tolist()):
            self.actions[env, self.time] = (action, log_probs[env].item(), values[env].item())
            if self.locals["dones"][env]:
                self.ends.append((env, self.time))
        self.time += 1
        return True


class CollectingPPO(FramePPO):
    """A model whose rollouts can be collected without learning from them."""

    callback: BaseCallback

    def begin(self, callback: BaseCallback | None = None) -> None:
        """Resets the environment, as ``learn`` does."""
        _, self.callback = self._setup_learn(10**9, callback)

    def collect(self) -> list[TrainingFrame]:
        """Collects a rollout; returns its frames."""
        assert self.env is not None
        assert self.collect_rollouts(self.env, self.callback, self.rollout_buffer, self.n_steps)
        return list(self.rollout_buffer.frames)

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "callback"]


def frame_ppo(n_envs: int = 8, n_steps: int = 48, **kwargs: Any) -> CollectingPPO:
    """A tiny model on small environments; ``env`` has their arguments, ``wrap`` wraps their vector."""
    env_kwargs = kwargs.pop("env", {})
    settings = {"batch_size": 2 * n_steps, "n_epochs": 2, "gamma": 1.0, "credit": "frame", **kwargs}
    wrap = settings.pop("wrap", lambda envs: envs)
    model = CollectingPPO(
        settings.pop("policy", ReasoningPolicy),
        wrap(vec_env(n_envs, **env_kwargs)),
        n_steps=n_steps,
        seed=0,
        device="cpu",
        policy_kwargs={"transformer": TINY, **settings.pop("policy_kwargs", {})},
        **settings,
    )
    model.set_logger(Logger(None, []))
    shake(model.policy, size=0.15)
    like_structure(model.policy)
    return model


@th.no_grad()
def like_structure(policy: ReasoningPolicy) -> None:
    """Makes a random policy call and return more often, so that frames of every kind appear."""
    policy.network.heads.completion.bias[ids("<think> <eos>")] += 3
    policy.network.heads.reasoning.bias[ids("<call> </think>")] += 2
    policy.network.heads.subtask.bias[ids("</call>")] += 3


def rollouts(model: CollectingPPO, count: int = 1) -> tuple[Recorder, list[list[TrainingFrame]]]:
    """Collects rollouts without learning; returns what was recorded and the frames of each."""
    recorder = Recorder()
    model.begin(recorder)
    frames = [model.collect() for _ in range(count)]
    return recorder, frames


def rows_of(frames: list[TrainingFrame]) -> th.Tensor:
    """The observation before every action of some frames."""
    return th.from_numpy(padded([frame.tokens[: at + 1].tolist() for frame in frames for at in frame.positions], 48))
