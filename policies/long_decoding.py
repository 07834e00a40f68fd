"""Decoding one path whose frames may have 128,000 tokens: prefill in chunks, every open frame in a cache of its own.

Like ``Decoder`` it is shown the top frame and finds out by itself what of it is known. It also keeps the common prefix
of two frames that have one, so that a long context which is computed once serves many questions behind it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch as th

from o1nano.envs.grammar import State
from o1nano.envs.vocab import EQUALS, PAD, PROBLEM
from o1nano.policies.blocks import BlockCache
from o1nano.policies.coordinates import coordinates, further_coordinates
from o1nano.policies.network.model import ReasoningNetwork
from o1nano.policies.transformer import Coordinates
from o1nano.policies.weights import WeightWatch


@dataclass(slots=True)
class OpenFrame:
    """A frame as far as it is computed.

    Attributes:
        cache: Its keys and values.
        inputs: ``[4, t]`` tokens and their coordinates. The latter may change with what follows a number.
        state: Grammar state behind them.
    """

    cache: BlockCache
    inputs: th.Tensor = field(default_factory=lambda: th.zeros((4, 0), dtype=th.long))
    state: int = State.EMPTY

    def goes_on(self, tokens: th.Tensor) -> bool:
        """Tells whether ``tokens [T]`` begin with those of the frame, and its prompt is complete."""
        own = self.inputs[0]
        return len(own) < len(tokens) and th.equal(own, tokens[: len(own)]) and bool((own == EQUALS).any())

    def agrees(self, shown: th.Tensor) -> int:
        """Returns how many tokens at the beginning are those of ``shown [4, T]``."""
        length = min(self.inputs.shape[1], shown.shape[1])
        different = (self.inputs[:, :length] != shown[:, :length]).any(0).nonzero()
        return int(different[0]) if len(different) else length


class LongDecoder:
    """Decodes one row in bounded memory.

    Args:
        network: The network; changes of its weights are noticed.
        chunk: Tokens that are computed together.
        block: See ``BlockCache``.
        flat: Whether frames of one problem share one context that forgets nothing, instead of having one each that is
            discarded when they return. For comparison.
    """

    rows = 1

    def __init__(self, network: ReasoningNetwork, chunk: int = 512, block: int = 4096, flat: bool = False) -> None:
        self.network, self.chunk, self.block, self.flat = network, chunk, block, flat
        self.device = next(network.parameters()).device
        self.frames: list[OpenFrame] = []
        self._weights = WeightWatch(network)

    @property
    def bytes(self) -> int:
        """Memory of the keys and values of all open frames."""
        return sum(cache.bytes for cache in {id(frame.cache): frame.cache for frame in self.frames}.values())

    @th.no_grad()
    def step(self, observations: npt.NDArray[np.integer]) -> tuple[th.Tensor, th.Tensor]:
        """Computes what follows the frame shown.

        Args:
            observations: ``[1, L]`` token ids, padded with 0.

        Returns:
            ``[1, V]`` log-probabilities and ``[1]`` values.
        """
        if self._weights.changed():
            self.frames.clear()
        tokens = observations[0].astype(np.uint8, copy=False)
        tokens = tokens[: max(int((tokens != PAD).sum()), 1)]
        row = th.from_numpy(tokens.astype(np.int64))[None]
        shown = self._inputs(row)
        frame, known = self._find(shown)
        first = known
        if known < frame.inputs.shape[1] or known == len(tokens):
            # The last token is always computed: what follows it is asked for.
            frame.cache.shorten(min(known, len(tokens) - 1))
            first = frame.cache.length
            frame.state, known = State.EMPTY, 0
        frame.state = self.network.grammar.run(tokens[known:].tolist(), frame.state)
        frame.inputs = shown
        return self._compute(frame.cache, shown[:, first:].to(self.device), frame.state)

    def forget(self, row: int) -> None:
        """Forgets nothing: what another problem has in common with this one need not be computed again."""

    def _inputs(self, row: th.Tensor) -> th.Tensor:
        """Returns ``[4, T]`` tokens and their coordinates."""
        for frame in reversed(self.frames):
            if frame.goes_on(row[0]):
                prompt = int((frame.inputs[0] == EQUALS).int().argmax())
                return th.cat((row, further_coordinates(row, frame.inputs[1:], prompt)))
        return th.cat((row, *coordinates(row)))

    def _find(self, shown: th.Tensor) -> tuple[OpenFrame, int]:
        """Returns the frame that is shown, and how much of it is known; frames above it have returned."""
        for depth in range(len(self.frames) - 1, -1, -1):
            frame = self.frames[depth]
            known = frame.agrees(shown)
            goes_on = known == frame.inputs.shape[1] < shown.shape[1]
            if goes_on or (depth == 0 and shown[0, 0] == PROBLEM and not self.flat):
                del self.frames[depth + 1 :]
                return frame, known
        shared = self.frames[0].cache if self.flat and self.frames else None
        if shown[0, 0] == PROBLEM:
            self.frames.clear()
            shared = None
        elif self.frames and not State.ROOT_CALL <= self.frames[-1].state < State.TAIL:
            self.frames.pop()  # replaced by a tail call
        self.frames.append(OpenFrame(shared or BlockCache(self.network.config, self.device, self.block)))
        return self.frames[-1], 0

    def _compute(self, cache: BlockCache, fresh: th.Tensor, state: int) -> tuple[th.Tensor, th.Tensor]:
        """Runs tokens that are not known yet; returns what follows the last one."""
        states = th.tensor([state], device=self.device)
        for tokens, *coords in th.split(fresh, self.chunk, 1):
            time = th.arange(cache.length, cache.length + len(tokens), device=self.device)
            out = self.network.advance(tokens, Coordinates(*coords), time, cache, states)
            cache.advance(len(tokens))
        return out
