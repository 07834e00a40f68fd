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
WINDOWED = 512
"""Tokens that attend to a window together: each looks at all windows of these, under a mask."""
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


class Layer(NamedTuple):
    """What the pass reads and writes in one layer."""

    window: int
    group: int
    position: tuple[int, int, float]  # kinds by which even and odd heads are rotated, growth of queries
    keys: Numbers
    values: Numbers
    before_attention: tuple[Floats, Floats, Floats]  # what is added to the stream, gain and shift of the norm
    before_hidden: tuple[Floats, Floats, Floats]
    qkv: th.Tensor
    mixed: th.Tensor
    hidden: th.Tensor
    hidden_bias: Floats
    change: th.Tensor


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
        self._set_layers()

    def _set_layers(self) -> None:
        weights, products, shape = self.weights, self._products, self.shape
        norms = list(zip(weights.added, weights.gain, weights.shift, strict=True))
        self._last_norm = norms[-1]
        self._layers = [
            Layer(
                window=int(shape.windows[layer]),
                group=int(shape.groups[layer]),
                position=(int(shape.kinds[layer, 0]), int(shape.kinds[layer, 1]), float(shape.growth[layer])),
                keys=self.keys[layer],
                values=self.values[layer],
                before_attention=norms[2 * layer],
                before_hidden=norms[2 * layer + 1],
                qkv=products.qkv[layer],
                mixed=products.mixed[layer],
                hidden=products.hidden[layer],
                hidden_bias=weights.hidden_bias[layer],
                change=products.change[layer],
            )
            for layer in range(len(shape.windows))
        ]

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
        self._set_layers()

    def _buffers(self, tokens: int, dtype: npt.DTypeLike) -> Buffers:
        config = self.network.config
        width = config.embedding
        columns = (width, 3 * width, width, width, config.feed_forward, len(Channel) * VOCAB_SIZE, width)
        x = aligned_zeros((tokens, width), np.float32)
        queries = aligned_zeros((tokens, *self._sums.shape), np.float32)
        others = (aligned_zeros((tokens, count), dtype) for count in columns)
        return Buffers(*(x, *others, queries, self._scores, self._sums))

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
        weights, shape, buffers = self.weights, self.shape, self._many
        count = inputs.shape[1]
        which, views = self._every[:count], self._rows(count)
        long_parts = _long_parts(inputs)
        heads = [0, len(self._scores)] if inputs[TIME].sum() < MUCH else equal_shares(len(self._scores))

        kernels.embed(inputs, weights.tokens, weights.roles, weights.frequencies, buffers.x)
        buffers.change[:count] = 0
        for layer in self._layers:
            table = tables[layer.group]
            kernels.add_and_normalise(buffers.x, buffers.change, *layer.before_attention, buffers.normed, count)
            th.mm(views.normed, layer.qkv, out=views.qkv)
            kernels.rotate_and_store(
                inputs, buffers.qkv, shape.turns, *layer.position, table, layer.keys, layer.values, buffers.queries
            )
            if layer is self._layers[-1]:  # of which nothing but the ends of frames is asked for
                kernels.keep(buffers.x, ends)
                count, which, views, long_parts = len(ends), ends, self._rows(len(ends)), []
            start = 0
            for first, stop in long_parts:
                self._attend(inputs, which[start:first], layer, table, buffers.mixed[start:], heads)
                self._attend_long(
                    inputs[:, first:stop], layer, table, buffers.queries[first:stop], views.mixed[first:stop]
                )
                start = stop
            self._attend(inputs, which[start:], layer, table, buffers.mixed[start:], heads)
            th.mm(views.mixed, layer.mixed, out=views.change)
            kernels.add_and_normalise(buffers.x, buffers.change, *layer.before_hidden, buffers.normed, count)
            th.mm(views.normed, layer.hidden, out=views.hidden)
            kernels.gelu(buffers.hidden, layer.hidden_bias, count)
            th.mm(views.hidden, layer.change, out=views.change)

        kernels.add_and_normalise(buffers.x, buffers.change, *self._last_norm, buffers.normed, count)
        th.mm(views.normed, self._products.heads, out=views.logits)
        th.mm(views.normed, self._products.critic, out=views.critic)
        logits, bias = buffers.logits, weights.heads_bias
        kernels.log_softmax(inputs, ends, rows, logits, bias, shape.legal, shape.channel, log_probs)
        kernels.critic(rows, buffers.critic, weights.critic_bias, weights.value, weights.value_bias, values)

    def _attend(self, inputs: Ints, which: Ints, layer: Layer, table: Ints, out: Numbers, heads: list[int]) -> None:
        """Attends with some tokens, in one thread or with shares of the heads in several."""
        queries, scores, sums = self._many.queries, self._scores, self._sums
        sight = (inputs, which, queries, layer.window, table, layer.keys, layer.values, scores, sums, out)
        if len(heads) == 2:
            kernels.attend(*sight, *heads)
        else:
            in_threads(kernels.attend, heads, *sight)

    def _attend_long(self, inputs: Ints, layer: Layer, table: Ints, queries: Floats, out: th.Tensor) -> None:
        """Attends with many tokens of one frame, one after the other."""
        config, window = self.network.config, layer.window
        width = config.embedding // config.heads
        first, length = int(inputs[TIME, 0]), inputs.shape[1]
        asked = th.from_numpy(queries[:, :, :width]).transpose(0, 1)[None]

        def keys_and_values(start: int, stop: int) -> tuple[th.Tensor, th.Tensor]:
            keys, values = np.empty((2, config.heads, stop - start, width), dtype=np.float32)
            kernels.collect(layer.keys, layer.values, table[inputs[FRAME, 0]], start, keys, values)
            return th.from_numpy(keys)[None], th.from_numpy(values)[None]

        if window:
            oldest = max(first - window + 1, 0)
            keys, values = keys_and_values(oldest, first + length)
            if length >= 4 * window:
                mixed = banded(asked, keys, values, window)
            else:
                parts = []
                for start in range(0, length, WINDOWED):
                    stop = min(start + WINDOWED, length)
                    begin, end = max(first + start - window + 1, 0) - oldest, first + stop - oldest
                    mask = causal_mask(stop - start, end - begin, window, keys.device)
                    seen = keys[:, :, begin:end], values[:, :, begin:end]
                    parts.append(fused(asked[:, :, start:stop], *seen, mask))
                mixed = th.cat(parts, 2)
        else:
            pieces = (keys_and_values(start, min(start + PIECE, first)) for start in range(0, first, PIECE))
            mixed = attend_blocks(asked, pieces, keys_and_values(first, first + length))
        out.copy_(mixed[0].transpose(0, 1).flatten(1))


def aligned_zeros(shape: tuple[int, ...], dtype: npt.DTypeLike) -> Numbers:
    """Returns an array of zeros that begins at a multiple of 64 bytes, as PyTorch's tensors do.

    Matrix products of MKL round differently when their operands lie elsewhere. NumPy's arrays begin anywhere, so
    a resumed run would not be the same to the last bit.
    """
    zeros: Numbers = th.from_numpy(np.zeros((), dtype)).new_zeros(shape).numpy()
    return zeros


def _long_parts(inputs: Ints) -> list[tuple[int, int]]:
    """Returns where at least ``LONG`` tokens of one frame follow each other."""
    if inputs.shape[1] < LONG:
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
