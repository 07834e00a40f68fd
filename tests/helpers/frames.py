"""Small models that learn from frames, and rollouts of them."""

from __future__ import annotations

from typing import Any

import torch as th
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger

from o1nano.agents.learning.packing import ClosedFrame
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


def frame_ppo(n_envs: int = 8, n_steps: int = 48, **kwargs: Any) -> FramePPO:
    """A tiny model on small environments; ``env`` has their arguments, ``wrap`` wraps their vector."""
    env_kwargs = kwargs.pop("env", {})
    settings = {"batch_size": 2 * n_steps, "n_epochs": 2, "gamma": 1.0, "credit": "frame", **kwargs}
    wrap = settings.pop("wrap", lambda envs: envs)
    model = FramePPO(
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


def rollouts(model: FramePPO, count: int = 1) -> tuple[Recorder, list[list[ClosedFrame]]]:
    """Collects rollouts without learning; returns what was recorded and the frames of each."""
    recorder, frames = Recorder(), []
    _, callback = model._setup_learn(10**9, recorder)
    for _ in range(count):
        assert model.collect_rollouts(model.env, callback, model.rollout_buffer, model.n_steps)
        frames.append(list(model.rollout_buffer.frames))
    return recorder, frames


def rows_of(frames: list[ClosedFrame]) -> th.Tensor:
    """The observation before every action of some frames."""
    return th.from_numpy(padded([frame.tokens[: at + 1].tolist() for frame in frames for at in frame.positions], 48))
