"""The bookkeeping of the block cache as arrays: which blocks and frames exist, are free, and belong to whom."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from o1nano.policies.decoding.layout import BLOCK, Bytes, Ints
from o1nano.policies.network.frame_scan import MEMORY


class CacheState(NamedTuple):
    """Blocks, frames and call stacks.

    Shapes: N rows, L tokens of a frame at most, F frames, G groups of layers with the same window, B blocks.

    Attributes:
        tokens: ``[F, L]`` tokens of each frame.
        lengths: ``[F]`` how many.
        memory: ``[F, MEMORY]`` state of the scan of each frame.
        tables: ``[G, F, L / BLOCK]`` block tables: the blocks of each frame, -1 where it has none.
        users: ``[G, B]`` reference counts: how many frames have a block.
        free_blocks: ``[G, B]`` a stack of blocks without users.
        free_frames: ``[F]`` a stack of frames that are not open.
        num_free: ``[G + 1]`` heights of these stacks: free blocks of each group, then free frames.
        stacks: ``[N, depth]`` open frames of each row, the top frame last.
        depths: ``[N]`` how many.
        stale: ``[N]`` whether the open frames of a row belong to a call stack that has left the row.
        windows: ``[G]`` tokens that a token sees in layers of each group; 0 means all.
    """

    tokens: Bytes
    lengths: Ints
    memory: Ints
    tables: Ints
    users: Ints
    free_blocks: Ints
    free_frames: Ints
    num_free: Ints
    stacks: Ints
    depths: Ints
    stale: npt.NDArray[np.bool_]
    windows: Ints


def empty_state(rows: int, frame_length: int, windows: tuple[int, ...], blocks: int, frames: int) -> CacheState:
    """Returns a state without open frames.

    Args:
        rows: N.
        frame_length: L.
        windows: The window of each group of layers; 0 means all tokens.
        blocks: B, for each group.
        frames: F.
    """
    groups = len(windows)
    num_free = np.full(groups + 1, blocks, dtype=np.int32)
    num_free[groups] = frames
    return CacheState(
        tokens=np.zeros((frames, frame_length), dtype=np.uint8),
        lengths=np.zeros(frames, dtype=np.int32),
        memory=np.zeros((frames, MEMORY), dtype=np.int32),
        tables=np.full((groups, frames, -(-frame_length // BLOCK)), -1, dtype=np.int32),
        users=np.zeros((groups, blocks), dtype=np.int32),
        # Stacks are popped from the end, so that block 0 and frame 0 are taken first.
        free_blocks=np.tile(np.arange(blocks, dtype=np.int32)[::-1], (groups, 1)),
        free_frames=np.arange(frames, dtype=np.int32)[::-1].copy(),
        num_free=num_free,
        stacks=np.zeros((rows, 8), dtype=np.int32),
        depths=np.zeros(rows, dtype=np.int32),
        stale=np.zeros(rows, dtype=np.bool_),
        windows=np.array(windows, dtype=np.int32),
    )


def double_blocks(state: CacheState) -> CacheState:
    """Returns a state with twice the number of blocks in every group."""
    groups, blocks = state.users.shape
    free_blocks = np.zeros((groups, 2 * blocks), dtype=np.int32)
    for group in range(groups):
        free_blocks[group] = _double_stack(state.free_blocks[group], state.num_free[group])
    state.num_free[:groups] += blocks
    users = np.pad(state.users, ((0, 0), (0, blocks)))
    return state._replace(users=users, free_blocks=free_blocks)


def double_frames(state: CacheState) -> CacheState:
    """Returns a state with twice the number of frames, and of levels of call stacks."""
    frames = len(state.lengths)
    depth = state.stacks.shape[1]
    free_frames = _double_stack(state.free_frames, state.num_free[-1])
    state.num_free[-1] += frames
    return state._replace(
        tokens=np.pad(state.tokens, ((0, frames), (0, 0))),
        lengths=np.pad(state.lengths, (0, frames)),
        memory=np.pad(state.memory, ((0, frames), (0, 0))),
        tables=np.pad(state.tables, ((0, 0), (0, frames), (0, 0)), constant_values=-1),
        free_frames=free_frames,
        stacks=np.pad(state.stacks, ((0, 0), (0, depth))),
    )


def _double_stack(free: Ints, count: int) -> Ints:
    """Returns a stack of free numbers with new ones below: [1, 0] becomes [3, 2, 1, 0]."""
    size = len(free)
    doubled = np.zeros(2 * size, dtype=np.int32)
    doubled[:size] = np.arange(2 * size - 1, size - 1, -1)
    doubled[size : size + count] = free[:count]
    return doubled
