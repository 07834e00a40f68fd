"""Frames to learn from, and packed batches of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch as th

from o1nano.envs.core.grammar import Grammar
from o1nano.envs.language.vocab import EQUALS
from o1nano.policies.network.frame_batch import FrameBatch, pack_frames

Floats = npt.NDArray[np.float32]


def _no_floats() -> Floats:
    return np.empty(0, np.float32)


@dataclass(slots=True)
class TrainingFrame:
    """A frame to learn from: a demonstration of the expert, or a frame that the agent has ended.

    A is the number of actions in the frame: the tokens that its author emitted. Prompts and injected answers are not
    actions.

    Attributes:
        tokens: The whole frame, its last action included.
        positions: ``[A]`` index of the token before each action.
        returns: ``[A]`` targets of the critic. In a demonstration, 1 on the way to a right answer and 0 after a planted
            wrong digit. In a rollout, computed when the rollout is complete.
        imitate: ``[A]`` whether each action is imitated. Demonstrations only.
        values: ``[A]`` the critic's value before each action. Rollouts only, like all that follow.
        log_probs: ``[A]`` log-probability of each action when it was taken.
        rewards: ``[A]`` reward of each action.
        times: ``[A]`` step of each action, counted over all rollouts.
        episode: Serial number of the episode.
        advantages: ``[A]`` computed when the rollout is complete.
    """

    tokens: npt.NDArray[np.uint8]
    positions: npt.NDArray[np.intp]
    returns: Floats = field(default_factory=_no_floats, kw_only=True)

    # Demonstrations.
    imitate: npt.NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, np.bool_), kw_only=True)

    # Rollouts.
    values: Floats = field(default_factory=_no_floats, kw_only=True)
    log_probs: Floats = field(default_factory=_no_floats, kw_only=True)
    rewards: Floats = field(default_factory=_no_floats, kw_only=True)
    times: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64), kw_only=True)
    episode: int = field(default=0, kw_only=True)
    advantages: Floats = field(default_factory=_no_floats, kw_only=True)

    @property
    def prompt(self) -> bytes:
        """Tokens of the prompt, up to and including ``=``."""
        tokens = self.tokens.tobytes()
        return tokens[: tokens.index(EQUALS) + 1]

    @property
    def actions(self) -> npt.NDArray[np.uint8]:
        """``[A]`` tokens that the author of the frame emitted."""
        return self.tokens[self.positions + 1]


ActionField = Literal["actions", "imitate", "returns", "values", "log_probs", "rewards", "times", "advantages"]


def joined(frames: Sequence[TrainingFrame], name: ActionField) -> npt.NDArray[Any]:
    """Returns a field of all actions of some frames as one array, one frame after the other.

    Args:
        frames: The frames; if there are none, the array is empty.
        name: A field of ``TrainingFrame`` with an entry for each action.
    """
    if not frames:
        return _no_floats()
    return np.concatenate([getattr(frame, name) for frame in frames])


def pack_training_frames(frames: Sequence[TrainingFrame], grammar: Grammar, device: th.device | str) -> FrameBatch:
    """Packs frames into one batch.

    Args:
        frames: The frames, with A actions together.
        grammar: Gives the state after each token.
        device: Where the batch goes.

    Returns:
        A batch whose A actions are in the order of ``joined``.
    """
    # The last token of a frame is an action and never an input: nothing follows it.
    tokens = [frame.tokens[:-1] for frame in frames]
    positions = [frame.positions for frame in frames]
    return pack_frames(tokens, positions, grammar, device)
