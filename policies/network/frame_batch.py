"""Whole frames of different lengths as one batch: their tokens lie one after the other, and nothing is padded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch as th

from o1nano.envs.core.grammar import Grammar
from o1nano.policies.network.frame_scan import MEMORY, scan_frames


class FrameBatch(NamedTuple):
    """F frames with M tokens together, A of which are followed by an action.

    Attributes:
        starts: ``[F + 1]`` long, on the CPU: where frames begin among all tokens, and where the last one ends.
        tokens: ``[M]`` long.
        time: ``[M]`` long, the index of each token in its frame.
        places: ``[M]`` int32, like the next three: see ``frame_scan.Scan``.
        roles: ``[M]``.
        offsets: ``[M]``.
        states: ``[M]`` the grammar state after each token.
        actions: ``[A]`` long, the tokens whose next token is an agent's action.
    """

    starts: th.Tensor
    tokens: th.Tensor
    time: th.Tensor
    places: th.Tensor
    roles: th.Tensor
    offsets: th.Tensor
    states: th.Tensor
    actions: th.Tensor

    @property
    def longest(self) -> int:
        """Tokens of the longest frame."""
        return int(self.starts.diff().max())


def pack_frames(
    frames: Sequence[npt.NDArray[np.uint8]],
    positions: Sequence[npt.NDArray[np.intp]],
    grammar: Grammar,
    device: th.device | str,
) -> FrameBatch:
    """Makes a batch.

    Args:
        frames: The tokens of each frame, in any order, none of them empty.
        positions: For each frame, the positions whose next token is an action.
        grammar: Gives the state after each token.
        device: Where the batch goes.
    """
    lengths = np.array([len(frame) for frame in frames])
    starts = np.concatenate(([0], np.cumsum(lengths)))
    tokens = np.concatenate(frames)
    scan = np.empty((4, len(tokens)), dtype=np.int32)
    zero, memory = np.zeros(len(frames), dtype=np.int64), np.zeros((len(frames), MEMORY), dtype=np.int32)
    scan_frames(tokens, starts[:-1], zero, lengths, zero, starts[:-1], memory, grammar.successor, scan)
    actions = np.concatenate([start + at for start, at in zip(starts, positions, strict=False)])
    time = np.arange(len(tokens)) - np.repeat(starts[:-1], lengths)
    arrays = tokens.astype(np.int64), time, *scan, actions
    return FrameBatch(th.from_numpy(starts), *(th.from_numpy(array).to(device) for array in arrays))
