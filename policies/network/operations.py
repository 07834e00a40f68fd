"""What a forward pass over whole frames does between its matrix products, with gradients.

On a CPU these are compiled loops, which fuse what PyTorch would do in many passes over memory; on another device
PyTorch's own operations. Under autocast, results that only a matrix product reads are stored as bfloat16.

Each autograd function calls one loop forward and one backward. Both draw the same random bits from a seed, so no
dropout mask is stored.

Shapes: F frames, M tokens of all frames, D embedding, H heads, K = D / H, R kinds of rotation.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch as th
from torch import nn
from torch.nn import functional as F

from o1nano.policies.network import attention_loops, fused_loops
from o1nano.policies.network.attention_kernels import banded_attention, causal_mask, masked_attention
from o1nano.policies.network.threads import equal_shares, in_threads, weighted_shares


class AttentionPattern(NamedTuple):
    """Which tokens see which, and how queries and keys are rotated, in layers with the same window.

    Attributes:
        starts: ``[F + 1]`` long, on the CPU: where frames begin among the tokens, and where the last one ends.
        time: ``[M]`` long, the index of each token in its frame.
        window: How many tokens each token sees, its own included; 0 means all earlier ones.
        cos: ``[R, M, K / 2]`` cosines of the rotary angles. Head h is rotated by kind ``h % R``.
        sin: ``[R, M, K / 2]`` sines of the same angles.
        scale: ``[M]`` factors of the queries.
    """

    starts: th.Tensor
    time: th.Tensor
    window: int
    cos: th.Tensor
    sin: th.Tensor
    scale: th.Tensor


def attend(qkv: th.Tensor, pattern: AttentionPattern, dropout: float = 0.0) -> th.Tensor:
    """Attends causally within each frame.

    Args:
        qkv: ``[M', 3, H, K]`` queries, keys and values, M' >= M. Rows after the M tokens are padding and give zeros.
        pattern: Which tokens see which.
        dropout: Rate at which attention weights are dropped.

    Returns:
        ``[M', H * K]``.
    """
    if qkv.device.type == "cpu":
        out: th.Tensor = _Attend.apply(qkv, pattern, dropout)  # type: ignore[no-untyped-call]
        return out.flatten(1)
    return attend_padded(qkv, pattern, dropout)


def attend_padded(qkv: th.Tensor, pattern: AttentionPattern, dropout: float = 0.0) -> th.Tensor:
    """Returns the same as ``attend``, in PyTorch on any device: frames are padded to the longest of them."""
    lengths = pattern.starts.diff()
    longest = int(lengths.max())
    tokens = len(pattern.time)
    frame = th.arange(len(lengths)).repeat_interleave(lengths).to(qkv.device)  # [M]

    # Rotate queries and keys, [M, H, K] each.
    q, k, v = qkv[:tokens].float().unbind(1)
    kind = th.arange(q.shape[1], device=q.device) % len(pattern.cos)
    cos = pattern.cos[kind].transpose(0, 1)  # [M, H, K / 2]
    sin = pattern.sin[kind].transpose(0, 1)
    q = _rotate(q, cos, sin) * pattern.scale[:, None, None]
    k = _rotate(k, cos, sin)

    def pad(x: th.Tensor) -> th.Tensor:
        """Returns ``[F, H, T, K]``."""
        zeros = x.new_zeros((len(lengths), longest, *x.shape[1:]))
        return zeros.index_put((frame, pattern.time), x).transpose(1, 2)

    with th.autocast(qkv.device.type, enabled=False):
        # In long frames bands take less time and memory than a mask over all pairs.
        if 0 < pattern.window <= longest // 2:
            attended = banded_attention(pad(q), pad(k), pad(v), pattern.window, dropout)
        else:
            mask = causal_mask(longest, longest, pattern.window, qkv.device)
            attended = masked_attention(pad(q), pad(k), pad(v), mask, dropout)

    out = attended.transpose(1, 2)[frame, pattern.time].flatten(1).to(qkv.dtype)
    return F.pad(out, (0, 0, 0, len(qkv) - tokens))


def add_norm(
    x: th.Tensor, branch: th.Tensor, norm: nn.LayerNorm, dropout: float, dtype: th.dtype
) -> tuple[th.Tensor, th.Tensor]:
    """Adds a branch to the residual stream and normalises the sum.

    Args:
        x: ``[M, D]`` float32, the residual stream.
        branch: ``[M, D]`` float32 or bfloat16.
        norm: The layer norm.
        dropout: Rate at which elements of the branch are dropped.
        dtype: What the normalised sum is stored as, float32 or bfloat16.

    Returns:
        ``[M, D]`` the sum in float32, and ``[M, D]`` the normalised sum.
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
    """Rotates the pairs ``(x[..., k], x[..., K / 2 + k])``."""
    first, second = x.chunk(2, -1)
    return th.cat((first * cos - second * sin, second * cos + first * sin), -1)


def _array(x: th.Tensor) -> npt.NDArray[Any]:
    """Returns a tensor's memory as an array. NumPy has no bfloat16: its bits are uint16."""
    array: npt.NDArray[Any] = (x.view(th.uint16) if x.dtype == th.bfloat16 else x).numpy()
    return array


def _draw_dropout(rate: float) -> tuple[np.uint32, np.uint32]:
    """Returns a seed from PyTorch's generator, and the threshold below which 32 random bits drop an element."""
    if not rate:
        return np.uint32(0), np.uint32(0)
    return np.uint32(th.randint(2**32, ()).item()), np.uint32(rate * 2**32)


class _Attend(th.autograd.Function):
    """Attention within frames, from rotated queries and keys to the sums of values.

    Backward computes the attention weights again, from queries, keys and the saved log-sum-exp of each query's scores;
    from them the gradients of values, keys and queries, which are rotated back (Dao et al. 2022, section 3.1).
    """

    @staticmethod
    def forward(ctx: Any, qkv: th.Tensor, pattern: AttentionPattern, dropout: float) -> th.Tensor:
        """Returns ``[M', 1, H, K]``."""
        qkv = qkv.contiguous()
        tokens = int(pattern.starts[-1])
        attended = qkv.new_empty((len(qkv), 1, *qkv.shape[2:]))
        # Rows of padding see nothing.
        attended[tokens:] = 0
        log_sums = np.empty((qkv.shape[2], tokens), dtype=np.float32)

        starts = pattern.starts.numpy()
        rotations = [_array(each.contiguous()) for each in (pattern.cos, pattern.sin, pattern.scale)]
        arguments = (starts, *rotations, pattern.window, *_draw_dropout(dropout))
        bounds = weighted_shares(np.diff(starts))
        in_threads(attention_loops.attend, bounds, _array(qkv), *arguments, _array(attended), log_sums)

        ctx.save_for_backward(qkv)
        ctx.arguments = arguments
        ctx.bounds = bounds
        ctx.log_sums = log_sums
        return attended

    @staticmethod
    def backward(ctx: Any, d_attended: th.Tensor) -> Any:
        """Returns the gradient of ``qkv``, ``[M', 3, H, K]``."""
        (qkv,) = ctx.saved_tensors
        tokens = ctx.log_sums.shape[1]
        d_qkv = th.empty_like(qkv)
        # They get no gradient either.
        d_qkv[tokens:] = 0

        gradient = _array(d_attended.contiguous())
        loop = attention_loops.attend_backward
        in_threads(loop, ctx.bounds, _array(qkv), *ctx.arguments, ctx.log_sums, gradient, _array(d_qkv))
        return d_qkv, None, None


class _AddNorm(th.autograd.Function):
    """The sum of residual stream and branch, and its layer norm.

    Backward adds, to the gradient of the sum, that which reaches it through the norm. The result is the gradient of
    the stream and, with dropout applied again, of the branch. Weight and bias of the norm get their sums over tokens.
    """

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
        """Returns ``[M, D]`` the sum and ``[M, D]`` the normalised sum."""
        added = th.empty_like(x)
        normed = th.empty_like(x, dtype=dtype)
        mean = np.empty(len(x), dtype=np.float32)
        inverse_std = np.empty(len(x), dtype=np.float32)

        drawn = _draw_dropout(dropout)
        bounds = equal_shares(-(-len(x) // fused_loops.ROWS))
        inputs = (_array(x), _array(branch), *drawn, _array(weight), _array(bias), np.float32(epsilon))
        outputs = (_array(added), _array(normed), mean, inverse_std)
        in_threads(fused_loops.add_norm, bounds, *inputs, *outputs)

        # The sum, its mean and its deviation are all that backward reads; it draws dropout again.
        ctx.save_for_backward(added, weight)
        ctx.statistics = (mean, inverse_std)
        ctx.drawn = drawn
        ctx.bounds = bounds
        ctx.branch_dtype = branch.dtype
        return added, normed

    @staticmethod
    def backward(ctx: Any, d_added: th.Tensor, d_normed: th.Tensor) -> Any:
        """Returns the gradients of stream, branch, weight and bias."""
        added, weight = ctx.saved_tensors
        d_x = th.empty_like(added)
        d_branch = th.empty_like(added, dtype=ctx.branch_dtype)
        # A row for each block of tokens: their sum does not depend on which thread had which block.
        d_weight = weight.new_empty((ctx.bounds[-1], len(weight)))
        d_bias = weight.new_empty((ctx.bounds[-1], len(weight)))

        gradients = (_array(d_added.contiguous()), _array(d_normed.contiguous()))
        inputs = (*gradients, _array(added), *ctx.statistics, *ctx.drawn, _array(weight))
        outputs = (_array(d_x), _array(d_branch), _array(d_weight), _array(d_bias))
        in_threads(fused_loops.add_norm_backward, ctx.bounds, *inputs, *outputs)
        return d_x, d_branch, d_weight.sum(0), d_bias.sum(0), None, None, None


class _Gelu(th.autograd.Function):
    """The Gaussian error linear unit.

    Forward keeps its derivative, which shares the exponential. Backward multiplies the gradient by it.
    """

    @staticmethod
    def forward(ctx: Any, x: th.Tensor) -> th.Tensor:
        """Returns a tensor of the shape of ``x``."""
        x = x.contiguous()
        out = th.empty_like(x)
        bounds = equal_shares(x.numel())
        arrays = (_array(x.view(-1)), _array(out.view(-1)))

        # Without a backward pass, the derivative is not computed.
        if not ctx.needs_input_grad[0]:
            in_threads(fused_loops.gelu, bounds, *arrays)
            return out

        slope = th.empty_like(x)
        in_threads(fused_loops.gelu_with_slope, bounds, *arrays, _array(slope.view(-1)))
        ctx.save_for_backward(slope)
        return out

    @staticmethod
    def backward(ctx: Any, d_out: th.Tensor) -> Any:
        """Returns the gradient of ``x``."""
        (slope,) = ctx.saved_tensors
        d_x = th.empty_like(slope)
        arrays = (_array(d_out.contiguous().view(-1)), _array(slope.view(-1)), _array(d_x.view(-1)))
        in_threads(fused_loops.multiply, equal_shares(slope.numel()), *arrays)
        return d_x
