"""The output heads: three decoders and a critic over one trunk.

The grammar state of a position has a channel, which says which decoder writes its next token.
"""

from __future__ import annotations

import torch as th
from torch import nn

from o1nano.envs.core.grammar import Channel, Grammar
from o1nano.envs.language.vocab import VOCAB_SIZE
from o1nano.policies.network.attention_kernels import pad_rows


class Heads(nn.Module):
    """Reasoning, completion and subtask decoders, and a value head.

    Args:
        width: D, size of the hidden states.
        grammar: Gives the channel and the legal tokens of each state.
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

        # Where nothing is legal, because a frame has ended, everything is: the softmax needs at least one token.
        legal = grammar.legal | ~grammar.legal.any(1, keepdims=True)
        self.register_buffer("legal", th.from_numpy(legal), persistent=False)
        self.register_buffer("channel", th.from_numpy(grammar.channel).long(), persistent=False)

    def log_probs(self, hidden: th.Tensor, states: th.Tensor) -> th.Tensor:
        """Computes the distribution of the next token.

        Args:
            hidden: ``[M, D]`` hidden states.
            states: ``[M]`` grammar states.

        Returns:
            ``[M, V]`` log-probabilities, -inf for illegal tokens.
        """
        decoders = {
            Channel.REASONING: self.reasoning,
            Channel.COMPLETION: self.completion,
            Channel.SUBTASK: self.subtask,
        }

        # One product with all three decoders costs less than sending each row to its own.
        weight = th.cat([decoders[channel].weight for channel in Channel])
        bias = th.cat([decoders[channel].bias for channel in Channel])
        logits = nn.functional.linear(pad_rows(hidden), weight, bias)[: len(hidden)]  # [M, channels * V]
        logits = logits.view(-1, len(Channel), VOCAB_SIZE)

        # Each row keeps the logits of its own channel.
        row = th.arange(len(logits), device=logits.device)
        logits = logits[row, self.channel[states]].float()
        return logits.masked_fill(~self.legal[states], -th.inf).log_softmax(-1)

    def values(self, hidden: th.Tensor) -> th.Tensor:
        """Returns ``[M]`` values of hidden states ``[M, D]``.

        The critic's gradient stops here and does not reach the trunk. The policy gradient of an almost certain policy
        is so small that the gradient of the critic's error would move the trunk at random (measured: dev/LOG.md).
        """
        out: th.Tensor = self.value(pad_rows(hidden.detach()))[: len(hidden)]
        return out.float().squeeze(-1)
