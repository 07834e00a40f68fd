"""What a run writes to TensorBoard while it learns."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.utils import explained_variance

from o1nano.agents.evaluation.transcripts import transcript
from o1nano.agents.learning.distributed import Team
from o1nano.agents.learning.ppo import FramePPO
from o1nano.agents.learning.vec_env import Monitor
from o1nano.agents.run.tensorboard import NOT_TEXT
from o1nano.envs.core.config import EnvConfig
from o1nano.envs.core.curriculum import Curriculum
from o1nano.envs.core.grammar import Channel
from o1nano.envs.core.rewards import hack_rate
from o1nano.envs.core.usage import EPISODE_USAGE
from o1nano.envs.problems.problem import Level, draw
from o1nano.envs.seeding import stream
from o1nano.policies.search.answers import solve


class RolloutCallback(BaseCallback):
    """A callback of ``FramePPO`` that has nothing to do at single steps."""

    model: FramePPO

    @property
    def iterations(self) -> int:
        """Rollouts so far."""
        return self.model.num_timesteps // (self.model.n_steps * self.model.n_envs)

    def _on_step(self) -> bool:
        return True


class EpisodeStatistics(RolloutCallback):
    """Success by task and size, what answers cost, every term of the reward and the curriculum, of every rollout.

    Args:
        curriculum: The curriculum that is in use.
        team: The processes whose episodes are counted.

    Attributes:
        history: Tokens of all processes so far and success, of each rollout.
    """

    def __init__(self, curriculum: Curriculum, team: Team | None = None) -> None:
        super().__init__()
        self.curriculum, self.team = curriculum, team or Team()
        self.success: defaultdict[str, list[bool]] = defaultdict(list)
        self.usage: defaultdict[str, list[float]] = defaultdict(list)
        self.rewards: defaultdict[str, list[float]] = defaultdict(list)
        self.history: list[list[float]] = []

    def state_dict(self) -> dict[str, Any]:
        """Returns the history; everything else begins anew with a rollout."""
        return {"history": self.history}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what ``state_dict`` returned."""
        self.history = state["history"]

    def _on_step(self) -> bool:
        for info, done in zip(self.locals["infos"], self.locals["dones"], strict=True):
            if not done:
                continue
            self.success[info["level"]].append(info["is_success"])
            for name in EPISODE_USAGE:
                self.usage[name].append(info[name])
            self.usage["illegal_token"].append(info["outcome"] == "illegal_token")
            for name in info:
                if name.startswith("reward/"):
                    self.rewards[name].append(info[name])
        return True

    def _on_rollout_end(self) -> None:
        gathered = self.team.gather((self.success, self.usage, self.rewards))
        success, usage, rewards = (_joined(parts) for parts in zip(*gathered, strict=True))
        for level, results in success.items():
            self.logger.record(f"accuracy/{level}", float(np.mean(results)))
        for name, values in usage.items():
            self.logger.record(f"usage/{name}", float(np.mean(values)))
        for name, values in rewards.items():
            self.logger.record(name, float(np.mean(values)))
        if rewards:
            solved = [reward == 1.0 for reward in rewards["reward/true"]]
            self.logger.record("reward/hack_rate", hack_rate(rewards["reward/total"], solved))
        self._record_success(list(success.values()))
        for family, size in self.curriculum.frontier.items():
            self.logger.record(f"curriculum/{family}", size)
        for family, size in self.curriculum.solved().items():
            self.logger.record(f"solved/{family}", size)
        for drawn, weight in self.curriculum.weights().items():
            self.logger.record(f"curriculum_weight/{drawn}", weight)
        self.success.clear()
        self.usage.clear()
        self.rewards.clear()

    def _record_success(self, groups: list[list[bool]]) -> None:
        if not groups:
            return
        success = float(np.mean(np.concatenate(groups)))
        self.history.append([self.model.num_timesteps * self.team.size, success])
        self.logger.record("reward/true", success)
        # All right or all wrong: such a group says nothing about what to do better.
        alike = [len(set(results)) == 1 for results in groups if len(results) > 1]
        if alike:
            self.logger.record("reward/groups_without_variance", float(np.mean(alike)))


def _joined(parts: Sequence[Mapping[str, list[Any]]]) -> dict[str, list[Any]]:
    """Puts the lists of several mappings together by their keys, in the order of appearance."""
    joined: dict[str, list[Any]] = {}
    for part in parts:
        for name, values in part.items():
            joined.setdefault(name, []).extend(values)
    return joined


class FrameStatistics(RolloutCallback):
    """What the learner sees of a rollout: the rewards of frames, how well the critic foresees them, and the groups."""

    def _on_rollout_end(self) -> None:
        buffer = self.model.rollout_buffer
        if not len(buffer.values):
            return
        self.logger.record("reward/frame", buffer.mean_reward())
        for name, value in buffer.groups.items():
            self.logger.record(f"group/{name}", value)
        channels = buffer.channels()
        for channel in Channel:
            mine = channels == channel
            if mine.any():
                explained = explained_variance(buffer.values[mine], buffer.returns[mine])
                self.logger.record(f"critic/explained_variance_{channel.name.lower()}", float(explained))


class Times(RolloutCallback):
    """Seconds of each part of an iteration."""

    def _on_training_start(self) -> None:
        self.end = 0.0

    def _on_rollout_start(self) -> None:
        self.start = time.perf_counter()
        if self.end:
            self.logger.record("time/update_seconds", self.start - self.end)

    def _on_rollout_end(self) -> None:
        self.end = time.perf_counter()
        self.logger.record("time/rollout_seconds", self.end - self.start)
        if isinstance(self.training_env, Monitor):
            self.logger.record("time/environment_seconds", self.training_env.seconds)
            self.training_env.seconds = 0.0


class Transcripts(RolloutCallback):
    """Writes greedy transcripts of fresh training problems: easy ones, ones of the largest open sizes, failed ones.

    Args:
        curriculum: Gives the sizes.
        config: The environment.
        every: Rollouts between transcripts.
        show: Called with one of them.
    """

    def __init__(
        self, curriculum: Curriculum, config: EnvConfig, every: int, show: Callable[[str], None] = lambda text: None
    ) -> None:
        super().__init__()
        self.curriculum, self.config, self.every, self.show = curriculum, config, max(1, every), show

    def _on_rollout_end(self) -> None:
        if self.iterations % self.every:
            return
        rng, frontier = stream("transcript", self.iterations), self.curriculum.frontier
        easy = [draw(Level(family, 1), rng) for family in frontier]
        hard = [draw(Level(family, size), rng) for family, size in frontier.items() for _ in range(4)]
        answers = solve(self.model.policy.network, easy + hard, self.config, keep_frames=True)
        shown = {
            "easy": answers[: len(easy)],
            "frontier": answers[len(easy) :: 4],
            "failed": [answer for answer in answers if not answer.correct][:4],
        }
        for name, chosen in shown.items():
            text = "\n\n".join(map(transcript, chosen))
            self.logger.record(f"transcript/{name}", f"```\n{text or 'none'}\n```", exclude=NOT_TEXT)
        self.show(transcript(shown["frontier"][self.iterations // self.every % len(frontier)]))


class Pauses(RolloutCallback):
    """Calls a function before every rollout, where a run can be cut: with the number of iterations and their success.

    Args:
        pause: What is called.
    """

    def __init__(self, pause: Callable[[int, float], None]) -> None:
        super().__init__()
        self.pause = pause

    def _on_rollout_start(self) -> None:
        self.pause(self.iterations, float(np.mean(self.model.ep_success_buffer or [0.0])))
