"""Kernels of causal attention: with a mask, within a window, and over the blocks of a long context.

All take queries that are already scaled. Glossary of shapes: B frames, H heads, T queries, S keys, K dimensions of a
head. The last T of S keys are those of the queries' own tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil

import torch as th
from torch.nn import functional as F

Block = tuple[th.Tensor, th.Tensor]  # keys and values, or what was attended to and the sum of its weights
FEW = 16
"""Up to so many queries plain products read keys and values faster than the fused kernel."""
ROWS = 32
"""Rows of bfloat16 products come in multiples of this, many rows in multiples of up to a sixteenth of their number.
oneDNN makes a kernel for every shape and keeps it: with any number of rows, products alone took a sixth more time and
three times the memory (dev/LOG.md, "Memory")."""


def stack(parts: Sequence[th.Tensor]) -> th.Tensor:
    """Puts ``[M, D]`` parts on top of each other, under autocast with rows of zeros: see ``ROWS``."""
    if th.is_autocast_enabled(parts[0].device.type):
        rows = sum(map(len, parts))
        rest = -rows % max(ROWS, 2 ** (rows.bit_length() - 5))
        parts = [*parts, parts[0].new_zeros(rest, parts[0].shape[1])] if rest else parts
    return th.cat(list(parts)) if len(parts) > 1 else parts[0]


def masked(queries: th.Tensor, keys: th.Tensor, values: th.Tensor, mask: th.Tensor, dropout: float = 0.0) -> th.Tensor:
    """Attends with an additive mask, as plain products: in short frames their backward pass is the fastest on a CPU."""
    scores = queries @ keys.transpose(-2, -1) + mask  # [B, H, T, S]
    return F.dropout(scores.softmax(-1), dropout, dropout > 0) @ values


def fused(queries: th.Tensor, keys: th.Tensor, values: th.Tensor, mask: th.Tensor) -> th.Tensor:
    """Attends with an additive mask and holds no scores: of many tokens the fastest without a backward pass."""
    return F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask, scale=1.0)


def causal_mask(length: int, keys: int, window: int, device: th.device) -> th.Tensor:
    """Returns the additive mask ``[T, S]`` of the last T of S tokens; ``window`` 0 sees everything earlier."""
    visible = th.ones((length, keys), dtype=th.bool, device=device).tril(keys - length)
    if window:
        visible = visible.triu(keys - length - window + 1)
    return th.zeros(visible.shape, device=device).masked_fill_(~visible, -th.inf)


def banded(queries: th.Tensor, keys: th.Tensor, values: th.Tensor, window: int, dropout: float = 0.0) -> th.Tensor:
    """Attends to the last ``window`` keys, the own one included, in time proportional to ``T * window``.

    Queries are taken in blocks of a window's length; each block sees its own keys and those of the block before.

    Args:
        queries: ``[B, H, T, K]``.
        keys: ``[B, H, S, K]``, at most ``window`` of them before the queries' own.
        values: Likewise.
        window: Number of visible keys.
        dropout: Rate.

    Returns:
        ``[B, H, T, K]``.
    """
    batch, heads, length, width = queries.shape
    past, blocks = keys.shape[2] - length, ceil(length / window)
    end = blocks * window - length
    query_blocks = F.pad(queries, (0, 0, 0, end)).view(batch, heads, blocks, window, width)
    # [B, H, n, K, 2w]: overlapping views, nothing is copied.
    key_blocks, value_blocks = (
        F.pad(x, (0, 0, window - past, end)).unfold(2, 2 * window, window) for x in (keys, values)
    )
    offset = th.arange(2 * window, device=queries.device)
    query = th.arange(window, device=queries.device)[:, None]
    hidden = ((offset <= query) | (offset > query + window)).repeat(blocks, 1, 1)  # [n, w, 2w]
    hidden[0] |= offset < window - past
    mask = th.zeros(hidden.shape, device=queries.device).masked_fill_(hidden, -th.inf)
    weights = F.dropout((query_blocks @ key_blocks + mask).softmax(-1), dropout, dropout > 0)
    mixed = weights @ value_blocks.transpose(-2, -1)
    return mixed.flatten(2, 3)[:, :, :length]


def attend_blocks(queries: th.Tensor, blocks: Iterable[Block], own: Block) -> th.Tensor:
    """Attends to blocks of earlier keys and values and causally to one's own, without ever holding a long mask.

    Of many queries not even the scores are held: what each block gives is weighted by its share of the softmax's sum
    (Milakov and Gimelshein 2018; Dao et al. 2022). At most ``FEW`` queries may be the last ones of more own tokens.

    Returns:
        ``[B, H, T, K]``.
    """
    if queries.shape[2] <= FEW:
        return _few(queries, [*blocks, own])
    mixed, total = _with_sum(queries, *own, causal=True)
    for keys, values in blocks:
        more, part = _with_sum(queries, keys, values, causal=False)
        both = th.logaddexp(total, part)
        mixed = mixed * (total - both).exp_()[..., None] + more * (part - both).exp_()[..., None]
        total = both
    return mixed


def _few(queries: th.Tensor, blocks: Sequence[Block]) -> th.Tensor:
    """Reads every key and every value once; the queries' own are the last ones of the last block."""
    scores = [queries @ keys.transpose(-2, -1) for keys, _ in blocks]
    length, own = scores[-1].shape[2:]
    scores[-1] = scores[-1] + causal_mask(length, own, 0, queries.device)
    weights = th.cat(scores, -1).softmax(-1).split_with_sizes([keys.shape[2] for keys, _ in blocks], -1)
    mixed = weights[0] @ blocks[0][1]
    for weight, (_, values) in zip(weights[1:], blocks[1:], strict=True):
        mixed = mixed + weight @ values
    return mixed


def _with_sum(queries: th.Tensor, keys: th.Tensor, values: th.Tensor, causal: bool) -> Block:
    """Attends to all keys, or causally to as many keys as queries.

    Returns:
        ``[B, H, T, K]``, and ``[B, H, T]`` the logarithm of the sum of the exponentials of the scores.
    """
    if queries.device.type == "cpu":
        # The fused kernel behind scaled_dot_product_attention, which returns that sum too: without it, what was
        # attended to block by block could not be put together.
        mixed, total = th.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            queries, keys, values, 0.0, causal, scale=1.0
        )
        return mixed, total
    scores = queries @ keys.transpose(-2, -1)
    if causal:
        scores = scores + causal_mask(queries.shape[2], keys.shape[2], 0, queries.device)
    total = scores.logsumexp(-1)
    return (scores - total[..., None]).exp_() @ values, total
