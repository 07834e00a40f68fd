"""Three decoders and a critic over one trunk. The channel of a position says which decoder writes its next token."""

from __future__ import annotations

import torch as th
from torch import nn

from o1nano.envs.core.grammar import Channel, Grammar
from o1nano.envs.language.vocab import VOCAB_SIZE
from o1nano.policies.network.attention_kernels import stack


class Heads(nn.Module):
    """Reasoning, completion and subtask decoders, and a value head.

    Args:
        width: D, size of the hidden states.
        grammar: Tells channel and legal tokens of a state.
    """

    legal: th.Tensor
    channel: th.Tensor

    def __init__(self, width: int, grammar: Grammar) -> None:
        super().__init__()
        self.reasoning = nn.Linear(width, VOCAB_SIZE)
        self.completion = nn.Linear(width, VOCAB_SIZE)
        self.subtask = nn.Linear(width, VOCAB_SIZE)
        self.value = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 1))
        for decoder in (self.reasoning, self.completion, self.subtask):
            nn.init.normal_(decoder.weight, std=0.02)
            nn.init.zeros_(decoder.bias)
        output = self.value[2]
        assert isinstance(output, nn.Linear)
        nn.init.zeros_(output.weight)
        # Where nothing is legal (a frame has ended) the mask is lifted: some distribution must be there to look at.
        legal = grammar.legal | ~grammar.legal.any(1, keepdims=True)
        self.register_buffer("legal", th.from_numpy(legal), persistent=False)
        self.register_buffer("channel", th.from_numpy(grammar.channel).long(), persistent=False)

    def log_probs(self, hidden: th.Tensor, states: th.Tensor) -> th.Tensor:
        """Returns log-probabilities of the next token; illegal ones have -inf.

        Args:
            hidden: ``[M, D]``.
            states: ``[M]`` grammar states.
        """
        decoders = {
            Channel.REASONING: self.reasoning,
            Channel.COMPLETION: self.completion,
            Channel.SUBTASK: self.subtask,
        }
        # All three products together cost less than routing rows to one each.
        weight = th.cat([decoders[channel].weight for channel in Channel])
        bias = th.cat([decoders[channel].bias for channel in Channel])
        logits = nn.functional.linear(stack([hidden]), weight, bias)[: len(hidden)].view(-1, len(Channel), VOCAB_SIZE)
        logits = logits[th.arange(len(logits), device=logits.device), self.channel[states]].float()
        return logits.masked_fill(~self.legal[states], -th.inf).log_softmax(-1)

    def values(self, hidden: th.Tensor) -> th.Tensor:
        """Returns ``[M]`` values of hidden states ``[M, D]``.

        The critic reads the trunk but does not pull at it: next to the small policy gradients of an almost certain
        policy, the gradient of its error would move the trunk at random (measured: docs/log.md).
        """
        out: th.Tensor = self.value(stack([hidden.detach()]))[: len(hidden)].float().squeeze(-1)
        return out
