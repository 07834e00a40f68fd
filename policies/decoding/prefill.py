"""Attention of a long prompt, through PyTorch's fused kernel: keys and values are read from the cache in chunks."""

from __future__ import annotations

import numpy as np
import torch as th

from o1nano.policies.decoding.layout import FRAME, TIME, Floats, Ints, Numbers
from o1nano.policies.decoding.paged_attention import read_cache
from o1nano.policies.network.attention_kernels import (
    banded_attention,
    causal_mask,
    chunked_attention,
    fused_attention,
)
from o1nano.policies.network.transformer import TransformerConfig

WINDOW_CHUNK = 512
"""Queries of a layer with a window that attend together, under a mask over all keys that any of them sees."""
KEY_CHUNK = 4096
"""Earlier tokens of a frame that are read from the cache at a time."""


def attend_prompt(
    config: TransformerConfig,
    fields: Ints,
    queries: Floats,
    window: int,
    keys: Numbers,
    values: Numbers,
    table: Ints,
    out: th.Tensor,
) -> None:
    """Attends with T consecutive tokens of one frame, whose keys and values are in the cache already.

    Args:
        config: Shape of the network.
        fields: ``[10, T]`` the tokens.
        queries: ``[T, H, P]`` rotated and scaled.
        window: Tokens that each token sees, its own included; 0 means all.
        keys: The layer's keys; see ``paged_attention``.
        values: The layer's values.
        table: ``[frames, blocks]`` block table.
        out: ``[T, D]``, written.
    """
    width = config.embedding // config.heads
    first = int(fields[TIME, 0])
    end = first + fields.shape[1]
    blocks = table[fields[FRAME, 0]]
    # Without the padding of a head's dimensions.
    asked = th.from_numpy(queries[:, :, :width]).transpose(0, 1)[None]  # [1, H, T, K]

    def read(start: int, stop: int) -> tuple[th.Tensor, th.Tensor]:
        """Returns keys and values ``[1, H, stop - start, K]`` of the frame."""
        found = np.empty((2, config.heads, stop - start, width), dtype=np.float32)
        read_cache(keys, values, blocks, start, found[0], found[1])
        return th.from_numpy(found[0])[None], th.from_numpy(found[1])[None]

    if window:
        oldest = max(first - window + 1, 0)
        attended = _attend_window(asked, *read(oldest, end), window)
    else:
        # Chunks are read when they are needed, one at a time.
        past = (read(start, min(start + KEY_CHUNK, first)) for start in range(0, first, KEY_CHUNK))
        attended = chunked_attention(asked, past, read(first, end))
    out.copy_(attended[0].transpose(0, 1).flatten(1))


def _attend_window(queries: th.Tensor, keys: th.Tensor, values: th.Tensor, window: int) -> th.Tensor:
    """Returns attention ``[1, H, T, K]`` of queries ``[1, H, T, K]`` to keys and values ``[1, H, S, K]``."""
    length = queries.shape[2]
    if length >= 4 * window:
        return banded_attention(queries, keys, values, window)

    # The keys of query i are those up to past + i.
    past = keys.shape[2] - length
    chunks = []
    for start in range(0, length, WINDOW_CHUNK):
        stop = min(start + WINDOW_CHUNK, length)
        begin = max(past + start - window + 1, 0)
        end = past + stop
        mask = causal_mask(stop - start, end - begin, window, keys.device)
        seen = (keys[:, :, begin:end], values[:, :, begin:end])
        chunks.append(fused_attention(queries[:, :, start:stop], *seen, mask))
    return th.cat(chunks, 2)
