"""The causal self-attention layer.

Shapes: M tokens of all frames, D embedding, H heads, K = D / H.
"""

from __future__ import annotations

import torch as th
from torch import nn

from o1nano.policies.network.operations import AttentionPattern, attend


class Attention(nn.Module):
    """Causal self-attention to earlier tokens of the same frame.

    Args:
        width: D.
        heads: H.
        dropout: Rate of dropout on the attention weights.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.qkv_proj = nn.Linear(width, 3 * width, bias=False)
        self.out_proj = nn.Linear(width, width, bias=False)

    def forward(self, x: th.Tensor, pattern: AttentionPattern) -> th.Tensor:
        """Returns ``[M, D]``, attention of ``x [M, D]`` within the frames that ``pattern`` describes."""
        qkv = self.qkv_proj(x).view(len(x), 3, self.heads, -1)
        dropout = self.dropout if self.training else 0.0
        out: th.Tensor = self.out_proj(attend(qkv, pattern, dropout))
        return out
