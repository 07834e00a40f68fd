"""Trunk and heads together: what is trained, saved and decoded."""

from __future__ import annotations

import torch as th
from torch import nn

from o1nano.envs.core.grammar import Grammar
from o1nano.policies.network.frame_batch import FrameBatch
from o1nano.policies.network.heads import Heads
from o1nano.policies.network.transformer import Transformer, TransformerConfig


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

    def forward(self, batch: FrameBatch) -> tuple[th.Tensor, th.Tensor]:
        """Computes every action in whole frames: one causal pass.

        Args:
            batch: The frames.

        Returns:
            ``[A, V]`` log-probabilities and ``[A]`` values of the A actions.
        """
        hidden, states = self.action_states(batch)
        return self.heads.log_probs(hidden, states), self.heads.values(hidden)

    def action_states(self, batch: FrameBatch) -> tuple[th.Tensor, th.Tensor]:
        """Returns ``[M, D]`` hidden states and ``[M]`` grammar states where the next token is an action."""
        return self.trunk(batch)[batch.actions], batch.states[batch.actions]
