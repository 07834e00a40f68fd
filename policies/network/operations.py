"""What a pass over whole frames does between its matrix products, with gradients.

On a CPU compiled loops do it in as few passes over memory as there can be; on another device PyTorch does. Under
autocast results that only matrix products read are bfloat16.

Glossary of shapes: F frames, M tokens of all frames, D embedding, H heads, K = D / H, R kinds of rotation.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch as th
from torch import nn
from torch.nn import functional as F

from o1nano.policies.network import attention_loops, fused_loops
from o1nano.policies.network.attention_kernels import banded, causal_mask, masked
from o1nano.policies.network.threads import equal_shares, in_threads


class Sight(NamedTuple):
    """What the tokens of frames see of each other in some layers.

    Attributes:
        starts: ``[F + 1]`` long, on the CPU: where frames begin among the tokens, and where the last one ends.
        time: ``[M]`` long, the index of each token in its frame.
        window: How many tokens each one sees, the own one included; 0: all earlier ones.
        cos: ``[R, M, K / 2]`` cosines of the angles by which queries and keys are rotated, in head h by kind ``h % R``.
        sin: Likewise.
        scale: ``[M]`` factors of the queries.
    """

    starts: th.Tensor
    time: th.Tensor
    window: int
    cos: th.Tensor
    sin: th.Tensor
    scale: th.Tensor


def attend(qkv: th.Tensor, sight: Sight, dropout: float = 0.0) -> th.Tensor:
    """Attends within frames.

    Args:
        qkv: ``[M', 3, H, K]`` queries, keys and values; M' is at least M, and tokens beyond the frames see nothing.
        sight: What tokens see.
        dropout: Rate at which weights are dropped.

    Returns:
        ``[M', H * K]``.
    """
    if qkv.device.type == "cpu":
        out: th.Tensor = _Attend.apply(qkv, sight, dropout)  # type: ignore[no-untyped-call]
        return out.flatten(1)
    return attend_padded(qkv, sight, dropout)


def attend_padded(qkv: th.Tensor, sight: Sight, dropout: float = 0.0) -> th.Tensor:
    """Does what ``attend`` does in PyTorch on any device: frames are padded to the longest of them."""
    lengths = sight.starts.diff()
    tokens, longest = len(sight.time), int(lengths.max())
    frame = th.arange(len(lengths)).repeat_interleave(lengths).to(qkv.device)
    q, k, v = qkv[:tokens].float().unbind(1)  # each [M, H, K]
    heads = th.arange(q.shape[1], device=q.device) % len(sight.cos)
    cos, sin = (each[heads].transpose(0, 1) for each in (sight.cos, sight.sin))  # each [M, H, K / 2]
    turned = [_rotate(q, cos, sin) * sight.scale[:, None, None], _rotate(k, cos, sin), v]
    padded = [x.new_zeros((len(lengths), longest, *x.shape[1:])).index_put((frame, sight.time), x) for x in turned]
    queries, keys, values = (x.transpose(1, 2) for x in padded)  # each [F, H, T, K]
    with th.autocast(qkv.device.type, enabled=False):
        if 0 < sight.window <= longest // 2:  # in bands, in time proportional to the length
            mixed = banded(queries, keys, values, sight.window, dropout)
        else:
            mask = causal_mask(longest, longest, sight.window, qkv.device)
            mixed = masked(queries, keys, values, mask, dropout)
    out = mixed.transpose(1, 2)[frame, sight.time].flatten(1).to(qkv.dtype)
    return F.pad(out, (0, 0, 0, len(qkv) - tokens))


def add_norm(
    x: th.Tensor, branch: th.Tensor, norm: nn.LayerNorm, dropout: float, dtype: th.dtype
) -> tuple[th.Tensor, th.Tensor]:
    """Adds a branch to the residual stream and normalises the sum.

    Args:
        x: ``[M, D]`` float32.
        branch: ``[M, D]`` float32 or bfloat16.
        norm: The normalisation.
        dropout: Rate at which elements of the branch are dropped.
        dtype: What the normalised sum is stored as, float32 or bfloat16.

    Returns:
        ``[M, D]`` the sum, float32, and ``[M, D]`` what it is when it is normalised.
    """
    if x.device.type == "cpu":
        out: tuple[th.Tensor, th.Tensor]
        out = _AddNorm.apply(x, branch, norm.weight, norm.bias, norm.eps, dropout, dtype)  # type: ignore[no-untyped-call]
        return out
    added = x + F.dropout(branch, dropout, dropout > 0)
    return added, norm(added).to(dtype)


def gelu(x: th.Tensor) -> th.Tensor:
    """Returns the Gaussian error linear unit of a tensor (Hendrycks and Gimpel 2016)."""
    if x.device.type == "cpu":
        out: th.Tensor = _Gelu.apply(x)  # type: ignore[no-untyped-call]
        return out
    return F.gelu(x)


def _rotate(x: th.Tensor, cos: th.Tensor, sin: th.Tensor) -> th.Tensor:
    first, second = x.chunk(2, -1)
    return th.cat((first * cos - second * sin, second * cos + first * sin), -1)


def _array(x: th.Tensor) -> npt.NDArray[Any]:
    """Returns a tensor as loops take it: the bits of bfloat16 as uint16."""
    array: npt.NDArray[Any] = (x.view(th.uint16) if x.dtype == th.bfloat16 else x).numpy()
    return array


def _draw(dropout: float) -> tuple[np.uint32, np.uint32]:
    """Returns a seed of dropout, from PyTorch's generator, and the number below which random bits drop."""
    if not dropout:
        return np.uint32(0), np.uint32(0)
    return np.uint32(th.randint(2**32, ()).item()), np.uint32(dropout * 2**32)


class _Attend(th.autograd.Function):
    @staticmethod
    def forward(ctx: Any, qkv: th.Tensor, sight: Sight, dropout: float) -> th.Tensor:
        qkv = qkv.contiguous()
        tokens, heads = int(sight.starts[-1]), qkv.shape[2]
        mixed = qkv.new_empty((len(qkv), 1, *qkv.shape[2:]))
        mixed[tokens:] = 0
        log_sums = np.empty((heads, tokens), dtype=np.float32)
        starts = sight.starts.numpy()
        turns = [_array(each.contiguous()) for each in (sight.cos, sight.sin, sight.scale)]
        ctx.arguments = (starts, *turns, sight.window, *_draw(dropout))
        ctx.log_sums = log_sums
        ctx.bounds = _frames_a_thread(starts)
        ctx.save_for_backward(qkv)
        in_threads(attention_loops.attend, ctx.bounds, _array(qkv), *ctx.arguments, _array(mixed), log_sums)
        return mixed

    @staticmethod
    def backward(ctx: Any, d_mixed: th.Tensor) -> Any:
        (qkv,) = ctx.saved_tensors
        d_qkv = th.empty_like(qkv)
        d_qkv[ctx.log_sums.shape[1] :] = 0
        gradient = _array(d_mixed.contiguous())
        loop = attention_loops.attend_backward
        in_threads(loop, ctx.bounds, _array(qkv), *ctx.arguments, ctx.log_sums, gradient, _array(d_qkv))
        return d_qkv, None, None


def _frames_a_thread(starts: npt.NDArray[np.int64]) -> list[int]:
    """Returns bounds between frames at which their tokens fall into about equal parts, one a thread."""
    parts = equal_shares(len(starts) - 1)
    ideal = starts[-1] * np.arange(len(parts)) / (len(parts) - 1)
    return [0, *np.searchsorted(starts[1:-1], ideal[1:-1]).tolist(), len(starts) - 1]


class _AddNorm(th.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: th.Tensor,
        branch: th.Tensor,
        weight: th.Tensor,
        bias: th.Tensor,
        epsilon: float,
        dropout: float,
        dtype: th.dtype,
    ) -> tuple[th.Tensor, th.Tensor]:
        added, normed = th.empty_like(x), th.empty_like(x, dtype=dtype)
        mean, scale = (np.empty(len(x), dtype=np.float32) for _ in range(2))
        drop = _draw(dropout)
        arguments = _array(x), _array(branch), *drop, _array(weight), _array(bias), np.float32(epsilon)
        ctx.bounds = equal_shares(-(-len(x) // fused_loops.ROWS))
        in_threads(fused_loops.add_norm, ctx.bounds, *arguments, _array(added), _array(normed), mean, scale)
        ctx.save_for_backward(added, weight)
        ctx.statistics, ctx.drop, ctx.branch_dtype = (mean, scale), drop, branch.dtype
        return added, normed

    @staticmethod
    def backward(ctx: Any, d_added: th.Tensor, d_normed: th.Tensor) -> Any:
        added, weight = ctx.saved_tensors
        d_x, d_branch = th.empty_like(added), th.empty_like(added, dtype=ctx.branch_dtype)
        d_weight, d_bias = (weight.new_empty((ctx.bounds[-1], len(weight))) for _ in range(2))
        gradients = _array(d_added.contiguous()), _array(d_normed.contiguous())
        arguments = *gradients, _array(added), *ctx.statistics, *ctx.drop, _array(weight)
        outputs = [_array(each) for each in (d_x, d_branch, d_weight, d_bias)]
        in_threads(fused_loops.add_norm_backward, ctx.bounds, *arguments, *outputs)
        return d_x, d_branch, d_weight.sum(0), d_bias.sum(0), None, None, None


class _Gelu(th.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: th.Tensor) -> th.Tensor:
        x = x.contiguous()
        out, bounds = th.empty_like(x), equal_shares(x.numel())
        arrays = [_array(each.view(-1)) for each in (x, out)]
        if not ctx.needs_input_grad[0]:
            in_threads(fused_loops.gelu, bounds, *arrays)
            return out
        slope = th.empty_like(x)
        in_threads(fused_loops.gelu_with_slope, bounds, *arrays, _array(slope.view(-1)))
        ctx.save_for_backward(slope)
        return out

    @staticmethod
    def backward(ctx: Any, d_out: th.Tensor) -> Any:
        (slope,) = ctx.saved_tensors
        d_x = th.empty_like(slope)
        arrays = [_array(each.view(-1)) for each in (d_out.contiguous(), slope, d_x)]
        in_threads(fused_loops.multiply, equal_shares(slope.numel()), *arrays)
        return d_x
