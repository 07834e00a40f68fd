"""The rollout buffer that learns from whole frames.

The last observation of a frame contains all earlier ones, so only the frame's tokens are kept, with one value and one
log-probability for every action in it (``OpenFrames``). ``get`` yields whole frames, packed.

A frame is yielded after it has ended. One that is still open when a rollout ends is kept for the next: its older
log-probabilities are those of the policy that acted, so PPO's ratio stays right.
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

from o1nano.agents.learning.credit import Advantage, Credit, advantages, compare_groups, group_advantages
from o1nano.agents.learning.distributed import Team
from o1nano.agents.learning.open_frames import OpenFrames
from o1nano.agents.learning.packing import ClosedFrame, Floats, pack_closed
from o1nano.envs.core.grammar import Grammar
from o1nano.envs.errors import require_choice
from o1nano.policies.actor_critic import PackedFrames


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
        weight: Weight of this process's mean, next to those of the minibatches of all processes. They average 1.
    """

    observations: PackedFrames
    actions: th.Tensor
    old_values: th.Tensor
    old_log_prob: th.Tensor
    advantages: th.Tensor
    returns: th.Tensor
    count: int
    weight: float = 1.0

    def mean(self, values: th.Tensor) -> th.Tensor:
        """Returns the mean of ``[M]`` values over all actions of the minibatch, 0 for those that were left out."""
        return values.sum() / self.count


@dataclass
class _Chain:
    """Frames whose actions are credited together, in the order of time: one frame, or all frames of an episode."""

    frames: list[ClosedFrame]

    def __post_init__(self) -> None:
        times = np.concatenate([frame.times for frame in self.frames])
        self._order = np.argsort(times, kind="stable")

    @property
    def rewards(self) -> Floats:
        """``[A]`` rewards of all actions, in the order of time."""
        return np.concatenate([frame.rewards for frame in self.frames])[self._order]

    @property
    def values(self) -> Floats:
        """``[A]`` values of all actions, in the order of time."""
        return np.concatenate([frame.values for frame in self.frames])[self._order]

    @property
    def prompt(self) -> bytes:
        """What the frame that acted first was asked; of an episode it is the root."""
        return min(self.frames, key=lambda frame: frame.times[0]).prompt

    def assign(self, advantages: Floats, returns: Floats) -> None:
        """Gives every frame its part of the advantages and returns, both ``[A]`` in the order of time."""
        ends = np.cumsum([len(frame.times) for frame in self.frames])[:-1]
        for name, ordered in (("advantages", advantages), ("returns", returns)):
            # Undoes the sorting by time: entry i of the chain's order belongs at place order[i].
            by_frame = np.empty_like(ordered)
            by_frame[self._order] = ordered
            for frame, part in zip(self.frames, np.split(by_frame, ends), strict=True):
                setattr(frame, name, part)


class FrameRolloutBuffer(RolloutBuffer):
    """A rollout buffer whose minibatches are whole frames.

    Without a critic a frame is compared with its *group*: the frames with the same prompt that ended in the same
    rollout. A frame sees nothing but its prompt, so these are independent attempts at one and the same thing, whoever
    asked; what GRPO and RLOO call a group (several answers to one question) is, for roots, the problem that the
    environments pose to several of them, and child frames come in groups by themselves, since one problem leads to the
    same subtasks again and again. With ``credit="episode"`` the members are whole episodes, by their root's prompt. A
    frame without a partner has no advantage.

    Args:
        buffer_size: Steps of each environment in a rollout.
        observation_space: ``Box`` ``[L]`` of token ids.
        action_space: ``Discrete`` over the vocabulary.
        device: Where minibatches go.
        gae_lambda: Trace decay of the advantages.
        gamma: Discount of a token.
        n_envs: Environments that are rolled out together.
        grammar: The environment's grammar.
        depth: The environment's limit on open frames.
        credit: How a frame is rewarded. ``"frame"``: every frame for its own answer. ``"blame"``: the same, but a frame
            that was given a wrong answer to a sensible question (``is_useful_subtask``) is left out. ``"episode"``:
            every action of an episode for the root's answer.
        advantage: What the reward is compared with. ``"critic"``: the values, by generalised advantage estimation.
            ``"group"``, ``"leave_one_out"``: the group, see ``group_advantages``.
        seed: Of the order of frames in minibatches.
        team: The processes that learn together.

    Attributes:
        frames: The frames that have ended in the rollout and are to be learned from.
        groups: What ``compare_groups`` says of the rollout; empty with a critic.
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
        team: Team | None = None,
    ) -> None:
        require_choice("credit", credit, Credit)
        require_choice("advantage", advantage, Advantage)
        self.team = team or Team()
        self.grammar = grammar or Grammar()
        self.credit: Credit = credit
        self.advantage: Advantage = advantage
        self.frames: list[ClosedFrame] = []
        self.groups: dict[str, float] = {}
        self._rng = np.random.default_rng(seed)
        assert isinstance(observation_space, spaces.Box)
        self._open = OpenFrames((n_envs, depth, observation_space.shape[0]), credit, self.grammar.calls)
        super().__init__(buffer_size, observation_space, action_space, device, gae_lambda, gamma, n_envs)

    def reset(self) -> None:
        """Begins a new rollout; open frames are kept."""
        self.frames = []
        self.pos = 0
        self.full = False
        self.generator_ready = False

    def drop_open_frames(self) -> None:
        """Forgets the frames that are still open. To be called when the environment has been reset from outside."""
        self._open.drop()

    def state_dict(self) -> dict[str, Any]:
        """Returns what goes from one rollout to the next, as plain containers and arrays: the open frames."""
        return {**self._open.state_dict(), "rng": self._rng.bit_generator.state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what ``state_dict`` of a buffer with the same arguments returned."""
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
        """Adds one step of every environment: ``[N, L]`` observations, everything else ``[N]``."""
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
        """Computes advantages of every ended frame. Open frames wait, so ``last_values`` are not needed."""
        chains = self._chains()
        rewards = [chain.rewards for chain in chains]
        values = [chain.values for chain in chains]

        if self.advantage == "critic":
            found = advantages(rewards, values, self.gamma, self.gae_lambda)
            returns = [advantage + value for advantage, value in zip(found, values, strict=True)]
        else:
            nothing = [np.zeros_like(value) for value in values]
            returns = advantages(rewards, nothing, self.gamma, 1.0)
            found = self._compare(chains, returns)
        for chain, advantage, return_ in zip(chains, found, returns, strict=True):
            chain.assign(advantage, return_)

        # Stable-Baselines3's names, for its diagnostics: all actions, one frame after the other.
        self.values = _joined([frame.values for frame in self.frames])
        self.advantages = _joined([frame.advantages for frame in self.frames])
        self.returns = _joined([frame.returns for frame in self.frames])

    def _chains(self) -> list[_Chain]:
        if self.credit != "episode":
            return [_Chain([frame]) for frame in self.frames]
        episodes: dict[int, list[ClosedFrame]] = {}
        for frame in self.frames:
            episodes.setdefault(frame.episode, []).append(frame)
        return [_Chain(frames) for frames in episodes.values()]

    def _compare(self, chains: list[_Chain], returns: list[Floats]) -> list[Floats]:
        """Returns the same advantage for every action of a chain: that of the whole chain in its group."""
        paid = np.array([chain[0] for chain in returns], dtype=np.float64)
        groups = [chain.prompt for chain in chains]
        self.groups = compare_groups(paid, groups) if chains else {}
        found = group_advantages(paid, groups, self.advantage)
        return [np.full_like(chain, advantage) for chain, advantage in zip(returns, found, strict=True)]

    def channels(self) -> npt.NDArray[np.uint8]:
        """Returns the channel of every action, in the order of ``values``."""
        width = max((len(frame.tokens) for frame in self.frames), default=0)
        tokens = np.zeros((len(self.frames), width), dtype=np.uint8)
        for row, frame in zip(tokens, self.frames, strict=True):
            row[: len(frame.tokens)] = frame.tokens
        channel = self.grammar.channel[self.grammar.states(tokens)]  # [F, T]
        rows = zip(channel, self.frames, strict=True)
        out: npt.NDArray[np.uint8] = np.concatenate([row[frame.positions] for row, frame in rows])
        return out

    def mean_reward(self) -> float:
        """Returns the mean reward of the frames to learn from, prices included."""
        return float(np.mean([frame.rewards.sum() for frame in self.frames]))

    # Not an override of Stable-Baselines3's ``get`` but in its sense: the minibatches have more.
    def get(  # type: ignore[override]
        self, batch_size: int | None = None, normalize: bool = False, skip: bool = False
    ) -> Iterator[FrameMinibatch]:
        """Yields minibatches of whole frames in random order, the same number in every process.

        Args:
            batch_size: Actions of a minibatch, about, those of all processes together; None yields one minibatch.
            normalize: Whether advantages are divided by their standard deviation over the minibatches of all processes
                together. A critic's are centred too; those of groups already are, and stay 0 where there is nothing to
                learn.
            skip: Whether frames whose advantages are all 0 are left out, apart from one where all are. ``count`` and
                the normalisation are those of the whole minibatch.
        """
        minibatches = self._cut(batch_size)
        # [processes][minibatches] of the advantages of all actions.
        gathered = self.team.gather([_joined([frame.advantages for frame in part]) for part in minibatches])

        for index, frames in enumerate(minibatches):
            together = [parts[index] for parts in gathered]
            count = sum(len(frame.positions) for frame in frames)
            weight = self.team.share(count, [len(part) for part in together])
            centre, scale = self._normalisation(np.concatenate(together)) if normalize else (0.0, 1.0)

            if skip:  # the first one stays if there is no other: every minibatch needs a gradient
                frames = [frame for frame in frames if np.any(frame.advantages != centre)] or frames[:1]
            minibatch = self.samples(frames)
            normalized = (minibatch.advantages - centre) / scale
            yield replace(minibatch, advantages=normalized, count=count, weight=weight)

    def _normalisation(self, union: Floats) -> tuple[float, float]:
        """Returns what is subtracted from advantages and what they are divided by.

        Args:
            union: The advantages of one minibatch in all processes.
        """
        if len(union) == 1:
            return 0.0, 1.0
        values = th.from_numpy(union)
        centre = float(values.mean()) if self.advantage == "critic" else 0.0
        return centre, float(values.std()) + 1e-8

    def _cut(self, batch_size: int | None) -> list[list[ClosedFrame]]:
        """Cuts the frames, in random order, into minibatches with about the same number of actions, none empty."""
        frames = [self.frames[index] for index in self._rng.permutation(len(self.frames))]
        ends = np.cumsum([len(frame.positions) for frame in frames])  # actions up to and including each frame
        actions = int(ends[-1])
        count = self._number_of_minibatches(batch_size, actions)

        # Minibatch k ends after the last frame that lies wholly within the first (k + 1) / count of the actions. For
        # frames of 3, 4, 1 and 4 actions, ends are 3, 7, 8, 12; two minibatches of 6 each end after frames 1 and 4.
        targets = actions / count * np.arange(1, count)
        bounds = np.searchsorted(ends, targets, side="right")
        for k in range(count - 1):
            least = (
                bounds[k - 1] if k else 0
            ) + 1  # a frame of its own, even if another one is longer than a minibatch
            most = len(frames) - (count - 1 - k)  # and one for each of those that follow
            bounds[k] = min(max(bounds[k], least), most)
        edges = [0, *bounds.tolist(), len(frames)]
        return [frames[start:stop] for start, stop in pairwise(edges)]

    def _number_of_minibatches(self, batch_size: int | None, actions: int) -> int:
        """Returns the number of minibatches, the same in every process: each needs a frame for each of them."""
        if batch_size is None:
            return 1
        gathered = self.team.gather((actions, len(self.frames)))
        all_actions = sum(own_actions for own_actions, _ in gathered)
        fewest_frames = min(own_frames for _, own_frames in gathered)
        return min(max(1, round(all_actions / batch_size)), fewest_frames)

    def samples(self, frames: list[ClosedFrame]) -> FrameMinibatch:
        """Packs frames into one minibatch."""
        frames = sorted(frames, key=lambda frame: len(frame.tokens))

        def tensor(parts: list[npt.NDArray[Any]]) -> th.Tensor:
            return th.from_numpy(np.concatenate(parts)).to(self.device)

        actions = tensor([frame.actions for frame in frames]).long()
        return FrameMinibatch(
            observations=pack_closed(frames, self.grammar, self.device),
            actions=actions,
            old_values=tensor([frame.values for frame in frames]),
            old_log_prob=tensor([frame.log_probs for frame in frames]),
            advantages=tensor([frame.advantages for frame in frames]),
            returns=tensor([frame.returns for frame in frames]),
            count=len(actions),
        )


def _joined(parts: list[Floats]) -> Floats:
    return np.concatenate(parts) if parts else np.empty(0, np.float32)
