"""Keys and values of one long frame, in blocks: memory grows with what is stored and nothing is ever copied.

Layers with a window keep its length only, and an eighth of a block by which a frame can be shortened.

Shapes: H heads, T new tokens, S stored tokens, K dimensions of a head.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch as th

from o1nano.policies.network.attention_kernels import FEW, Block, attend_blocks, banded, causal_mask, fused, masked
from o1nano.policies.network.transformer import TransformerConfig


class BlockCache:
    """An ``attention.Cache`` of a single frame.

    Args:
        config: The transformer's shape.
        device: Where the network is.
        block: Tokens of a block.
    """

    def __init__(self, config: TransformerConfig, device: th.device, block: int = 4096) -> None:
        self.config, self.device, self.block, self.slack = config, device, block, block // 8
        self.length = 0
        self._shape = (2, 1, config.heads, block, config.embedding // config.heads)
        self._blocks: list[list[th.Tensor]] = [[] for _ in range(config.layers)]
        self._recent: list[Block | None] = [None] * config.layers  # of layers with a window
        self._kept = 0  # the length that they reach to

    @property
    def bytes(self) -> int:
        """Memory of all keys and values."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.tensors())

    def tensors(self) -> list[th.Tensor]:
        """Returns all that is stored."""
        tensors = [block for blocks in self._blocks for block in blocks]
        return tensors + [part for pair in self._recent if pair is not None for part in pair]

    def advance(self, tokens: int) -> None:
        """Counts tokens that all layers have stored."""
        self.length += tokens
        self._kept = self.length

    def shorten(self, length: int) -> None:
        """Forgets all but the first tokens; all of them, where a window would no longer be complete."""
        forgotten = self._kept - length
        for window, recent in zip(self.config.windows, self._recent, strict=False):
            if recent is not None and recent[0].shape[2] - forgotten < min(window, length):
                length = 0
        self.length = min(length, self.length)

    def attend(self, layer: int, window: int, queries: th.Tensor, keys: th.Tensor, values: th.Tensor) -> th.Tensor:
        """See ``attention.Cache``."""
        if window:
            return self._attend_recent(layer, window, queries, keys, values)
        mixed = attend_blocks(queries, list(self._earlier(layer)), (keys, values))
        self._store(layer, keys, values)
        return mixed

    def _earlier(self, layer: int) -> Iterator[Block]:
        for index, block in enumerate(self._blocks[layer]):
            inside = min(self.block, self.length - index * self.block)
            if inside > 0:
                yield block[0, :, :, :inside], block[1, :, :, :inside]

    def _store(self, layer: int, keys: th.Tensor, values: th.Tensor) -> None:
        blocks, at, done = self._blocks[layer], self.length, 0
        while done < keys.shape[2]:
            if at // self.block == len(blocks):
                blocks.append(th.empty(self._shape, device=self.device))
            offset = at % self.block
            count = min(self.block - offset, keys.shape[2] - done)
            for stored, new in zip(blocks[at // self.block], (keys, values), strict=True):
                stored[:, :, offset : offset + count] = new[:, :, done : done + count]
            at, done = at + count, done + count

    def _attend_recent(
        self, layer: int, window: int, queries: th.Tensor, keys: th.Tensor, values: th.Tensor
    ) -> th.Tensor:
        recent = self._recent[layer]
        if recent is not None and self.length:
            # What was stored beyond the present length has been forgotten by ``shorten``.
            forgotten = self._kept - self.length
            known = [part[:, :, : part.shape[2] - forgotten] for part in recent]
            keys, values = (th.cat((part, new), 2) for part, new in zip(known, (keys, values), strict=True))
        self._recent[layer] = (keys[:, :, -window - self.slack :], values[:, :, -window - self.slack :])
        length = queries.shape[2]
        seen = min(keys.shape[2], length + window)
        keys, values = keys[:, :, -seen:], values[:, :, -seen:]
        if length >= 4 * window:
            return banded(queries, keys, values, window)
        mask = causal_mask(length, seen, window, self.device)
        return (masked if length <= FEW else fused)(queries, keys, values, mask)
