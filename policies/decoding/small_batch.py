"""The forward pass of a small batch: one compiled call from tokens to log-probabilities and values."""

from __future__ import annotations

import numpy as np

from o1nano.policies.decoding import kernels, paged_attention
from o1nano.policies.decoding.buffers import Buffers
from o1nano.policies.decoding.layout import Floats, Ints, Numbers
from o1nano.policies.decoding.packed import Tables, Weights
from o1nano.policies.network.compiled import compiled


@compiled
def forward_small_batch(
    weights: Weights,
    tables: Tables,
    buffers: Buffers,
    fields: Ints,
    ends: Ints,
    rows: Ints,
    block_tables: Ints,
    keys: Numbers,
    values: Numbers,
    log_probs: Floats,
    out_values: Floats,
) -> None:
    """Does what ``CompiledForward`` does with a large batch, without the interpreter between the loops.

    Args:
        weights: Weights of the network.
        tables: Tables of the network.
        buffers: float32 buffers for at least M tokens.
        fields: ``[10, M]`` the new tokens.
        ends: ``[Q]`` which of them end a frame.
        rows: ``[Q]`` the rows of these frames.
        block_tables: ``[groups, frames, blocks]``.
        keys: ``[layers, B, H * P, BLOCK]``, updated.
        values: ``[layers, B, H * BLOCK, P]``, updated.
        log_probs: ``[N, V]``, written at ``rows``.
        out_values: ``[N]``, written at ``rows``.
    """
    x = buffers.x
    normed = buffers.normed
    branch = buffers.branch
    count = fields.shape[1]
    layers = len(tables.windows)
    # At first, all tokens attend.
    selected = np.empty(count, dtype=np.int32)
    for i in range(count):
        selected[i] = i
    # Enough for every layer, whatever its window.
    memory = paged_attention.make_memory(buffers.queries, paged_attention.most_blocks(fields, selected, 0, 0, count))

    kernels.embed(fields, tables.role_field, weights.tokens, weights.roles, weights.frequencies, x[:count])
    branch[:count] = 0
    for layer in range(layers):
        norm = 2 * layer
        # Add the branch of the layer before, normalise, and store keys and values.
        kernels.add_norm(
            x, branch, weights.branch_bias[norm], weights.norm_weight[norm], weights.norm_bias[norm], normed, count
        )
        kernels.multiply(normed, weights.qkv[layer], buffers.qkv, count)
        table = block_tables[tables.groups[layer]]
        even_heads, odd_heads = tables.kinds[layer]
        paged_attention.rotate_and_store(
            fields,
            buffers.qkv,
            tables.rotations,
            even_heads,
            odd_heads,
            tables.log_scale[layer],
            table,
            keys[layer],
            values[layer],
            buffers.queries,
        )

        # After the last layer's keys and values, only the ends of frames matter.
        if layer == layers - 1:
            kernels.select_rows(x, ends)
            selected = ends
            count = len(ends)
        paged_attention.attend(
            fields,
            selected,
            buffers.queries,
            tables.windows[layer],
            table,
            keys[layer],
            values[layer],
            memory,
            buffers.attended,
            0,
            count,
        )
        kernels.multiply(buffers.attended, weights.attention_out[layer], branch, count)

        # Add attention, normalise, and run the feed-forward layer.
        norm = 2 * layer + 1
        kernels.add_norm(
            x, branch, weights.branch_bias[norm], weights.norm_weight[norm], weights.norm_bias[norm], normed, count
        )
        kernels.multiply(normed, weights.up[layer], buffers.hidden, count)
        kernels.bias_gelu(buffers.hidden, weights.up_bias[layer], count)
        kernels.multiply(buffers.hidden, weights.down[layer], branch, count)

    kernels.add_norm(x, branch, weights.branch_bias[-1], weights.norm_weight[-1], weights.norm_bias[-1], normed, count)
    # Output heads of all channels, and the hidden layer of the critic.
    kernels.multiply(normed, weights.heads, buffers.logits, count)
    kernels.multiply(normed, weights.critic, buffers.critic, count)
    kernels.log_softmax(fields, ends, rows, buffers.logits, weights.heads_bias, tables.legal, tables.channel, log_probs)
    kernels.value_head(rows, buffers.critic, weights.critic_bias, weights.value, weights.value_bias, out_values)
