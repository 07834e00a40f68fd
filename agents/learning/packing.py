"""Frames of any length as batches with little padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch as th

from o1nano.envs.core.grammar import Grammar
from o1nano.envs.language.vocab import EQUALS
from o1nano.policies.actor_critic import PackedFrames
from o1nano.policies.network.model import FrameBatch

Floats = npt.NDArray[np.float32]

# A batch is closed where another frame would make more than this share of it padding ...
_PADDING = 0.15
# ... unless it is small: below this many tokens a batch costs its overhead, whatever is in it.
_SMALL = 256


@dataclass(slots=True)
class ClosedFrame:
    """A frame that has ended, ready to be learned from.

    Attributes:
        tokens: The whole frame, its last action included.
        positions: ``[A]`` index of the token before each action.
        actions, values, log_probs, rewards: ``[A]``.
        times: ``[A]`` the step of each action, counted over all rollouts.
        episode: Serial number of the episode.
        advantages, returns: ``[A]``, when they have been computed.
    """

    tokens: npt.NDArray[np.uint8]
    positions: npt.NDArray[np.intp]
    values: Floats
    log_probs: Floats
    rewards: Floats
    times: npt.NDArray[np.int64]
    episode: int
    advantages: Floats = field(default_factory=lambda: np.empty(0, np.float32))
    returns: Floats = field(default_factory=lambda: np.empty(0, np.float32))

    @property
    def prompt(self) -> bytes:
        """What the frame was asked."""
        tokens = self.tokens.tobytes()
        return tokens[: tokens.index(EQUALS) + 1]

    @property
    def actions(self) -> npt.NDArray[np.uint8]:
        """The tokens that the agent emitted."""
        return self.tokens[self.positions + 1]


def cut(lengths: Sequence[int]) -> list[slice]:
    """Cuts frames, sorted by ascending length, into runs that are padded together."""
    runs, start, total = [], 0, 0
    for stop, length in enumerate(lengths):
        padded = (stop + 1 - start) * length
        if stop > start and total >= _SMALL and padded > (total + length) / (1 - _PADDING):
            runs.append(slice(start, stop))
            start, total = stop, 0
        total += length
    runs.append(slice(start, len(lengths)))
    return runs


def pack(
    frames: Sequence[npt.NDArray[np.uint8]],
    positions: Sequence[npt.NDArray[np.intp]],
    grammar: Grammar,
    device: th.device | str,
) -> FrameBatch:
    """Pads frames into one batch.

    Args:
        frames: The tokens of each frame.
        positions: For each frame, the positions whose next token is an action.
        grammar: Gives the state after each token.
        device: Where the batch goes.
    """
    tokens = np.zeros((len(frames), max(map(len, frames))), dtype=np.uint8)
    for row, frame in enumerate(frames):
        tokens[row, : len(frame)] = frame
    rows = np.repeat(np.arange(len(frames)), [len(at) for at in positions])
    arrays = tokens.astype(np.int64), grammar.states(tokens).astype(np.int64), rows, np.concatenate(positions)
    return FrameBatch(*(th.from_numpy(array).to(device) for array in arrays))


def pack_closed(frames: list[ClosedFrame], grammar: Grammar, device: th.device | str) -> PackedFrames:
    """Packs frames that are sorted by length; the last token of a frame is an action only, never an input."""
    return PackedFrames(
        [
            pack([f.tokens[:-1] for f in frames[run]], [f.positions for f in frames[run]], grammar, device)
            for run in cut([len(frame.tokens) - 1 for frame in frames])
        ]
    )
