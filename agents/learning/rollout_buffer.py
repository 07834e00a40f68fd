"""The rollout buffer that learns from whole frames.

The last observation of a frame contains all earlier ones, so only the frame's tokens are kept, with one value and one
log-probability for every action in it (``OpenFrames``). ``get`` yields whole frames, packed.

A frame is yielded after it has ended. A frame that is still open when a rollout ends is kept for the next rollout. Its
older log-probabilities are those of the policy that acted, so PPO's ratio stays right.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import RolloutBuffer

from o1nano.agents.learning.credit import (
    Advantage,
    Credit,
    generalized_advantages,
    group_advantages,
    group_statistics,
)
from o1nano.agents.learning.distributed import ProcessGroup
from o1nano.agents.learning.open_frames import OpenFrames
from o1nano.agents.learning.packing import ActionField, Floats, TrainingFrame, joined, pack_training_frames
from o1nano.envs.core.grammar import Grammar
from o1nano.envs.errors import require_choice
from o1nano.policies.network.frame_batch import FrameBatch

_ROUNDING = 1e-10  # variance of float32 returns that should be equal


@dataclass(frozen=True, slots=True)
class FrameMinibatch:
    """Whole frames with M actions: ``RolloutBufferSamples``, with what a mean over all processes needs.

    Attributes:
        observations: The frames.
        actions: ``[M]`` token ids.
        old_values: ``[M]`` the critic's values when the agent acted.
        old_log_prob: ``[M]`` log-probabilities of the policy that acted.
        advantages: ``[M]``.
        returns: ``[M]``.
        count: Actions of the minibatch in this process, at least M: frames that were left out count too.
        weight: Weight of this process's mean in the average over all processes. The weights average 1.
    """

    observations: FrameBatch
    actions: th.Tensor
    old_values: th.Tensor
    old_log_prob: th.Tensor
    advantages: th.Tensor
    returns: th.Tensor
    count: int
    weight: float = 1.0

    def mean(self, values: th.Tensor) -> th.Tensor:
        """Returns the mean over all actions of the minibatch, those that were left out included.

        Args:
            values: ``[M]``; the value of an action that was left out is taken as 0.
        """
        return values.sum() / self.count


class _Chain:
    """Actions that are credited together, in the order of time: those of one frame, or of all frames of an episode.

    A is the number of actions.

    Args:
        frames: The frames.
    """

    def __init__(self, frames: list[TrainingFrame]) -> None:
        self.frames = frames
        # A caller acts before its child and after it, so the actions of an episode are not in the order of its frames.
        self._order = np.argsort(joined(frames, "times"), kind="stable")

    @property
    def rewards(self) -> Floats:
        """``[A]`` rewards in the order of time."""
        rewards: Floats = joined(self.frames, "rewards")[self._order]
        return rewards

    @property
    def values(self) -> Floats:
        """``[A]`` values in the order of time."""
        values: Floats = joined(self.frames, "values")[self._order]
        return values

    @property
    def prompt(self) -> bytes:
        """What the frame that acted first was asked; of an episode that frame is the root."""
        return min(self.frames, key=lambda frame: frame.times[0]).prompt

    def assign(self, advantages: Floats, returns: Floats) -> None:
        """Gives every frame its part of what was computed for the chain.

        Args:
            advantages: ``[A]`` in the order of time.
            returns: ``[A]`` in the order of time.
        """
        advantages = self._by_frame(advantages)
        returns = self._by_frame(returns)
        start = 0
        for frame in self.frames:
            stop = start + len(frame.times)
            frame.advantages = advantages[start:stop]
            frame.returns = returns[start:stop]
            start = stop

    def _by_frame(self, in_time: Floats) -> Floats:
        """Undoes the sorting by time.

        With ``order`` 0 2 1 the second action in time is entry 2 of the frames, so ``by_frame[2] = in_time[1]``.
        """
        by_frame = np.empty_like(in_time)
        by_frame[self._order] = in_time
        return by_frame


class FrameRolloutBuffer(RolloutBuffer):
    """A rollout buffer whose minibatches are whole frames.

    Without a critic a frame is compared with its *group*: the frames with the same prompt that ended in the same
    rollout. A frame sees only its prompt, so these are independent attempts at one problem, whichever frame asked it.
    The groups of GRPO and RLOO, several answers to one question, are the roots that were given the same problem
    (``group_size`` of the environment). Child frames form groups without that, because one problem leads to the same
    subtasks again and again. With ``credit="episode"`` whole episodes are compared, by the prompt of their root. A
    frame without a partner has the advantage 0.

    Args:
        buffer_size: Steps of each environment in a rollout.
        observation_space: ``Box`` ``[L]`` of token ids.
        action_space: ``Discrete`` over the vocabulary.
        device: Device of the minibatches.
        gae_lambda: Trace decay of the advantages.
        gamma: Discount per token.
        n_envs: Number of environments.
        grammar: The environment's grammar.
        depth: The environment's limit on open frames.
        credit: How a frame is rewarded. ``"frame"``: every frame for its own answer. ``"blame"``: the same, but a frame
            that received a wrong answer to a useful subtask is left out (``o1nano.agents.learning.credit`` defines both
            words). ``"episode"``: every action of an episode for the root's answer.
        advantage: What the reward is compared with. ``"critic"``: the values, by generalised advantage estimation.
            ``"group"`` (GRPO) and ``"leave_one_out"`` (RLOO): the group, as ``group_advantages`` computes.
        seed: Seed of the order of frames in minibatches.
        process_group: The processes that train together.

    Attributes:
        frames: The frames that have ended in the rollout and are to be learned from.
        group_statistics: What the function of this name measures in the rollout; empty with a critic.
    """

    def __init__(
        self,
        buffer_size: int,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        device: th.device | str = "auto",
        gae_lambda: float = 1.0,
        gamma: float = 1.0,
        n_envs: int = 1,
        grammar: Grammar | None = None,
        depth: int = 32,
        credit: Credit = "blame",
        advantage: Advantage = "critic",
        seed: int | None = None,
        process_group: ProcessGroup | None = None,
    ) -> None:
        require_choice("credit", credit, Credit)
        require_choice("advantage", advantage, Advantage)
        self.process_group = process_group or ProcessGroup()
        self.grammar = grammar or Grammar()
        self.credit: Credit = credit
        self.advantage: Advantage = advantage
        self.frames: list[TrainingFrame] = []
        self.group_statistics: dict[str, float] = {}
        self._rng = np.random.default_rng(seed)
        assert isinstance(observation_space, spaces.Box)
        self._open = OpenFrames((n_envs, depth, observation_space.shape[0]), credit)
        super().__init__(buffer_size, observation_space, action_space, device, gae_lambda, gamma, n_envs)

    def reset(self) -> None:
        """Begins a new rollout; open frames are kept."""
        self.frames = []
        self.pos = 0
        self.full = False
        self.generator_ready = False

    def drop_open_frames(self) -> None:
        """Drops the frames that are still open. Call it after the environment was reset from outside."""
        self._open.drop()

    def state_dict(self) -> dict[str, Any]:
        """Returns what one rollout leaves for the next, as plain containers and arrays: open frames, random state."""
        return {**self._open.state_dict(), "rng": self._rng.bit_generator.state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores a state.

        Args:
            state: What ``state_dict`` of a buffer with the same arguments returned.
        """
        self._open.load_state_dict(state)
        self._rng.bit_generator.state = state["rng"]

    def add(
        self,
        obs: npt.NDArray[Any],
        action: npt.NDArray[Any],
        reward: npt.NDArray[Any],
        episode_start: npt.NDArray[Any],
        value: th.Tensor,
        log_prob: th.Tensor,
    ) -> None:
        """Adds one step of every environment.

        Args:
            obs: ``[N, L]`` observations before the step.
            action: ``[N]`` or ``[N, 1]`` actions.
            reward: ``[N]`` rewards of the step.
            episode_start: ``[N]`` whether the observation is the first one of an episode.
            value: ``[N]`` or ``[N, 1]`` values of the observations.
            log_prob: ``[N]`` log-probabilities of the actions.
        """
        self.frames += self._open.add(
            obs.astype(np.uint8),
            action.astype(np.int64).ravel(),
            reward,
            episode_start.astype(bool),
            value.cpu().numpy().ravel(),
            log_prob.cpu().numpy().ravel(),
        )
        self.pos += 1
        self.full = self.pos == self.buffer_size

    def compute_returns_and_advantage(self, last_values: th.Tensor, dones: npt.NDArray[Any]) -> None:
        """Computes the advantages and returns of every ended frame.

        Args:
            last_values: Not used.
            dones: Not used.
        """
        # A frame or an episode is a finished chain of actions: nothing follows its end, so nothing is bootstrapped.
        chains = self._chains()
        rewards = [chain.rewards for chain in chains]
        values = [chain.values for chain in chains]

        if self.advantage == "critic":
            # An advantage is measured from the value, so their sum is the return.
            found = generalized_advantages(rewards, values, self.gamma, self.gae_lambda)
            returns = list(map(np.add, found, values))
        else:
            # Without values and decay, a generalised advantage is the discounted sum of the rewards to come.
            no_values = list(map(np.zeros_like, values))
            returns = generalized_advantages(rewards, no_values, self.gamma, 1.0)
            found = self._compare(chains, returns)

        for chain, advantage, return_ in zip(chains, found, returns, strict=True):
            chain.assign(advantage, return_)

        # Stable-Baselines3's names, for its diagnostics: all actions, one frame after the other.
        self.values = joined(self.frames, "values")
        self.advantages = joined(self.frames, "advantages")
        self.returns = joined(self.frames, "returns")

    def _chains(self) -> list[_Chain]:
        """Returns the frames of the rollout in groups whose actions are credited together."""
        chains: dict[int, list[TrainingFrame]] = {}
        for index, frame in enumerate(self.frames):
            key = frame.episode if self.credit == "episode" else index
            chains.setdefault(key, []).append(frame)
        return list(map(_Chain, chains.values()))

    def _compare(self, chains: list[_Chain], returns: list[Floats]) -> list[Floats]:
        """Returns the advantages of all actions without a critic: those of a chain are equal.

        Args:
            chains: The chains.
            returns: For each chain, the return of every action; that of the first one is the return of the chain.
        """
        total = np.array([chain[0] for chain in returns], dtype=np.float64)
        prompts = [chain.prompt for chain in chains]
        self.group_statistics = group_statistics(total, prompts) if chains else {}

        # Without a critic nothing tells the actions of a chain apart, so each gets the advantage of the whole.
        of_chains = group_advantages(total, prompts, self.advantage)
        return list(map(np.full_like, returns, of_chains))

    def channels(self) -> npt.NDArray[np.uint8]:
        """Returns the channel of every action, in the order of ``values``."""
        width = max((len(frame.tokens) for frame in self.frames), default=0)
        tokens = np.zeros((len(self.frames), width), dtype=np.uint8)
        for row, frame in zip(tokens, self.frames, strict=True):
            row[: len(frame.tokens)] = frame.tokens
        channel = self.grammar.channel[self.grammar.states(tokens)]  # [frames, width]

        # The channel of the token before an action is the one that the action is written in.
        of_actions = []
        for row, frame in zip(channel, self.frames, strict=True):
            of_actions.append(row[frame.positions])
        out: npt.NDArray[np.uint8] = np.concatenate(of_actions)
        return out

    def explained_variance(self, actions: npt.NDArray[np.bool_] | slice = slice(None)) -> float:
        """Returns the share of the variance of returns that the values explain.

        1 is perfect, and 0 is as good as a constant. It is NaN if the returns are equal up to rounding.

        Args:
            actions: Which actions, in the order of ``values``; by default all.
        """
        returns = self.returns[actions]
        variance = np.var(returns)
        if variance < _ROUNDING:
            return float("nan")
        return float(1 - np.var(returns - self.values[actions]) / variance)

    def mean_reward(self) -> float:
        """Returns the mean reward of the frames to learn from, with everything that reward terms add or subtract."""
        return float(np.mean([frame.rewards.sum() for frame in self.frames]))

    # Not an override of Stable-Baselines3's ``get`` but in its sense: the minibatches contain more.
    def get(  # type: ignore[override]
        self, batch_size: int | None = None, normalize: bool = False, skip: bool = False
    ) -> Iterator[FrameMinibatch]:
        """Yields minibatches of whole frames in random order, the same number in every process.

        Args:
            batch_size: Approximate number of actions of a minibatch, over all processes; None yields one minibatch.
            normalize: Whether advantages are divided by their standard deviation over the minibatches of all processes
                together. With a critic their mean is subtracted first. Advantages in a group have the mean 0 already,
                and stay 0 where there is nothing to learn.
            skip: Whether frames whose advantages are all 0 are left out; one is kept if there is no other. ``count``
                and the normalisation are those of the whole minibatch.
        """
        minibatches = self._cut(batch_size)
        # gathered[p][k]: the advantages of minibatch k in process p.
        own = [joined(frames, "advantages") for frames in minibatches]
        gathered = self.process_group.gather(own)

        for index, frames in enumerate(minibatches):
            # Minibatch k of this process belongs together with minibatch k of every other process.
            of_all = [advantages[index] for advantages in gathered]
            count = len(own[index])
            weight = self.process_group.weight(count, list(map(len, of_all)))
            centre, scale = self._normalisation(np.concatenate(of_all)) if normalize else (0.0, 1.0)

            # A frame whose advantages are all 0 has no gradient. Where other terms of the loss have one, skip is False.
            if skip:
                # One frame stays if there is no other: every minibatch needs a gradient.
                frames = [frame for frame in frames if np.any(frame.advantages != centre)] or frames[:1]
            minibatch = self.samples(frames)
            normalized = (minibatch.advantages - centre) / scale
            yield replace(minibatch, advantages=normalized, count=count, weight=weight)

    def _normalisation(self, advantages: Floats) -> tuple[float, float]:
        """Returns what is subtracted from advantages, and what they are divided by.

        Args:
            advantages: Those of one minibatch in all processes.
        """
        if len(advantages) == 1:
            return 0.0, 1.0
        values = th.from_numpy(advantages)
        centre = float(values.mean()) if self.advantage == "critic" else 0.0
        return centre, float(values.std()) + 1e-8

    def _cut(self, batch_size: int | None) -> list[list[TrainingFrame]]:
        """Cuts the frames, in random order, into minibatches with about the same number of actions, none empty."""
        frames = [self.frames[index] for index in self._rng.permutation(len(self.frames))]
        ends = np.cumsum([len(frame.positions) for frame in frames])  # actions up to and including each frame
        actions = int(ends[-1])
        count = self._number_of_minibatches(batch_size, actions)

        # Minibatch k ends after the last frame that lies wholly within the first (k + 1) / count of the actions. For
        # frames of 3, 4, 1 and 4 actions, ends are 3, 7, 8, 12; two minibatches of 6 each end after frames 1 and 4.
        targets = actions / count * np.arange(1, count)
        bounds = np.searchsorted(ends, targets, side="right").tolist()

        # A frame that is longer than a minibatch would leave a neighbour empty, so every minibatch takes at least one.
        start = 0
        for k in range(count - 1):
            most = len(frames) - (count - 1 - k)  # leaves one frame for each of those that follow
            bounds[k] = min(max(bounds[k], start + 1), most)
            start = bounds[k]
        minibatches = []
        for start, stop in pairwise([0, *bounds, len(frames)]):
            minibatches.append(frames[start:stop])
        return minibatches

    def _number_of_minibatches(self, batch_size: int | None, actions: int) -> int:
        """Returns the number of minibatches, the same in every process.

        Args:
            batch_size: Approximate number of actions of a minibatch, over all processes.
            actions: Number of actions in this process.
        """
        if batch_size is None:
            return 1
        gathered = self.process_group.gather((actions, len(self.frames)))
        all_actions, _ = np.sum(gathered, axis=0).tolist()
        # A process with few frames limits the number, because none of its minibatches may be empty.
        _, fewest_frames = np.min(gathered, axis=0).tolist()
        return int(min(max(1, round(all_actions / batch_size)), fewest_frames))

    def samples(self, frames: list[TrainingFrame]) -> FrameMinibatch:
        """Packs frames into one minibatch.

        Args:
            frames: The frames, in any order; the minibatch has them in the order of their lengths.
        """
        frames = sorted(frames, key=lambda frame: len(frame.tokens))
        actions = self._tensor(frames, "actions").long()
        return FrameMinibatch(
            observations=pack_training_frames(frames, self.grammar, self.device),
            actions=actions,
            old_values=self._tensor(frames, "values"),
            old_log_prob=self._tensor(frames, "log_probs"),
            advantages=self._tensor(frames, "advantages"),
            returns=self._tensor(frames, "returns"),
            count=len(actions),
        )

    def _tensor(self, frames: list[TrainingFrame], name: ActionField) -> th.Tensor:
        """Returns a field of all actions of some frames as a tensor on the device of the buffer."""
        return th.from_numpy(joined(frames, name)).to(self.device)
