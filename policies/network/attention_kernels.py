"""Causal attention in PyTorch: with a mask, within a sliding window, and over a long context in chunks.

Every function takes queries that are already scaled. The T queries belong to the last T of the S keys.

Shapes: B frames, H heads, T queries, S keys, K dimensions of a head.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil

import torch as th
from torch.nn import functional as F

KeysValues = tuple[th.Tensor, th.Tensor]

FEW_QUERIES = 16
"""Up to this many queries, plain products read keys and values faster than the fused kernel."""
ROW_MULTIPLE = 32
"""The number of rows of a bfloat16 product is rounded up to a multiple of this or, if that is more, of a power of two
between a thirty-second and a sixteenth of the number. oneDNN makes and keeps a kernel for every shape: with any number
of rows, products alone took a sixth more time and three times the memory (dev/LOG.md, "Memory")."""


def round_up_rows(count: int) -> int:
    """Returns the number of rows that a bfloat16 product of ``count`` rows is padded to.

    For example, 27 becomes 32. 1,500 has 11 bits and becomes 1,536, a multiple of ``2 ** (11 - 5) = 64``.
    """
    fraction = 1 << max(count.bit_length() - 5, 0)
    return count + -count % max(ROW_MULTIPLE, fraction)


def pad_rows(x: th.Tensor) -> th.Tensor:
    """Returns ``x [M, D]``, under autocast with rows of zeros after it: see ``ROW_MULTIPLE``."""
    if not th.is_autocast_enabled(x.device.type):
        return x

    missing = round_up_rows(len(x)) - len(x)
    return th.cat((x, x.new_zeros(missing, x.shape[1]))) if missing else x


def causal_mask(length: int, keys: int, window: int, device: th.device) -> th.Tensor:
    """Returns the additive mask ``[T, S]`` of the last ``length`` of ``keys`` tokens; window 0 means all earlier."""
    visible = th.ones((length, keys), dtype=th.bool, device=device).tril(keys - length)
    if window:
        visible = visible.triu(keys - length - window + 1)
    return th.zeros(visible.shape, device=device).masked_fill_(~visible, -th.inf)


def masked_attention(
    queries: th.Tensor, keys: th.Tensor, values: th.Tensor, mask: th.Tensor, dropout: float = 0.0
) -> th.Tensor:
    """Attends with an additive mask, as plain products. In short frames their backward pass is the fastest on a CPU."""
    scores = queries @ keys.transpose(-2, -1) + mask  # [B, H, T, S]
    return F.dropout(scores.softmax(-1), dropout, dropout > 0) @ values


def fused_attention(queries: th.Tensor, keys: th.Tensor, values: th.Tensor, mask: th.Tensor) -> th.Tensor:
    """Attends with an additive mask and stores no scores: the fastest for many tokens without a backward pass."""
    return F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask, scale=1.0)


def banded_attention(
    queries: th.Tensor, keys: th.Tensor, values: th.Tensor, window: int, dropout: float = 0.0
) -> th.Tensor:
    """Attends to the last ``window`` keys, the query's own included, in time proportional to ``T * window``.

    Queries are cut into blocks of ``window`` tokens. A block sees its own keys and those of the block before it: with a
    window of 4, queries 8 to 11 see some of the keys 4 to 11.

    Args:
        queries: ``[B, H, T, K]``.
        keys: ``[B, H, S, K]``, at most ``window`` of them before the queries' own.
        values: ``[B, H, S, K]``.
        window: Number of visible keys.
        dropout: Rate at which attention weights are dropped.

    Returns:
        ``[B, H, T, K]``.
    """
    batch, heads, length, width = queries.shape
    past = keys.shape[2] - length
    blocks = ceil(length / window)

    # Pad to whole blocks. Keys and values overlap by one window: unfold returns views and copies nothing.
    end = blocks * window - length
    query_blocks = F.pad(queries, (0, 0, 0, end)).view(batch, heads, blocks, window, width)
    padding = (0, 0, window - past, end)
    key_blocks = F.pad(keys, padding).unfold(2, 2 * window, window)  # [B, H, blocks, K, 2 * window]
    value_blocks = F.pad(values, padding).unfold(2, 2 * window, window)

    # Key j of a block's 2 * window keys is that of token j - window of the block, so query i sees i < j <= i + window.
    key = th.arange(2 * window, device=queries.device)
    query = th.arange(window, device=queries.device)[:, None]
    hidden = ((key <= query) | (key > query + window)).repeat(blocks, 1, 1)  # [blocks, window, 2 * window]
    hidden[0] |= key < window - past  # padding before the first key
    mask = th.zeros(hidden.shape, device=queries.device).masked_fill_(hidden, -th.inf)

    weights = F.dropout((query_blocks @ key_blocks + mask).softmax(-1), dropout, dropout > 0)
    attended = weights @ value_blocks.transpose(-2, -1)
    return attended.flatten(2, 3)[:, :, :length]


def chunked_attention(queries: th.Tensor, past: Iterable[KeysValues], own: KeysValues) -> th.Tensor:
    """Attends to earlier keys and values chunk by chunk, and causally to the queries' own.

    No mask of the whole context exists. With more than ``FEW_QUERIES`` queries not even the scores do: a running
    log-sum-exp weights what each chunk contributes (Milakov and Gimelshein 2018; Dao et al. 2022).

    Args:
        queries: ``[B, H, T, K]``.
        past: Keys and values ``[B, H, chunk, K]`` of earlier tokens, all visible.
        own: Keys and values ``[B, H, T, K]`` of the queries' own tokens. They may begin earlier, with T' > T tokens, if
            there are at most ``FEW_QUERIES`` queries.

    Returns:
        ``[B, H, T, K]``.
    """
    if queries.shape[2] <= FEW_QUERIES:
        return _attend_few_queries(queries, [*past, own])

    attended, log_sum = _attend_with_log_sum(queries, *own, causal=True)
    for keys, values in past:
        chunk, chunk_log_sum = _attend_with_log_sum(queries, keys, values, causal=False)

        # Each part was divided by its own sum of exponentials; exp(part - both) is its share of the sum of both.
        both = th.logaddexp(log_sum, chunk_log_sum)
        attended = attended * (log_sum - both).exp_()[..., None] + chunk * (chunk_log_sum - both).exp_()[..., None]
        log_sum = both
    return attended


def _attend_few_queries(queries: th.Tensor, chunks: Sequence[KeysValues]) -> th.Tensor:
    """Reads every key and every value once. The queries' own tokens are the last ones of the last chunk."""
    scores = [queries @ keys.transpose(-2, -1) for keys, _ in chunks]
    length, own = scores[-1].shape[2:]
    scores[-1] = scores[-1] + causal_mask(length, own, 0, queries.device)

    # One softmax over all chunks, cut into chunks again.
    sizes = [keys.shape[2] for keys, _ in chunks]
    weights = th.cat(scores, -1).softmax(-1).split_with_sizes(sizes, -1)

    attended = weights[0] @ chunks[0][1]
    for weight, (_, values) in zip(weights[1:], chunks[1:], strict=True):
        attended = attended + weight @ values
    return attended


def _attend_with_log_sum(
    queries: th.Tensor, keys: th.Tensor, values: th.Tensor, causal: bool
) -> tuple[th.Tensor, th.Tensor]:
    """Attends to all keys or, if ``causal``, to those up to the query's own.

    Returns:
        ``[B, H, T, K]``, and ``[B, H, T]`` the logarithm of the sum of the exponentials of the scores.
    """
    if queries.device.type == "cpu":
        # This is the kernel that scaled_dot_product_attention calls. It also returns the log-sum-exp, without which
        # chunks could not be put together.
        attended, log_sum = th.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            queries, keys, values, 0.0, causal, scale=1.0
        )
        return attended, log_sum

    scores = queries @ keys.transpose(-2, -1)
    if causal:
        scores = scores + causal_mask(queries.shape[2], keys.shape[2], 0, queries.device)
    log_sum = scores.logsumexp(-1)
    return (scores - log_sum[..., None]).exp_() @ values, log_sum
