"""The rollout buffer that learns from whole frames.

The last observation of a frame holds all earlier ones, so only the frame's tokens are kept, with one value and one
log-probability for every action in it (``OpenFrames``). ``get`` yields them packed, and stock ``PPO.train()`` runs on
them unchanged.

A frame is yielded after it has ended. One that is still open when a rollout ends is kept for the next: its older
log-probabilities are those of the policy that acted, so PPO's ratio stays right.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.type_aliases import RolloutBufferSamples

from o1nano.agents.learning.credit import Advantage, Credit, advantages, compare_groups, group_advantages
from o1nano.agents.learning.distributed import Team
from o1nano.agents.learning.open_frames import OpenFrames
from o1nano.agents.learning.packing import ClosedFrame, Floats, pack_closed
from o1nano.envs.core.grammar import Grammar
from o1nano.envs.problems.problem import check_choice


class FrameRolloutBuffer(RolloutBuffer):
    """See the module.

    Without a critic a frame is compared with its *group*: the frames with the same prompt that ended in the same
    rollout. A frame sees nothing but its prompt, so these are independent attempts at one and the same thing, whoever
    asked; what GRPO and RLOO call a group (several answers to one question) is, for roots, the problem that the
    environments pose to several of them, and child frames come in groups by themselves, since one problem leads to the
    same subtasks again and again. With ``credit="episode"`` the members are whole episodes, by their root's prompt. A
    frame without a partner has no advantage: of it only the divergence from the reference is learned from.

    Args:
        grammar: The environment's grammar.
        depth: The environment's limit on open frames.
        credit: How a frame is rewarded. ``"frame"``: every frame for its own answer. ``"blame"``: the same, but a frame
            that was given a wrong answer to a sensible question (``is_sensible``) is left out. ``"episode"``: every
            action of an episode for the root's answer.
        advantage: What the reward is compared with. ``"critic"``: the values, by generalised advantage estimation.
            ``"group"``, ``"leave_one_out"``: the group, see ``group_advantages``.
        seed: Of the order of frames in minibatches.
        team: The processes that learn together.

    Attributes:
        share: The weight of the minibatch yielded last, among those that the other processes have at the same time.
        normalise: Whether ``get`` divides advantages by their standard deviation over the minibatches of all processes
            together. A critic's are centred too; those of groups already are, and stay 0 where nothing was learned.
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
        check_choice("credit", credit, Credit)
        check_choice("advantage", advantage, Advantage)
        self.team, self.share, self.normalise = team or Team(), 1.0, False
        self.grammar, self.credit, self.advantage = grammar or Grammar(), credit, advantage
        self._rng = np.random.default_rng(seed)
        assert isinstance(observation_space, spaces.Box)
        self._open = OpenFrames((n_envs, depth, observation_space.shape[0]), credit, self.grammar.calls)
        self._frames: list[ClosedFrame] = []
        self.groups: dict[str, float] = {}
        super().__init__(buffer_size, observation_space, action_space, device, gae_lambda, gamma, n_envs)

    def reset(self) -> None:
        """Begins a new rollout; open frames are kept."""
        self._frames = []
        self.pos, self.full, self.generator_ready = 0, False, False

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
        self._frames += self._open.add(
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
        frames = self._frames
        chains = _by_episode(frames) if self.credit == "episode" else [[frame] for frame in frames]
        orders = [np.argsort(np.concatenate([frame.times for frame in chain]), kind="stable") for chain in chains]
        rewards, values = (
            [
                np.concatenate([getattr(f, name) for f in chain])[order]
                for chain, order in zip(chains, orders, strict=True)
            ]
            for name in ("rewards", "values")
        )
        if self.advantage == "critic":
            found = advantages(rewards, values, self.gamma, self.gae_lambda)
            returns = [advantage + value for advantage, value in zip(found, values, strict=True)]
        else:
            returns = advantages(rewards, [np.zeros_like(value) for value in values], self.gamma, 1.0)
            found = self._compare(chains, returns)
        for chain, order, advantage, return_ in zip(chains, orders, found, returns, strict=True):
            _spread(chain, order, "advantages", advantage)
            _spread(chain, order, "returns", return_)
        self.values, self.advantages, self.returns = (
            np.concatenate([getattr(frame, name) for frame in frames] or [np.empty(0, np.float32)])
            for name in ("values", "advantages", "returns")
        )

    def _compare(self, chains: list[list[ClosedFrame]], returns: list[Floats]) -> list[Floats]:
        """Returns the same advantage for every action of a chain: that of the whole chain in its group."""
        paid = np.array([chain[0] for chain in returns], dtype=np.float64)
        # Of an episode the root acts first.
        groups = [min(chain, key=lambda frame: frame.times[0]).prompt for chain in chains]
        self.groups = compare_groups(paid, groups) if chains else {}
        found = group_advantages(paid, groups, self.advantage)
        return [np.full_like(chain, advantage) for chain, advantage in zip(returns, found, strict=True)]

    def channels(self) -> npt.NDArray[np.uint8]:
        """Returns the channel of every action, in the order of ``values``."""
        width = max((len(frame.tokens) for frame in self._frames), default=0)
        tokens = np.array([np.pad(frame.tokens, (0, width - len(frame.tokens))) for frame in self._frames])
        channel = self.grammar.channel[self.grammar.states(tokens)]  # [F, T]
        out: npt.NDArray[np.uint8] = np.concatenate(
            [row[frame.positions] for row, frame in zip(channel, self._frames, strict=True)]
        )
        return out

    def mean_reward(self) -> float:
        """Returns the mean reward of the frames to learn from, prices included."""
        return float(np.mean([frame.rewards.sum() for frame in self._frames]))

    def get(self, batch_size: int | None = None) -> Generator[RolloutBufferSamples, None, None]:
        """Yields minibatches of whole frames in random order, as many in every process.

        Args:
            batch_size: Actions of a minibatch, about, those of all processes together.
        """
        minibatches = self._cut(batch_size)
        advantages = self.team.gather([np.concatenate([frame.advantages for frame in part]) for part in minibatches])
        for index, frames in enumerate(minibatches):
            together = [parts[index] for parts in advantages]
            samples = self._samples(frames)
            self.share = self.team.share(len(samples.actions), [len(part) for part in together])
            if self.normalise:
                union = th.from_numpy(np.concatenate(together)).to(self.device)
                centre = union.mean() if self.advantage == "critic" else 0.0
                scale = union.std() + 1e-8 if len(union) > 1 else 1.0
                samples = samples._replace(advantages=(samples.advantages - centre) / scale)
            yield samples

    def _cut(self, batch_size: int | None) -> list[list[ClosedFrame]]:
        """Cuts the frames into minibatches, none of them empty."""
        frames = [self._frames[index] for index in self._rng.permutation(len(self._frames))]
        sizes = np.cumsum([len(frame.positions) for frame in frames])
        actions, fewest = zip(*self.team.gather((int(sizes[-1]), len(frames))), strict=True)
        count = min(max(1, round(sum(actions) / batch_size)), *fewest) if batch_size else 1
        ends = np.arange(1, count)
        bounds = np.searchsorted(sizes, sizes[-1] / count * ends, side="right")
        # Of each at least one frame, even where another one is longer than a minibatch.
        bounds = np.maximum.accumulate(np.clip(bounds - ends, 0, len(frames) - count)) + ends
        return [[frames[index] for index in part] for part in np.split(np.arange(len(frames)), bounds)]

    def _samples(self, frames: list[ClosedFrame]) -> RolloutBufferSamples:
        frames.sort(key=lambda frame: len(frame.tokens))
        packed = pack_closed(frames, self.grammar, self.device)

        def tensor(parts: list[npt.NDArray[Any]]) -> th.Tensor:
            return th.from_numpy(np.concatenate(parts)).to(self.device)

        return RolloutBufferSamples(
            observations=packed,  # type: ignore[arg-type]
            actions=tensor([frame.actions for frame in frames]).long(),
            old_values=tensor([frame.values for frame in frames]),
            old_log_prob=tensor([frame.log_probs for frame in frames]),
            advantages=tensor([frame.advantages for frame in frames]),
            returns=tensor([frame.returns for frame in frames]),
        )


def _by_episode(frames: list[ClosedFrame]) -> list[list[ClosedFrame]]:
    episodes: dict[int, list[ClosedFrame]] = {}
    for frame in frames:
        episodes.setdefault(frame.episode, []).append(frame)
    return list(episodes.values())


def _spread(chain: list[ClosedFrame], order: npt.NDArray[np.intp], name: str, ordered: Floats) -> None:
    """Gives the frames of a chain their parts of what was computed along it."""
    back = np.empty_like(ordered)
    back[order] = ordered
    ends = np.cumsum([len(frame.times) for frame in chain])[:-1]
    for frame, part in zip(chain, np.split(back, ends), strict=True):
        setattr(frame, name, part)
