"""Ended frames, and batches of them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch as th

from o1nano.envs.core.grammar import Grammar
from o1nano.envs.language.vocab import EQUALS
from o1nano.policies.actor_critic import PackedFrames
from o1nano.policies.network.frame_batch import pack_frames

Floats = npt.NDArray[np.float32]


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


def pack_closed(frames: list[ClosedFrame], grammar: Grammar, device: th.device | str) -> PackedFrames:
    """Packs frames; the last token of a frame is an action only, never an input."""
    tokens, positions = [frame.tokens[:-1] for frame in frames], [frame.positions for frame in frames]
    return PackedFrames([pack_frames(tokens, positions, grammar, device)])
