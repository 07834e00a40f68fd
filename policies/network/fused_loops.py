"""Compiled residual addition with layer norm, and GELU, forward and backward.

PyTorch reads and writes memory once for every elementary operation; each of these loops does it once.

Shapes: M tokens, D embedding, C blocks of ``ROWS`` tokens, N elements.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from o1nano.policies.network.compiled import compiled, inlined
from o1nano.policies.network.scalar_math import exp, normal_cdf, random_bits, stored_as, to_float32

ROWS = 64
"""Tokens of a block. Gradients of parameters are summed within blocks first, then over blocks, so that their rounding
does not depend on the number of threads."""
_f = np.float32


@inlined
def _dropout_mask(seed: Any, drop: Any, index: int) -> Any:
    """Returns 0 for an element that is dropped, and 1 for one that is kept; the scale is not part of it."""
    return _f(1.0) if random_bits(seed, np.uint32(index)) >= drop else _f(0.0)


@compiled
def add_norm(
    x: Any,
    branch: Any,
    seed: Any,
    drop: Any,
    weight: Any,
    bias: Any,
    epsilon: Any,
    added: Any,
    normed: Any,
    mean: Any,
    inverse_std: Any,
    begin: int,
    end: int,
) -> None:
    """Adds a branch, after dropout, to the residual stream, and normalises the sum (layer norm, Ba et al. 2016).

    Args:
        x: ``[M, D]`` residual stream.
        branch: ``[M, D]``; float32, or the bits of bfloat16 as uint16.
        seed: Seed of dropout, uint32.
        drop: An element is dropped if its 32 random bits are below this, uint32.
        weight: ``[D]`` weight of the norm.
        bias: ``[D]`` bias of the norm.
        epsilon: Added to the variance.
        added: ``[M, D]`` sum, written.
        normed: ``[M, D]`` normalised sum, written; float32 or uint16.
        mean: ``[M]`` mean of each token's sum, written.
        inverse_std: ``[M]`` one over its standard deviation, written.
        begin: First block.
        end: The block after the last one.
    """
    width = x.shape[1]
    for row in range(begin * ROWS, min(end * ROWS, len(x))):
        if drop:
            # What is kept is divided by the share that is kept, so that the mean stays.
            share = _f(1.0 / (1.0 - drop / 2.0**32))
            for d in range(width):
                kept = _dropout_mask(seed, drop, row * width + d)
                added[row, d] = x[row, d] + to_float32(branch[row, d]) * share * kept
        else:
            for d in range(width):
                added[row, d] = x[row, d] + to_float32(branch[row, d])

        # Mean and variance over the embedding.
        total = _f(0.0)
        for d in range(width):
            total += added[row, d]
        row_mean = total / _f(width)
        squares = _f(0.0)
        for d in range(width):
            squares += (added[row, d] - row_mean) * (added[row, d] - row_mean)
        factor = _f(1.0) / np.sqrt(squares / _f(width) + epsilon)

        for d in range(width):
            normed[row, d] = stored_as(normed, (added[row, d] - row_mean) * factor * weight[d] + bias[d])
        mean[row] = row_mean
        inverse_std[row] = factor


@compiled
def add_norm_backward(
    d_added: Any,
    d_normed: Any,
    added: Any,
    mean: Any,
    inverse_std: Any,
    seed: Any,
    drop: Any,
    weight: Any,
    d_x: Any,
    d_branch: Any,
    d_weight: Any,
    d_bias: Any,
    begin: int,
    end: int,
) -> None:
    """Computes the gradients of ``add_norm``.

    With y = (x - mean) / std, and g the gradient of y, that of x is (g - mean(g) - y * mean(g * y)) / std. The gradient
    of the sum itself is added to it.

    Args:
        d_added: ``[M, D]`` gradient of the sum.
        d_normed: ``[M, D]`` gradient of the norm; float32 or uint16.
        added: ``[M, D]`` as ``add_norm`` wrote it.
        mean: ``[M]`` as ``add_norm`` wrote it.
        inverse_std: ``[M]`` as ``add_norm`` wrote it.
        seed: Seed of dropout, as ``add_norm`` got it.
        drop: Threshold of dropout, as ``add_norm`` got it.
        weight: ``[D]`` weight of the norm.
        d_x: ``[M, D]`` gradient of the residual stream, written.
        d_branch: ``[M, D]`` gradient of the branch, written; float32 or uint16.
        d_weight: ``[C, D]`` gradient of the weight from each block of tokens, written.
        d_bias: ``[C, D]`` gradient of the bias from each block of tokens, written.
        begin: First block.
        end: The block after the last one.
    """
    width = added.shape[1]
    for block in range(begin, end):
        for d in range(width):
            # Each block has its own row of the parameters' gradients.
            d_weight[block, d] = _f(0.0)
            d_bias[block, d] = _f(0.0)

        for row in range(block * ROWS, min(block * ROWS + ROWS, len(added))):
            row_mean = mean[row]
            factor = inverse_std[row]

            # mean(g) and mean(g * y), and the token's share of the parameters' gradients.
            total = _f(0.0)
            along = _f(0.0)
            for d in range(width):
                gradient = to_float32(d_normed[row, d])
                y = (added[row, d] - row_mean) * factor
                d_weight[block, d] += gradient * y
                d_bias[block, d] += gradient
                total += gradient * weight[d]
                along += gradient * weight[d] * y
            total /= _f(width)
            along /= _f(width)

            for d in range(width):
                gradient = to_float32(d_normed[row, d]) * weight[d]
                y = (added[row, d] - row_mean) * factor
                d_x[row, d] = d_added[row, d] + factor * (gradient - total - y * along)

            if drop:
                # The branch got dropout before the sum, so its gradient gets the same mask and scale.
                share = _f(1.0 / (1.0 - drop / 2.0**32))
                for d in range(width):
                    kept = _dropout_mask(seed, drop, row * width + d)
                    d_branch[row, d] = stored_as(d_branch, d_x[row, d] * share * kept)
            else:
                for d in range(width):
                    d_branch[row, d] = stored_as(d_branch, d_x[row, d])


@compiled
def gelu(x: Any, out: Any, begin: int, end: int) -> None:
    """Computes the Gaussian error linear unit (Hendrycks and Gimpel 2016) of elements ``begin`` up to ``end``.

    Args:
        x: ``[N]``; float32 or uint16.
        out: ``[N]``, written; stored like ``x``.
        begin: First element.
        end: The element after the last one.
    """
    source = x[begin:end]
    target = out[begin:end]
    for index in range(len(source)):
        value = to_float32(source[index])
        bell = exp(_f(-0.5) * value * value)
        target[index] = stored_as(target, value * normal_cdf(value, bell))


@compiled
def gelu_with_slope(x: Any, out: Any, slope: Any, begin: int, end: int) -> None:
    """Computes ``gelu`` and its derivative, which needs the same exponential.

    With the normal distribution function P and its density p, the unit is x * P(x), and the derivative P(x) + x * p(x).

    Args:
        x: ``[N]``; float32 or uint16.
        out: ``[N]``, written; stored like ``x``.
        slope: ``[N]`` derivative, written; stored like ``x``.
        begin: First element.
        end: The element after the last one.
    """
    source = x[begin:end]
    target = out[begin:end]
    slopes = slope[begin:end]
    for index in range(len(source)):
        value = to_float32(source[index])
        # Both the distribution function and the density are made of this exponential.
        bell = exp(_f(-0.5) * value * value)
        below = normal_cdf(value, bell)
        target[index] = stored_as(target, value * below)
        slopes[index] = stored_as(slopes, below + value * bell * _f(0.3989422804))  # 1 / sqrt(2 pi)


@compiled
def multiply(x: Any, by: Any, out: Any, begin: int, end: int) -> None:
    """Multiplies elements ``begin`` up to ``end`` of two arrays.

    Args:
        x: ``[N]``; float32 or uint16.
        by: ``[N]``; float32 or uint16.
        out: ``[N]``, written; float32 or uint16.
        begin: First element.
        end: The element after the last one.
    """
    left = x[begin:end]
    right = by[begin:end]
    target = out[begin:end]
    for index in range(len(left)):
        target[index] = stored_as(target, to_float32(left[index]) * to_float32(right[index]))
