"""The matrix products of a network alone, at given shapes: what is left when everything else costs nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch as th

from o1nano.envs.language.vocab import VOCAB_SIZE
from o1nano.policies.network.transformer import TransformerConfig

Product = tuple[th.Tensor, th.Tensor]


def _linear(tokens: int, inputs: int, outputs: int, dtype: th.dtype, backward: bool) -> list[Product]:
    x, weight = th.randn(tokens, inputs, dtype=dtype), th.randn(outputs, inputs, dtype=dtype)
    products = [(x, weight.t())]
    if backward:
        gradient = th.randn(tokens, outputs, dtype=dtype)
        products += [(gradient, weight), (gradient.t(), x)]
    return products


def _attention(batch: int, queries: int, keys: int, config: TransformerConfig, backward: bool) -> list[Product]:
    width = config.embedding // config.heads
    q, k, v = (th.randn(batch, config.heads, n, width) for n in (queries, keys, keys))
    scores = th.randn(batch, config.heads, queries, keys)
    products = [(q, k.transpose(-2, -1)), (scores, v)]
    if backward:
        products += [
            (scores.transpose(-2, -1), q),
            (scores, k),
            (scores.transpose(-2, -1), q),
            (q, v.transpose(-2, -1)),
        ]
    return products


def products(
    config: TransformerConfig,
    groups: Sequence[tuple[int, int, int]],
    actions: int,
    bf16: bool,
    backward: bool,
) -> Callable[[], None]:
    """Returns a job that does all products of one pass and nothing else.

    Args:
        config: The network's shape.
        groups: Frames that attend together, how many tokens of each are new, and to how many they attend.
        actions: Rows of the decoders.
        bf16: Whether all but attention is in bfloat16, as in the network.
        backward: Whether the two products of its backward pass are done too.
    """
    dtype, width = th.bfloat16 if bf16 else th.float32, config.embedding
    tokens = sum(batch * new for batch, new, _ in groups)
    layer: list[Product] = []
    for inputs, outputs in (
        (width, 3 * width),
        (width, width),
        (width, config.feed_forward),
        (config.feed_forward, width),
    ):
        layer += _linear(tokens, inputs, outputs, dtype, backward)
    for batch, new, seen in groups:
        layer += _attention(batch, new, seen, config, backward)
    heads = _linear(actions, width, 3 * VOCAB_SIZE, dtype, backward) + _linear(actions, width, width, dtype, False)

    @th.no_grad()
    def run() -> None:
        for _ in range(config.layers):
            for left, right in layer:
                th.matmul(left, right)
        for left, right in heads:
            th.matmul(left, right)

    return run
