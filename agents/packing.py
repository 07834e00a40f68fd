"""Frames of any length as batches with little padding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch as th

from o1nano.envs.grammar import Grammar
from o1nano.policies.network import FrameBatch

# A batch is closed where another frame would make more than this share of it padding ...
_PADDING = 0.15
# ... unless it is small: below this many tokens a batch costs its overhead, whatever is in it.
_SMALL = 256


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
