"""The most frequent step of decoding, one more token in every row, as CUDA graphs.

On a GPU such a step is some hundred launches of tiny kernels, whose cost is the processor's; a graph launches them all
at once. A graph has fixed shapes and addresses: so there is one for every span of the cache, in multiples of ``SPAN``
tokens, and its inputs are copied to where it expects them. Weights are read where they are, changed or not.
"""

from __future__ import annotations

from math import ceil

import torch as th

from o1nano.policies.cache import FrameCache, LastTokens
from o1nano.policies.network.model import ReasoningNetwork
from o1nano.policies.transformer import Coordinates

SPAN = 64
Outputs = tuple[th.Tensor, th.Tensor]


class CapturedStep:
    """Computes what follows one more token of every row. Without a GPU it does the same, uncaptured.

    Args:
        network: The network.
        cache: The cache of N rows.
        bf16: Whether to compute in bfloat16 autocast.
    """

    def __init__(self, network: ReasoningNetwork, cache: FrameCache, bf16: bool) -> None:
        self.network, self.cache, self.bf16 = network, cache, bf16
        # Tokens, places, roles, offsets, times and grammar states of the N rows.
        self.inputs = th.zeros((6, len(cache.length)), dtype=th.long, device=cache.keys_values.device)
        self._graphs: dict[int, tuple[th.cuda.CUDAGraph, Outputs]] = {}

    def __call__(self, inputs: th.Tensor, longest: int) -> Outputs:
        """Runs one step.

        Args:
            inputs: ``[6, N]`` tokens, places, roles, offsets, times and grammar states.
            longest: Tokens of the longest frame.

        Returns:
            ``[N, V]`` log-probabilities and ``[N]`` values.
        """
        self.inputs.copy_(inputs)
        span = min(ceil(longest / SPAN) * SPAN, self.cache.keys_values.shape[3])
        if self.inputs.device.type != "cuda":
            return self._compute(span)
        if span not in self._graphs:
            self._graphs[span] = self._capture(span)
        graph, (log_probs, values) = self._graphs[span]
        graph.replay()
        return log_probs.clone(), values.clone()  # the next replay writes there

    def _compute(self, span: int) -> Outputs:
        tokens, *coords, time, states = self.inputs
        # Casts that autocast remembers would be the weights of the step that was captured.
        with th.autocast(self.inputs.device.type, th.bfloat16, enabled=self.bf16, cache_enabled=False):
            view = LastTokens(self.cache, time, span)
            return self.network.advance(tokens, Coordinates(*coords), time, view, states)

    def _capture(self, span: int) -> tuple[th.cuda.CUDAGraph, Outputs]:
        aside = th.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(th.cuda.current_stream())
        with th.cuda.stream(aside):  # libraries choose their kernels before anything is captured
            for _ in range(3):
                self._compute(span)
        th.cuda.current_stream().wait_stream(aside)
        graph = th.cuda.CUDAGraph()
        with th.cuda.graph(graph):
            outputs = self._compute(span)
        return graph, outputs
