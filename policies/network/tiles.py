"""Tiles of ``LANES x LANES`` float32 numbers: how the compiled attention loads, rotates, multiplies and stores them.

A head's queries, keys or values ``[T, K]`` become a grid of tiles, N tiles of tokens by D tiles of dimensions. Arrays
of tiles are ``[N * D, LANES, LANES]``: tile ``n * D + d`` has tokens ``16 n`` to ``16 n + 15`` and dimensions ``16 d``
to ``16 d + 15``. With 40 tokens of 20 dimensions, N is 3 and D is 2, and number (17, 18) lies in tile 3 at [1, 2]. What
lies beyond the last token or dimension is 0.

A tile has *rows* of tokens, or *columns*: then it is transposed, and tokens are its lanes.

A loop over the lanes of a tile becomes one vector instruction only if its body is long or its length is not known to
the compiler: LLVM unrolls short loops of known length before it vectorises. Hence ``range(len(...))`` in some of them.

Shapes: M tokens of all frames, H heads, K dimensions of a head, R kinds of rotation, T tokens of a frame, L lanes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from o1nano.policies.network.compiled import inlined
from o1nano.policies.network.scalar_math import stored_as, to_float32

LANES = 16
"""float32 numbers in a vector register of 512 bits."""
_f = np.float32


@inlined
def tile_count(length: int) -> int:
    """Returns how many tiles hold a number of tokens or dimensions."""
    return (length + LANES - 1) // LANES


@inlined
def load(x: Any, which: int, head: int, start: int, stop: int, out: Any) -> None:
    """Copies a head of ``x [M, ., H, K]``, tokens ``start`` to ``stop``, to tiles of rows."""
    width_tiles = tile_count(x.shape[3])

    # Only the last tokens' tiles may have rows that are not written below.
    for part in range(width_tiles):
        out[tile_count(stop - start) * width_tiles - 1 - part] = _f(0.0)

    for at in range(start, stop):
        source = x[at, which, head]
        tile = (at - start) // LANES
        row = (at - start) % LANES
        for part in range(width_tiles):
            target = out[tile * width_tiles + part, row]
            # With K = 20, tile 1 has four dimensions; its other lanes stay 0.
            for lane in range(min(len(target), len(source) - part * LANES)):
                target[lane] = to_float32(source[part * LANES + lane])


@inlined
def store(tiles: Any, out: Any, which: int, head: int, start: int, stop: int) -> None:
    """Copies tiles of rows to a head of ``out [M, ., H, K]``, tokens ``start`` to ``stop``."""
    width_tiles = tile_count(out.shape[3])
    for at in range(start, stop):
        target = out[at, which, head]
        tile = (at - start) // LANES
        row = (at - start) % LANES
        for part in range(width_tiles):
            source = tiles[tile * width_tiles + part, row]
            for lane in range(min(len(source), len(target) - part * LANES)):
                target[part * LANES + lane] = stored_as(target, source[lane])


@inlined
def load_rotations(cos: Any, sin: Any, scale: Any, start: int, stop: int, rotations: Any, scales: Any) -> None:
    """Copies cosines, sines and query scales of a frame, tokens as lanes; all heads of the frame use them.

    Args:
        cos: ``[R, M, K / 2]``.
        sin: ``[R, M, K / 2]``.
        scale: ``[M]``.
        start: First token of the frame.
        stop: The token after the last one.
        rotations: ``[2, R, N, K / 2, L]`` cosines and sines, written.
        scales: ``[N, L]``, written.
    """
    for at in range(start, stop):
        tile = (at - start) // LANES
        lane = (at - start) % LANES
        scales[tile, lane] = scale[at]
        for kind in range(len(cos)):
            for k in range(cos.shape[2]):
                rotations[0, kind, tile, k, lane] = cos[kind, at, k]
                rotations[1, kind, tile, k, lane] = sin[kind, at, k]


@inlined
def load_rotated(
    qkv: Any, which: int, head: int, start: int, stop: int, rotations: Any, kind: int, scales: Any, rows: Any, out: Any
) -> None:
    """Copies queries or keys to tiles of columns, rotated (Su et al. 2021, equation 34) and scaled.

    Dimensions k and K / 2 + k of a head are a pair that is rotated by angle k.

    Args:
        qkv: ``[M, 3, H, K]``.
        which: 0 for queries, 1 for keys.
        head: Head.
        start: First token of the frame.
        stop: The token after the last one.
        rotations: ``[2, R, N, K / 2, L]`` of the frame.
        kind: Which of the R rotations.
        scales: ``[N, L]`` factors of the tokens.
        rows: Tiles, overwritten.
        out: Tiles of columns, written.
    """
    width_tiles = tile_count(qkv.shape[3])
    token_tiles = tile_count(stop - start)
    load(qkv, which, head, start, stop, rows)
    transpose(rows, out, token_tiles * width_tiles)
    _rotate(out, token_tiles, width_tiles, rotations, kind, scales, np.float32(1.0))


@inlined
def store_rotated_back(
    rows: Any,
    columns: Any,
    rotations: Any,
    kind: int,
    scales: Any,
    out: Any,
    which: int,
    head: int,
    start: int,
    stop: int,
) -> None:
    """Writes the gradient of what ``load_rotated`` read, given that of what it wrote: the opposite rotation.

    Args:
        rows: Tiles of rows, gradient of rotated queries or keys; overwritten.
        columns: Tiles, overwritten.
        rotations: ``[2, R, N, K / 2, L]`` of the frame.
        kind: Which of the R rotations.
        scales: ``[N, L]`` factors of the tokens.
        out: ``[M, 3, H, K]``, written.
        which: 0 for queries, 1 for keys.
        head: Head.
        start: First token of the frame.
        stop: The token after the last one.
    """
    width_tiles = tile_count(out.shape[3])
    token_tiles = tile_count(stop - start)
    transpose(rows, columns, token_tiles * width_tiles)
    # The transposed rotation: by the same angle in the other direction.
    _rotate(columns, token_tiles, width_tiles, rotations, kind, scales, np.float32(-1.0))
    transpose(columns, rows, token_tiles * width_tiles)
    store(rows, out, which, head, start, stop)


@inlined
def _rotate(
    columns: Any, token_tiles: int, width_tiles: int, rotations: Any, kind: int, scales: Any, direction: Any
) -> None:
    """Rotates each pair of dimensions of each token by its angle, and multiplies it by the token's factor.

    Args:
        columns: Tiles with tokens as lanes, changed in place.
        token_tiles: Tiles of the frame's tokens.
        width_tiles: Tiles of the head's dimensions.
        rotations: ``[2, R, N, K / 2, L]`` of the frame.
        kind: Which of the R rotations.
        scales: ``[N, L]`` factors of the tokens.
        direction: 1 rotates forwards, -1 backwards.
    """
    half = rotations.shape[3]
    for tile in range(token_tiles):
        for k in range(half):
            # Where the two dimensions of the pair lie.
            first_tile = tile * width_tiles + k // LANES
            first_row = k % LANES
            second_tile = tile * width_tiles + (half + k) // LANES
            second_row = (half + k) % LANES

            # With tokens as lanes, this is one vector operation.
            for lane in range(scales.shape[1]):
                first = columns[first_tile, first_row, lane]
                second = columns[second_tile, second_row, lane]
                c = rotations[0, kind, tile, k, lane]
                s = direction * rotations[1, kind, tile, k, lane]
                columns[first_tile, first_row, lane] = (first * c - second * s) * scales[tile, lane]
                columns[second_tile, second_row, lane] = (second * c + first * s) * scales[tile, lane]


@inlined
def transpose(tiles: Any, out: Any, count: int) -> None:
    """Transposes each of the first ``count`` tiles: rows become columns, or columns rows."""
    for tile in range(count):
        for row in range(LANES):
            for lane in range(LANES):
                out[tile, lane, row] = tiles[tile, row, lane]


@inlined
def add_product(left: Any, a: int, right: Any, b: int, rows: int, out: Any, c: int) -> None:
    """Adds the first rows of ``left[a] @ right[b]`` to ``out[c]``."""
    for row in range(rows):
        for lane in range(LANES):
            total = out[c, row, lane]
            for k in range(LANES):
                total += left[a, row, k] * right[b, k, lane]
            out[c, row, lane] = total


@inlined
def add_transposed_product(left: Any, a: int, right: Any, b: int, rows: int, out: Any, c: int) -> None:
    """Adds the first rows of ``left[a].T @ right[b]`` to ``out[c]``."""
    for row in range(rows):
        for lane in range(LANES):
            total = out[c, row, lane]
            for k in range(LANES):
                total += left[a, k, row] * right[b, k, lane]
            out[c, row, lane] = total


@inlined
def scale_row(tiles: Any, row: int, factor: Any) -> None:
    """Multiplies a row of every tile by a number."""
    for tile in range(len(tiles)):
        for lane in range(tiles.shape[2]):
            tiles[tile, row, lane] *= factor


@inlined
def multiply_tile(tiles: Any, factors: Any, tile: int) -> None:
    """Multiplies a tile by the tile of factors with the same number, element by element."""
    for row in range(LANES):
        for lane in range(tiles.shape[2]):
            tiles[tile, row, lane] *= factors[tile, row, lane]
