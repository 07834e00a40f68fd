"""Callbacks of PPO: what a run logs to TensorBoard, and where it can be cut."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback

from o1nano.agents.evaluation.transcripts import transcript
from o1nano.agents.learning.distributed import ProcessGroup
from o1nano.agents.learning.ppo import FramePPO
from o1nano.agents.learning.vec_env import TimedVecMonitor
from o1nano.agents.run.tensorboard import NOT_TEXT, WINDOW
from o1nano.envs.core.config import EnvConfig
from o1nano.envs.core.curriculum import Curriculum
from o1nano.envs.core.grammar import Channel
from o1nano.envs.core.rewards import hack_rate
from o1nano.envs.core.usage import EPISODE_USAGE
from o1nano.envs.problems.problem import Level, Problem, draw
from o1nano.envs.seeding import stream
from o1nano.policies.search.answers import Answer, solve

# For the transcripts: problems of each family, but not many more than the second number in all.
_FRONTIER_PROBLEMS = 4
_ALL_FRONTIER_PROBLEMS = 32
_MAX_FAILED = 4  # transcripts of failed answers


class RolloutCallback(BaseCallback):
    """A callback of ``FramePPO`` that does nothing at single steps."""

    model: FramePPO

    @property
    def iterations(self) -> int:
        """Rollouts so far."""
        return self.model.num_timesteps // (self.model.n_steps * self.model.n_envs)

    def _on_step(self) -> bool:
        return True


class EpisodeStatisticsCallback(RolloutCallback):
    """Logs each rollout's success by task and size, the cost of answers, the reward's terms, and the curriculum.

    Args:
        curriculum: The curriculum in use.
        process_group: The processes whose episodes are counted.
        window: Episodes of which a point of a size's success is the mean, at least.

    Attributes:
        history: Tokens of all processes so far and success, of each rollout.
        windows: The results of each level since its last point.
    """

    def __init__(self, curriculum: Curriculum, process_group: ProcessGroup | None = None, window: int = WINDOW) -> None:
        super().__init__()
        self.window = window
        self.curriculum = curriculum
        self.process_group = process_group or ProcessGroup()
        self.success: defaultdict[str, list[bool]] = defaultdict(list)
        self.usage: defaultdict[str, list[float]] = defaultdict(list)
        self.rewards: defaultdict[str, list[float]] = defaultdict(list)
        self.history: list[list[float]] = []
        self.windows: dict[str, list[bool]] = {}

    def state_dict(self) -> dict[str, Any]:
        """Returns the history and the windows. Everything else is cleared after each rollout."""
        return {"history": self.history, "windows": self.windows}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what ``state_dict`` returned."""
        self.history = state["history"]
        # Older checkpoints have none.
        self.windows = dict(state.get("windows", {}))

    def _on_step(self) -> bool:
        for info, done in zip(self.locals["infos"], self.locals["dones"], strict=True):
            if done:
                self._add_episode(info)
        return True

    def _add_episode(self, info: Mapping[str, Any]) -> None:
        self.success[info["level"]].append(info["is_success"])
        for name in EPISODE_USAGE:
            self.usage[name].append(info[name])
        self.usage["illegal_token"].append(info["outcome"] == "illegal_token")
        for name in info:
            if name.startswith("reward/"):
                self.rewards[name].append(info[name])

    def _on_rollout_end(self) -> None:
        # All processes take part, though only the first one writes.
        success = _joined(self.process_group.gather(self.success))
        usage = _joined(self.process_group.gather(self.usage))
        rewards = _joined(self.process_group.gather(self.rewards))

        self._record_levels(success)
        self._record_means(usage, prefix="usage/")
        self._record_means(rewards)
        if rewards:
            # The reward of a run may differ from the true one. This is how often it pays for a wrong answer.
            solved = [reward == 1.0 for reward in rewards["reward/true"]]
            self.logger.record("reward/hack_rate", hack_rate(rewards["reward/total"], solved))
        self._record_success(list(success.values()))
        self._record_curriculum()

        # The next rollout begins with nothing.
        self.success.clear()
        self.usage.clear()
        self.rewards.clear()

    def _record_levels(self, success: Mapping[str, list[bool]]) -> None:
        """Records the success of each level whose window is full. A rollout has a handful of its episodes only."""
        for level, results in success.items():
            window = self.windows.setdefault(level, [])
            window += map(bool, results)
            if len(window) >= self.window:
                self.logger.record(f"accuracy/{level}", float(np.mean(window)))
                self.windows[level] = []

    def _record_means(self, groups: Mapping[str, list[Any]], prefix: str = "") -> None:
        for name, values in groups.items():
            self.logger.record(prefix + name, float(np.mean(values)))

    def _record_success(self, groups: list[list[bool]]) -> None:
        if not groups:
            return
        success = float(np.mean(np.concatenate(groups)))
        self.history.append([self.model.num_timesteps * self.process_group.size, success])
        self.logger.record("reward/true", success)

        # A level that was always or never solved has no variance to learn from.
        uniform = []
        for results in groups:
            # One episode alone has no variance whatever it is.
            if len(results) > 1:
                uniform.append(len(set(results)) == 1)
        if uniform:
            self.logger.record("reward/groups_without_variance", float(np.mean(uniform)))

    def _record_curriculum(self) -> None:
        for family, size in self.curriculum.frontier.items():
            self.logger.record(f"curriculum/{family}", size)
        for family, size in self.curriculum.solved().items():
            self.logger.record(f"solved/{family}", size)
        for level, weight in self.curriculum.weights().items():
            self.logger.record(f"curriculum_weight/{level}", weight)


def _joined(parts: Iterable[Mapping[str, list[Any]]]) -> dict[str, list[Any]]:
    """Joins the lists of several mappings by their keys, in order of appearance."""
    joined: dict[str, list[Any]] = {}
    for part in parts:
        for name, values in part.items():
            joined.setdefault(name, []).extend(values)
    return joined


class FrameStatisticsCallback(RolloutCallback):
    """Logs what a rollout teaches: the rewards of frames, how well the critic predicts them, and the groups."""

    def _on_rollout_end(self) -> None:
        buffer = self.model.rollout_buffer
        if not len(buffer.values):
            return
        self.logger.record("reward/frame", buffer.mean_reward())
        for name, value in buffer.group_statistics.items():
            self.logger.record(f"group/{name}", value)

        # The critic of each channel by itself: the average would hide that one of them is worse than a constant.
        channels = buffer.channels()
        for channel in Channel:
            mine = channels == channel
            if mine.any():
                explained = buffer.explained_variance(mine)
                self.logger.record(f"critic/explained_variance_{channel.name.lower()}", explained)


class TimingCallback(RolloutCallback):
    """Logs the seconds of each part of an iteration."""

    def _on_training_start(self) -> None:
        # No update precedes the first rollout of a session.
        self.rollout_ended: float | None = None

    def _on_rollout_start(self) -> None:
        self.rollout_began = time.perf_counter()
        if self.rollout_ended is not None:
            self.logger.record("time/update_seconds", self.rollout_began - self.rollout_ended)

    def _on_rollout_end(self) -> None:
        self.rollout_ended = time.perf_counter()
        self.logger.record("time/rollout_seconds", self.rollout_ended - self.rollout_began)
        if isinstance(self.training_env, TimedVecMonitor):
            self.logger.record("time/environment_seconds", self.training_env.seconds)
            self.training_env.seconds = 0.0


class TranscriptCallback(RolloutCallback):
    """Logs greedy transcripts of fresh training problems: easy ones, ones of the largest open sizes, failed ones.

    Args:
        curriculum: Gives the sizes.
        config: The environment.
        every: Rollouts between transcripts.
        show: Called with one of the transcripts.
    """

    def __init__(
        self, curriculum: Curriculum, config: EnvConfig, every: int, show: Callable[[str], None] = lambda text: None
    ) -> None:
        super().__init__()
        self.curriculum = curriculum
        self.config = config
        self.every = max(1, every)
        self.show = show

    def _on_rollout_end(self) -> None:
        if self.iterations % self.every:
            return
        easy, frontier = self._draw_problems()
        answers = solve(self.model.policy.network, easy + frontier, self.config, keep_frames=True)

        # One transcript of each family's largest size is enough; all of them are candidates for the failed ones.
        shown_frontier = answers[len(easy) :: len(frontier) // len(easy)]
        self._record("easy", answers[: len(easy)])
        self._record("frontier", shown_frontier)
        self._record("failed", [answer for answer in answers if not answer.correct][:_MAX_FAILED])

        # The display shows the families in turn.
        turn = self.iterations // self.every
        self.show(transcript(shown_frontier[turn % len(shown_frontier)]))

    def _draw_problems(self) -> tuple[list[Problem], list[Problem]]:
        """Returns an easy problem of each family, and several of its largest open size."""
        # A stream of their own: logging must not change what the run draws.
        rng = stream("transcript", self.iterations)
        frontier = self.curriculum.frontier
        phrasing = self.config.phrasing
        easy = [draw(Level(family, 1), rng, phrasing=phrasing) for family in frontier]

        # With many families there are fewer problems of each.
        hard = []
        each = max(1, min(_FRONTIER_PROBLEMS, _ALL_FRONTIER_PROBLEMS // len(frontier)))
        for family, size in frontier.items():
            for _ in range(each):
                hard.append(draw(Level(family, size), rng, phrasing=phrasing))
        return easy, hard

    def _record(self, name: str, answers: list[Answer]) -> None:
        # A block of code, because TensorBoard would read the tokens as Markdown.
        text = "\n\n".join(map(transcript, answers)) or "none"
        self.logger.record(f"transcript/{name}", f"```\n{text}\n```", exclude=NOT_TEXT)


class CheckpointCallback(RolloutCallback):
    """Calls a function before every rollout, where a run can be cut.

    Args:
        pause: Called with the number of iterations so far and their recent success.
    """

    def __init__(self, pause: Callable[[int, float], None]) -> None:
        super().__init__()
        self.pause = pause

    def _on_rollout_start(self) -> None:
        recent = self.model.ep_success_buffer or [0.0]
        self.pause(self.iterations, float(np.mean(recent)))
