"""The forward pass of decoding on a CPU: matrix products with compiled loops between them, and the KV cache.

A pass takes the new tokens of all frames as one flat list; see ``kernels``. A small batch runs in one compiled call,
its matrix products included (``small_batch``): there, calling PyTorch costs more than the products. A large one uses
PyTorch's products, in bfloat16 if asked for, and long prompts its fused attention (``prefill``).
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch as th

from o1nano.policies.decoding import kernels, paged_attention
from o1nano.policies.decoding.buffers import Views, allocate_buffers, padded_width, view_rows
from o1nano.policies.decoding.layout import BLOCK, FRAME, TIME, Floats, Ints, Numbers
from o1nano.policies.decoding.packed import pack, products_of, tables_of
from o1nano.policies.decoding.paged_attention import attend_in_loops, attend_in_parts, join_parts
from o1nano.policies.decoding.prefill import attend_prompt
from o1nano.policies.decoding.small_batch import forward_small_batch
from o1nano.policies.network.attention_kernels import round_up_rows
from o1nano.policies.network.compiled import compiled
from o1nano.policies.network.model import ReasoningNetwork
from o1nano.policies.network.threads import in_threads, weighted_shares

SMALL_BATCH = 32
"""Up to this many tokens, compiled products are faster than calls of PyTorch's."""
LONG_PROMPT = 64
"""From this many new tokens of one frame on, attention runs through PyTorch's fused kernel."""
MANY_KEYS = 2**14
"""From this many keys on, counted over all queries, attention is divided among threads."""

Norm = tuple[Floats, Floats, Floats]
"""Bias of the branch that is added before a norm, and weight and bias of the norm."""


# The small batch has these loops inlined.
_embed = compiled(kernels.embed)
_add_norm = compiled(kernels.add_norm)
_bias_gelu = compiled(kernels.bias_gelu)
_select_rows = compiled(kernels.select_rows)
_log_softmax = compiled(kernels.log_softmax)
_value_head = compiled(kernels.value_head)
_rotate_and_store = compiled(paged_attention.rotate_and_store)


class Layer(NamedTuple):
    """What the pass reads and writes in one layer."""

    window: int
    group: int  # which block table
    rotation: tuple[int, int, float]  # kinds of position of even and odd heads, log_scale
    keys: Numbers
    values: Numbers
    attention_norm: Norm
    feed_forward_norm: Norm
    qkv: th.Tensor
    attention_out: th.Tensor
    up: th.Tensor
    up_bias: Floats
    down: th.Tensor


class CompiledForward:
    """Computes what follows frames, and holds their keys and values.

    Args:
        network: The network.
        frame_length: Most tokens of a frame.
        tokens: M, the most tokens of a pass.
        bf16: Whether matrix products of large batches are in bfloat16.
        half: Whether keys and values are stored in bfloat16.
    """

    def __init__(self, network: ReasoningNetwork, frame_length: int, tokens: int, bf16: bool, half: bool) -> None:
        config = network.config
        self.network = network
        self.bf16 = bf16
        self.tables = tables_of(network, frame_length + 2)

        dtype = np.uint16 if bf16 else np.float32
        self._small = allocate_buffers(config, SMALL_BATCH, np.float32)
        self._large = allocate_buffers(config, tokens, dtype)
        self._views: dict[int, Views] = {}
        self._all_tokens = np.arange(tokens, dtype=np.int32)

        cache_dtype = np.uint16 if half else np.float32
        self.keys: Numbers = np.zeros((config.layers, 0, 0, 0), dtype=cache_dtype)
        self.values: Numbers = np.zeros((config.layers, 0, 0, 0), dtype=cache_dtype)
        self.pack()

    def pack(self) -> None:
        """Reads the weights of the network."""
        self.weights = pack(self.network)
        self._products = products_of(self.weights, self.bf16)
        self._set_layers()

    @property
    def block_bytes(self) -> int:
        """Memory of the keys and values of a block in one layer, in bytes."""
        config = self.network.config
        return 2 * config.heads * padded_width(config) * BLOCK * self.keys.itemsize

    def make_room(self, blocks: int) -> None:
        """Makes room for a number of blocks. The system provides their memory when they are first written."""
        old = self.keys.shape[1]
        if old >= blocks:
            return

        config = self.network.config
        padded = padded_width(config)
        keys = np.zeros((config.layers, blocks, config.heads * padded, BLOCK), dtype=self.keys.dtype)
        values = np.zeros((config.layers, blocks, config.heads * BLOCK, padded), dtype=self.keys.dtype)
        if old:
            # Blocks keep their numbers, so that block tables stay valid.
            keys[:, :old] = self.keys
            values[:, :old] = self.values
        self.keys = keys
        self.values = values
        self._set_layers()

    def __call__(self, fields: Ints, ends: Ints, rows: Ints, tables: Ints, log_probs: Floats, values: Floats) -> None:
        """Runs the new tokens of some frames, and stores their keys and values.

        Args:
            fields: ``[10, M]`` the new tokens; the rows are named in ``layout``.
            ends: ``[Q]`` which of them end a frame.
            rows: ``[Q]`` the rows of these frames.
            tables: ``[groups, frames, blocks]`` block tables.
            log_probs: ``[N, V]`` log-probabilities of the next token, written at ``rows``.
            values: ``[N]`` values, written at ``rows``.
        """
        # A token at time t attends to at most t + 1 keys.
        has_many_keys = fields[TIME].sum() > MANY_KEYS and th.get_num_threads() > 1
        if fields.shape[1] > SMALL_BATCH or has_many_keys:
            self._forward_large_batch(fields, ends, rows, tables, log_probs, values)
            return
        memory = (self.weights, self.tables, self._small)
        cache = (tables, self.keys, self.values)
        forward_small_batch(*memory, fields, ends, rows, *cache, log_probs, values)

    def _set_layers(self) -> None:
        weights = self.weights
        products = self._products
        norms: list[Norm] = list(zip(weights.branch_bias, weights.norm_weight, weights.norm_bias, strict=True))
        self._last_norm = norms[-1]
        # Slices for each layer, made once and not in every pass.
        self._layers: list[Layer] = []
        for index in range(self.network.config.layers):
            even_heads, odd_heads = self.tables.kinds[index].tolist()
            layer = Layer(
                window=int(self.tables.windows[index]),
                group=int(self.tables.groups[index]),
                rotation=(even_heads, odd_heads, float(self.tables.log_scale[index])),
                keys=self.keys[index],
                values=self.values[index],
                attention_norm=norms[2 * index],
                feed_forward_norm=norms[2 * index + 1],
                qkv=products.qkv[index],
                attention_out=products.attention_out[index],
                up=products.up[index],
                up_bias=weights.up_bias[index],
                down=products.down[index],
            )
            self._layers.append(layer)

    def _views_of(self, count: int) -> Views:
        """Returns tensors of ``count`` rows of the large buffers or, in bfloat16, of a few more: ``round_up_rows``."""
        if self.bf16:
            count = round_up_rows(count)
        if count not in self._views:
            self._views[count] = view_rows(self._large, count, self.bf16)
        return self._views[count]

    def _forward_large_batch(
        self, fields: Ints, ends: Ints, rows: Ints, tables: Ints, log_probs: Floats, values: Floats
    ) -> None:
        weights = self.weights
        buffers = self._large
        count = fields.shape[1]
        selected = self._all_tokens[:count]
        views = self._views_of(count)
        prompts = _long_prompts(fields)

        _embed(fields, self.tables.role_field, weights.tokens, weights.roles, weights.frequencies, buffers.x)
        buffers.branch[:count] = 0
        for layer in self._layers:
            table = tables[layer.group]
            # Add the branch of the layer before, normalise, and store keys and values.
            _add_norm(buffers.x, buffers.branch, *layer.attention_norm, buffers.normed, count)
            th.mm(views.normed, layer.qkv, out=views.qkv)
            cache = (table, layer.keys, layer.values)
            rotations = self.tables.rotations
            _rotate_and_store(fields, buffers.qkv, rotations, *layer.rotation, *cache, buffers.queries)

            # After the last layer's keys and values, only the ends of frames matter.
            if layer is self._layers[-1]:
                _select_rows(buffers.x, ends)
                selected = ends
                count = len(ends)
                views = self._views_of(count)
                prompts = []
            self._attend(fields, selected, prompts, layer, table, views)
            th.mm(views.attended, layer.attention_out, out=views.branch)

            # Add attention, normalise, and run the feed-forward layer.
            _add_norm(buffers.x, buffers.branch, *layer.feed_forward_norm, buffers.normed, count)
            th.mm(views.normed, layer.up, out=views.hidden)
            _bias_gelu(buffers.hidden, layer.up_bias, count)
            th.mm(views.hidden, layer.down, out=views.branch)

        _add_norm(buffers.x, buffers.branch, *self._last_norm, buffers.normed, count)
        self._output(fields, ends, rows, views, log_probs, values)

    def _output(self, fields: Ints, ends: Ints, rows: Ints, views: Views, log_probs: Floats, values: Floats) -> None:
        """Writes log-probabilities and values, from the normalised hidden states."""
        weights = self.weights
        buffers = self._large
        th.mm(views.normed, self._products.heads, out=views.logits)
        th.mm(views.normed, self._products.critic, out=views.critic)

        grammar = (self.tables.legal, self.tables.channel)
        _log_softmax(fields, ends, rows, buffers.logits, weights.heads_bias, *grammar, log_probs)
        output = (weights.value, weights.value_bias)
        _value_head(rows, buffers.critic, weights.critic_bias, *output, values)

    def _attend(
        self,
        fields: Ints,
        selected: Ints,
        prompts: list[tuple[int, int]],
        layer: Layer,
        table: Ints,
        views: Views,
    ) -> None:
        """Attends with the selected tokens: long prompts through ``prefill``, the tokens between them in the loops."""
        buffers = self._large
        config = self.network.config
        start = 0
        for first, stop in prompts:
            self._attend_in_loops(fields, selected[start:first], layer, table, buffers.attended[start:])
            prompt = (fields[:, first:stop], buffers.queries[first:stop])
            cache = (layer.keys, layer.values, table)
            attend_prompt(config, *prompt, layer.window, *cache, views.attended[first:stop])
            start = stop
        self._attend_in_loops(fields, selected[start:], layer, table, buffers.attended[start:])

    def _attend_in_loops(self, fields: Ints, selected: Ints, layer: Layer, table: Ints, out: Numbers) -> None:
        """Attends with some tokens, in one thread or in several."""
        threads = th.get_num_threads()
        arguments = (fields, selected, self._large.queries, layer.window, table, layer.keys, layer.values)
        keys = fields[TIME, selected] + 1
        if layer.window:
            keys = np.minimum(keys, layer.window)

        if threads == 1 or keys.sum() < MANY_KEYS:
            attend_in_loops(*arguments, out, 0, len(selected))
        elif keys.max() * threads * 2 <= keys.sum():
            # Many tokens of similar length: each thread takes some of them.
            in_threads(attend_in_loops, weighted_shares(keys), *arguments, out)
        else:
            # A few long frames: each thread takes a part of every one.
            self._attend_in_parts(threads, arguments, out)

    def _attend_in_parts(self, parts: int, arguments: tuple[Any, ...], out: Numbers) -> None:
        """Attends with all threads to each frame: parts of its blocks, which are joined at the end."""
        _, heads, padded = self._large.queries.shape
        count = len(arguments[1])
        attended = np.empty((parts, count, heads, padded), dtype=np.float32)
        largest = np.empty((parts, count, heads), dtype=np.float32)
        totals = np.empty_like(largest)
        in_threads(attend_in_parts, range(parts + 1), *arguments, attended, largest, totals)
        join_parts(attended, largest, totals, out)


def _long_prompts(fields: Ints) -> list[tuple[int, int]]:
    """Returns the ranges of at least ``LONG_PROMPT`` consecutive new tokens of one frame.

    With 3 tokens of frame 0 and then 100 of frame 1 it returns ``[(3, 103)]``.
    """
    if fields.shape[1] < LONG_PROMPT:
        return []
    bounds = np.flatnonzero(np.diff(fields[FRAME], prepend=-1, append=-1)).tolist()
    return [(first, stop) for first, stop in pairwise(bounds) if stop - first >= LONG_PROMPT]
