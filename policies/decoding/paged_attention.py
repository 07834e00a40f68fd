"""Compiled attention of new tokens to keys and values in a paged KV cache.

Keys and values lie in blocks of ``BLOCK`` tokens. A block table says which block has which tokens of a frame: if
``table[5]`` is ``[7, 2, ...]``, the key of token 20 of frame 5 is in block 2, slot 4. Keys are stored with tokens as
lanes, so that the scores of a block are one or two vector registers; values with dimensions as lanes.

The softmax is that of plain attention: the scores of all visible blocks of one query are held at a time.

Arrays are float32, or the bits of bfloat16 as uint16.

Shapes: M new tokens, Q those of them that attend, D embedding, H heads, K dimensions of a head, P the same padded to a
multiple of ``LANES``, B blocks.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from o1nano.policies.decoding.layout import BLOCK, FRAME, TIME, Floats, Ints, Numbers
from o1nano.policies.network.compiled import compiled, inlined
from o1nano.policies.network.scalar_math import exp, stored_as, to_float32

_ONE = np.float32(1.0)
_HIDDEN = np.float32(-1e30)  # score of a token that is not visible


class Memory(NamedTuple):
    """What attention of one token writes."""

    scores: Floats  # [H, blocks, BLOCK]
    attended: Floats  # [H, P] sums of values, each times exp(score - largest score)
    largest: Floats  # [H] the largest score
    totals: Floats  # [H] sums of exp(score - largest score)


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
        fields: ``[10, M]`` the new tokens.
        qkv: ``[M, 3 * D]`` queries, keys and values of all heads.
        rotations: ``[10, positions, K]``: for each kind of position, the cosines and then the sines of its angles.
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
    memory: Memory,
    out: Numbers,
    begin: int,
    end: int,
) -> None:
    """Attends with some tokens to all visible tokens of their frames.

    Args:
        fields: ``[10, M]`` the new tokens.
        selected: ``[Q]`` the tokens that attend.
        queries: ``[M, H, P]`` rotated and scaled.
        window: Tokens that each token sees, its own included; 0 means all.
        table: ``[frames, blocks]`` block table.
        keys: ``[B, H * P, BLOCK]``.
        values: ``[B, H * BLOCK, P]``.
        memory: Room for the blocks that one token sees, overwritten.
        out: ``[Q, D]``, written.
        begin: First of the selected tokens that attends.
        end: The one after the last.
    """
    heads = queries.shape[1]
    width = out.shape[1] // heads
    for q in range(begin, end):
        i = selected[q]
        time = fields[TIME, i]
        oldest = _oldest(time, window)
        _attend_range(queries, i, table, fields[FRAME, i], oldest, time + 1, keys, values, memory)

        for h in range(heads):
            share = _ONE / memory.totals[h]
            for k in range(width):
                out[q, h * width + k] = stored_as(out, memory.attended[h, k] * share)


@compiled
def attend_in_loops(
    fields: Ints,
    selected: Ints,
    queries: Floats,
    window: int,
    table: Ints,
    keys: Numbers,
    values: Numbers,
    out: Numbers,
    begin: int,
    end: int,
) -> None:
    """Does what ``attend`` does, with memory of its own, so that several threads may call it."""
    memory = make_memory(queries, most_blocks(fields, selected, window, begin, end))
    attend(fields, selected, queries, window, table, keys, values, memory, out, begin, end)


@compiled
def attend_in_parts(
    fields: Ints,
    selected: Ints,
    queries: Floats,
    window: int,
    table: Ints,
    keys: Numbers,
    values: Numbers,
    attended: Floats,
    largest: Floats,
    totals: Floats,
    begin: int,
    end: int,
) -> None:
    """Does what ``attend`` does for some of S parts of each token's visible blocks; ``join_parts`` does the rest.

    Threads take parts of the blocks and not of the heads: half of each block, with gaps of the same size between the
    halves, takes longer to read than the whole (at 128,000 tokens 1.5 times as long).

    Args:
        fields: The argument of ``attend``, like those up to ``values``.
        selected: ``[Q]``.
        queries: ``[M, H, P]``.
        window: Tokens that each token sees; 0 means all.
        table: ``[frames, blocks]``.
        keys: ``[B, H * P, BLOCK]``.
        values: ``[B, H * BLOCK, P]``.
        attended: ``[S, Q, H, P]`` sums of values, each times exp(score - largest score), written.
        largest: ``[S, Q, H]`` the largest score, written.
        totals: ``[S, Q, H]`` sums of exp(score - largest score), written.
        begin: First part.
        end: The part after the last one.
    """
    parts = len(attended)
    most = most_blocks(fields, selected, window, 0, len(selected))
    memory = make_memory(queries, most // parts + 1)
    for part in range(begin, end):
        for q in range(len(selected)):
            i = selected[q]
            time = fields[TIME, i]
            oldest = _oldest(time, window)

            # Five blocks from block 7 on, in two parts: blocks 7 and 8, and blocks 9 to 11.
            first = oldest // BLOCK
            blocks = time // BLOCK + 1 - first
            start = max((first + blocks * part // parts) * BLOCK, oldest)
            stop = min((first + blocks * (part + 1) // parts) * BLOCK, time + 1)
            _attend_range(queries, i, table, fields[FRAME, i], start, stop, keys, values, memory)

            for h in range(queries.shape[1]):
                largest[part, q, h] = memory.largest[h]
                totals[part, q, h] = memory.totals[h]
                for k in range(queries.shape[2]):
                    attended[part, q, h, k] = memory.attended[h, k]


@compiled
def join_parts(attended: Floats, largest: Floats, totals: Floats, out: Numbers) -> None:
    """Joins what ``attend_in_parts`` wrote.

    Args:
        attended: ``[S, Q, H, P]``.
        largest: ``[S, Q, H]``.
        totals: ``[S, Q, H]``.
        out: ``[Q, D]``, written.
    """
    parts, count, heads = largest.shape
    width = out.shape[1] // heads
    for q in range(count):
        for h in range(heads):
            highest = _HIDDEN
            for part in range(parts):
                highest = max(highest, largest[part, q, h])

            # Each part has subtracted its own largest score; now all subtract the same.
            total = np.float32(0.0)
            for part in range(parts):
                factor = exp(largest[part, q, h] - highest)
                total += totals[part, q, h] * factor
                for k in range(width):
                    attended[part, q, h, k] *= factor

            for k in range(width):
                sum_of_values = np.float32(0.0)
                for part in range(parts):
                    sum_of_values += attended[part, q, h, k]
                out[q, h * width + k] = stored_as(out, sum_of_values / total)


@inlined
def make_memory(queries: Floats, blocks: int) -> Memory:
    """Returns memory for attention to at most so many blocks."""
    heads = queries.shape[1]
    return Memory(
        np.empty((heads, blocks, BLOCK), np.float32),
        np.empty((heads, queries.shape[2]), np.float32),
        np.empty(heads, np.float32),
        np.empty(heads, np.float32),
    )


@inlined
def _oldest(time: int, window: int) -> int:
    """Returns the time of the oldest token that one at ``time`` sees."""
    return max(time - window + 1, 0) if window else 0


@inlined
def most_blocks(fields: Ints, selected: Ints, window: int, begin: int, end: int) -> int:
    """Returns the largest number of blocks that one of the selected tokens from ``begin`` up to ``end`` sees."""
    most = 0
    for q in range(begin, end):
        time = fields[TIME, selected[q]]
        most = max(most, time // BLOCK + 1 - _oldest(time, window) // BLOCK)
    return most


@inlined
def _attend_range(
    queries: Floats,
    i: int,
    table: Ints,
    frame: int,
    start: int,
    stop: int,
    keys: Numbers,
    values: Numbers,
    memory: Memory,
) -> None:
    """Attends with token ``i`` to the tokens of its frame from ``start`` up to ``stop``; there may be none.

    Everything in ``memory`` is written. What was attended to is not yet divided by the total.
    """
    scores = memory.scores
    heads = queries.shape[1]
    # Tokens 31 to 40 lie in blocks 1 and 2.
    first = start // BLOCK
    count = (stop + BLOCK - 1) // BLOCK - first
    for number in range(count):
        _score_block(queries, i, keys, table[frame, first + number], scores, number)

    for h in range(heads):
        # In the example above, tokens 16 to 30 and 41 to 47 of these blocks are hidden.
        flat = scores[h].reshape(-1)
        bounds = (start - first * BLOCK, stop - first * BLOCK, count * BLOCK)
        memory.largest[h] = _hide_and_find_largest(flat, *bounds)
        memory.totals[h] = _exponentiate(flat, memory.largest[h], count * BLOCK)
        memory.attended[h, :] = 0

    # All heads of a block before the next block, because their values lie next to each other in memory.
    for number in range(count):
        for h in range(heads):
            _add_values(scores, number, h, values, table[frame, first + number], memory.attended)


@inlined
def _score_block(queries: Floats, i: int, keys: Numbers, block: int, scores: Floats, number: int) -> None:
    """Writes the scores of a block's keys to ``scores[:, number]``.

    Eight dimensions are taken at a time, with the query's eight numbers in registers. Each pass over the tokens then
    reads and writes the scores once for eight products.
    """
    padded = queries.shape[2]
    for h in range(queries.shape[1]):
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
def _hide_and_find_largest(scores: Floats, first: int, stop: int, end: int) -> np.float32:
    """Hides scores up to ``end`` that are not among those from ``first`` up to ``stop``, and returns the largest."""
    for t in range(first):
        scores[t] = _HIDDEN
    for t in range(stop, end):
        scores[t] = _HIDDEN

    largest = _HIDDEN
    for t in range(end):
        largest = max(largest, scores[t])
    return largest


@inlined
def _exponentiate(scores: Floats, largest: np.float32, end: int) -> np.float32:
    """Replaces scores up to ``end`` by exponentials, and returns their sum.

    The largest score is subtracted, so that no exponential overflows.
    """
    total = np.float32(0.0)
    for t in range(end):
        scores[t] = exp(scores[t] - largest)
        total += scores[t]
    return total


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
