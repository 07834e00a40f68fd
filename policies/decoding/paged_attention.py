"""Compiled attention of new tokens to keys and values in a paged KV cache.

Keys and values lie in blocks of ``BLOCK`` tokens. A block table says which block has which tokens of a frame: if
``table[5]`` is ``[7, 2, ...]``, the key of token 20 of frame 5 is in block 2, slot 4. Keys are stored with tokens as
lanes, so that the scores of a block are one or two vector registers; values with dimensions as lanes.

The softmax is that of plain attention: the scores of all visible blocks of one query are held at a time.

Arrays are float32, or the bits of bfloat16 as uint16. Nothing is allocated.

Shapes: M new tokens, Q those of them that attend, D embedding, H heads, K dimensions of a head, P the same padded to a
multiple of ``LANES``, B blocks.
"""

from __future__ import annotations

import numpy as np

from o1nano.policies.decoding.layout import BLOCK, FRAME, TIME, Floats, Ints, Numbers
from o1nano.policies.network.compiled import compiled, inlined
from o1nano.policies.network.scalar_math import exp, stored_as, to_float32

_ONE = np.float32(1.0)
_HIDDEN = np.float32(-1e30)  # score of a token that is not visible


@inlined
def rotate_and_store(
    fields: Ints,
    qkv: Numbers,
    rotations: Floats,
    even_heads: int,
    odd_heads: int,
    log_scale: float,
    table: Ints,
    keys: Numbers,
    values: Numbers,
    queries: Floats,
) -> None:
    """Applies RoPE to queries and keys (Su et al. 2021, equation 34), and writes keys and values to the cache.

    Args:
        fields: ``[8, M]`` the new tokens.
        qkv: ``[M, 3 * D]`` queries, keys and values of all heads.
        rotations: ``[8, positions, K]``: for each kind of position, the cosines and then the sines of its angles.
        even_heads: Kind of position, a row of ``fields``, by which even heads are rotated.
        odd_heads: Kind of position by which odd heads are rotated.
        log_scale: Queries are multiplied by this times the logarithm of their context's length, if that is above 1.
        table: ``[frames, blocks]`` block table.
        keys: ``[B, H * P, BLOCK]``, written.
        values: ``[B, H * BLOCK, P]``, written.
        queries: ``[M, H, P]`` rotated and scaled, written; zero beyond K.
    """
    heads = queries.shape[1]
    padded = queries.shape[2]
    width = rotations.shape[2]
    half = width // 2

    for i in range(fields.shape[1]):
        time = fields[TIME, i]
        block = table[fields[FRAME, i], time // BLOCK]
        slot = time % BLOCK
        # 1 / sqrt(K), and beyond the trained length more: see ``rope.sharpness``.
        scale = np.float32(width) ** np.float32(-0.5)
        scale *= max(np.float32(log_scale) * np.log(np.float32(time + 1)), _ONE)

        for h in range(heads):
            kind = odd_heads if h % 2 else even_heads
            position = fields[kind, i]
            query = h * width  # where the head's query, key and value begin in a row of qkv
            key = (heads + h) * width
            value = (2 * heads + h) * width

            # Dimensions k and K / 2 + k are a pair.
            for k in range(half):
                cos = rotations[kind, position, k]
                sin = rotations[kind, position, half + k]
                a = to_float32(qkv[i, query + k])
                b = to_float32(qkv[i, query + half + k])
                queries[i, h, k] = (a * cos - b * sin) * scale
                queries[i, h, half + k] = (b * cos + a * sin) * scale
                a = to_float32(qkv[i, key + k])
                b = to_float32(qkv[i, key + half + k])
                keys[block, h * padded + k, slot] = stored_as(keys, a * cos - b * sin)
                keys[block, h * padded + half + k, slot] = stored_as(keys, b * cos + a * sin)

            for k in range(width):
                values[block, h * BLOCK + slot, k] = stored_as(values, to_float32(qkv[i, value + k]))


@inlined
def attend(
    fields: Ints,
    selected: Ints,
    queries: Floats,
    window: int,
    table: Ints,
    keys: Numbers,
    values: Numbers,
    scores: Floats,
    attended: Floats,
    out: Numbers,
    begin: int,
    end: int,
) -> None:
    """Attends with some tokens to all visible tokens of their frames.

    Args:
        fields: ``[8, M]`` the new tokens.
        selected: ``[Q]`` the tokens that attend.
        queries: ``[M, H, P]`` rotated and scaled.
        window: Tokens that each token sees, its own included; 0 means all.
        table: ``[frames, blocks]`` block table.
        keys: ``[B, H * P, BLOCK]``.
        values: ``[B, H * BLOCK, P]``.
        scores: ``[H, blocks, BLOCK]``, overwritten.
        attended: ``[H, P]``, overwritten.
        out: ``[Q, D]``, written.
        begin: First head that attends.
        end: The head after the last one.
    """
    heads = len(scores)
    width = out.shape[1] // heads
    shares = np.empty(heads, dtype=np.float32)
    for q in range(len(selected)):
        i = selected[q]
        time = fields[TIME, i]
        frame = fields[FRAME, i]

        # Blocks with visible tokens: at time 40 with a window of 10, tokens 31 to 40 lie in blocks 1 and 2.
        oldest = max(time - window + 1, 0) if window else 0
        first = oldest // BLOCK
        blocks = time // BLOCK - oldest // BLOCK + 1

        for number in range(blocks):
            _score_block(queries, i, keys, table[frame, first + number], scores, number, begin, end)

        for h in range(begin, end):
            # In the example above, tokens 16 to 30 and 41 to 47 of these blocks are hidden.
            visible = oldest - first * BLOCK
            stop = time - first * BLOCK + 1
            shares[h] = _softmax(scores[h].reshape(-1), visible, stop, blocks * BLOCK)
            attended[h, :] = 0

        # All heads of a block before the next block, because their values lie next to each other in memory.
        for number in range(blocks):
            for h in range(begin, end):
                _add_values(scores, number, h, values, table[frame, first + number], attended)
        for h in range(begin, end):
            for k in range(width):
                out[q, h * width + k] = stored_as(out, attended[h, k] * shares[h])


@inlined
def _score_block(
    queries: Floats, i: int, keys: Numbers, block: int, scores: Floats, number: int, begin: int, end: int
) -> None:
    """Writes the scores of a block's keys, for some heads, to ``scores[:, number]``.

    Eight dimensions are taken at a time, with the query's eight numbers in registers. Each pass over the tokens then
    reads and writes the scores once for eight products.
    """
    padded = queries.shape[2]
    for h in range(begin, end):
        for k in range(0, padded, 8):
            row = h * padded + k
            q0 = queries[i, h, k]
            q1 = queries[i, h, k + 1]
            q2 = queries[i, h, k + 2]
            q3 = queries[i, h, k + 3]
            q4 = queries[i, h, k + 4]
            q5 = queries[i, h, k + 5]
            q6 = queries[i, h, k + 6]
            q7 = queries[i, h, k + 7]
            for t in range(BLOCK):
                low = q0 * to_float32(keys[block, row, t]) + q1 * to_float32(keys[block, row + 1, t])
                low += q2 * to_float32(keys[block, row + 2, t]) + q3 * to_float32(keys[block, row + 3, t])
                high = q4 * to_float32(keys[block, row + 4, t]) + q5 * to_float32(keys[block, row + 5, t])
                high += q6 * to_float32(keys[block, row + 6, t]) + q7 * to_float32(keys[block, row + 7, t])
                if k == 0:
                    scores[h, number, t] = low + high
                else:
                    scores[h, number, t] += low + high


@inlined
def _softmax(scores: Floats, first: int, stop: int, end: int) -> np.float32:
    """Replaces scores by exponentials, up to ``end``. Only those from ``first`` up to ``stop`` are visible.

    Returns:
        One over the sum of the exponentials.
    """
    for t in range(first):
        scores[t] = _HIDDEN
    for t in range(stop, end):
        scores[t] = _HIDDEN

    # The largest score is subtracted, so that no exponential overflows.
    largest = _HIDDEN
    for t in range(end):
        largest = max(largest, scores[t])

    total = np.float32(0.0)
    for t in range(end):
        scores[t] = exp(scores[t] - largest)
        total += scores[t]
    return _ONE / total


@inlined
def _add_values(weights: Floats, number: int, h: int, values: Numbers, block: int, attended: Floats) -> None:
    """Adds the weighted values of a block, for one head, to ``attended[h]``: four tokens at a time."""
    for t in range(0, BLOCK, 4):
        row = h * BLOCK + t
        w0 = weights[h, number, t]
        w1 = weights[h, number, t + 1]
        w2 = weights[h, number, t + 2]
        w3 = weights[h, number, t + 3]
        for k in range(values.shape[2]):
            total = w0 * to_float32(values[block, row, k]) + w1 * to_float32(values[block, row + 1, k])
            total += w2 * to_float32(values[block, row + 2, k]) + w3 * to_float32(values[block, row + 3, k])
            attended[h, k] += total


@compiled
def read_cache(keys: Numbers, values: Numbers, table: Ints, first: int, out_keys: Floats, out_values: Floats) -> None:
    """Copies keys and values of one frame from its blocks to contiguous arrays.

    Args:
        keys: ``[B, H * P, BLOCK]``.
        values: ``[B, H * BLOCK, P]``.
        table: ``[blocks]`` block table of the frame.
        first: Position of the first token.
        out_keys: ``[H, T, K]`` keys of T tokens, written.
        out_values: ``[H, T, K]`` values of T tokens, written.
    """
    heads, length, width = out_keys.shape
    padded = values.shape[2]
    for i in range(length):
        block = table[(first + i) // BLOCK]
        slot = (first + i) % BLOCK
        for h in range(heads):
            for k in range(width):
                out_keys[h, i, k] = to_float32(keys[block, h * padded + k, slot])
                out_values[h, i, k] = to_float32(values[block, h * BLOCK + slot, k])
