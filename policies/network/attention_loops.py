"""Compiled loops of causal attention over frames of different lengths that lie one after the other, unpadded.

One frame and head after the other: its queries, keys and values are copied, rotated and as float32, to tiles of
``LANES x LANES`` numbers that stay in the processor's nearest cache. Everything after that is products of tiles.
Nothing of the size of the weights is kept: the backward pass computes them again from the logarithm of their sum (Dao
et al. 2022).

Scores are held transposed, a query a lane, so that maxima and sums over keys need no step across lanes. A loop over the
lanes of a tile becomes one instruction if much is inside it, or if the compiler does not know its length: LLVM takes
short loops of known length apart before it looks for vectors. Hence ``range(len(...))``.

Glossary of shapes: F frames, M tokens of all frames, H heads, K dimensions of a head, R kinds of rotation, T tokens of
a frame, N tiles of tokens, D tiles of dimensions of a head, L lanes. Arrays of tiles are ``[N, D]`` made flat.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from o1nano.policies.network.compiled import compiled
from o1nano.policies.network.scalar_math import exp, random_bits, stored_as, to_float32

LANES = 16
"""float32 numbers in a register of the widest kind."""
_f = np.float32
_HIDDEN = _f(-1e30)
_OWN = np.where(np.arange(LANES)[:, None] > np.arange(LANES), _HIDDEN, _f(0.0)).astype(np.float32)
"""What is added to the scores ``[keys, queries]`` of the tile on the diagonal."""


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
    mixed: Any,
    log_sums: Any,
    begin: int,
    end: int,
) -> None:
    """Attends within frames ``begin`` up to ``end``.

    Args:
        qkv: ``[M, 3, H, K]`` queries, keys and values; float32, or the bits of bfloat16 as uint16.
        offsets: ``[F + 1]`` where frames begin, and where the last one ends.
        cos: ``[R, M, K / 2]``: cosines of the angles by which queries and keys are rotated, in head h those of kind
            ``h % R``.
        sin: Likewise.
        scale: ``[M]`` factors of the queries.
        window: How many keys a query sees, its own included; 0: all.
        seed: Of dropout, uint32.
        drop: A weight is dropped if its 32 random bits are below this; uint32.
        mixed: ``[M, 1, H, K]``, where the result goes; stored like ``qkv``.
        log_sums: ``[H, M]``, where the logarithm of the sum of the exponentials of each query's scores goes.
        begin: First frame.
        end: The frame after the last one.
    """
    heads, width = qkv.shape[2], qkv.shape[3]
    tiles, parts = _tiles(_longest(offsets, begin, end)), _tiles(width)
    shape = (tiles * parts, LANES, LANES)
    rows, query_columns, key_columns = (
        np.zeros(shape, np.float32),
        np.zeros(shape, np.float32),
        np.zeros(shape, np.float32),
    )
    values, out = np.zeros(shape, np.float32), np.zeros((parts, LANES, LANES), np.float32)
    weights = np.zeros((tiles, LANES, LANES), np.float32)
    best, total = np.zeros(LANES, np.float32), np.zeros(LANES, np.float32)
    turns = np.zeros((2, len(cos), tiles, cos.shape[2], LANES), np.float32)
    factors, ones = np.zeros((tiles, LANES), np.float32), np.ones((tiles, LANES), np.float32)
    kept = _f(1.0 - drop / 2.0**32)
    for frame in range(begin, end):
        start, stop = offsets[frame], offsets[frame + 1]
        _load_turns(cos, sin, scale, start, stop, turns, factors)
        for head in range(heads):
            kind = head % len(cos)
            _load_columns(qkv, 0, head, start, stop, turns, kind, factors, rows, query_columns)
            _load_columns(qkv, 1, head, start, stop, turns, kind, ones, rows, key_columns)
            _load(qkv, 2, head, start, stop, values)
            for at in range(start, stop, LANES):
                block, count = (at - start) // LANES, min(LANES, stop - at)
                first = _first_tile(block, window)
                best[:] = _HIDDEN
                for tile in range(first, block + 1):
                    _score(key_columns, query_columns, tile, block, parts, window, stop - start, weights)
                    _raise(best, weights, tile)
                total[:] = _f(0.0)
                for tile in range(first, block + 1):
                    _weigh(weights, tile, best)
                    _add_up(weights, tile, total)
                    if drop:
                        _drop(weights, tile, seed, drop, at * heads + head, heads)
                out[:] = _f(0.0)
                for tile in range(first, block + 1):
                    for part in range(parts):
                        _multiply_transposed(weights, tile, values, tile * parts + part, count, out, part)
                for query in range(count):
                    log_sums[head, at + query] = best[query] + np.log(total[query])
                    _scale_row(out, query, _f(1.0) / (total[query] * kept))
                _store(out, mixed, 0, head, at, at + count)


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
    """Computes the gradient of ``attend``.

    Args:
        qkv: As it was given to ``attend``, like all others up to ``drop``.
        offsets: Likewise.
        cos: Likewise.
        sin: Likewise.
        scale: Likewise.
        window: Likewise.
        seed: Likewise.
        drop: Likewise.
        log_sums: ``[H, M]`` as ``attend`` wrote it.
        gradient: ``[M, 1, H, K]`` of ``mixed``.
        out: ``[M, 3, H, K]``, where the gradient of ``qkv`` goes.
        begin: First frame.
        end: The frame after the last one.
    """
    heads, width = qkv.shape[2], qkv.shape[3]
    tiles, parts = _tiles(_longest(offsets, begin, end)), _tiles(width)
    shape = (tiles * parts, LANES, LANES)
    queries, query_columns = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    keys, key_columns, values = np.zeros(shape, np.float32), np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    gradients, gradient_columns = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    d_queries, d_keys, d_values = np.zeros(shape, np.float32), np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    shape = (tiles, LANES, LANES)
    weights, d_weights, kept = np.zeros(shape, np.float32), np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    log_sum, total = np.zeros(LANES, np.float32), np.zeros(LANES, np.float32)
    turns = np.zeros((2, len(cos), tiles, cos.shape[2], LANES), np.float32)
    factors, ones = np.zeros((tiles, LANES), np.float32), np.ones((tiles, LANES), np.float32)
    for frame in range(begin, end):
        start, stop = offsets[frame], offsets[frame + 1]
        _load_turns(cos, sin, scale, start, stop, turns, factors)
        used = _tiles(stop - start) * parts
        for head in range(heads):
            kind = head % len(cos)
            _load_columns(qkv, 0, head, start, stop, turns, kind, factors, queries, query_columns)
            _load_columns(qkv, 1, head, start, stop, turns, kind, ones, keys, key_columns)
            _load(qkv, 2, head, start, stop, values)
            _load(gradient, 0, head, start, stop, gradients)
            _transpose(query_columns, queries, used)
            _transpose(key_columns, keys, used)
            _transpose(gradients, gradient_columns, used)
            d_queries[:used] = _f(0.0)
            d_keys[:used] = _f(0.0)
            d_values[:used] = _f(0.0)
            for at in range(start, stop, LANES):
                block, count = (at - start) // LANES, min(LANES, stop - at)
                first = _first_tile(block, window)
                for query in range(count):
                    log_sum[query] = log_sums[head, at + query]
                total[:] = _f(0.0)
                for tile in range(first, block + 1):
                    seen = min(LANES, stop - start - tile * LANES)
                    _score(key_columns, query_columns, tile, block, parts, window, stop - start, weights)
                    _weigh(weights, tile, log_sum)
                    d_weights[tile] = _f(0.0)
                    for part in range(parts):
                        _multiply(
                            values, tile * parts + part, gradient_columns, block * parts + part, seen, d_weights, tile
                        )
                    if drop:
                        kept[tile] = _f(1.0 / (1.0 - drop / 2.0**32))
                        _drop(kept, tile, seed, drop, at * heads + head, heads)
                        _multiply_by(d_weights, kept, tile)
                    _add_products(weights, d_weights, tile, total)
                for tile in range(first, block + 1):
                    seen = min(LANES, stop - start - tile * LANES)
                    _to_scores(weights, d_weights, tile, total)
                    if drop:
                        _multiply_by(weights, kept, tile)
                    for part in range(parts):
                        own, other = block * parts + part, tile * parts + part
                        _multiply_transposed(d_weights, tile, keys, other, count, d_queries, own)
                        _multiply(d_weights, tile, queries, own, seen, d_keys, other)
                        _multiply(weights, tile, gradients, own, seen, d_values, other)
            _store_columns(d_queries, query_columns, turns, kind, factors, out, 0, head, start, stop)
            _store_columns(d_keys, key_columns, turns, kind, ones, out, 1, head, start, stop)
            _store(d_values, out, 2, head, start, stop)


@compiled
def _tiles(number: int) -> int:
    return (number + LANES - 1) // LANES


@compiled
def _longest(offsets: Any, begin: int, end: int) -> int:
    longest = 0
    for frame in range(begin, end):
        longest = max(longest, offsets[frame + 1] - offsets[frame])
    return longest


@compiled
def _first_tile(block: int, window: int) -> int:
    """Returns the first tile of keys that some query of a block sees."""
    return max(0, block * LANES - window + 1) // LANES if window else 0


@compiled
def _load(x: Any, which: int, head: int, start: int, stop: int, out: Any) -> None:
    """Copies a head of ``x [M, ., H, K]`` to tiles of tokens by dimensions; tokens that do not exist are 0."""
    parts = _tiles(x.shape[3])
    for part in range(parts):
        out[_tiles(stop - start) * parts - 1 - part] = _f(0.0)
    for at in range(start, stop):
        source, tile, row = x[at, which, head], (at - start) // LANES, (at - start) % LANES
        for part in range(parts):
            target = out[tile * parts + part, row]
            for lane in range(min(len(target), len(source) - part * LANES)):
                target[lane] = to_float32(source[part * LANES + lane])


@compiled
def _store(tiles: Any, out: Any, which: int, head: int, start: int, stop: int) -> None:
    """Copies tiles of tokens by dimensions to a head of ``out [M, ., H, K]``."""
    parts = _tiles(out.shape[3])
    for at in range(start, stop):
        target, tile, row = out[at, which, head], (at - start) // LANES, (at - start) % LANES
        for part in range(parts):
            source = tiles[tile * parts + part, row]
            for lane in range(min(len(source), len(target) - part * LANES)):
                target[part * LANES + lane] = stored_as(target, source[lane])


@compiled
def _load_turns(cos: Any, sin: Any, scale: Any, start: int, stop: int, turns: Any, factors: Any) -> None:
    """Copies a frame's cosines, sines and scales to where tokens are lanes: all heads use them."""
    for at in range(start, stop):
        tile, lane = (at - start) // LANES, (at - start) % LANES
        factors[tile, lane] = scale[at]
        for kind in range(len(cos)):
            for k in range(cos.shape[2]):
                turns[0, kind, tile, k, lane] = cos[kind, at, k]
                turns[1, kind, tile, k, lane] = sin[kind, at, k]


@compiled
def _load_columns(
    qkv: Any, which: int, head: int, start: int, stop: int, turns: Any, kind: int, factors: Any, rows: Any, out: Any
) -> None:
    """Copies queries or keys to tiles of dimensions by tokens, rotated (Su et al. 2021, equation 34) and scaled."""
    half, parts, tiles = turns.shape[3], _tiles(qkv.shape[3]), _tiles(stop - start)
    _load(qkv, which, head, start, stop, rows)
    _transpose(rows, out, tiles * parts)
    for tile in range(tiles):
        for k in range(half):
            one, two = tile * parts + k // LANES, tile * parts + (half + k) // LANES
            row, other = k % LANES, (half + k) % LANES
            for lane in range(factors.shape[1]):
                first, second = out[one, row, lane], out[two, other, lane]
                c, s = turns[0, kind, tile, k, lane], turns[1, kind, tile, k, lane]
                out[one, row, lane] = (first * c - second * s) * factors[tile, lane]
                out[two, other, lane] = (second * c + first * s) * factors[tile, lane]


@compiled
def _store_columns(
    rows: Any,
    columns: Any,
    turns: Any,
    kind: int,
    factors: Any,
    out: Any,
    which: int,
    head: int,
    start: int,
    stop: int,
) -> None:
    """Writes the gradient of what ``_load_columns`` read from that of what it wrote: the opposite rotation."""
    half, parts, tiles = turns.shape[3], _tiles(out.shape[3]), _tiles(stop - start)
    _transpose(rows, columns, tiles * parts)
    for tile in range(tiles):
        for k in range(half):
            one, two = tile * parts + k // LANES, tile * parts + (half + k) // LANES
            row, other = k % LANES, (half + k) % LANES
            for lane in range(factors.shape[1]):
                first, second = columns[one, row, lane], columns[two, other, lane]
                c, s = turns[0, kind, tile, k, lane], turns[1, kind, tile, k, lane]
                columns[one, row, lane] = (first * c + second * s) * factors[tile, lane]
                columns[two, other, lane] = (second * c - first * s) * factors[tile, lane]
    _transpose(columns, rows, tiles * parts)
    _store(rows, out, which, head, start, stop)


@compiled
def _transpose(tiles: Any, out: Any, count: int) -> None:
    for tile in range(count):
        for row in range(LANES):
            for lane in range(LANES):
                out[tile, lane, row] = tiles[tile, row, lane]


@compiled
def _multiply(left: Any, a: int, right: Any, b: int, rows: int, out: Any, c: int) -> None:
    """Adds the first rows of the product of tiles ``left[a]`` and ``right[b]`` to ``out[c]``."""
    for row in range(rows):
        for lane in range(LANES):
            total = out[c, row, lane]
            for k in range(LANES):
                total += left[a, row, k] * right[b, k, lane]
            out[c, row, lane] = total


@compiled
def _multiply_transposed(left: Any, a: int, right: Any, b: int, rows: int, out: Any, c: int) -> None:
    """Adds the first rows of the product of tiles ``left[a]``, transposed, and ``right[b]`` to ``out[c]``."""
    for row in range(rows):
        for lane in range(LANES):
            total = out[c, row, lane]
            for k in range(LANES):
                total += left[a, k, row] * right[b, k, lane]
            out[c, row, lane] = total


@compiled
def _score(
    key_columns: Any, query_columns: Any, tile: int, block: int, parts: int, window: int, length: int, out: Any
) -> None:
    """Writes scores ``[keys, queries]`` of a tile of keys and a tile of queries of a frame to ``out[tile]``."""
    distance, seen = (block - tile) * LANES, min(LANES, length - tile * LANES)
    if distance:
        out[tile] = _f(0.0)
    else:
        out[tile] = _OWN
    if seen < LANES:
        out[tile, seen:] = _HIDDEN
    for part in range(parts):
        _multiply_transposed(key_columns, tile * parts + part, query_columns, block * parts + part, seen, out, tile)
    if window and distance + LANES > window:
        for key in range(LANES):
            for query in range(LANES):
                if distance + query - key >= window:
                    out[tile, key, query] = _HIDDEN


@compiled
def _raise(best: Any, scores: Any, tile: int) -> None:
    """Raises the best score of each query to the best of a further tile of keys."""
    for lane in range(LANES):
        most = best[lane]
        for key in range(LANES):
            most = max(most, scores[tile, key, lane])
        best[lane] = most


@compiled
def _weigh(scores: Any, tile: int, shift: Any) -> None:
    """Turns the scores of each query into the exponentials of what is left after its shift."""
    for key in range(LANES):
        for lane in range(len(shift)):
            scores[tile, key, lane] = exp(scores[tile, key, lane] - shift[lane])


@compiled
def _add_up(weights: Any, tile: int, total: Any) -> None:
    """Adds the sum over keys to the total of each query."""
    for lane in range(len(total)):
        sum_ = total[lane]
        for key in range(LANES):
            sum_ += weights[tile, key, lane]
        total[lane] = sum_


@compiled
def _drop(weights: Any, tile: int, seed: Any, drop: Any, row: int, stride: int) -> None:
    """Drops weights at random; rows of weights are numbered, and those of two queries are ``stride`` apart."""
    for key in range(LANES):
        for query in range(LANES):
            number = np.uint32(np.uint32(row + query * stride) * np.uint32(0x9E3779B9))
            bits = random_bits(seed, np.uint32(number + np.uint32(tile * LANES + key)))
            weights[tile, key, query] = weights[tile, key, query] if bits >= drop else _f(0.0)


@compiled
def _scale_row(tiles: Any, row: int, factor: Any) -> None:
    for tile in range(len(tiles)):
        for lane in range(tiles.shape[2]):
            tiles[tile, row, lane] *= factor


@compiled
def _multiply_by(weights: Any, factors: Any, tile: int) -> None:
    for key in range(LANES):
        for lane in range(weights.shape[2]):
            weights[tile, key, lane] *= factors[tile, key, lane]


@compiled
def _add_products(weights: Any, gradients: Any, tile: int, total: Any) -> None:
    """Adds to the total of each query the sum over keys of weights times their gradients."""
    for lane in range(len(total)):
        sum_ = total[lane]
        for key in range(LANES):
            sum_ += weights[tile, key, lane] * gradients[tile, key, lane]
        total[lane] = sum_


@compiled
def _to_scores(weights: Any, gradients: Any, tile: int, total: Any) -> None:
    """Turns gradients of weights into those of scores: with all weights w and gradients g, w * (g - sum(w * g))."""
    for key in range(LANES):
        for lane in range(len(total)):
            gradients[tile, key, lane] = weights[tile, key, lane] * (gradients[tile, key, lane] - total[lane])
