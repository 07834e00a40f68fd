"""The rollout buffer that learns from whole frames.

Stable-Baselines3 collects one row a step, for every environment the frame on top of its call stack. This buffer puts
the rows of a frame together again: the last observation of a frame holds all earlier ones, so only the frame's tokens
are kept, with one value and one log-probability for every action in it. ``get`` yields them packed, and stock
``PPO.train()`` runs on them unchanged.

A frame is yielded after it has ended. One that is still open when a rollout ends is kept for the next: its older
log-probabilities are those of the policy that acted, so PPO's ratio stays right.

Shapes: N environments, D frames deep, L tokens long.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import fields
from typing import Any

import numpy as np
import numpy.typing as npt
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.type_aliases import RolloutBufferSamples

from o1nano.agents.credit import Credit, advantages, judge
from o1nano.agents.distributed import Team
from o1nano.agents.packing import ClosedFrame, pack_closed
from o1nano.envs.grammar import Grammar
from o1nano.envs.pose import is_sensible
from o1nano.envs.vocab import END_CALL, EOS, EQUALS, PAD, SUBTASK

# What is known of the frames of an environment, and of an environment.
_OF_FRAMES = ("_tokens", "_value", "_log_prob", "_reward", "_time", "_acted", "_misled")
_OF_ENVS = ("_depth", "_episode", "_last_action")


class FrameRolloutBuffer(RolloutBuffer):
    """See the module.

    Args:
        grammar: The environment's grammar.
        depth: D, the environment's limit.
        credit: How a frame is rewarded. ``"frame"``: every frame for its own answer. ``"blame"``: the same, but a frame
            that was given a wrong answer to a sensible question (``is_sensible``) is left out. ``"episode"``: every
            action of an episode for the root's answer.
        seed: Of the order of frames in minibatches.
        team: The processes that learn together.

    Attributes:
        share: The weight of the minibatch yielded last, among those that the other processes have at the same time.
        normalise: Whether ``get`` normalises advantages, over the minibatches of all processes together.
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
        seed: int | None = None,
        team: Team | None = None,
    ) -> None:
        self.team, self.share, self.normalise = team or Team(), 1.0, False
        self.grammar, self.credit = grammar or Grammar(), credit
        self._rng = np.random.default_rng(seed)
        assert isinstance(observation_space, spaces.Box)
        shape = (n_envs, depth, observation_space.shape[0])
        self._tokens = np.zeros(shape, dtype=np.uint8)
        self._value, self._log_prob, self._reward = np.zeros((3, *shape), dtype=np.float32)
        self._time = np.zeros(shape, dtype=np.int64)
        self._acted = np.zeros(shape, dtype=bool)
        self._misled = np.zeros(shape[:2], dtype=bool)
        self._depth = np.full(n_envs, -1)  # -1: no episode has begun
        self._episode = np.arange(n_envs)
        self._last_action = np.full(n_envs, PAD)
        self._rows = np.arange(n_envs)
        self._clock = 0
        self._unfinished: list[ClosedFrame] = []  # credit="episode": ended frames of running episodes
        self._frames: list[ClosedFrame] = []
        super().__init__(buffer_size, observation_space, action_space, device, gae_lambda, gamma, n_envs)

    def reset(self) -> None:
        """Begins a new rollout; open frames are kept."""
        self._frames = []
        self.pos, self.full, self.generator_ready = 0, False, False

    def state_dict(self) -> dict[str, Any]:
        """Returns what goes from one rollout to the next, as plain containers and arrays: the open frames."""
        is_open = np.arange(self._tokens.shape[1]) <= self._depth[:, None]  # [N, D]
        return {
            **{name: getattr(self, name)[is_open] for name in _OF_FRAMES},
            **{name: getattr(self, name).copy() for name in _OF_ENVS},
            "clock": self._clock,
            "unfinished": [[getattr(frame, field.name) for field in fields(frame)] for frame in self._unfinished],
            "rng": self._rng.bit_generator.state,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what ``state_dict`` of a buffer with the same arguments returned."""
        for name in _OF_ENVS:
            getattr(self, name)[...] = state[name]
        is_open = np.arange(self._tokens.shape[1]) <= self._depth[:, None]
        for name in _OF_FRAMES:
            getattr(self, name)[is_open] = state[name]
        self._clock = state["clock"]
        self._unfinished = []
        for parts in state["unfinished"]:
            restored: list[Any] = [part if isinstance(part, int) else np.asarray(part) for part in parts]
            self._unfinished.append(ClosedFrame(*restored))
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
        frames = obs.astype(np.uint8)
        self._follow(frames, episode_start.astype(bool))
        rows, depth = self._rows, self._depth
        at = (frames != PAD).sum(1) - 1
        self._tokens[rows, depth] = frames
        self._value[rows, depth, at] = value.cpu().numpy().ravel()
        self._log_prob[rows, depth, at] = log_prob.cpu().numpy().ravel()
        self._reward[rows, depth, at] = reward
        self._time[rows, depth, at] = self._clock
        self._acted[rows, depth, at] = True
        self._last_action = action.astype(np.int64).ravel()
        self._clock += 1
        self.pos += 1
        self.full = self.pos == self.buffer_size

    def _follow(self, frames: npt.NDArray[np.uint8], episode_start: npt.NDArray[np.bool_]) -> None:
        """Works out from the last actions and the new frames what the call stacks have done."""
        moved = (self._last_action == END_CALL) | (self._last_action == EOS) | (self._last_action == EQUALS)
        for env in np.flatnonzero(episode_start | moved):
            action = self._last_action[env]
            if episode_start[env]:
                self._end_episode(int(env))
                self._depth[env] = 0
                self._open(int(env))
            elif action == END_CALL:
                self._depth[env] += 1
                self._open(int(env))
            else:
                self._close(int(env))
                if action == EOS:
                    self._depth[env] -= 1
                else:  # a tail call: another frame at the same depth, which the same caller waits for
                    self._open(int(env))

    def _open(self, env: int) -> None:
        self._acted[env, self._depth[env]] = False
        self._reward[env, self._depth[env]] = 0.0
        self._misled[env, self._depth[env]] = False

    def _end_episode(self, env: int) -> None:
        if self._depth[env] < 0:
            return
        self._close(env)
        if self.credit == "blame":  # a limit has ended the episode: of those who wait, these are at fault
            waiting = range(self._depth[env])
            self._frames += [self._take(env, depth) for depth in waiting if not self._asked_sensibly(env, depth)]
        if self.credit == "episode":
            mine = [frame for frame in self._unfinished if frame.episode == self._episode[env]]
            mine += [self._take(env, depth) for depth in range(self._depth[env])]
            self._unfinished = [frame for frame in self._unfinished if frame.episode != self._episode[env]]
            self._frames += mine
        self._episode[env] += self.n_envs

    def _close(self, env: int) -> None:
        """Judges the frame on top and hands it to the learner."""
        depth = int(self._depth[env])
        frame = self._take(env, depth)
        if self.credit == "episode":
            self._unfinished.append(frame)
            return
        verdict = "right"
        if frame.tokens[0] == SUBTASK:
            verdict = judge(frame.tokens.tobytes())
            frame.rewards[-1] += verdict == "right"
            # A tail call that preserves the answer passes the caller's trust on; a wrong answer breaks it. It excuses
            # nobody from having asked what it has no use for: strange questions would cost nothing.
            if verdict == "wrong" and depth and self._asked_sensibly(env, depth - 1):
                self._misled[env, depth - 1] = True
        misled = self._misled[env, depth] and self.credit == "blame"
        if verdict != "malformed" and not misled:
            self._frames.append(frame)

    def _asked_sensibly(self, env: int, depth: int) -> bool:
        """Whether the frame at a depth has a use for what it asked of the frame above it."""
        asker, question = (frame.tobytes() for frame in self._tokens[env, depth : depth + 2])
        return is_sensible(*(frame[: frame.index(EQUALS) + 1] for frame in (asker, question)))

    def _take(self, env: int, depth: int) -> ClosedFrame:
        positions = np.flatnonzero(self._acted[env, depth])
        length = positions[-1] + 1
        tokens = np.append(self._tokens[env, depth, :length], np.uint8(0))
        last = int(depth == self._depth[env])
        tokens[-1] = self._last_action[env] if last else END_CALL  # a suspended frame was left by its call
        return ClosedFrame(
            tokens,
            positions,
            self._value[env, depth, positions],
            self._log_prob[env, depth, positions],
            self._reward[env, depth, positions],
            self._time[env, depth, positions],
            int(self._episode[env]),
            np.empty(0, np.float32),
        )

    def compute_returns_and_advantage(self, last_values: th.Tensor, dones: npt.NDArray[Any]) -> None:
        """Computes advantages of every ended frame. Open frames wait, so ``last_values`` are not needed."""
        frames = self._frames
        chains = _by_episode(frames) if self.credit == "episode" else [[frame] for frame in frames]
        orders = [np.argsort(np.concatenate([frame.times for frame in chain]), kind="stable") for chain in chains]
        rewards = [
            np.concatenate([f.rewards for f in chain])[order] for chain, order in zip(chains, orders, strict=True)
        ]
        values = [np.concatenate([f.values for f in chain])[order] for chain, order in zip(chains, orders, strict=True)]
        computed = advantages(rewards, values, self.gamma, self.gae_lambda)
        for chain, order, advantage in zip(chains, orders, computed, strict=True):
            back = np.empty_like(advantage)
            back[order] = advantage
            for frame, part in zip(chain, np.split(back, np.cumsum([len(f.times) for f in chain])[:-1]), strict=True):
                frame.advantages = part
        empty = [np.empty(0, np.float32)]
        self.values = np.concatenate([frame.values for frame in frames] or empty)
        self.advantages = np.concatenate([frame.advantages for frame in frames] or empty)
        self.returns = self.advantages + self.values

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
                samples = samples._replace(advantages=(samples.advantages - union.mean()) / (union.std() + 1e-8))
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

        advantage = tensor([frame.advantages for frame in frames])
        value = tensor([frame.values for frame in frames])
        return RolloutBufferSamples(
            observations=packed,  # type: ignore[arg-type]
            actions=tensor([frame.actions for frame in frames]).long(),
            old_values=value,
            old_log_prob=tensor([frame.log_probs for frame in frames]),
            advantages=advantage,
            returns=advantage + value,
        )


def _by_episode(frames: list[ClosedFrame]) -> list[list[ClosedFrame]]:
    episodes: dict[int, list[ClosedFrame]] = {}
    for frame in frames:
        episodes.setdefault(frame.episode, []).append(frame)
    return list(episodes.values())
