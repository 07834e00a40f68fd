"""The loops of decoding that are not matrix products, and those of a few rows that are.

All tokens of a step are one flat list, whichever frames they belong to: prompts, injected answers and last tokens go
through the same loops, and nothing is padded. Keys and values are kept in blocks of ``BLOCK`` tokens, with a table of
blocks for every frame.

Arrays are float32, or bfloat16 as uint16. Every function writes to the arrays that it is given and allocates nothing.

Shapes: M tokens, Q those of them that are computed further, D embedding, H heads, K dimensions of a head and P the
same padded to a multiple of ``LANES``, F width of the hidden layer, V tokens of the vocabulary, B blocks.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from o1nano.policies.network.compiled import compiled
from o1nano.policies.network.scalar_math import exp, normal_cdf, stored_as, to_float32

BLOCK = 16
"""Tokens of a block: their scores fill one register of 512 bits, or two of 256."""
LANES = 8
"""Dimensions of a head come in multiples of this, the rest filled with zeros."""

# Rows of the integers that describe the tokens of a step, ``[8, M]``; the first four are those of ``frame_scan``.
PLACE, ROLE, OFFSET, STATE, TIME, TOKEN, FRAME, NONE = range(8)

Floats = npt.NDArray[np.float32]
Numbers = npt.NDArray[Any]  # float32, or bfloat16 as uint16
Ints = npt.NDArray[np.int32]

_ONE, _TWO = np.float32(1.0), np.float32(2.0)
_HIDDEN = np.float32(-1e30)  # score of a token that is not seen


@compiled
def embed(inputs: Ints, tokens: Floats, roles: Floats, frequencies: Floats, out: Floats) -> None:
    """Embeds tokens ``inputs [8, M]``.

    Args:
        inputs: What the tokens are and where they stand.
        tokens: ``[V, D]`` their embeddings.
        roles: ``[NUM_ROLES, D]`` those of roles.
        frequencies: ``[D / 2]`` of sinusoids of the time, or none.
        out: ``[M, D]``, written.
    """
    for i in range(inputs.shape[1]):
        token, role = inputs[TOKEN, i], inputs[ROLE, i]
        for d in range(out.shape[1]):
            out[i, d] = tokens[token, d] + roles[role, d]
        for d in range(len(frequencies)):
            angle = np.float32(inputs[TIME, i]) * frequencies[d]
            out[i, d] += np.sin(angle)
            out[i, len(frequencies) + d] += np.cos(angle)


@compiled
def add_and_normalise(
    x: Floats, change: Numbers, bias: Floats, gain: Floats, shift: Floats, out: Numbers, count: int
) -> None:
    """Adds a residual branch to the stream, and normalises the sum (layer norm).

    Args:
        x: ``[M, D]`` the stream, updated.
        change: ``[M, D]`` what is added.
        bias: ``[D]`` likewise, to each token.
        gain: ``[D]`` of the norm.
        shift: Likewise.
        out: ``[M, D]`` the normalised stream, written.
        count: Tokens.
    """
    width = x.shape[1]
    for i in range(count):
        total = np.float32(0.0)
        for d in range(width):
            x[i, d] += to_float32(change[i, d]) + bias[d]
        for d in range(width):
            total += x[i, d]
        mean = total / np.float32(width)
        square = np.float32(0.0)
        for d in range(width):
            square += (x[i, d] - mean) * (x[i, d] - mean)
        factor = _ONE / np.sqrt(square / np.float32(width) + np.float32(1e-5))
        for d in range(width):
            out[i, d] = stored_as(out, (x[i, d] - mean) * factor * gain[d] + shift[d])


@compiled
def gelu(hidden: Numbers, bias: Floats, count: int) -> None:
    """Adds a bias ``[F]`` to ``hidden [M, F]`` and activates it, in place."""
    for i in range(count):
        for f in range(hidden.shape[1]):
            x = to_float32(hidden[i, f]) + bias[f]
            hidden[i, f] = stored_as(hidden, x * normal_cdf(x, exp(x * x * np.float32(-0.5))))


@compiled
def rotate_and_store(
    inputs: Ints,
    qkv: Numbers,
    turns: Floats,
    even: int,
    odd: int,
    growth: float,
    table: Ints,
    keys: Numbers,
    values: Numbers,
    queries: Floats,
) -> None:
    """Rotates queries and keys (Su et al. 2021, equation 34), and stores keys and values in their blocks.

    Args:
        inputs: ``[8, M]``.
        qkv: ``[M, 3 * D]`` queries, keys and values of all heads.
        turns: ``[8, positions, K]`` cosines and then sines of the angles of every position, by the kind of position.
        even: Kind of position, a row of ``inputs``, by which even heads are rotated.
        odd: Likewise, odd heads.
        growth: Queries are multiplied by this times the logarithm of their length, if that is above 1.
        table: ``[frames, blocks]`` the blocks of each frame.
        keys: ``[B, H * P, BLOCK]``, written.
        values: ``[B, H * BLOCK, P]``, written.
        queries: ``[M, H, P]`` rotated and scaled, written; zero beyond K.
    """
    heads, width = queries.shape[1], turns.shape[2]
    half, padded = width // 2, queries.shape[2]
    for i in range(inputs.shape[1]):
        time = inputs[TIME, i]
        block, slot = table[inputs[FRAME, i], time // BLOCK], time % BLOCK
        scale = np.float32(width) ** np.float32(-0.5)
        scale *= max(np.float32(growth) * np.log(np.float32(time + 1)), _ONE)
        for h in range(heads):
            kind = odd if h % 2 else even
            position, query, key = inputs[kind, i], h * width, (heads + h) * width
            for k in range(half):
                cos, sin = turns[kind, position, k], turns[kind, position, half + k]
                a, b = to_float32(qkv[i, query + k]), to_float32(qkv[i, query + half + k])
                queries[i, h, k] = (a * cos - b * sin) * scale
                queries[i, h, half + k] = (b * cos + a * sin) * scale
                a, b = to_float32(qkv[i, key + k]), to_float32(qkv[i, key + half + k])
                keys[block, h * padded + k, slot] = stored_as(keys, a * cos - b * sin)
                keys[block, h * padded + half + k, slot] = stored_as(keys, b * cos + a * sin)
            for k in range(width):
                value = to_float32(qkv[i, (2 * heads + h) * width + k])
                values[block, h * BLOCK + slot, k] = stored_as(values, value)


@compiled
def attend(
    inputs: Ints,
    which: Ints,
    queries: Floats,
    window: int,
    table: Ints,
    keys: Numbers,
    values: Numbers,
    scores: Floats,
    mixed: Floats,
    out: Numbers,
    begin: int,
    end: int,
) -> None:
    """Attends with some tokens to all that each may see in its frame.

    Args:
        inputs: ``[8, M]``.
        which: ``[Q]`` which of the tokens.
        queries: ``[M, H, P]`` rotated and scaled.
        window: Tokens that are seen, the own one included; 0: all.
        table: ``[frames, blocks]`` the blocks of each frame.
        keys: ``[B, H * P, BLOCK]``.
        values: ``[B, H * BLOCK, P]``.
        scores: ``[H, blocks, BLOCK]`` of the longest frame, overwritten.
        mixed: ``[H, P]``, overwritten.
        out: ``[Q, D]``, written.
        begin: First head that attends.
        end: Head after the last one.
    """
    heads = len(scores)
    width = out.shape[1] // heads
    for q in range(len(which)):
        i = which[q]
        time, frame = inputs[TIME, i], inputs[FRAME, i]
        oldest = max(time - window + 1, 0) if window else 0
        first, blocks = oldest // BLOCK, time // BLOCK - oldest // BLOCK + 1

        for number in range(blocks):
            _score(queries, i, keys, table[frame, first + number], scores, number, begin, end)
        for h in range(begin, end):
            share = _softmax(scores[h].reshape(-1), oldest - first * BLOCK, time - first * BLOCK + 1, blocks * BLOCK)
            mixed[h, :] = 0
            for number in range(blocks):
                _mix(scores, number, h, values, table[frame, first + number], mixed)
            for k in range(width):
                out[q, h * width + k] = stored_as(out, mixed[h, k] * share)


@compiled
def _score(
    queries: Floats, i: int, keys: Numbers, block: int, scores: Floats, number: int, begin: int, end: int
) -> None:
    """Scores the keys of a block, of some heads, eight dimensions at a time."""
    padded = queries.shape[2]
    for h in range(begin, end):
        for k in range(0, padded, 8):
            row = h * padded + k
            q0, q1, q2, q3 = queries[i, h, k], queries[i, h, k + 1], queries[i, h, k + 2], queries[i, h, k + 3]
            q4, q5, q6, q7 = queries[i, h, k + 4], queries[i, h, k + 5], queries[i, h, k + 6], queries[i, h, k + 7]
            for t in range(BLOCK):
                low = q0 * to_float32(keys[block, row, t]) + q1 * to_float32(keys[block, row + 1, t])
                low += q2 * to_float32(keys[block, row + 2, t]) + q3 * to_float32(keys[block, row + 3, t])
                high = q4 * to_float32(keys[block, row + 4, t]) + q5 * to_float32(keys[block, row + 5, t])
                high += q6 * to_float32(keys[block, row + 6, t]) + q7 * to_float32(keys[block, row + 7, t])
                if k == 0:
                    scores[h, number, t] = low + high
                else:
                    scores[h, number, t] += low + high


@compiled
def _softmax(scores: Floats, first: int, stop: int, end: int) -> np.float32:
    """Replaces scores from ``first`` to ``stop`` by their exponentials, and hides the others, up to ``end``.

    Returns:
        What the exponentials must be multiplied by.
    """
    for t in range(first):
        scores[t] = _HIDDEN
    for t in range(stop, end):
        scores[t] = _HIDDEN
    largest = _HIDDEN
    for t in range(end):
        largest = max(largest, scores[t])
    total = np.float32(0.0)
    for t in range(end):
        scores[t] = exp(scores[t] - largest)
        total += scores[t]
    return _ONE / total


@compiled
def _mix(scores: Floats, number: int, h: int, values: Numbers, block: int, mixed: Floats) -> None:
    """Adds the weighted values of a block, of one head, four tokens at a time."""
    for t in range(0, BLOCK, 4):
        row = h * BLOCK + t
        w0, w1, w2, w3 = (
            scores[h, number, t],
            scores[h, number, t + 1],
            scores[h, number, t + 2],
            scores[h, number, t + 3],
        )
        for k in range(values.shape[2]):
            low = w0 * to_float32(values[block, row, k]) + w1 * to_float32(values[block, row + 1, k])
            low += w2 * to_float32(values[block, row + 2, k]) + w3 * to_float32(values[block, row + 3, k])
            mixed[h, k] += low


@compiled
def collect(keys: Numbers, values: Numbers, table: Ints, first: int, out_keys: Floats, out_values: Floats) -> None:
    """Puts keys and values of one frame together, out of its blocks.

    Args:
        keys: ``[B, H * P, BLOCK]``.
        values: ``[B, H * BLOCK, P]``.
        table: ``[blocks]`` of the frame.
        first: Position of the first token.
        out_keys: ``[H, T, K]`` of T tokens, written.
        out_values: Likewise.
    """
    heads, length, width = out_keys.shape
    padded = values.shape[2]
    for i in range(length):
        block, slot = table[(first + i) // BLOCK], (first + i) % BLOCK
        for h in range(heads):
            for k in range(width):
                out_keys[h, i, k] = to_float32(keys[block, h * padded + k, slot])
                out_values[h, i, k] = to_float32(values[block, h * BLOCK + slot, k])


@compiled
def keep(x: Floats, which: Ints) -> None:
    """Moves some rows of ``x [M, D]``, in ascending order, to its beginning."""
    for q in range(len(which)):
        for d in range(x.shape[1]):
            x[q, d] = x[which[q], d]


@compiled
def multiply(x: Floats, weight: Floats, out: Floats, count: int) -> None:
    """Multiplies few rows ``x [M, D]`` by a weight ``[D, F]``, four of them by four rows of the weight at a time.

    Rows are the outermost loop: only then is it seen that what is written overlaps nothing that is read.
    """
    width = weight.shape[0] // 4 * 4
    for i in range(count):
        for f in range(weight.shape[1]):
            out[i, f] = 0
        for d in range(width, weight.shape[0]):
            for f in range(weight.shape[1]):
                out[i, f] += x[i, d] * weight[d, f]
    for i in range(0, count // 4 * 4, 4):
        for d in range(0, width, 4):
            a0, a1, a2, a3 = x[i, d], x[i, d + 1], x[i, d + 2], x[i, d + 3]
            b0, b1, b2, b3 = x[i + 1, d], x[i + 1, d + 1], x[i + 1, d + 2], x[i + 1, d + 3]
            c0, c1, c2, c3 = x[i + 2, d], x[i + 2, d + 1], x[i + 2, d + 2], x[i + 2, d + 3]
            e0, e1, e2, e3 = x[i + 3, d], x[i + 3, d + 1], x[i + 3, d + 2], x[i + 3, d + 3]
            for f in range(weight.shape[1]):
                w0, w1, w2, w3 = weight[d, f], weight[d + 1, f], weight[d + 2, f], weight[d + 3, f]
                out[i, f] += a0 * w0 + a1 * w1 + a2 * w2 + a3 * w3
                out[i + 1, f] += b0 * w0 + b1 * w1 + b2 * w2 + b3 * w3
                out[i + 2, f] += c0 * w0 + c1 * w1 + c2 * w2 + c3 * w3
                out[i + 3, f] += e0 * w0 + e1 * w1 + e2 * w2 + e3 * w3
    for i in range(count // 4 * 4, count):
        for d in range(0, width, 4):
            a0, a1, a2, a3 = x[i, d], x[i, d + 1], x[i, d + 2], x[i, d + 3]
            for f in range(weight.shape[1]):
                low = a0 * weight[d, f] + a1 * weight[d + 1, f]
                out[i, f] += low + a2 * weight[d + 2, f] + a3 * weight[d + 3, f]


@compiled
def log_softmax(
    inputs: Ints,
    ends: Ints,
    rows: Ints,
    logits: Numbers,
    bias: Floats,
    legal: npt.NDArray[np.bool_],
    channel: Ints,
    out: Floats,
) -> None:
    """Computes log-probabilities of what follows some frames; illegal tokens get -inf.

    Args:
        inputs: ``[8, M]``.
        ends: ``[Q]`` which of these tokens end a frame.
        rows: ``[Q]`` where in ``out`` each result goes.
        logits: ``[Q, channels * V]``.
        bias: ``[channels * V]`` of the output heads.
        legal: ``[NUM_STATES, V]``.
        channel: ``[NUM_STATES]``.
        out: ``[N, V]``, written.
    """
    size = legal.shape[1]
    for q in range(len(ends)):
        state = inputs[STATE, ends[q]]
        first = channel[state] * size
        scores, result = logits[q, first : first + size], out[rows[q]]
        largest = np.float32(-np.inf)
        for v in range(size):
            if legal[state, v]:
                result[v] = to_float32(scores[v]) + bias[first + v]
                largest = max(largest, result[v])
            else:
                result[v] = -np.inf
        total = np.float32(0.0)
        for v in range(size):
            if legal[state, v]:
                total += np.exp(result[v] - largest)
        total = largest + np.log(total)
        for v in range(size):
            result[v] -= total


@compiled
def critic(rows: Ints, hidden: Numbers, bias: Floats, weight: Floats, output_bias: Floats, out: Floats) -> None:
    """Computes values from the hidden layer ``[Q, D]`` of the critic; ``out [N]`` at ``rows`` is written."""
    for q in range(len(rows)):
        total = output_bias[0]
        for d in range(len(weight)):
            x = to_float32(hidden[q, d]) + bias[d]
            tanh = _ONE - _TWO / (exp(x * _TWO) + _ONE)
            total += tanh * weight[d]
        out[rows[q]] = total
