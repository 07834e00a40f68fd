"""The block cache: what has happened to each row since the last step, and which tokens must be computed.

A row shows the top frame of a call stack, as the environment observes it. The cache infers from the tokens alone which
of these has happened, and does its part:

- The frame continues: only its new tokens are computed.
- A call has opened a child frame: the parent keeps its blocks while the child is open.
- A parent has resumed, with an injected answer: the child is closed and its blocks are released.
- A tail call or another problem has replaced the frame, or the whole stack.

A new frame shares the whole blocks of its longest common prefix with any open frame of any row. Attempts at one problem
share its prompt; questions on one context share the context.

This is the bookkeeping only, compiled loops over integers; the forward pass holds keys and values.

Shapes: N rows, L tokens of a frame at most, M new tokens, G groups of layers with the same window.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from o1nano.envs.core.grammar import State
from o1nano.envs.language.vocab import PAD, PROBLEM
from o1nano.policies.decoding.block_loops import allocate_blocks, close_frames, common_prefix, share_prefix
from o1nano.policies.decoding.block_table import CacheState, double_blocks, double_frames, empty_state
from o1nano.policies.decoding.layout import FRAME, NO_POSITION, TIME, TOKEN, Bytes, Ints
from o1nano.policies.network.compiled import compiled, inlined
from o1nano.policies.network.frame_scan import NUM_SCANNED, PROMPTED, STATE, scan_frame

# Fields of ``progress``, the position of a step between two calls of ``collect``.
_ROW = 0  # the row whose tokens are listed
_LENGTH = 1  # tokens of its frame
_NEXT = 2  # position of the next token to list; -1 if the row has not begun
_FIRST = 3  # position of the first token that was new in this step
# And results of the last call.
_TOKENS = 4  # tokens that were listed
_ENDS = 5  # frames that end among them
_MISSING = 6  # what there was too little of: 0, _FRAMES or _BLOCKS
_SHARED = 7  # tokens of shared prefixes, over all steps

_FRAMES = 1
_BLOCKS = 2

# A frame in one of the states from the first to before the second has an open call.
_FIRST_CALL_STATE = int(State.ROOT_CALL)
_FIRST_TAIL_STATE = int(State.TAIL)


class BlockCache:
    """Blocks, frames and rows of a decoder.

    Args:
        rows: N.
        frame_length: L.
        windows: The window of each group of layers, in tokens; 0 means all.
        blocks: Initial number of blocks of each group. It doubles when more are needed, as frames do.
    """

    def __init__(self, rows: int, frame_length: int, windows: tuple[int, ...], blocks: int) -> None:
        self.blocks = blocks
        self._shape = (rows, frame_length, windows)
        self._frames = 2 * rows + 2
        self._progress = np.zeros(8, dtype=np.int32)
        self._scanned = np.zeros((NUM_SCANNED, frame_length), dtype=np.int32)
        self.clear()

    def clear(self) -> None:
        """Closes all frames, as after a change of the weights."""
        self.state: CacheState = empty_state(*self._shape, self.blocks, self._frames)

    @property
    def used(self) -> npt.NDArray[np.int64]:
        """``[G]`` number of blocks in use."""
        used: npt.NDArray[np.int64] = np.count_nonzero(self.state.users, axis=1)
        return used

    @property
    def shared(self) -> int:
        """Tokens of new frames that other frames had computed, over all steps."""
        return int(self._progress[_SHARED])

    def begin_step(self) -> None:
        """Begins a step: the next ``collect`` starts with the first row."""
        self._progress[_ROW] = 0
        self._progress[_NEXT] = -1

    def collect(self, shown: Bytes, successor: Bytes, fields: Ints, ends: Ints, rows: Ints) -> tuple[int, int]:
        """Lists the next tokens that must be computed, at most M, and gives them blocks.

        Args:
            shown: ``[N, L]`` the top frame of each row, padded with 0. An empty row is skipped.
            successor: ``[NUM_STATES, VOCAB_SIZE]`` next state of the grammar.
            fields: ``[10, M]`` the new tokens, written; the rows are named in ``layout``.
            ends: ``[N]`` which of the new tokens end a frame, written.
            rows: ``[N]`` the rows of these frames, written.

        Returns:
            How many tokens were listed, and how many of them end a frame. No tokens means that the step is complete.
        """
        while True:
            _collect(self.state, shown, successor, self._scanned, self._progress, fields, ends, rows)
            missing = self._progress[_MISSING]
            if self._progress[_TOKENS] or not missing:
                return int(self._progress[_TOKENS]), int(self._progress[_ENDS])

            if missing == _BLOCKS:
                self.state = double_blocks(self.state)
                self.blocks *= 2
            else:
                self.state = double_frames(self.state)
                self._frames *= 2


@compiled
def _collect(
    state: CacheState,
    shown: Bytes,
    successor: Bytes,
    scanned: Ints,
    progress: Ints,
    fields: Ints,
    ends: Ints,
    rows: Ints,
) -> None:
    """Does the work of ``BlockCache.collect``, and stops where frames or blocks are missing."""
    count = 0
    ended = 0
    progress[_MISSING] = 0
    while progress[_ROW] < len(shown) and count < fields.shape[1]:
        row = progress[_ROW]
        # A row that begins: find out how much of its frame is in the cache.
        if progress[_NEXT] < 0:
            length = _count_tokens(shown[row])
            if length == 0:
                progress[_ROW] += 1
                continue
            if state.num_free[-1] == 0 or state.depths[row] == state.stacks.shape[1]:
                progress[_MISSING] = _FRAMES
                break
            cached = _update_row(state, row, shown[row], length, successor, scanned, progress)
            progress[_LENGTH] = length
            progress[_FIRST] = cached
            progress[_NEXT] = cached

        # As many tokens of this frame as there is room for.
        first = progress[_NEXT]
        stop = min(progress[_LENGTH], first + fields.shape[1] - count)
        frame = state.stacks[row, state.depths[row] - 1]
        if not allocate_blocks(state, frame, first, stop):
            progress[_MISSING] = _BLOCKS
            break

        for position in range(first, stop):
            for field in range(NUM_SCANNED):
                fields[field, count] = scanned[field, position - progress[_FIRST]]
            fields[TIME, count] = position
            fields[TOKEN, count] = state.tokens[frame, position]
            fields[FRAME, count] = frame
            fields[NO_POSITION, count] = 0
            count += 1

        progress[_NEXT] = stop
        # A frame is complete. If nothing of it was new, its last results still hold.
        if stop == progress[_LENGTH]:
            if stop > first:
                ends[ended] = count - 1
                rows[ended] = row
                ended += 1
            progress[_ROW] += 1
            progress[_NEXT] = -1

    progress[_TOKENS] = count
    progress[_ENDS] = ended


@inlined
def _count_tokens(shown: Bytes) -> int:
    """Returns how many tokens of a row are not padding."""
    length = 0
    for position in range(len(shown)):
        length += shown[position] != PAD
    return length


@inlined
def _update_row(
    state: CacheState, row: int, shown: Bytes, length: int, successor: Bytes, scanned: Ints, progress: Ints
) -> int:
    """Finds out what has happened to a row, and makes the shown frame its top frame.

    Returns:
        How many of the frame's tokens are in the cache. ``scanned`` has the scan of the others.
    """
    first = _resume_frame(state, row, shown, length)
    cached = first
    if first < 0:
        first = 0
        cached = _open_frame(state, row, shown, length)
        progress[_SHARED] += cached

    # Not a slice: numba would compile the text of an error, that of slices of different lengths, for two seconds.
    frame = state.stacks[row, state.depths[row] - 1]
    for position in range(first, length):
        state.tokens[frame, position] = shown[position]
    state.lengths[frame] = length

    scan_frame(shown, first, length, cached, 0, state.memory[frame], successor, scanned)
    return cached


@inlined
def _resume_frame(state: CacheState, row: int, shown: Bytes, length: int) -> int:
    """Makes the open frame that the shown one continues, if there is one, the top frame of its row.

    This is the top frame, with no or more new tokens, or a parent, with more. A frame whose prompt is not complete
    begins again, because its places and columns are not final.

    Returns:
        How many tokens it has, or -1.
    """
    for level in range(state.depths[row] - 1, -1, -1):
        frame = state.stacks[row, level]
        own: int = np.int64(state.lengths[frame])  # type: ignore[assignment]  # one type of integer, compiled once
        is_unchanged_top = level == state.depths[row] - 1 and own == length
        if (
            (own < length or is_unchanged_top)
            and state.memory[frame, PROMPTED]
            and common_prefix(state.tokens[frame], shown, own) == own
        ):
            close_frames(state, row, level + 1)
            state.stale[row] = False
            return own
    return -1


@inlined
def _open_frame(state: CacheState, row: int, shown: Bytes, length: int) -> int:
    """Opens a new frame on top of a row's stack, or in place of other frames.

    Returns:
        How many of its tokens are in the cache, in blocks that it shares.
    """
    # Share before anything is closed: a replaced frame may have the prefix.
    state.num_free[-1] -= 1
    frame = state.free_frames[state.num_free[-1]]
    shared = share_prefix(state, frame, shown, length)

    depth = state.depths[row]
    if state.stale[row] or shown[0] == PROBLEM:
        close_frames(state, row, 0)
        state.stale[row] = False
    elif depth:
        top_state = state.memory[state.stacks[row, depth - 1], STATE]
        if not _FIRST_CALL_STATE <= top_state < _FIRST_TAIL_STATE:
            close_frames(state, row, depth - 1)  # replaced by a tail call

    state.stacks[row, state.depths[row]] = frame
    state.depths[row] += 1
    return shared
