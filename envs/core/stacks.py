"""Call stacks as arrays: what N of them hold, posing problems to them, reading and setting them.

Shapes: N call stacks, D frames deep at most, L tokens long at most. Frames live in flat arrays ``[N * D, L]``; the
frame at depth d of stack n is row ``n * D + d``, so the top frames are one index array.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from o1nano.envs.core.grammar import Channel, Grammar, State
from o1nano.envs.errors import ConfigurationError
from o1nano.envs.language.vocab import SUBTASK

Ints = npt.NDArray[np.intp]
# Everything about a call stack that its past decides.
_STATE = (
    *("tokens", "top", "depth", "length", "state", "mark", "suspended_length", "suspended_state"),
    *("usage", "emitted", "deepest", "longest"),
)


_START = np.array([State.ROOT_START, State.CHILD_START])  # of the frame of a problem, of a subtask
_EMPTY = int(State.EMPTY)  # see ``rules`` on plain integers


@dataclass(frozen=True)
class Limits:
    """What one answer may cost.

    Attributes:
        frame_length: Tokens in one frame, prompt and injected answers included; also the length of an observation.
        depth: Frames open at the same time, the root included.
        tokens: Tokens emitted for one root problem, over all its frames.
    """

    frame_length: int = 128
    depth: int = 32
    tokens: int = 4096

    def __post_init__(self) -> None:
        for name, least in (("frame_length", 8), ("depth", 1), ("tokens", 1)):
            if getattr(self, name) < least:
                raise ConfigurationError(f"{name}={getattr(self, name)!r}; accepted: an integer of at least {least}")


class Stacks:
    """N call stacks: what they hold, and how they are read and set. How they advance is the business of ``rules``.

    What most steps change is kept once a stack, for its top frame; a frame that is suspended by a call leaves its
    length and its state behind.

    Attributes:
        tokens: ``[N * D, L]`` uint8, zero-padded frames.
        top: ``[N]`` row of the top frame.
        depth: ``[N]`` how many frames are below it.
        length: ``[N]`` tokens in the top frame.
        state: ``[N]`` grammar state of the top frame.
        mark: ``[N]`` where the open call, tail call or answer of the top frame begins.
        usage: ``[N, 5]`` emitted tokens by ``Channel``, calls, revisions of the current problem.
        emitted: ``[N]`` tokens of all channels.
        deepest, longest: ``[N]`` most frames, and the most tokens in one of them.
    """

    def __init__(self, num_stacks: int, limits: Limits, grammar: Grammar) -> None:
        self.num_stacks, self.limits, self.grammar = num_stacks, limits, grammar
        frames = num_stacks * limits.depth
        self.tokens = np.zeros((frames, limits.frame_length), dtype=np.uint8)
        self.suspended_length, self.suspended_state = np.zeros((2, frames), dtype=np.intp)
        self.base = np.arange(num_stacks, dtype=np.intp) * limits.depth
        self.top = self.base.copy()
        self.depth, self.length, self.state, self.mark = np.zeros((4, num_stacks), dtype=np.intp)
        self.emitted, self.deepest, self.longest = np.zeros((3, num_stacks), dtype=np.int64)
        self.usage = np.zeros((num_stacks, len(Channel) + 2), dtype=np.int64)

    @property
    def channel_tokens(self) -> npt.NDArray[np.int64]:
        """``[3, N]`` emitted tokens by ``Channel``."""
        return self.usage.T[: len(Channel)]

    @property
    def calls(self) -> npt.NDArray[np.int64]:
        """``[N]`` calls."""
        return self.usage[:, len(Channel)]

    @property
    def revisions(self) -> npt.NDArray[np.int64]:
        """``[N]`` revisions."""
        return self.usage[:, len(Channel) + 1]

    def pose(self, stacks: Sequence[int] | Ints, prompts: Sequence[Sequence[int]]) -> None:
        """Clears some call stacks and opens the first frame of each: ``<problem> ... =``, or a ``<subtask>``'s.

        Raises:
            ConfigurationError: If a prompt leaves no room in the frame.
        """
        stacks, size = np.asarray(stacks), np.array([*map(len, prompts)], dtype=np.intp)
        room, written = self.limits.frame_length, b"".join(map(bytes, prompts))
        if size.max() >= room:
            raise ConfigurationError(f"a problem of {size.max()} tokens; accepted: fewer than frame_length={room}")
        rows = self.base[stacks]
        self.tokens[rows] = 0
        self.tokens.reshape(-1)[spans(size, rows * room)[0]] = np.frombuffer(written, dtype=np.uint8)
        self.top[stacks], self.depth[stacks], self.deepest[stacks] = rows, 0, 1
        self.length[stacks] = self.mark[stacks] = self.longest[stacks] = size
        self.state[stacks] = _START[(self.tokens[rows, 0] == SUBTASK).astype(np.intp)]
        self.usage[stacks] = 0
        self.emitted[stacks] = 0

    def continue_at(self, stack: int, frame: bytes) -> None:
        """Clears one call stack and goes on with a frame that is under way, as tokens so far."""
        self.pose([stack], [frame])
        self.state[stack] = self.grammar.run(frame)

    def park(self, stacks: int | Ints) -> None:
        """Closes call stacks whose episodes have ended: until they are posed problems, their steps mean nothing."""
        self.tokens[self.top[stacks]] = 0
        self.length[stacks], self.state[stacks] = 0, _EMPTY

    def state_dict(self) -> dict[str, npt.NDArray[Any]]:
        """Returns the state as arrays."""
        return {name: getattr(self, name).copy() for name in _STATE}

    def load_state_dict(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Restores what ``state_dict`` of as many call stacks with the same limits returned."""
        for name in _STATE:
            getattr(self, name)[...] = state[name]

    def observe(self) -> npt.NDArray[np.uint8]:
        """Returns a copy of the top frames, ``[N, L]``."""
        return self.tokens.take(self.top, axis=0)

    def masks(self) -> npt.NDArray[np.bool_]:
        """Returns the legal next tokens of the top frames, ``[N, V]``."""
        return self.grammar.legal.take(self.state, axis=0)

    def answer(self, stack: int) -> bytes:
        """Returns the visible answer of a stack whose root has returned: completion tokens only, without ``<eos>``."""
        return self.tokens[self.top[stack], self.mark[stack] : self.length[stack] - 1].tobytes()

    def open_frames(self, stack: int) -> list[npt.NDArray[np.uint8]]:
        """Returns the tokens of every open frame of a stack, root first."""
        below = range(self.base[stack], self.top[stack])
        return [*(self.tokens[row, : self.suspended_length[row]] for row in below), self.frame(stack)]

    def frame(self, stack: int) -> npt.NDArray[np.uint8]:
        """Returns the tokens of the top frame of a stack."""
        return self.tokens[self.top[stack], : self.length[stack]]


def spans(size: Ints, *starts: Ints) -> list[Ints]:
    """Returns the positions of spans of some sizes, one span behind the other, once for each array of first ones."""
    end = size.cumsum()
    within = np.arange(end[-1]) - (end - size).repeat(size)
    return [within + start.repeat(size) for start in starts]
