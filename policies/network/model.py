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
        config: Configuration of the trunk.
        grammar: Grammar of the environment in which the network acts.
    """

    def __init__(self, config: TransformerConfig, grammar: Grammar) -> None:
        super().__init__()
        self.config = config
        self.grammar = grammar
        self.trunk = Transformer(config)
        self.heads = Heads(config.embedding, grammar)

    def forward(self, batch: FrameBatch) -> tuple[th.Tensor, th.Tensor]:
        """Computes policy and value of every action in whole frames, in one causal pass.

        Args:
            batch: Packed frames with A actions.

        Returns:
            ``[A, V]`` log-probabilities and ``[A]`` values.
        """
        hidden, states = self.action_states(batch)
        return self.heads.log_probs(hidden, states), self.heads.values(hidden)

    def action_states(self, batch: FrameBatch) -> tuple[th.Tensor, th.Tensor]:
        """Returns ``[A, D]`` hidden states and ``[A]`` grammar states where the next token is an action."""
        hidden = self.trunk(batch)
        return hidden[batch.actions], batch.states[batch.actions]
