"""The forward pass of decoding on a CPU: compiled loops around matrix products.

Few tokens run through compiled products too, in one call without the interpreter. Many run through PyTorch's, in
bfloat16 if asked for; a long prompt attends by PyTorch's fused kernel. All of them share the other loops.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch as th

from o1nano.envs.core.grammar import Channel
from o1nano.envs.language.vocab import VOCAB_SIZE
from o1nano.policies.decoding import kernels
from o1nano.policies.decoding.kernels import BLOCK, FRAME, LANES, TIME, Floats, Ints, Numbers
from o1nano.policies.decoding.packed import Shape, Weights, pack, products_of, shape_of
from o1nano.policies.network.attention_kernels import attend_blocks, banded, causal_mask, fused
from o1nano.policies.network.compiled import compiled
from o1nano.policies.network.model import ReasoningNetwork
from o1nano.policies.network.threads import equal_shares, in_threads

FEW = 32
"""Up to so many tokens compiled products are faster than calls of PyTorch's."""
LONG = 64
"""From so many new tokens of one frame on, attention runs through PyTorch's fused kernel."""
MUCH = 2**14
"""From so many keys of all queries on, heads attend in several threads, if PyTorch has several."""
PIECE = 4096
"""Tokens of a frame whose blocks are put together for it at a time."""
ROWS = 32
"""Rows of bfloat16 products come in multiples of this: oneDNN makes a kernel for every shape, and keeps it."""


class Views(NamedTuple):
    """The first rows of the buffers of the same names, as tensors."""

    normed: th.Tensor
    qkv: th.Tensor
    mixed: th.Tensor
    change: th.Tensor
    hidden: th.Tensor
    logits: th.Tensor
    critic: th.Tensor


class Buffers(NamedTuple):
    """Where the pass writes, for M tokens at most."""

    x: Floats  # [M, D]
    normed: Numbers  # [M, D]
    qkv: Numbers  # [M, 3 * D]
    mixed: Numbers  # [M, D]
    change: Numbers  # [M, D]
    hidden: Numbers  # [M, F]
    logits: Numbers  # [M, C * V]
    critic: Numbers  # [M, D]
    queries: Floats  # [M, H, P]
    scores: Floats  # [H, blocks of a frame, BLOCK]
    sums: Floats  # [H, P]


class CompiledForward:
    """Computes what follows frames, and keeps keys and values.

    Args:
        network: The network.
        frame_length: Tokens of a frame at most.
        tokens: M, the most tokens of a pass.
        bf16: Whether matrix products of many tokens are in bfloat16.
        half: Whether keys and values are kept in bfloat16.
    """

    def __init__(self, network: ReasoningNetwork, frame_length: int, tokens: int, bf16: bool, half: bool) -> None:
        config = network.config
        self.network, self.bf16 = network, bf16
        self.shape = shape_of(network, frame_length + 2)
        padded = -(-(config.embedding // config.heads) // LANES) * LANES
        self._blocks = config.layers, config.heads, padded
        self.keys = self.values = np.zeros((config.layers, 0, 0, 0), dtype=np.uint16 if half else np.float32)
        self._scores = np.zeros((config.heads, -(-frame_length // BLOCK), BLOCK), dtype=np.float32)
        self._sums = np.zeros((config.heads, padded), dtype=np.float32)
        self._few = self._buffers(FEW, np.float32)
        self._many = self._buffers(tokens, np.uint16 if bf16 else np.float32)
        self._views: dict[int, Views] = {}
        self._every = np.arange(tokens, dtype=np.int32)
        self.pack()

    def pack(self) -> None:
        """Reads the weights of the network."""
        self.weights = pack(self.network)
        self._products = products_of(self.weights, self.bf16)

    @property
    def block_bytes(self) -> int:
        """Memory of the keys and values of a block in one layer."""
        _, heads, padded = self._blocks
        return 2 * heads * padded * BLOCK * self.keys.itemsize

    def make_room(self, blocks: int) -> None:
        """Makes room for a number of blocks of keys and values; memory is taken when they are first written."""
        old = self.keys.shape[1]
        if old >= blocks:
            return
        layers, heads, padded = self._blocks
        keys = np.zeros((layers, blocks, heads * padded, BLOCK), dtype=self.keys.dtype)
        values = np.zeros((layers, blocks, heads * BLOCK, padded), dtype=self.keys.dtype)
        if old:
            keys[:, :old], values[:, :old] = self.keys, self.values
        self.keys, self.values = keys, values

    def _buffers(self, tokens: int, dtype: npt.DTypeLike) -> Buffers:
        config = self.network.config
        width = config.embedding
        columns = (width, 3 * width, width, width, config.feed_forward, len(Channel) * VOCAB_SIZE, width)
        x = np.zeros((tokens, width), dtype=np.float32)
        queries = np.zeros((tokens, *self._sums.shape), dtype=np.float32)
        others = (np.zeros((tokens, count), dtype=dtype) for count in columns)
        return Buffers(x, *others, queries, self._scores, self._sums)

    def _rows(self, count: int) -> Views:
        """Returns the buffers as tensors of a number of rows or, in bfloat16, a few more."""
        if self.bf16:
            count += -count % max(ROWS, 2 ** (count.bit_length() - 5))
        if count not in self._views:
            tensors = (th.from_numpy(getattr(self._many, name)[:count]) for name in Views._fields)
            self._views[count] = Views(*(each.view(th.bfloat16) if self.bf16 else each for each in tensors))
        return self._views[count]

    def __call__(self, inputs: Ints, ends: Ints, rows: Ints, tables: Ints, log_probs: Floats, values: Floats) -> None:
        """Runs new tokens of some frames.

        Args:
            inputs: ``[8, M]`` what they are and where they stand: its rows are named in ``kernels``.
            ends: ``[Q]`` which of them end a frame.
            rows: ``[Q]`` the rows of these frames.
            tables: ``[groups, frames, blocks]``.
            log_probs: ``[N, V]`` of what follows, written at ``rows``.
            values: ``[N]`` likewise.
        """
        is_much = inputs[TIME].sum() > MUCH and th.get_num_threads() > 1
        if inputs.shape[1] <= FEW and not is_much:
            _forward_few(
                *(self.weights, self.shape, self._few, inputs, ends, rows),
                *(tables, self.keys, self.values, log_probs, values),
            )
        else:
            self._forward_many(inputs, ends, rows, tables, log_probs, values)

    def _forward_many(
        self, inputs: Ints, ends: Ints, rows: Ints, tables: Ints, log_probs: Floats, values: Floats
    ) -> None:
        weights, products, buffers = self.weights, self._products, self._many
        count = inputs.shape[1]
        views, layers = self._rows(count), len(self.shape.windows)

        kernels.embed(inputs, weights.tokens, weights.roles, weights.frequencies, buffers.x)
        buffers.change[:count] = 0
        for layer in range(layers):
            self._normalise(2 * layer, count)
            th.mm(views.normed, products.qkv[layer], out=views.qkv)
            self._store(inputs, layer, tables)
            if layer == layers - 1:  # of which nothing but the ends of frames is asked for
                self._attend(inputs, ends, layer, tables)
                kernels.keep(buffers.x, ends)
                count = len(ends)
                views = self._rows(count)
            else:
                self._attend(inputs, self._every[:count], layer, tables)
            th.mm(views.mixed, products.mixed[layer], out=views.change)
            self._normalise(2 * layer + 1, count)
            th.mm(views.normed, products.hidden[layer], out=views.hidden)
            kernels.gelu(buffers.hidden, weights.hidden_bias[layer], count)
            th.mm(views.hidden, products.change[layer], out=views.change)
        if not count:
            return

        self._normalise(2 * layers, count)
        th.mm(views.normed, products.heads, out=views.logits)
        th.mm(views.normed, products.critic, out=views.critic)
        shape = self.shape
        kernels.log_softmax(
            inputs, ends, rows, buffers.logits, weights.heads_bias, shape.legal, shape.channel, log_probs
        )
        kernels.critic(rows, buffers.critic, weights.critic_bias, weights.value, weights.value_bias, values)

    def _normalise(self, norm: int, count: int) -> None:
        weights, buffers = self.weights, self._many
        added, gain, shift = weights.added[norm], weights.gain[norm], weights.shift[norm]
        kernels.add_and_normalise(buffers.x, buffers.change, added, gain, shift, buffers.normed, count)

    def _store(self, inputs: Ints, layer: int, tables: Ints) -> None:
        shape, buffers = self.shape, self._many
        even, odd = shape.kinds[layer]
        kernels.rotate_and_store(
            *(inputs, buffers.qkv, shape.turns, even, odd, shape.growth[layer]),
            *(tables[shape.groups[layer]], self.keys[layer], self.values[layer], buffers.queries),
        )

    def _attend(self, inputs: Ints, which: Ints, layer: int, tables: Ints) -> None:
        table = tables[self.shape.groups[layer]]
        start = 0
        for first, stop in _long_parts(inputs, which):
            self._attend_few(inputs, which[start:first], layer, table, start)
            self._attend_long(inputs[:, first:stop], slice(first, stop), layer, table)
            start = stop
        self._attend_few(inputs, which[start:], layer, table, start)

    def _attend_few(self, inputs: Ints, which: Ints, layer: int, table: Ints, start: int) -> None:
        buffers, heads = self._many, len(self._scores)
        is_much = inputs[TIME, which].sum() > MUCH
        in_threads(
            kernels.attend,
            equal_shares(heads) if is_much else [0, heads],
            *(inputs, which, buffers.queries, self.shape.windows[layer], table, self.keys[layer], self.values[layer]),
            *(buffers.scores, buffers.sums, buffers.mixed[start:]),
        )

    def _attend_long(self, inputs: Ints, part: slice, layer: int, table: Ints) -> None:
        """Attends with many tokens of one frame, one after the other."""
        config, window = self.network.config, int(self.shape.windows[layer])
        width = config.embedding // config.heads
        first, length = int(inputs[TIME, 0]), inputs.shape[1]
        queries = th.from_numpy(self._many.queries[part, :, :width]).transpose(0, 1)[None]

        def keys_and_values(start: int, stop: int) -> tuple[th.Tensor, th.Tensor]:
            keys, values = np.empty((2, config.heads, stop - start, width), dtype=np.float32)
            kernels.collect(self.keys[layer], self.values[layer], table[inputs[FRAME, 0]], start, keys, values)
            return th.from_numpy(keys)[None], th.from_numpy(values)[None]

        if window:
            oldest = max(first - window + 1, 0)
            keys, values = keys_and_values(oldest, first + length)
            if length >= 4 * window:
                mixed = banded(queries, keys, values, window)
            else:
                mixed = fused(queries, keys, values, causal_mask(length, keys.shape[2], window, keys.device))
        else:
            pieces = (keys_and_values(start, min(start + PIECE, first)) for start in range(0, first, PIECE))
            mixed = attend_blocks(queries, pieces, keys_and_values(first, first + length))
        self._rows(part.stop).mixed[part].copy_(mixed[0].transpose(0, 1).flatten(1))


def _long_parts(inputs: Ints, queries: Ints) -> list[tuple[int, int]]:
    """Returns where at least ``LONG`` tokens of one frame follow each other, if all tokens are asked for."""
    count = inputs.shape[1]
    if count < LONG or len(queries) < count:
        return []
    bounds = np.flatnonzero(np.diff(inputs[FRAME], prepend=-1, append=-1)).tolist()
    return [(first, stop) for first, stop in pairwise(bounds) if stop - first >= LONG]


@compiled
def _forward_few(
    weights: Weights,
    shape: Shape,
    buffers: Buffers,
    inputs: Ints,
    ends: Ints,
    rows: Ints,
    tables: Ints,
    keys: Numbers,
    values: Numbers,
    log_probs: Floats,
    out: Floats,
) -> None:
    """Does what ``_forward_many`` does, products included, without the interpreter."""
    x, normed, qkv, mixed, change, hidden, logits, critic, queries, scores, sums = buffers
    count, layers = inputs.shape[1], len(shape.windows)
    which = np.arange(count).astype(np.int32)

    kernels.embed(inputs, weights.tokens, weights.roles, weights.frequencies, x[:count])
    change[:count] = 0
    for layer in range(layers):
        even, odd = shape.kinds[layer]
        table = tables[shape.groups[layer]]
        added, gain, shift = weights.added[2 * layer], weights.gain[2 * layer], weights.shift[2 * layer]
        kernels.add_and_normalise(x, change, added, gain, shift, normed, count)
        kernels.multiply(normed, weights.qkv[layer], qkv, count)
        kernels.rotate_and_store(
            inputs, qkv, shape.turns, even, odd, shape.growth[layer], table, keys[layer], values[layer], queries
        )
        if layer == layers - 1:  # of which nothing but the ends of frames is asked for
            which = ends
            kernels.keep(x, ends)
            count = len(ends)
        kernels.attend(
            inputs,
            which,
            queries,
            shape.windows[layer],
            table,
            keys[layer],
            values[layer],
            scores,
            sums,
            mixed,
            0,
            len(scores),
        )
        kernels.multiply(mixed, weights.mixed[layer], change, count)
        added, gain, shift = weights.added[2 * layer + 1], weights.gain[2 * layer + 1], weights.shift[2 * layer + 1]
        kernels.add_and_normalise(x, change, added, gain, shift, normed, count)
        kernels.multiply(normed, weights.hidden[layer], hidden, count)
        kernels.gelu(hidden, weights.hidden_bias[layer], count)
        kernels.multiply(hidden, weights.change[layer], change, count)

    kernels.add_and_normalise(x, change, weights.added[-1], weights.gain[-1], weights.shift[-1], normed, count)
    kernels.multiply(normed, weights.heads, logits, count)
    kernels.multiply(normed, weights.critic, critic, count)
    kernels.log_softmax(inputs, ends, rows, logits, weights.heads_bias, shape.legal, shape.channel, log_probs)
    kernels.critic(rows, critic, weights.critic_bias, weights.value, weights.value_bias, out)
