"""Compiled causal attention over packed frames of different lengths, forward and backward.

Frames and heads are taken one at a time. A head's queries, keys and values are rotated and copied, as float32, to tiles
(see ``tiles``) that stay in the processor's first-level cache; everything after that is products of tiles. For each
tile of 16 queries, the loops visit the tiles of keys that some of these queries see: with a window of 20, queries 32 to
47 see keys 13 to 47, so key tiles 0, 1 and 2.

Attention weights are never stored. Forward keeps the log-sum-exp of each query's scores, from which backward computes
the weights again (Dao et al. 2022).

Scores lie transposed, ``[keys, queries]`` with a query in each lane, so that maxima and sums over keys add whole
registers.

Shapes: F frames, M tokens of all frames, H heads, K dimensions of a head, R kinds of rotation, N tiles of tokens of a
frame, D tiles of dimensions of a head, L lanes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from o1nano.policies.network.compiled import compiled, inlined
from o1nano.policies.network.scalar_math import exp, random_bits
from o1nano.policies.network.tiles import (
    LANES,
    add_product,
    add_transposed_product,
    load,
    load_rotated,
    load_rotations,
    multiply_tile,
    scale_row,
    store,
    store_rotated_back,
    tile_count,
    transpose,
)

_f = np.float32
_HIDDEN = _f(-1e30)
_CAUSAL = np.where(np.arange(LANES)[:, None] > np.arange(LANES), _HIDDEN, _f(0.0)).astype(np.float32)
"""Added to the scores ``[keys, queries]`` of a tile on the diagonal: key 3 is hidden from queries 0 to 2."""


class _Forward(NamedTuple):
    """Memory of the forward pass for one frame and head; [N * D, L, L] unless noted."""

    rows: Any
    query_columns: Any
    key_columns: Any
    values: Any
    weights: Any  # [N, L, L]
    attended: Any  # [D, L, L]
    maxima: Any  # [L]
    sums: Any  # [L]


class _Backward(NamedTuple):
    """Memory of the backward pass for one frame and head; [N * D, L, L] unless noted."""

    queries: Any
    query_columns: Any
    keys: Any
    key_columns: Any
    values: Any
    gradients: Any  # of what was attended to
    gradient_columns: Any
    d_queries: Any
    d_keys: Any
    d_values: Any
    weights: Any  # [N, L, L]
    d_weights: Any  # [N, L, L]
    kept: Any  # [N, L, L] what dropout multiplied each weight by
    log_sums: Any  # [L]
    sums: Any  # [L]


@compiled
def attend(
    qkv: Any,
    offsets: Any,
    cos: Any,
    sin: Any,
    scale: Any,
    window: int,
    seed: Any,
    drop: Any,
    attended: Any,
    log_sums: Any,
    begin: int,
    end: int,
) -> None:
    """Attends within frames ``begin`` up to ``end``.

    Args:
        qkv: ``[M, 3, H, K]`` queries, keys and values; float32, or the bits of bfloat16 as uint16.
        offsets: ``[F + 1]`` where frames begin, and where the last one ends.
        cos: ``[R, M, K / 2]`` cosines of the rotary angles; head h has kind ``h % R``.
        sin: ``[R, M, K / 2]`` sines of the same angles.
        scale: ``[M]`` factors of the queries.
        window: How many keys a query sees, its own included; 0 means all.
        seed: Seed of dropout, uint32.
        drop: A weight is dropped if its 32 random bits are below this, uint32.
        attended: ``[M, 1, H, K]``, written; stored like ``qkv``.
        log_sums: ``[H, M]`` log-sum-exp of each query's scores, written.
        begin: First frame.
        end: The frame after the last one.
    """
    heads = qkv.shape[2]
    token_tiles = tile_count(_longest(offsets, begin, end))
    # Room for the longest frame; shorter ones use the first tiles.
    memory = _forward_memory(token_tiles, tile_count(qkv.shape[3]))
    rotations = np.zeros((2, len(cos), token_tiles, cos.shape[2], LANES), np.float32)
    query_scales = np.zeros((token_tiles, LANES), np.float32)
    key_scales = np.ones((token_tiles, LANES), np.float32)

    for frame in range(begin, end):
        start = offsets[frame]
        stop = offsets[frame + 1]
        load_rotations(cos, sin, scale, start, stop, rotations, query_scales)

        for head in range(heads):
            # With two kinds of rotation, even heads take the first and odd heads the second.
            kind = head % len(cos)
            rows = memory.rows
            load_rotated(qkv, 0, head, start, stop, rotations, kind, query_scales, rows, memory.query_columns)
            load_rotated(qkv, 1, head, start, stop, rotations, kind, key_scales, rows, memory.key_columns)
            load(qkv, 2, head, start, stop, memory.values)
            for at in range(start, stop, LANES):
                _attend_tile(memory, start, stop, at, head, heads, window, seed, drop, attended, log_sums)


@inlined
def _forward_memory(token_tiles: int, width_tiles: int) -> _Forward:
    shape = (token_tiles * width_tiles, LANES, LANES)
    return _Forward(
        np.zeros(shape, np.float32),
        np.zeros(shape, np.float32),
        np.zeros(shape, np.float32),
        np.zeros(shape, np.float32),
        np.zeros((token_tiles, LANES, LANES), np.float32),
        np.zeros((width_tiles, LANES, LANES), np.float32),
        np.zeros(LANES, np.float32),
        np.zeros(LANES, np.float32),
    )


@inlined
def _attend_tile(
    memory: _Forward,
    start: int,
    stop: int,
    at: int,
    head: int,
    heads: int,
    window: int,
    seed: Any,
    drop: Any,
    out: Any,
    log_sums: Any,
) -> None:
    """Attends with the queries of one tile, tokens ``at`` to ``at + LANES`` of the frame from ``start`` to ``stop``."""
    weights = memory.weights
    attended = memory.attended
    maxima = memory.maxima
    sums = memory.sums
    width_tiles = len(attended)
    query_tile = (at - start) // LANES
    count = min(LANES, stop - at)
    first = _first_key_tile(query_tile, window)
    kept = _f(1.0 - drop / 2.0**32)

    # Scores of all visible keys, and their maximum for each query.
    maxima[:] = _HIDDEN
    for tile in range(first, query_tile + 1):
        _score(memory.key_columns, memory.query_columns, tile, query_tile, width_tiles, window, stop - start, weights)
        _update_maxima(maxima, weights, tile)

    # Their exponentials, not yet divided by the sum. Dropout comes after the sum, as it does after a softmax.
    sums[:] = _f(0.0)
    for tile in range(first, query_tile + 1):
        _exponentiate(weights, tile, maxima)
        _add_sums(weights, tile, sums)
        if drop:
            _apply_dropout(weights, tile, seed, drop, at * heads + head, heads)

    # The weighted sum of values, divided at last.
    attended[:] = _f(0.0)
    for tile in range(first, query_tile + 1):
        for part in range(width_tiles):
            add_transposed_product(weights, tile, memory.values, tile * width_tiles + part, count, attended, part)
    for query in range(count):
        log_sums[head, at + query] = maxima[query] + np.log(sums[query])
        scale_row(attended, query, _f(1.0) / (sums[query] * kept))
    store(attended, out, 0, head, at, at + count)


@compiled
def attend_backward(
    qkv: Any,
    offsets: Any,
    cos: Any,
    sin: Any,
    scale: Any,
    window: int,
    seed: Any,
    drop: Any,
    log_sums: Any,
    gradient: Any,
    out: Any,
    begin: int,
    end: int,
) -> None:
    """Computes the gradient of ``attend`` with respect to ``qkv``.

    Args:
        qkv: The argument of ``attend``, like those up to ``drop``.
        offsets: ``[F + 1]``.
        cos: ``[R, M, K / 2]``.
        sin: ``[R, M, K / 2]``.
        scale: ``[M]``.
        window: How many keys a query sees; 0 means all.
        seed: Seed of dropout.
        drop: Threshold of dropout.
        log_sums: ``[H, M]`` as ``attend`` wrote it.
        gradient: ``[M, 1, H, K]`` gradient of ``attended``.
        out: ``[M, 3, H, K]`` gradient of ``qkv``, written.
        begin: First frame.
        end: The frame after the last one.
    """
    token_tiles = tile_count(_longest(offsets, begin, end))
    # Room for the longest frame; shorter ones use the first tiles.
    memory = _backward_memory(token_tiles, tile_count(qkv.shape[3]))
    rotations = np.zeros((2, len(cos), token_tiles, cos.shape[2], LANES), np.float32)
    query_scales = np.zeros((token_tiles, LANES), np.float32)
    key_scales = np.ones((token_tiles, LANES), np.float32)

    for frame in range(begin, end):
        start = offsets[frame]
        stop = offsets[frame + 1]
        load_rotations(cos, sin, scale, start, stop, rotations, query_scales)

        for head in range(qkv.shape[2]):
            kind = head % len(cos)
            _load_head(memory, qkv, gradient, head, start, stop, rotations, kind, query_scales, key_scales)
            for at in range(start, stop, LANES):
                _attend_tile_backward(memory, start, stop, at, head, qkv.shape[2:], window, seed, drop, log_sums)

            # The columns have been read for the last time and are overwritten.
            columns = memory.query_columns
            store_rotated_back(memory.d_queries, columns, rotations, kind, query_scales, out, 0, head, start, stop)
            columns = memory.key_columns
            store_rotated_back(memory.d_keys, columns, rotations, kind, key_scales, out, 1, head, start, stop)
            store(memory.d_values, out, 2, head, start, stop)


@inlined
def _backward_memory(token_tiles: int, width_tiles: int) -> _Backward:
    shape = (token_tiles * width_tiles, LANES, LANES)
    weights_shape = (token_tiles, LANES, LANES)
    return _Backward(
        np.zeros(shape, np.float32),
        np.zeros(shape, np.float32),
        np.zeros(shape, np.float32),
        np.zeros(shape, np.float32),
        np.zeros(shape, np.float32),
        np.zeros(shape, np.float32),
        np.zeros(shape, np.float32),
        np.zeros(shape, np.float32),
        np.zeros(shape, np.float32),
        np.zeros(shape, np.float32),
        np.zeros(weights_shape, np.float32),
        np.zeros(weights_shape, np.float32),
        np.zeros(weights_shape, np.float32),
        np.zeros(LANES, np.float32),
        np.zeros(LANES, np.float32),
    )


@inlined
def _load_head(
    memory: _Backward,
    qkv: Any,
    gradient: Any,
    head: int,
    start: int,
    stop: int,
    rotations: Any,
    kind: int,
    query_scales: Any,
    key_scales: Any,
) -> None:
    """Loads what the backward pass of a head reads, as rows and as columns, and clears what it adds to."""
    used = tile_count(stop - start) * tile_count(qkv.shape[3])
    load_rotated(qkv, 0, head, start, stop, rotations, kind, query_scales, memory.queries, memory.query_columns)
    load_rotated(qkv, 1, head, start, stop, rotations, kind, key_scales, memory.keys, memory.key_columns)
    load(qkv, 2, head, start, stop, memory.values)
    load(gradient, 0, head, start, stop, memory.gradients)

    # Products need queries, keys and gradients both as rows and as columns.
    transpose(memory.query_columns, memory.queries, used)
    transpose(memory.key_columns, memory.keys, used)
    transpose(memory.gradients, memory.gradient_columns, used)

    # Later tiles keep what a longer frame has left there; nothing reads them.
    memory.d_queries[:used] = _f(0.0)
    memory.d_keys[:used] = _f(0.0)
    memory.d_values[:used] = _f(0.0)


@inlined
def _attend_tile_backward(
    memory: _Backward,
    start: int,
    stop: int,
    at: int,
    head: int,
    heads_width: Any,
    window: int,
    seed: Any,
    drop: Any,
    log_sums: Any,
) -> None:
    """Adds to the gradients what the queries of one tile contribute.

    With weights w = softmax(s), the gradient of the output g and values v: d_w = v @ g, d_s = w * (d_w - sum(w * d_w)).
    From d_s follow the gradients of queries and keys, and w @ g is that of the values. The weights that dropout scaled
    are w * kept.
    """
    weights = memory.weights
    d_weights = memory.d_weights
    kept = memory.kept
    sums = memory.sums
    heads, width = heads_width
    width_tiles = tile_count(width)
    length = stop - start
    query_tile = (at - start) // LANES
    count = min(LANES, stop - at)
    first = _first_key_tile(query_tile, window)
    for query in range(count):
        memory.log_sums[query] = log_sums[head, at + query]

    # The weights again, their gradients, and sum(w * d_w).
    sums[:] = _f(0.0)
    for tile in range(first, query_tile + 1):
        seen = min(LANES, length - tile * LANES)
        _score(memory.key_columns, memory.query_columns, tile, query_tile, width_tiles, window, length, weights)
        _exponentiate(weights, tile, memory.log_sums)
        d_weights[tile] = _f(0.0)
        for part in range(width_tiles):
            value = tile * width_tiles + part
            query = query_tile * width_tiles + part
            add_product(memory.values, value, memory.gradient_columns, query, seen, d_weights, tile)
        if drop:
            # The mask of the forward pass again, with its scale.
            kept[tile] = _f(1.0 / (1.0 - drop / 2.0**32))
            _apply_dropout(kept, tile, seed, drop, at * heads + head, heads)
            multiply_tile(d_weights, kept, tile)
        _add_products(weights, d_weights, tile, sums)

    # From gradients of weights to those of scores, and on to queries, keys and values.
    for tile in range(first, query_tile + 1):
        seen = min(LANES, length - tile * LANES)
        _to_score_gradients(weights, d_weights, tile, sums)
        if drop:
            multiply_tile(weights, kept, tile)
        for part in range(width_tiles):
            query = query_tile * width_tiles + part
            key = tile * width_tiles + part
            add_transposed_product(d_weights, tile, memory.keys, key, count, memory.d_queries, query)
            add_product(d_weights, tile, memory.queries, query, seen, memory.d_keys, key)
            add_product(weights, tile, memory.gradients, query, seen, memory.d_values, key)


@inlined
def _longest(offsets: Any, begin: int, end: int) -> int:
    """Returns the tokens of the longest frame from ``begin`` up to ``end``."""
    longest = 0
    for frame in range(begin, end):
        longest = max(longest, offsets[frame + 1] - offsets[frame])
    return longest


@inlined
def _first_key_tile(query_tile: int, window: int) -> int:
    """Returns the first tile of keys that some query of a tile sees."""
    return max(0, query_tile * LANES - window + 1) // LANES if window else 0


@inlined
def _score(
    key_columns: Any,
    query_columns: Any,
    tile: int,
    query_tile: int,
    width_tiles: int,
    window: int,
    length: int,
    out: Any,
) -> None:
    """Writes the scores ``[keys, queries]`` of a tile of keys and a tile of queries to ``out[tile]``."""
    distance = (query_tile - tile) * LANES
    seen = min(LANES, length - tile * LANES)

    # The mask: what the products are added to.
    # Not out[tile] = _CAUSAL: numba would compile the text of an error, that of shapes that differ, for seconds.
    if distance:
        out[tile] = _f(0.0)
    else:
        for key in range(LANES):
            for query in range(LANES):
                out[tile, key, query] = _CAUSAL[key, query]
    if seen < LANES:
        out[tile, seen:] = _HIDDEN

    for part in range(width_tiles):
        key = tile * width_tiles + part
        query = query_tile * width_tiles + part
        add_transposed_product(key_columns, key, query_columns, query, seen, out, tile)

    # Keys that lie before the window of a query.
    if window and distance + LANES > window:
        for key in range(LANES):
            for query in range(LANES):
                if distance + query - key >= window:
                    out[tile, key, query] = _HIDDEN


@inlined
def _update_maxima(maxima: Any, scores: Any, tile: int) -> None:
    """Raises the largest score of each query to that of another tile of keys, if it is larger."""
    for lane in range(LANES):
        largest = maxima[lane]
        for key in range(LANES):
            largest = max(largest, scores[tile, key, lane])
        maxima[lane] = largest


@inlined
def _exponentiate(scores: Any, tile: int, shift: Any) -> None:
    """Replaces each score by exp(score - shift of its query)."""
    for key in range(LANES):
        for lane in range(len(shift)):
            scores[tile, key, lane] = exp(scores[tile, key, lane] - shift[lane])


@inlined
def _add_sums(weights: Any, tile: int, sums: Any) -> None:
    """Adds the sum over a tile's keys to the sum of each query."""
    for lane in range(len(sums)):
        total = sums[lane]
        for key in range(LANES):
            total += weights[tile, key, lane]
        sums[lane] = total


@inlined
def _apply_dropout(weights: Any, tile: int, seed: Any, drop: Any, row: int, stride: int) -> None:
    """Sets dropped weights to 0.

    A weight's random bits depend on its query's number among all queries of all heads, and on its key. ``row`` is the
    number of the tile's first query; the next query of the same head comes ``stride`` after it.
    """
    for key in range(LANES):
        for query in range(LANES):
            # 2^32 divided by the golden ratio spreads consecutive numbers over all 32 bits.
            number = np.uint32(np.uint32(row + query * stride) * np.uint32(0x9E3779B9))
            bits = random_bits(seed, np.uint32(number + np.uint32(tile * LANES + key)))
            weights[tile, key, query] = weights[tile, key, query] if bits >= drop else _f(0.0)


@inlined
def _add_products(weights: Any, gradients: Any, tile: int, sums: Any) -> None:
    """Adds the sum over a tile's keys of weight times gradient to the sum of each query."""
    for lane in range(len(sums)):
        total = sums[lane]
        for key in range(LANES):
            total += weights[tile, key, lane] * gradients[tile, key, lane]
        sums[lane] = total


@inlined
def _to_score_gradients(weights: Any, gradients: Any, tile: int, sums: Any) -> None:
    """Replaces gradients of weights by those of scores: w * (g - sum(w * g))."""
    for key in range(LANES):
        for lane in range(len(sums)):
            gradients[tile, key, lane] = weights[tile, key, lane] * (gradients[tile, key, lane] - sums[lane])
