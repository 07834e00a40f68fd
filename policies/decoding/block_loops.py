"""Compiled loops that allocate, share and release cache blocks.

Shapes: see ``block_table``.
"""

from __future__ import annotations

import numpy as np

from o1nano.envs.language.vocab import EQUALS, NINE, PROBLEM, SUBTASK, ZERO
from o1nano.policies.decoding.block_table import CacheState
from o1nano.policies.decoding.layout import BLOCK, Bytes, Ints
from o1nano.policies.network.compiled import inlined

SLACK = 512
"""Tokens beyond a window whose blocks are kept. Another frame can share a prefix that ends this much earlier."""


@inlined
def allocate_blocks(state: CacheState, frame: int, first: int, stop: int) -> bool:
    """Gives a frame blocks for its tokens from ``first`` up to ``stop``.

    The block that ``first`` lies in is there already unless the token is its first. With blocks of 16, tokens 14 to 40
    need blocks 1 and 2.

    Returns:
        False, and nothing has changed, if there are too few free blocks.
    """
    begin = (first + BLOCK - 1) // BLOCK
    end = (stop + BLOCK - 1) // BLOCK
    for group in range(len(state.windows)):
        if state.num_free[group] < end - begin:
            return False

    for group in range(len(state.windows)):
        table = state.tables[group, frame]
        window = state.windows[group]
        if window:
            # Blocks so far back that neither this frame nor one that shares its prefix will see them.
            number = (first - window - SLACK) // BLOCK - 1
            while number >= 0 and table[number] >= 0:
                _release_block(state, group, table, number)
                number -= 1

        for number in range(begin, end):
            state.num_free[group] -= 1
            table[number] = state.free_blocks[group, state.num_free[group]]
            state.users[group, table[number]] = 1
    return True


@inlined
def _release_block(state: CacheState, group: int, table: Ints, number: int) -> None:
    """Removes a block from a frame's table, and frees it if no other frame has it."""
    block = table[number]
    table[number] = -1
    state.users[group, block] -= 1
    if state.users[group, block] == 0:
        state.free_blocks[group, state.num_free[group]] = block
        state.num_free[group] += 1


@inlined
def close_frames(state: CacheState, row: int, depth: int) -> None:
    """Closes the open frames of a row from level ``depth`` upwards, and releases their blocks."""
    for level in range(depth, state.depths[row]):
        frame = state.stacks[row, level]
        for group in range(len(state.windows)):
            table = state.tables[group, frame]
            for number in range((state.lengths[frame] + BLOCK - 1) // BLOCK):
                if table[number] >= 0:
                    _release_block(state, group, table, number)
        # The frame's number is free for another frame.
        state.lengths[frame] = 0
        state.free_frames[state.num_free[-1]] = frame
        state.num_free[-1] += 1
    state.depths[row] = min(depth, state.depths[row])


@inlined
def share_prefix(state: CacheState, frame: int, shown: Bytes, length: int) -> int:
    """Gives a new frame the whole blocks of its longest common prefix with any open frame.

    Shared blocks are full, so they are never written again, and no copy is made.

    Returns:
        How many tokens these blocks hold.
    """
    shared = 0
    source = 0
    for row in range(len(state.depths)):
        for level in range(state.depths[row]):
            other = state.stacks[row, level]
            # numba compiles for each type of integer; 64 bits are those of the callers.
            most: int = min(np.int64(state.lengths[other]), length)  # type: ignore[assignment]
            common = common_prefix(state.tokens[other], shown, most)
            common = _stable_prefix(shown, common)
            # The last token is always computed, because what follows it is asked for.
            common = min(common, length - 1) // BLOCK * BLOCK
            if common > shared and _has_visible_blocks(state, other, common):
                shared = common
                source = other

    for group in range(len(state.windows)):
        for number in range(shared // BLOCK):
            # Blocks before the window may be gone already; then neither frame has them.
            block = state.tables[group, source, number]
            state.tables[group, frame, number] = block
            if block >= 0:
                state.users[group, block] += 1

    return shared


@inlined
def common_prefix(tokens: Bytes, shown: Bytes, length: int) -> int:
    """Returns how many of the first ``length`` tokens are the same before the first difference."""
    for position in range(length):
        if tokens[position] != shown[position]:
            return position
    return length


@inlined
def _stable_prefix(shown: Bytes, common: int) -> int:
    """Returns for how many tokens of a common prefix the scan says the same, whatever follows.

    In a root's prompt, the places of a number count down from its end, and the token before it belongs to it. With
    ``<problem> 7 + 1 2`` in common, only ``<problem> 7`` is stable: more digits may follow. In a child's, the columns
    of the first number depend on the second one, so of ``<subtask> 7 1 / 1 2`` only ``<subtask>`` is stable.
    """
    for position in range(common):
        if shown[position] == EQUALS:
            return common
    if common > 1 and shown[0] == SUBTASK and ZERO <= shown[1] <= NINE:
        return 1
    if common == 0 or shown[0] != PROBLEM:
        return common

    while common and ZERO <= shown[common - 1] <= NINE:
        common -= 1
    return max(common - 1, 0)


@inlined
def _has_visible_blocks(state: CacheState, frame: int, length: int) -> bool:
    """Returns whether a frame still has all blocks that a token after its first ``length`` tokens sees."""
    for group in range(len(state.windows)):
        window = state.windows[group]
        oldest = max(length - window + 1, 0) if window else 0
        for number in range(oldest // BLOCK, length // BLOCK):
            if state.tables[group, frame, number] < 0:
                return False
    return True
