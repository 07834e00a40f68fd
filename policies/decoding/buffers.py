"""Memory that the compiled forward pass writes its intermediate results to, allocated once."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch as th

from o1nano.envs.core.grammar import Channel
from o1nano.envs.language.vocab import VOCAB_SIZE
from o1nano.policies.decoding.layout import LANES, Floats, Numbers
from o1nano.policies.network.transformer import TransformerConfig


class Buffers(NamedTuple):
    """Intermediate results of at most M tokens.

    Shapes: D embedding, F width of the feed-forward layer, H heads, P padded dimensions of a head, C channels, V
    vocabulary.
    """

    x: Floats  # [M, D] residual stream
    normed: Numbers  # [M, D]
    qkv: Numbers  # [M, 3 * D]
    attended: Numbers  # [M, D]
    branch: Numbers  # [M, D] what is added to the residual stream next
    hidden: Numbers  # [M, F]
    logits: Numbers  # [M, C * V]
    critic: Numbers  # [M, D]
    queries: Floats  # [M, H, P] rotated and scaled


class Views(NamedTuple):
    """The first rows of the buffers of the same names, as tensors."""

    normed: th.Tensor
    qkv: th.Tensor
    attended: th.Tensor
    branch: th.Tensor
    hidden: th.Tensor
    logits: th.Tensor
    critic: th.Tensor


def padded_width(config: TransformerConfig) -> int:
    """Returns P, the dimensions of a head rounded up to a multiple of ``LANES``: 10 become 16."""
    return -(-(config.embedding // config.heads) // LANES) * LANES


def allocate_buffers(config: TransformerConfig, tokens: int, dtype: npt.DTypeLike) -> Buffers:
    """Returns buffers for a number of tokens.

    Args:
        config: Shape of the network.
        tokens: M.
        dtype: What matrix products read and write: float32, or uint16 for bfloat16.
    """
    width = config.embedding
    heads = config.heads
    padded = padded_width(config)
    return Buffers(
        x=aligned_zeros((tokens, width), np.float32),
        normed=aligned_zeros((tokens, width), dtype),
        qkv=aligned_zeros((tokens, 3 * width), dtype),
        attended=aligned_zeros((tokens, width), dtype),
        branch=aligned_zeros((tokens, width), dtype),
        hidden=aligned_zeros((tokens, config.feed_forward), dtype),
        logits=aligned_zeros((tokens, len(Channel) * VOCAB_SIZE), dtype),
        critic=aligned_zeros((tokens, width), dtype),
        queries=aligned_zeros((tokens, heads, padded), np.float32),
    )


def view_rows(buffers: Buffers, count: int, bf16: bool) -> Views:
    """Returns the first rows of the buffers that matrix products read and write."""
    tensors = []
    for name in Views._fields:
        tensor = th.from_numpy(getattr(buffers, name)[:count])
        # NumPy has no bfloat16, so that buffers hold its bits as uint16.
        tensors.append(tensor.view(th.bfloat16) if bf16 else tensor)
    return Views(*tensors)


def aligned_zeros(shape: tuple[int, ...], dtype: npt.DTypeLike) -> Numbers:
    """Returns an array of zeros that begins at a multiple of 64 bytes, as PyTorch's tensors do.

    Matrix products of MKL round differently if their operands are aligned differently. NumPy's arrays begin anywhere,
    and a resumed run would not be the same to the last bit.
    """
    zeros: Numbers = th.from_numpy(np.zeros((), dtype)).new_zeros(shape).numpy()
    return zeros
