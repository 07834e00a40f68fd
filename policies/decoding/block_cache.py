"""Which keys and values belong to whom: blocks of tokens, frames as lists of blocks, rows as stacks of frames.

A row is shown the top frame of a call stack, and what has happened to it is worked out from the tokens alone: the frame
continues, a child has opened, a parent has resumed with an injected answer, a tail call or another problem has taken
its place. A parent keeps its blocks while a child is open. A new frame takes over the whole blocks that its tokens have
in common with any open frame, of whichever row: attempts at one problem share its prompt, questions on one context
share the context. Shared blocks are never written to, so nothing is ever copied; a count of users frees them.

The bookkeeping is compiled loops over integers. Keys and values themselves belong to the forward pass.

Shapes: N rows, L tokens of a frame at most, F frames, G groups of layers with the same window, B blocks.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from o1nano.envs.core.grammar import State
from o1nano.envs.language.vocab import EQUALS, NINE, PAD, PROBLEM, ZERO
from o1nano.policies.decoding.kernels import BLOCK, FRAME, NONE, TIME, TOKEN
from o1nano.policies.network.compiled import compiled
from o1nano.policies.network.frame_scan import MEMORY, PROMPTED, STATE, scan_frame

Ints = npt.NDArray[np.int32]
Bytes = npt.NDArray[np.uint8]

SLACK = 512
"""Tokens beyond a window whose blocks are kept: another frame may have in common with this one that much less."""

# Progress of a step: the row that is being listed, and of its frame the length, the position of the next token that is
# listed (-1: the row has not begun) and that of the first.
_ROW, _LENGTH, _NEXT, _FIRST = range(4)
# What came of it: tokens and ends of frames that are listed, and what there is too little of.
LISTED, ENDED, SHORT = 4, 5, 6
SHARED = 7  # tokens of new frames that others had computed, over all steps
_FRAMES, _BLOCKS = 1, 2
_FIRST_CALL, _FIRST_TAIL = int(State.ROOT_CALL), int(State.TAIL)


class Book(NamedTuple):
    """The bookkeeping, as arrays.

    Attributes:
        tokens: ``[F, L]`` uint8.
        lengths: ``[F]``.
        memory: ``[F, MEMORY]`` of the scan over each frame.
        tables: ``[G, F, L / BLOCK]`` the blocks of each frame; -1 where there is none.
        users: ``[G, B]`` frames that have a block.
        free_blocks: ``[G, B]`` a stack of blocks without users.
        free_frames: ``[F]`` a stack of frames that are not open.
        free: ``[G + 1]`` how many free blocks there are in each group, then how many free frames.
        stacks: ``[N, depth]`` open frames of each row.
        depths: ``[N]`` how many.
        stale: ``[N]`` whether the frames of a row belong to a call stack that has left it.
        windows: ``[G]`` tokens that layers of a group see; 0: all.
    """

    tokens: Bytes
    lengths: Ints
    memory: Ints
    tables: Ints
    users: Ints
    free_blocks: Ints
    free_frames: Ints
    free: Ints
    stacks: Ints
    depths: Ints
    stale: npt.NDArray[np.bool_]
    windows: Ints


class BlockCache:
    """The blocks, frames and rows of a decoder.

    Args:
        rows: N.
        frame_length: L.
        windows: Of each group of layers, the tokens that they see; 0: all.
        blocks: Of every group at first; more are made when they are needed.
    """

    def __init__(self, rows: int, frame_length: int, windows: tuple[int, ...], blocks: int) -> None:
        self.blocks = blocks
        self._shape = rows, frame_length, windows
        self._frames, self._depth = 2 * rows + 2, 8
        self.progress = np.zeros(8, dtype=np.int32)
        self._scanned = np.zeros((4, frame_length), dtype=np.int32)
        self.book = self._empty()

    def _empty(self) -> Book:
        rows, frame_length, windows = self._shape
        groups, frames = len(windows), self._frames
        free = np.full(groups + 1, self.blocks, dtype=np.int32)
        free[groups] = frames
        return Book(
            tokens=np.zeros((frames, frame_length), dtype=np.uint8),
            lengths=np.zeros(frames, dtype=np.int32),
            memory=np.zeros((frames, MEMORY), dtype=np.int32),
            tables=np.full((groups, frames, -(-frame_length // BLOCK)), -1, dtype=np.int32),
            users=np.zeros((groups, self.blocks), dtype=np.int32),
            free_blocks=np.tile(np.arange(self.blocks, dtype=np.int32)[::-1], (groups, 1)),
            free_frames=np.arange(frames, dtype=np.int32)[::-1].copy(),
            free=free,
            stacks=np.zeros((rows, self._depth), dtype=np.int32),
            depths=np.zeros(rows, dtype=np.int32),
            stale=np.zeros(rows, dtype=np.bool_),
            windows=np.array(windows, dtype=np.int32),
        )

    def clear(self) -> None:
        """Closes all frames, as after a change of the weights."""
        self.book = self._empty()

    @property
    def used(self) -> npt.NDArray[np.int64]:
        """``[G]`` blocks that have users."""
        used: npt.NDArray[np.int64] = np.count_nonzero(self.book.users, axis=1)
        return used

    def begin(self) -> None:
        """Begins a step."""
        self.progress[_ROW], self.progress[_NEXT] = 0, -1

    def gather(self, shown: Bytes, successor: Bytes, inputs: Ints, ends: Ints, rows: Ints) -> tuple[int, int]:
        """Lists further tokens of the frames shown that are not known yet, and gives them blocks.

        Args:
            shown: ``[N, L]`` the top frame of each row, padded with 0; an empty one leaves its row alone.
            successor: Grammar states.
            inputs: ``[8, M]`` what there is to compute, written: at most M tokens, the rest with the next call.
            ends: ``[N]`` which of these tokens end a frame, written.
            rows: ``[N]`` the rows of these frames, written.

        Returns:
            How many tokens there are, 0 after the last call of a step, and how many of them end a frame.
        """
        while True:
            _gather(self.book, shown, successor, self._scanned, self.progress, inputs, ends, rows)
            if self.progress[LISTED] or not self.progress[SHORT]:
                return int(self.progress[LISTED]), int(self.progress[ENDED])
            self._grow()

    def _grow(self) -> None:
        """Doubles what there is too little of."""
        old = self.book
        if self.progress[SHORT] == _BLOCKS:
            more = np.arange(2 * self.blocks - 1, self.blocks - 1, -1, dtype=np.int32)
            free_blocks = np.zeros((len(old.windows), 2 * self.blocks), dtype=np.int32)
            for group, count in enumerate(old.free[:-1]):
                free_blocks[group, : self.blocks] = more
                free_blocks[group, self.blocks : self.blocks + count] = old.free_blocks[group, :count]
            old.free[:-1] += self.blocks
            users = np.pad(old.users, ((0, 0), (0, self.blocks)))
            self.book = old._replace(users=users, free_blocks=free_blocks)
            self.blocks *= 2
        else:
            frames, depth = self._frames, self._depth
            more = np.arange(2 * frames - 1, frames - 1, -1, dtype=np.int32)
            free_frames = np.zeros(2 * frames, dtype=np.int32)
            free_frames[:frames] = more
            free_frames[frames : frames + old.free[-1]] = old.free_frames[: old.free[-1]]
            old.free[-1] += frames
            self.book = old._replace(
                tokens=np.pad(old.tokens, ((0, frames), (0, 0))),
                lengths=np.pad(old.lengths, (0, frames)),
                memory=np.pad(old.memory, ((0, frames), (0, 0))),
                tables=np.pad(old.tables, ((0, 0), (0, frames), (0, 0)), constant_values=-1),
                free_frames=free_frames,
                stacks=np.pad(old.stacks, ((0, 0), (0, depth))),
            )
            self._frames, self._depth = 2 * frames, 2 * depth


@compiled
def _gather(
    book: Book,
    shown: Bytes,
    successor: Bytes,
    scanned: Ints,
    progress: Ints,
    inputs: Ints,
    ends: Ints,
    rows: Ints,
) -> None:
    """Does the work of ``BlockCache.gather``, as far as there are frames and blocks for it."""
    count = ended = 0
    progress[SHORT] = 0
    while progress[_ROW] < len(shown) and count < inputs.shape[1]:
        row = progress[_ROW]
        if progress[_NEXT] < 0:
            length = _length(shown[row])
            if length == 0:
                progress[_ROW] += 1
                continue
            if book.free[-1] == 0 or book.depths[row] == book.stacks.shape[1]:
                progress[SHORT] = _FRAMES
                break
            known = _match(book, row, shown[row], length, successor, scanned, progress)
            progress[_LENGTH] = length
            progress[_FIRST] = progress[_NEXT] = known
        first = progress[_NEXT]
        stop = min(progress[_LENGTH], first + inputs.shape[1] - count)
        frame = book.stacks[row, book.depths[row] - 1]
        if not _reserve(book, frame, first, stop):
            progress[SHORT] = _BLOCKS
            break
        for position in range(first, stop):
            for field in range(4):
                inputs[field, count] = scanned[field, position - progress[_FIRST]]
            inputs[TIME, count] = position
            inputs[TOKEN, count] = book.tokens[frame, position]
            inputs[FRAME, count] = frame
            inputs[NONE, count] = 0
            count += 1
        progress[_NEXT] = stop
        if stop == progress[_LENGTH]:
            if stop > first:
                ends[ended] = count - 1
                rows[ended] = row
                ended += 1
            progress[_ROW] += 1
            progress[_NEXT] = -1
    progress[LISTED] = count
    progress[ENDED] = ended


@compiled
def _length(shown: Bytes) -> int:
    """Returns how many tokens a padded row has."""
    length = 0
    for position in range(len(shown)):
        length += shown[position] != PAD
    return length


@compiled
def _match(book: Book, row: int, shown: Bytes, length: int, successor: Bytes, scanned: Ints, progress: Ints) -> int:
    """Finds out what has happened to a row, and makes the frame shown its top frame.

    Returns:
        How many of its tokens are known; ``scanned`` has what the scan says of the others.
    """
    for level in range(book.depths[row] - 1, -1, -1):
        frame = book.stacks[row, level]
        own = int(book.lengths[frame])
        # A parent resumes with more tokens than it had. A frame whose prompt was not complete begins again.
        same = level == book.depths[row] - 1 and own == length
        if (
            (own < length or same)
            and book.memory[frame, PROMPTED]
            and _in_common(book.tokens[frame], shown, own) == own
        ):
            _close(book, row, level + 1)
            book.stale[row] = False
            book.tokens[frame, own:length] = shown[own:length]
            book.lengths[frame] = length
            scan_frame(shown, own, length, own, 0, book.memory[frame], successor, scanned)
            return own
    known = _open(book, row, shown, length, successor, scanned)
    progress[SHARED] += known
    return known


@compiled
def _open(book: Book, row: int, shown: Bytes, length: int, successor: Bytes, scanned: Ints) -> int:
    """Opens a new frame on top of a row, or in the place of others; returns how many of its tokens are known."""
    book.free[-1] -= 1
    frame = book.free_frames[book.free[-1]]
    known = _share(book, frame, shown, length)
    depth = book.depths[row]
    if book.stale[row] or shown[0] == PROBLEM:
        _close(book, row, 0)
        book.stale[row] = False
    elif depth:
        state = book.memory[book.stacks[row, depth - 1], STATE]
        if not _FIRST_CALL <= state < _FIRST_TAIL:
            _close(book, row, depth - 1)  # replaced by a tail call
    book.stacks[row, book.depths[row]] = frame
    book.depths[row] += 1
    book.tokens[frame, :length] = shown[:length]
    book.lengths[frame] = length
    scan_frame(shown, 0, length, known, 0, book.memory[frame], successor, scanned)
    return known


@compiled
def _share(book: Book, frame: int, shown: Bytes, length: int) -> int:
    """Gives a new frame the blocks that it has in common with an open one; returns how many tokens those hold."""
    known, source = 0, 0
    for row in range(len(book.depths)):
        for level in range(book.depths[row]):
            other = book.stacks[row, level]
            common = _scanned_alike(shown, _in_common(book.tokens[other], shown, min(book.lengths[other], length)))
            # The last token is always computed: what follows it is asked for.
            common = min(common, length - 1) // BLOCK * BLOCK
            if common > known and _has_windows(book, other, common):
                known, source = common, other
    for group in range(len(book.windows)):
        for number in range(known // BLOCK):
            block = book.tables[group, source, number]
            book.tables[group, frame, number] = block
            if block >= 0:
                book.users[group, block] += 1
    return known


@compiled
def _in_common(tokens: Bytes, shown: Bytes, length: int) -> int:
    """Returns how many tokens at the beginning are the same, up to a length."""
    for position in range(length):
        if tokens[position] != shown[position]:
            return position
    return length


@compiled
def _scanned_alike(shown: Bytes, common: int) -> int:
    """Returns of how many tokens of a common beginning the scan says the same whatever follows.

    In a root's prompt a number counts down from its end, and so does the token before it.
    """
    if common == 0 or shown[0] != PROBLEM:
        return common
    for position in range(common):
        if shown[position] == EQUALS:
            return common
    while common and ZERO <= shown[common - 1] <= NINE:
        common -= 1
    return max(common - 1, 0)


@compiled
def _has_windows(book: Book, frame: int, length: int) -> bool:
    """Whether a frame still has the blocks that the token after a number of tokens sees."""
    for group in range(len(book.windows)):
        window = book.windows[group]
        oldest = max(length - window + 1, 0) if window else 0
        for number in range(oldest // BLOCK, length // BLOCK):
            if book.tables[group, frame, number] < 0:
                return False
    return True


@compiled
def _reserve(book: Book, frame: int, first: int, stop: int) -> bool:
    """Gives a frame blocks for the tokens from ``first`` to ``stop``; returns False if there are too few."""
    needed = (stop + BLOCK - 1) // BLOCK - (first + BLOCK - 1) // BLOCK
    for group in range(len(book.windows)):
        if book.free[group] < needed:
            return False
    for group in range(len(book.windows)):
        table, window = book.tables[group, frame], book.windows[group]
        if window:
            # No token from here on sees them.
            number = (first - window - SLACK) // BLOCK - 1
            while number >= 0 and table[number] >= 0:
                _drop(book, group, table, number)
                number -= 1
        for number in range((first + BLOCK - 1) // BLOCK, (stop + BLOCK - 1) // BLOCK):
            book.free[group] -= 1
            table[number] = book.free_blocks[group, book.free[group]]
            book.users[group, table[number]] = 1
    return True


@compiled
def _drop(book: Book, group: int, table: Ints, number: int) -> None:
    """Takes a block away from a frame, and frees it if nothing else uses it."""
    block = table[number]
    table[number] = -1
    book.users[group, block] -= 1
    if book.users[group, block] == 0:
        book.free_blocks[group, book.free[group]] = block
        book.free[group] += 1


@compiled
def _close(book: Book, row: int, depth: int) -> None:
    """Closes the frames of a row from a depth upwards."""
    for level in range(depth, book.depths[row]):
        frame = book.stacks[row, level]
        for group in range(len(book.windows)):
            table = book.tables[group, frame]
            for number in range((book.lengths[frame] + BLOCK - 1) // BLOCK):
                if table[number] >= 0:
                    _drop(book, group, table, number)
        book.lengths[frame] = 0
        book.free_frames[book.free[-1]] = frame
        book.free[-1] += 1
    book.depths[row] = min(depth, book.depths[row])
