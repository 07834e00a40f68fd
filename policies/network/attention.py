"""Causal self-attention on groups of frames, in training and against a cache.

Glossary of shapes: B frames, T tokens, S keys, M tokens of all frames, D embedding, H heads, K = D / H.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import torch as th
from torch import nn

from o1nano.policies.network.attention_kernels import banded, masked, stack
from o1nano.policies.network.operations import Sight, attend
from o1nano.policies.network.rope import Rotation, rotate


class Cache(Protocol):
    """Keys and values of earlier tokens."""

    def attend(self, layer: int, window: int, queries: th.Tensor, keys: th.Tensor, values: th.Tensor) -> th.Tensor:
        """Stores keys and values ``[1, H, T, K]`` of new tokens and attends to all that each query may see.

        The queries are those of all new tokens, or of the last ones.
        """


class Group(NamedTuple):
    """Frames of similar length that attend together; one slice of the flat tokens of a pass.

    Attributes:
        start: First flat token.
        batch, length: B and T of the group.
        rotations: By the window of a layer, cosine and sine, broadcast over ``[B, H, T, K / 2]``, by which queries
            and keys are rotated.
        sharpness: Factor of the queries of layers that see everything, broadcast over ``[B, H, T, K]``.
        masks: By the window of a layer, additive, ``[T, T]``; none where attention is banded.
        cache: Where earlier keys and values are; None means training.
    """

    start: int
    batch: int
    length: int
    rotations: Mapping[int, Rotation | None]
    sharpness: th.Tensor | None
    masks: Mapping[int, th.Tensor]
    cache: Cache | None = None

    @property
    def tokens(self) -> slice:
        """Where its tokens are among the flat ones."""
        return slice(self.start, self.start + self.batch * self.length)


class Attention(nn.Module):
    """Causal self-attention to everything earlier or to a window of it.

    Args:
        width: D.
        heads: H.
        layer: Its index, by which a cache knows it.
        window: Tokens that it sees; 0: all.
        dropout: Rate.
    """

    def __init__(self, width: int, heads: int, layer: int, window: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.layer, self.window, self.dropout = heads, layer, window, dropout
        self.inputs = nn.Linear(width, 3 * width, bias=False)
        self.output = nn.Linear(width, width, bias=False)

    def forward(self, x: th.Tensor, groups: Sequence[Group], last: int = 0) -> th.Tensor:
        """Mixes ``x [M, D]`` within the frames of each group; ``last``: for so many last tokens of a group only."""
        qkv = self.inputs(x)
        mixed = [self._attend(qkv[group.tokens], group, last) for group in groups]
        out: th.Tensor = self.output(stack(mixed))
        return out

    def over_frames(self, x: th.Tensor, sight: Sight) -> th.Tensor:
        """Mixes ``x [M, D]`` within whole frames."""
        qkv = self.inputs(x).view(len(x), 3, self.heads, -1)
        out: th.Tensor = self.output(attend(qkv, sight, self.dropout if self.training else 0.0))
        return out

    def _attend(self, qkv: th.Tensor, group: Group, last: int) -> th.Tensor:
        width = qkv.shape[1] // 3
        # In float32 even under autocast: the products are too small for bfloat16 to pay on a CPU.
        qkv = qkv.float().view(group.batch, group.length, 3, self.heads, width // self.heads)
        queries, keys, values = qkv.permute(2, 0, 3, 1, 4)  # each [B, H, T, K]
        turn = group.rotations[self.window]
        if turn is not None:
            queries, keys = rotate(qkv.permute(2, 0, 3, 1, 4)[:2], turn)
        if group.sharpness is not None and not self.window:
            queries = queries * group.sharpness
        queries = queries[:, :, -last:]
        with th.autocast(qkv.device.type, enabled=False):
            queries = queries * (width // self.heads) ** -0.5
            mixed = self._mix(queries, keys, values, group)
        return mixed.transpose(1, 2).reshape(-1, width)

    def _mix(self, queries: th.Tensor, keys: th.Tensor, values: th.Tensor, group: Group) -> th.Tensor:
        """``[B, H, T, K]`` each."""
        if group.cache is not None:
            return group.cache.attend(self.layer, self.window, queries, keys, values)
        dropout = self.dropout if self.training else 0.0
        if self.window not in group.masks:
            return banded(queries, keys, values, self.window, dropout)
        return masked(queries, keys, values, group.masks[self.window], dropout)
