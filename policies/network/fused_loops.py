"""Compiled loops that add, normalise and activate in one pass over memory, forward and backward.

Glossary of shapes: M tokens, D embedding, C blocks of ``ROWS`` tokens.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from o1nano.policies.network.compiled import compiled
from o1nano.policies.network.scalar_math import exp, normal_cdf, random_bits, stored_as, to_float32

ROWS = 64
"""Tokens of a block. Gradients of parameters are summed block by block, whichever thread has it: so their rounding does
not depend on the number of threads."""
_f = np.float32


@compiled
def _kept(seed: Any, drop: Any, index: int) -> Any:
    """Returns by what dropout multiplies a number, 0 or 1: not yet scaled."""
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
    scale: Any,
    begin: int,
    end: int,
) -> None:
    """Adds a branch, after dropout, to the residual stream, and normalises the sum (Ba et al. 2016).

    Args:
        x: ``[M, D]`` residual stream.
        branch: ``[M, D]``; float32, or the bits of bfloat16 as uint16.
        seed: Of dropout, uint32.
        drop: A number is dropped if its 32 random bits are below this; uint32.
        weight: ``[D]`` of the norm.
        bias: ``[D]`` of the norm.
        epsilon: Of the norm.
        added: ``[M, D]``, where the sum goes.
        normed: ``[M, D]``, where the norm goes; float32 or uint16.
        mean: ``[M]``, where the mean of a token's sum goes.
        scale: ``[M]``, where one over its standard deviation goes.
        begin: First block.
        end: The block after the last one.
    """
    width = x.shape[1]
    for row in range(begin * ROWS, min(end * ROWS, len(x))):
        if drop:
            share = _f(1.0 / (1.0 - drop / 2.0**32))
            for d in range(width):
                added[row, d] = x[row, d] + to_float32(branch[row, d]) * share * _kept(seed, drop, row * width + d)
        else:
            for d in range(width):
                added[row, d] = x[row, d] + to_float32(branch[row, d])
        total = _f(0.0)
        for d in range(width):
            total += added[row, d]
        middle = total / _f(width)
        squares = _f(0.0)
        for d in range(width):
            squares += (added[row, d] - middle) * (added[row, d] - middle)
        factor = _f(1.0) / np.sqrt(squares / _f(width) + epsilon)
        for d in range(width):
            normed[row, d] = stored_as(normed, (added[row, d] - middle) * factor * weight[d] + bias[d])
        mean[row] = middle
        scale[row] = factor


@compiled
def add_norm_backward(
    d_added: Any,
    d_normed: Any,
    added: Any,
    mean: Any,
    scale: Any,
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
    """Computes the gradient of ``add_norm``.

    Args:
        d_added: ``[M, D]`` gradient of the sum.
        d_normed: ``[M, D]`` gradient of the norm; float32 or uint16.
        added: ``[M, D]`` as ``add_norm`` wrote it.
        mean: ``[M]`` likewise.
        scale: ``[M]`` likewise.
        seed: As it was given to ``add_norm``.
        drop: Likewise.
        weight: Likewise.
        d_x: ``[M, D]``, where the gradient of the residual stream goes.
        d_branch: ``[M, D]``, where the gradient of the branch goes; float32 or uint16.
        d_weight: ``[C, D]``, where each block's part of the gradient of the weight goes.
        d_bias: ``[C, D]`` likewise.
        begin: First block.
        end: The block after the last one.
    """
    width = added.shape[1]
    for block in range(begin, end):
        for d in range(width):
            d_weight[block, d] = _f(0.0)
            d_bias[block, d] = _f(0.0)
        for row in range(block * ROWS, min(block * ROWS + ROWS, len(added))):
            middle, factor = mean[row], scale[row]
            total, along = _f(0.0), _f(0.0)
            for d in range(width):
                gradient, centred = to_float32(d_normed[row, d]), (added[row, d] - middle) * factor
                d_weight[block, d] += gradient * centred
                d_bias[block, d] += gradient
                total += gradient * weight[d]
                along += gradient * weight[d] * centred
            total /= _f(width)
            along /= _f(width)
            for d in range(width):
                gradient, centred = to_float32(d_normed[row, d]) * weight[d], (added[row, d] - middle) * factor
                d_x[row, d] = d_added[row, d] + factor * (gradient - total - centred * along)
            if drop:
                share = _f(1.0 / (1.0 - drop / 2.0**32))
                for d in range(width):
                    d_branch[row, d] = stored_as(d_branch, d_x[row, d] * share * _kept(seed, drop, row * width + d))
            else:
                for d in range(width):
                    d_branch[row, d] = stored_as(d_branch, d_x[row, d])


@compiled
def gelu(x: Any, out: Any, begin: int, end: int) -> None:
    """Computes the Gaussian error linear unit (Hendrycks and Gimpel 2016) of elements ``begin`` up to ``end``.

    Args:
        x: ``[N]``; float32 or uint16.
        out: ``[N]``, where the result goes; stored like ``x``.
        begin: First element.
        end: The element after the last one.
    """
    source, target = x[begin:end], out[begin:end]
    for index in range(len(source)):
        value = to_float32(source[index])
        bell = exp(_f(-0.5) * value * value)
        target[index] = stored_as(target, value * normal_cdf(value, bell))


@compiled
def gelu_with_slope(x: Any, out: Any, slope: Any, begin: int, end: int) -> None:
    """Does what ``gelu`` does, and keeps the derivative, which shares the exponential, for the backward pass.

    Args:
        x: ``[N]``; float32 or uint16.
        out: ``[N]``, where the result goes; stored like ``x``.
        slope: ``[N]``, where the derivative goes; stored like ``x``.
        begin: First element.
        end: The element after the last one.
    """
    source, target, slopes = x[begin:end], out[begin:end], slope[begin:end]
    for index in range(len(source)):
        value = to_float32(source[index])
        bell = exp(_f(-0.5) * value * value)
        share = normal_cdf(value, bell)
        target[index] = stored_as(target, value * share)
        slopes[index] = stored_as(slopes, share + value * bell * _f(0.3989422804))


@compiled
def multiply(x: Any, by: Any, out: Any, begin: int, end: int) -> None:
    """Multiplies elements ``begin`` up to ``end`` of two arrays.

    Args:
        x: ``[N]``; float32 or uint16.
        by: ``[N]`` likewise.
        out: ``[N]``, where the result goes, likewise.
        begin: First element.
        end: The element after the last one.
    """
    left, right, target = x[begin:end], by[begin:end], out[begin:end]
    for index in range(len(left)):
        target[index] = stored_as(target, to_float32(left[index]) * to_float32(right[index]))
