"""Frames of a given length for benchmarks of speed: they think of nothing but digits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.callbacks import CallbackList

from o1nano.agents.learning.packing import TrainingFrame
from o1nano.envs.language.vocab import EQUALS, NINE, PLUS, SUBTASK, THINK, ZERO
from o1nano.policies.actor_critic import ReasoningPolicy


def thoughts(count: int, length: int, seed: int = 0) -> list[TrainingFrame]:
    """Frames of this length that think of nothing but digits, as a policy might emit them."""
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(count):
        a, b = rng.integers(ZERO, NINE + 1, 2)
        tokens = np.array([SUBTASK, a, PLUS, b, EQUALS, THINK, *rng.integers(ZERO, NINE + 1, length - 5)], np.uint8)
        positions = np.arange(4, length)
        values, log_probs, rewards = rng.random((3, len(positions)), np.float32) - np.float32([[0], [3], [0]])
        frames.append(
            TrainingFrame(
                tokens, positions, values=values, log_probs=log_probs, rewards=rewards, times=positions.astype(np.int64)
            )
        )
    return frames


def mixed_thoughts(actions: int) -> list[TrainingFrame]:
    """Frames of 12 to 95 tokens with this number of actions together."""
    frames: list[TrainingFrame] = []
    rng = np.random.default_rng(1)
    while sum(len(frame.positions) for frame in frames) < actions:
        frames += thoughts(1, int(rng.integers(12, 96)), len(frames))
    return frames


@th.no_grad()
def like_digits(policy: ReasoningPolicy) -> None:
    """Has a fresh policy think of digits until its frame is full, so that frames have the length they may have."""
    policy.network.heads.completion.bias[THINK] += 20
    policy.network.heads.reasoning.bias[ZERO : NINE + 1] += 20


def collecting(model: Any, like: bool = True) -> Callable[[], None]:
    """Returns a job that collects one rollout."""
    if like:
        like_digits(model.policy)
    # Nothing to learn, but the environments are reset.
    model.learn(0)
    callback = CallbackList([])
    callback.init_callback(model)
    return lambda: model.collect_rollouts(model.env, callback, model.rollout_buffer, model.n_steps)
