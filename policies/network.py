"""Trunk and heads together: what is trained, saved and decoded."""

from __future__ import annotations

from typing import NamedTuple

import torch as th
from torch import nn

from o1nano.envs.grammar import Grammar
from o1nano.policies.heads import Heads
from o1nano.policies.transformer import Cache, Transformer, TransformerConfig


class FrameBatch(NamedTuple):
    """Whole frames, padded to the longest.

    Attributes:
        tokens: ``[B, T]`` long.
        states: ``[B, T]`` long, the grammar state after each token.
        rows, columns: ``[M]`` the positions whose next token is an agent's action.
    """

    tokens: th.Tensor
    states: th.Tensor
    rows: th.Tensor
    columns: th.Tensor


class ReasoningNetwork(nn.Module):
    """A transformer trunk with three decoders and a value head.

    Args:
        config: The trunk.
        grammar: The grammar of the environment that it acts in.
    """

    def __init__(self, config: TransformerConfig, grammar: Grammar) -> None:
        super().__init__()
        self.config, self.grammar = config, grammar
        self.trunk = Transformer(config)
        self.heads = Heads(config.embedding, grammar)

    def forward(self, batch: FrameBatch, offset: th.Tensor | None = None) -> tuple[th.Tensor, th.Tensor]:
        """Returns ``[M, V]`` log-probabilities and ``[M]`` values of every action in the frames: one causal pass."""
        hidden = self.trunk(batch.tokens, offset)[batch.rows, batch.columns]
        return self.heads.log_probs(hidden, batch.states[batch.rows, batch.columns]), self.heads.values(hidden)

    def advance(
        self, tokens: th.Tensor, coords: tuple[th.Tensor, th.Tensor], cache: Cache, states: th.Tensor
    ) -> tuple[th.Tensor, th.Tensor]:
        """Runs one further token ``[B, 1]`` of every frame against a cache; returns log-probabilities and values."""
        hidden = self.trunk(tokens, cache=cache, coords=coords)[:, -1]
        return self.heads.log_probs(hidden, states), self.heads.values(hidden)
