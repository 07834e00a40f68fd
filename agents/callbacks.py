"""What a run writes to TensorBoard while it learns."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback

from o1nano.agents.ppo import FramePPO
from o1nano.agents.run_logger import NOT_TEXT
from o1nano.agents.transcripts import transcript
from o1nano.envs.curriculum import Curriculum
from o1nano.envs.episodes import EnvConfig
from o1nano.envs.pose import draw, stream
from o1nano.envs.rewards import hack_rate
from o1nano.policies.actor_critic import ReasoningPolicy
from o1nano.policies.answers import solve


class EpisodeStatistics(BaseCallback):
    """Success by task and size, what answers cost, and every term of the reward, of every rollout.

    Args:
        curriculum: The curriculum that is in use.
    """

    def __init__(self, curriculum: Curriculum) -> None:
        super().__init__()
        self.curriculum = curriculum
        self.success: defaultdict[str, list[bool]] = defaultdict(list)
        self.usage: defaultdict[str, list[float]] = defaultdict(list)
        self.rewards: defaultdict[str, list[float]] = defaultdict(list)

    def _on_step(self) -> bool:
        for info in self.locals["infos"]:
            if "is_success" not in info:
                continue
            self.success[info["level"]].append(info["is_success"])
            for name in ("reasoning_tokens", "completion_tokens", "subtask_tokens", "subtasks", "depth", "revisions"):
                self.usage[name].append(info[name])
            self.usage["illegal_token"].append(info["outcome"] == "illegal_token")
            for name in info:
                if name.startswith("reward/"):
                    self.rewards[name].append(info[name])
        return True

    def _on_rollout_end(self) -> None:
        for level, results in self.success.items():
            self.logger.record(f"accuracy/{level}", float(np.mean(results)))
        for name, values in self.usage.items():
            self.logger.record(f"usage/{name}", float(np.mean(values)))
        for name, values in self.rewards.items():
            self.logger.record(name, float(np.mean(values)))
        if self.rewards:
            solved = [reward == 1.0 for reward in self.rewards["reward/true"]]
            self.logger.record("reward/hack_rate", hack_rate(self.rewards["reward/total"], solved))
        for family, size in self.curriculum.frontier.items():
            self.logger.record(f"curriculum/{family}", size)
        self.success.clear()
        self.usage.clear()
        self.rewards.clear()


class Transcripts(BaseCallback):
    """Writes a greedy transcript of one fresh training problem of every task at its largest open size.

    Args:
        curriculum: Gives the sizes.
        config: The environment.
        every: Rollouts between transcripts.
    """

    def __init__(self, curriculum: Curriculum, config: EnvConfig, every: int) -> None:
        super().__init__()
        self.curriculum, self.config, self.every = curriculum, config, max(1, every)

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        policy = self.model.policy
        assert isinstance(policy, ReasoningPolicy) and isinstance(self.model, FramePPO)
        rollouts = self.model.num_timesteps // (self.model.n_steps * self.model.n_envs)
        if rollouts % self.every:
            return
        rng = stream("transcript", rollouts)
        frontier = [
            level for level in self.curriculum.open_levels if level.size == self.curriculum.frontier[level.family]
        ]
        problems = [draw(level, rng) for level in frontier]
        for answer in solve(policy.network, problems, self.config, keep_frames=True):
            tag = f"transcript/{answer.problem.level}"
            self.logger.record(tag, f"```\n{transcript(answer)}\n```", exclude=NOT_TEXT)


class Pauses(BaseCallback):
    """Calls a function before every rollout, where a run can be cut: with the number of epochs done and their success.

    Args:
        pause: What is called.
    """

    def __init__(self, pause: Callable[[int, float], None]) -> None:
        super().__init__()
        self.pause = pause

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        assert isinstance(self.model, FramePPO)
        results = list(self.model.ep_success_buffer or [0.0])
        self.pause(self.model.num_timesteps // (self.model.n_steps * self.model.n_envs), float(np.mean(results)))
