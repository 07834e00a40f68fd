"""Whole frames of different lengths as one packed batch: their tokens lie one after the other, without padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch as th

from o1nano.envs.core.grammar import Grammar
from o1nano.policies.network.frame_scan import MEMORY, NUM_SCANNED, scan_frames


class FrameBatch(NamedTuple):
    """F frames with M tokens together, A of which are followed by an action.

    Attributes:
        starts: ``[F + 1]`` long, on the CPU: where frames begin among all tokens, and where the last one ends. Frames
            of 3 and 5 tokens have ``[0, 3, 8]``.
        tokens: ``[M]`` long.
        time: ``[M]`` long, the index of each token in its frame.
        places: ``[M]`` int32, the place of each token: see ``frame_scan.Scan``.
        roles: ``[M]`` int32, its role.
        offsets: ``[M]`` int32, its offset.
        states: ``[M]`` int32, the grammar state after it.
        columns: ``[M]`` int32, its column.
        column_roles: ``[M]`` int32, its role beside columns.
        actions: ``[A]`` long, indices of the tokens whose next token is an agent's action.
    """

    starts: th.Tensor
    tokens: th.Tensor
    time: th.Tensor
    places: th.Tensor
    roles: th.Tensor
    offsets: th.Tensor
    states: th.Tensor
    columns: th.Tensor
    column_roles: th.Tensor
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
    """Packs frames into one batch.

    Args:
        frames: The tokens of each frame. No frame is empty.
        positions: For each frame, the positions whose next token is an action.
        grammar: Gives the state after each token.
        device: Where the batch goes.

    Returns:
        The frames, in the order in which they were given.
    """
    lengths = np.array([len(frame) for frame in frames])
    starts = np.concatenate(([0], np.cumsum(lengths)))
    tokens = np.concatenate(frames)

    # Every frame is scanned from its first token to its last.
    scan = np.empty((NUM_SCANNED, len(tokens)), dtype=np.int32)
    zero = np.zeros(len(frames), dtype=np.int64)
    memory = np.zeros((len(frames), MEMORY), dtype=np.int32)
    scan_frames(tokens, starts[:-1], zero, lengths, zero, starts[:-1], memory, grammar.successor, scan)

    # From positions in a frame to indices among all tokens, and back.
    actions = np.concatenate([start + at for start, at in zip(starts, positions, strict=False)])
    time = np.arange(len(tokens)) - np.repeat(starts[:-1], lengths)
    arrays = (tokens.astype(np.int64), time, *scan, actions)
    return FrameBatch(th.from_numpy(starts), *(th.from_numpy(array).to(device) for array in arrays))
