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

_ONE = np.float32(1.0)


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
        gain, shift: ``[D]`` of the norm.
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
def write_keys_and_values(
    inputs: Ints,
    qkv: Numbers,
    turns: Floats,
    even: int,
    odd: int,
    table: Ints,
    keys: Numbers,
    values: Numbers,
) -> None:
    """Rotates keys, and writes keys and values to their blocks.

    Args:
        inputs: ``[8, M]``.
        qkv: ``[M, 3 * D]`` queries, keys and values of all heads.
        turns: ``[8, positions, K]`` cosines and then sines of the angles of every position, by the kind of position.
        even, odd: Kinds of position, rows of ``inputs``, by which even and odd heads are rotated.
        table: ``[frames, blocks]`` the blocks of each frame.
        keys: ``[B, H, P, BLOCK]``, written.
        values: ``[B, H, BLOCK, P]``, written.
    """
    heads, width = keys.shape[1], turns.shape[2]
    half = width // 2
    for i in range(inputs.shape[1]):
        time = inputs[TIME, i]
        block, slot = table[inputs[FRAME, i], time // BLOCK], time % BLOCK
        for h in range(heads):
            kind = odd if h % 2 else even
            turn = turns[kind, inputs[kind, i]]
            first = (heads + h) * width
            for k in range(half):
                a, b = to_float32(qkv[i, first + k]), to_float32(qkv[i, first + half + k])
                keys[block, h, k, slot] = stored_as(keys, a * turn[k] - b * turn[half + k])
                keys[block, h, half + k, slot] = stored_as(keys, b * turn[k] + a * turn[half + k])
            new = qkv[i, (2 * heads + h) * width : (2 * heads + h + 1) * width]
            for k in range(width):
                values[block, h, slot, k] = stored_as(values, to_float32(new[k]))


@compiled
def attend(
    inputs: Ints,
    queries: Ints,
    qkv: Numbers,
    turns: Floats,
    even: int,
    odd: int,
    window: int,
    log_length: int,
    table: Ints,
    keys: Numbers,
    values: Numbers,
    scores: Floats,
    query: Floats,
    mixed: Floats,
    out: Numbers,
) -> None:
    """Attends with some tokens to all that each may see in its frame.

    Args:
        inputs: ``[8, M]``.
        queries: ``[Q]`` which of the tokens.
        qkv: ``[M, 3 * D]`` queries, keys and values of all heads.
        turns, even, odd, table, keys, values: See ``write_keys_and_values``.
        window: Tokens that are seen, the own one included; 0: all.
        log_length: Length beyond which scores grow with its logarithm; 0: never.
        scores: ``[H, tokens of the longest frame, a multiple of BLOCK]``, overwritten.
        query, mixed: ``[H, P]``, overwritten; zero beyond K.
        out: ``[Q, D]``, written.
    """
    heads, width = keys.shape[1], turns.shape[2]
    for q in range(len(queries)):
        i = queries[q]
        time, frame = inputs[TIME, i], inputs[FRAME, i]
        scale = _scale(width, time, window, log_length)
        _rotate_query(inputs, i, qkv[i], turns, even, odd, scale, query)

        oldest = max(time - window + 1, 0) if window else 0
        first_block, last_block = oldest // BLOCK, time // BLOCK
        for number in range(first_block, last_block + 1):
            block, at = table[frame, number], (number - first_block) * BLOCK
            for h in range(heads):
                _score(query[h], keys[block, h], scores[h, at : at + BLOCK])
        first, stop = oldest - first_block * BLOCK, time + 1 - first_block * BLOCK
        for h in range(heads):
            _softmax(scores[h], first, stop, (last_block - first_block + 1) * BLOCK)
            mixed[h, :] = 0
        for number in range(first_block, last_block + 1):
            block, at = table[frame, number], (number - first_block) * BLOCK
            for h in range(heads):
                _mix(scores[h, at : at + BLOCK], values[block, h], mixed[h])
        for h in range(heads):
            for k in range(width):
                out[q, h * width + k] = stored_as(out, mixed[h, k])


@compiled
def rotate_queries(
    inputs: Ints, qkv: Numbers, turns: Floats, even: int, odd: int, window: int, log_length: int, out: Floats
) -> None:
    """Rotates and scales the queries of all tokens ``inputs [8, M]`` to ``out [M, H, P]``, as ``attend`` does."""
    width = turns.shape[2]
    for i in range(inputs.shape[1]):
        _rotate_query(inputs, i, qkv[i], turns, even, odd, _scale(width, inputs[TIME, i], window, log_length), out[i])


@compiled
def _rotate_query(
    inputs: Ints, i: int, qkv: Numbers, turns: Floats, even: int, odd: int, scale: np.float32, out: Floats
) -> None:
    """Rotates the queries of one token, of all heads."""
    width = turns.shape[2]
    for h in range(len(out)):
        kind = odd if h % 2 else even
        _rotate(qkv[h * width : (h + 1) * width], turns[kind, inputs[kind, i]], scale, out[h])


@compiled
def _scale(width: int, time: int, window: int, log_length: int) -> np.float32:
    """Returns the factor of a query. Where everything is seen it may grow with the length: see ``sharpness``."""
    scale = np.float32(width) ** np.float32(-0.5)
    if log_length and not window:
        scale *= max(np.log(np.float32(time + 1)) / np.log(np.float32(log_length)), _ONE)
    return scale


@compiled
def _rotate(x: Numbers, turn: Floats, scale: np.float32, out: Floats) -> None:
    """Rotates ``x [K]`` (Su et al. 2021, equation 34) and scales it."""
    half = len(x) // 2
    for k in range(half):
        a, b = to_float32(x[k]) * scale, to_float32(x[half + k]) * scale
        out[k] = a * turn[k] - b * turn[half + k]
        out[half + k] = b * turn[k] + a * turn[half + k]


@compiled
def _score(query: Floats, keys: Numbers, scores: Floats) -> None:
    """Scores the ``BLOCK`` keys of a block, eight dimensions at a time."""
    for t in range(BLOCK):
        scores[t] = 0
    for k in range(0, len(query), 8):
        q0, q1, q2, q3 = query[k], query[k + 1], query[k + 2], query[k + 3]
        q4, q5, q6, q7 = query[k + 4], query[k + 5], query[k + 6], query[k + 7]
        for t in range(BLOCK):
            low = q0 * to_float32(keys[k, t]) + q1 * to_float32(keys[k + 1, t])
            low += q2 * to_float32(keys[k + 2, t]) + q3 * to_float32(keys[k + 3, t])
            high = q4 * to_float32(keys[k + 4, t]) + q5 * to_float32(keys[k + 5, t])
            high += q6 * to_float32(keys[k + 6, t]) + q7 * to_float32(keys[k + 7, t])
            scores[t] += low + high


@compiled
def _softmax(scores: Floats, first: int, stop: int, end: int) -> None:
    """Replaces scores from ``first`` to ``stop`` by their weights; the others, up to ``end``, are hidden."""
    largest = scores[first]
    for t in range(first, stop):
        largest = max(largest, scores[t])
    total = np.float32(0.0)
    for t in range(first, stop):
        scores[t] = exp(scores[t] - largest)
        total += scores[t]
    share = _ONE / total
    for t in range(first, stop):
        scores[t] *= share
    for t in range(first):
        scores[t] = 0
    for t in range(stop, end):
        scores[t] = 0


@compiled
def _mix(weights: Floats, values: Numbers, out: Floats) -> None:
    """Adds the weighted values of a block, four tokens at a time."""
    width = len(out)
    for t in range(0, BLOCK, 4):
        w0, w1, w2, w3 = weights[t], weights[t + 1], weights[t + 2], weights[t + 3]
        for k in range(width):
            low = w0 * to_float32(values[t, k]) + w1 * to_float32(values[t + 1, k])
            out[k] += low + w2 * to_float32(values[t + 2, k]) + w3 * to_float32(values[t + 3, k])


@compiled
def collect(keys: Numbers, values: Numbers, table: Ints, first: int, out_keys: Floats, out_values: Floats) -> None:
    """Puts keys and values of one frame together, out of its blocks.

    Args:
        keys: ``[B, H, P, BLOCK]``.
        values: ``[B, H, BLOCK, P]``.
        table: ``[blocks]`` of the frame.
        first: Position of the first token.
        out_keys, out_values: ``[H, T, K]`` of T tokens, written.
    """
    heads, length, width = out_keys.shape
    for h in range(heads):
        for i in range(length):
            block, slot = table[(first + i) // BLOCK], (first + i) % BLOCK
            for k in range(width):
                out_keys[h, i, k] = to_float32(keys[block, h, k, slot])
                out_values[h, i, k] = to_float32(values[block, h, slot, k])


@compiled
def keep(x: Floats, which: Ints) -> None:
    """Moves some rows of ``x [M, D]``, in ascending order, to its beginning."""
    for q in range(len(which)):
        for d in range(x.shape[1]):
            x[q, d] = x[which[q], d]


@compiled
def multiply(x: Floats, weight: Floats, out: Floats, count: int) -> None:
    """Multiplies few rows ``x [M, D]`` by a weight ``[D, F]``, eight of its rows at a time."""
    for i in range(count):
        for f in range(weight.shape[1]):
            out[i, f] = 0
    for d in range(0, weight.shape[0] - 7, 8):
        for i in range(count):
            x0, x1, x2, x3 = x[i, d], x[i, d + 1], x[i, d + 2], x[i, d + 3]
            x4, x5, x6, x7 = x[i, d + 4], x[i, d + 5], x[i, d + 6], x[i, d + 7]
            for f in range(weight.shape[1]):
                low = x0 * weight[d, f] + x1 * weight[d + 1, f] + x2 * weight[d + 2, f] + x3 * weight[d + 3, f]
                high = x4 * weight[d + 4, f] + x5 * weight[d + 5, f] + x6 * weight[d + 6, f] + x7 * weight[d + 7, f]
                out[i, f] += low + high
    for d in range(weight.shape[0] // 8 * 8, weight.shape[0]):
        for i in range(count):
            for f in range(weight.shape[1]):
                out[i, f] += x[i, d] * weight[d, f]


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
            total += np.tanh(to_float32(hidden[q, d]) + bias[d]) * weight[d]
        out[rows[q]] = total
