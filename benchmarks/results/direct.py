"""Stock Stable-Baselines3 PPO with the one-hot wrapper on o1nano/Direct-v0: accuracy on all 200 problems.

OMP_NUM_THREADS=1 python -m benchmarks.results.direct --out docs/images/direct.png
OMP_NUM_THREADS=1 python -m benchmarks.results.direct --masked     # sb3-contrib's MaskablePPO
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import matplotlib.pyplot as plt
import numpy as np
import torch as th
from sb3_contrib import MaskablePPO
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import VecMonitor

import o1nano
from o1nano.agents.learning.vec_env import GymnasiumVecEnv
from o1nano.agents.run.cli import check_least, guarded, parse
from o1nano.envs.wrappers import OneHotWrapper, VectorOneHotWrapper, VectorRewardWrapper

ID = "o1nano/Direct-v0"
PROBLEMS = [f"{a}{sign}{b}" for sign, a, b in product("+-", range(10), range(10))]
ALPHABET: dict[str, Any] = {"tokens": "0123456789+-=", "actions": [*"0123456789-", "<eos>"], "dtype": "uint8"}
SETTINGS: dict[str, Any] = {
    "n_steps": 64,
    "batch_size": 2048,
    "n_epochs": 8,
    "learning_rate": LinearSchedule(2e-3, 4e-4, 1.0),
    "ent_coef": 0.03,
    "gamma": 1.0,
    "gae_lambda": 1.0,
    "policy_kwargs": {"net_arch": [128, 128, 128], "activation_fn": th.nn.ReLU},
}


@dataclass(frozen=True)
class Options:
    """What to run."""

    seeds: tuple[int, ...] = (0, 1, 2)
    """One run each."""
    steps: int = 1_000_000
    """Environment steps of a run."""
    num_envs: int = 256
    """Environments side by side."""
    credit: float = 0.5
    """Weight of the partial credit for digits while training; 0 trains on the true reward alone."""
    masked: bool = False
    """MaskablePPO instead of PPO."""
    points: int = 25
    """Points of a curve."""
    goal: float = 0.95
    """Accuracy to be reached, and drawn."""
    out: Path | None = None
    """The picture."""


class Point(NamedTuple):
    """A point of a learning curve."""

    steps: int
    seconds: float
    accuracy: float


class Exam:
    """All problems of the task, one environment each."""

    def __init__(self) -> None:
        self.envs = [OneHotWrapper(gym.make(ID), **ALPHABET) for _ in PROBLEMS]

    def accuracy(self, model: PPO | MaskablePPO) -> float:
        """Returns the share of the problems that a model answers exactly, greedily."""
        seen = {env: env.reset(options={"problem": text})[0] for env, text in zip(self.envs, PROBLEMS, strict=True)}
        solved = 0.0
        while seen:
            masks = np.stack([env.action_masks() for env in seen])
            masking = {"action_masks": masks} if isinstance(model, MaskablePPO) else {}
            actions = model.predict(np.stack(list(seen.values())), deterministic=True, **masking)[0]
            for env, action in zip(list(seen), actions, strict=True):
                seen[env], reward, terminated, _, _ = env.step(action)
                if terminated:
                    solved += float(reward)
                    del seen[env]
        return solved / len(PROBLEMS)


class Curve(BaseCallback):
    """Measures the accuracy now and then; its own time does not count."""

    def __init__(self, exam: Exam, every: int) -> None:
        super().__init__()
        self.exam, self.every, self.points, self._spent = exam, every, [Point(0, 0.0, 0.0)], 0.0

    def _on_training_start(self) -> None:
        self._started = time.process_time()

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        if self.num_timesteps >= self.points[-1].steps + self.every:
            self.measure()

    def measure(self) -> None:
        """Adds a point."""
        now = time.process_time()
        accuracy = self.exam.accuracy(self.model)  # type: ignore[arg-type]
        self.points.append(Point(self.num_timesteps, now - self._started - self._spent, accuracy))
        self._spent += time.process_time() - now


def train(seed: int, options: Options) -> list[Point]:
    """Trains one agent and returns its curve."""
    envs = gym.make_vec(ID, num_envs=options.num_envs, autoreset_mode="SameStep")
    if options.credit:
        envs = VectorRewardWrapper(envs, "digits", weight=options.credit)
    envs = VecMonitor(GymnasiumVecEnv(VectorOneHotWrapper(envs, **ALPHABET)))
    kind = MaskablePPO if options.masked else PPO
    model = kind("MlpPolicy", envs, seed=seed, device="cpu", **SETTINGS)
    curve = Curve(Exam(), options.steps // options.points)
    model.learn(options.steps, callback=curve)
    curve.measure()
    return curve.points


def reached(curve: list[Point], goal: float) -> Point | None:
    """Returns the first point at which the goal is reached."""
    return next((point for point in curve if point.accuracy >= goal), None)


def draw(curves: list[list[Point]], options: Options) -> None:
    """Draws accuracy against steps and against CPU seconds, a line a seed."""
    assert options.out is not None
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), sharey=True, layout="constrained")
    for seed, curve in zip(options.seeds, curves, strict=True):
        steps, seconds, accuracy = (np.array(column) for column in zip(*curve, strict=True))
        axes[0].plot(steps / 1e3, accuracy, label=f"seed {seed}")
        axes[1].plot(seconds, accuracy)
    for axis, name in zip(axes, ("thousand steps", "CPU seconds, one thread"), strict=True):
        axis.axhline(options.goal, color="grey", linestyle="--", linewidth=0.8)
        axis.set(xlabel=name, ylim=(0, 1.02))
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("all 200 problems, greedy")
    axes[0].legend()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.out, dpi=110)
    print(f"wrote {options.out}")


def main() -> None:
    """Prints a line a seed, and draws the curves."""
    options = parse(Options, __doc__)
    check_least(options, seeds=0, steps=1, num_envs=1, points=1)
    th.set_num_threads(1)
    print(f"o1nano {o1nano.__version__}, {'MaskablePPO' if options.masked else 'PPO'}, {ID}")
    curves = []
    for seed in options.seeds:
        curves.append(train(seed, options))
        last, first = curves[-1][-1], reached(curves[-1], options.goal)
        when = f"{first.steps:,} steps, {first.seconds:.0f} CPU s" if first else "never"
        print(f"seed {seed}: {last.accuracy:.1%} after {last.steps:,} steps, {last.seconds:.0f} CPU s", end="; ")
        print(f"{options.goal:.0%} after {when}", flush=True)
    if options.out is not None:
        draw(curves, options)


if __name__ == "__main__":
    sys.exit(guarded("direct.py", main))
