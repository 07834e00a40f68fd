"""Incremental decoding: log-probabilities and values of the next token, from observations and a cache.

A decoder is shown the top frame of every row, as the environment's observation shows it. It works out by itself what
has happened since the last call: a token was appended, a child frame opened, a frame returned and its parent goes on
with an injected answer, an episode began. Nothing but the tokens decides that, so a caller can show it anything.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch as th

from o1nano.envs.grammar import State
from o1nano.envs.vocab import PAD, PROBLEM
from o1nano.policies.cache import CacheView, FrameCache
from o1nano.policies.captured import CapturedStep
from o1nano.policies.network.model import ReasoningNetwork
from o1nano.policies.transformer import Coordinates, coordinates
from o1nano.policies.weights import WeightWatch

Inputs = tuple[th.Tensor, Coordinates, th.Tensor, CacheView]

SCORES = 2**26
"""Attention scores that are held at the same time; of longer prompts one part is computed after the other."""


class Decoder:
    """Decodes N rows together.

    Args:
        network: The network; changes of its weights are noticed.
        rows: N.
        frame_length: L, tokens of an observation.
        bf16: Whether to compute in bfloat16 autocast (attention and the cache stay in float32).
        captured: Whether the last token of every row is a step of its own: see ``CapturedStep``.
    """

    def __init__(
        self, network: ReasoningNetwork, rows: int, frame_length: int, bf16: bool = False, captured: bool = False
    ) -> None:
        self.network, self.rows, self.frame_length, self.bf16 = network, rows, frame_length, bf16
        self.device = next(network.parameters()).device
        self.cache = FrameCache(network.config, rows, frame_length, self.device)
        self.tokens = np.zeros((rows, frame_length), dtype=np.uint8)
        self.state = np.zeros(rows, dtype=np.uint8)
        self._captured = CapturedStep(network, self.cache, bf16) if captured else None
        self._columns = np.arange(frame_length)
        self._weights = WeightWatch(network)

    @th.no_grad()
    def step(self, observations: npt.NDArray[np.integer]) -> tuple[th.Tensor, th.Tensor]:
        """Computes what follows the frames shown.

        Args:
            observations: ``[N, L]`` token ids, padded with 0.

        Returns:
            ``[N, V]`` log-probabilities and ``[N]`` values.
        """
        if self._weights.changed():
            self.cache.clear()
            self.state[:] = State.EMPTY  # of no tokens, like the cache
        shown = observations.astype(np.uint8, copy=False)
        length = np.maximum((shown != PAD).sum(1), 1)
        self._align(shown, length)
        self._read(shown, length)
        span = int(length.max())
        tokens = self._tensor(shown[:, :span])
        coords = coordinates(tokens)

        def inputs(view: CacheView) -> Inputs:
            at = view.row, view.time
            return tokens[at], Coordinates(*(each[at] for each in coords)), view.time, view

        rows = np.flatnonzero(length - self.cache.length > 1)  # prompts and injected answers
        behind = (length - self.cache.length)[rows] - 1
        width = max(SCORES // (max(len(rows), 1) * self.network.config.heads * span), 1)
        with th.autocast(self.device.type, th.bfloat16, enabled=self.bf16):
            while behind.max(initial=0) > (0 if self._captured else width):
                taken = np.minimum(behind, width)
                self.network.trunk.cached(*inputs(self.cache.view(rows, taken)))
                self.cache.length[rows] += taken
                rows, behind = rows[behind > taken], (behind - taken)[behind > taken]
            if self._captured is None:
                view = self.cache.view(rows, behind, length - 1)
                out = self.network.advance(*inputs(view), self._tensor(self.state))
        if self._captured is not None:
            last = self._tensor(length - 1)
            there = (x.gather(1, last[:, None])[:, 0] for x in (tokens, *coords))
            out = self._captured(th.stack((*there, last, self._tensor(self.state))), span)
        self.tokens = shown.copy()
        self.cache.length = length
        return out

    def forget(self, row: int) -> None:
        """Drops everything about a row: another call stack takes its place."""
        self.cache.suspended[row].clear()
        self.cache.length[row] = 0
        self.state[row] = State.EMPTY

    def _align(self, shown: npt.NDArray[np.uint8], length: npt.NDArray[np.intp]) -> None:
        """Finds for every row the longest cached prefix of the frame shown."""
        cached = self.cache.length
        agrees = ((shown == self.tokens) | (self._columns >= cached[:, None])).all(1) & (length > cached)
        for row in np.flatnonzero(~agrees):
            self._switch(int(row), shown[row], int(length[row]))

    def _switch(self, row: int, shown: npt.NDArray[np.uint8], length: int) -> None:
        """Another frame is on top: a suspended one that goes on, or a new one."""
        stack = self.cache.suspended[row]
        for depth in range(len(stack) - 1, -1, -1):
            frame = stack[depth]
            if len(frame.tokens) < length and np.array_equal(frame.tokens, shown[: len(frame.tokens)]):
                self.cache.resume(row, frame)
                self.state[row] = frame.state
                del stack[depth:]
                return
        if shown[0] == PROBLEM:
            stack.clear()
        elif State.ROOT_CALL <= self.state[row] < State.TAIL and self.cache.length[row]:
            self.cache.suspend(row, self.tokens[row], int(self.state[row]))
        self.cache.length[row] = 0
        self.state[row] = State.EMPTY

    def _read(self, shown: npt.NDArray[np.uint8], length: npt.NDArray[np.intp]) -> None:
        """Takes the grammar over all new tokens."""
        successor, at = self.network.grammar.successor, self.cache.length.copy()
        rows = np.arange(self.rows)
        while len(rows):
            self.state[rows] = successor[self.state[rows], shown[rows, at[rows]]]
            at[rows] += 1
            rows = rows[at[rows] < length[rows]]

    def _tensor(self, array: npt.NDArray[np.integer]) -> th.Tensor:
        return th.from_numpy(array.astype(np.int64)).to(self.device)
