"""Compiled loops of decoding around attention: embedding, norms, GELU, small matrix products, output heads.

The new tokens of a step are one flat list, whichever frames they belong to. Prefill of prompts, injected answers and
single tokens take the same path, and nothing is padded.

Arrays are float32, or the bits of bfloat16 as uint16. Every function writes to the arrays that it is given and
allocates nothing.

Shapes: M new tokens, Q those of them that end a frame, D embedding, F width of the feed-forward layer, V vocabulary.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from o1nano.policies.decoding.layout import STATE, TIME, TOKEN, Floats, Ints, Numbers
from o1nano.policies.network.compiled import inlined
from o1nano.policies.network.scalar_math import exp, normal_cdf, stored_as, to_float32

_ONE = np.float32(1.0)
_TWO = np.float32(2.0)


@inlined
def embed(fields: Ints, role_field: int, tokens: Floats, roles: Floats, frequencies: Floats, out: Floats) -> None:
    """Embeds the new tokens.

    Args:
        fields: ``[10, M]`` the new tokens.
        role_field: Which row of ``fields`` is embedded as the role.
        tokens: ``[V, D]`` token embeddings.
        roles: ``[NUM_ROLES, D]`` role embeddings.
        frequencies: ``[D / 2]`` of sinusoids of the time; empty without sinusoids.
        out: ``[M, D]``, written.
    """
    for i in range(fields.shape[1]):
        token = fields[TOKEN, i]
        role = fields[role_field, i]
        for d in range(out.shape[1]):
            out[i, d] = tokens[token, d] + roles[role, d]
        for d in range(len(frequencies)):
            angle = np.float32(fields[TIME, i]) * frequencies[d]
            out[i, d] += np.sin(angle)
            out[i, len(frequencies) + d] += np.cos(angle)


@inlined
def add_norm(
    x: Floats, branch: Numbers, branch_bias: Floats, weight: Floats, bias: Floats, out: Numbers, count: int
) -> None:
    """Adds a branch to the residual stream, and normalises the sum (layer norm).

    Args:
        x: ``[M, D]`` residual stream, updated.
        branch: ``[M, D]`` what is added.
        branch_bias: ``[D]`` added to every token too.
        weight: ``[D]`` weight of the norm.
        bias: ``[D]`` bias of the norm.
        out: ``[M, D]`` normalised sum, written.
        count: Tokens.
    """
    width = x.shape[1]
    for i in range(count):
        total = np.float32(0.0)
        for d in range(width):
            x[i, d] += to_float32(branch[i, d]) + branch_bias[d]
        for d in range(width):
            total += x[i, d]
        mean = total / np.float32(width)

        # The variance in a second pass: a difference of large sums would lose digits.
        square = np.float32(0.0)
        for d in range(width):
            square += (x[i, d] - mean) * (x[i, d] - mean)
        factor = _ONE / np.sqrt(square / np.float32(width) + np.float32(1e-5))

        for d in range(width):
            out[i, d] = stored_as(out, (x[i, d] - mean) * factor * weight[d] + bias[d])


@inlined
def bias_gelu(hidden: Numbers, bias: Floats, count: int) -> None:
    """Adds a bias ``[F]`` to the first rows of ``hidden [M, F]`` and applies GELU, in place."""
    for i in range(count):
        for f in range(hidden.shape[1]):
            x = to_float32(hidden[i, f]) + bias[f]
            hidden[i, f] = stored_as(hidden, x * normal_cdf(x, exp(x * x * np.float32(-0.5))))


@inlined
def select_rows(x: Floats, selected: Ints) -> None:
    """Moves some rows of ``x [M, D]``, given in ascending order, to its beginning."""
    for q in range(len(selected)):
        for d in range(x.shape[1]):
            x[q, d] = x[selected[q], d]


@inlined
def multiply(x: Floats, weight: Floats, out: Floats, count: int) -> None:
    """Writes ``x[:count] @ weight`` to ``out``, for few rows.

    Four rows of ``x`` meet four rows of the weight at a time: each number of the weight that is loaded is used four
    times, and each number of ``out`` once for four products. The loop over rows of ``x`` is the outermost: only then
    does the compiler see that what is written overlaps nothing that is read.

    Args:
        x: ``[M, D]``.
        weight: ``[D, F]``.
        out: ``[M, F]``, written.
        count: Rows.
    """
    # Clear the output.
    width = weight.shape[0] // 4 * 4
    for i in range(count):
        for f in range(weight.shape[1]):
            out[i, f] = 0
        # Rows of the weight that are left over, if D is no multiple of four.
        for d in range(width, weight.shape[0]):
            for f in range(weight.shape[1]):
                out[i, f] += x[i, d] * weight[d, f]

    for i in range(0, count // 4 * 4, 4):
        for d in range(0, width, 4):
            # Rows a, b, c and e of x, with four numbers each in registers.
            a0 = x[i, d]
            a1 = x[i, d + 1]
            a2 = x[i, d + 2]
            a3 = x[i, d + 3]
            b0 = x[i + 1, d]
            b1 = x[i + 1, d + 1]
            b2 = x[i + 1, d + 2]
            b3 = x[i + 1, d + 3]
            c0 = x[i + 2, d]
            c1 = x[i + 2, d + 1]
            c2 = x[i + 2, d + 2]
            c3 = x[i + 2, d + 3]
            e0 = x[i + 3, d]
            e1 = x[i + 3, d + 1]
            e2 = x[i + 3, d + 2]
            e3 = x[i + 3, d + 3]
            for f in range(weight.shape[1]):
                w0 = weight[d, f]
                w1 = weight[d + 1, f]
                w2 = weight[d + 2, f]
                w3 = weight[d + 3, f]
                out[i, f] += a0 * w0 + a1 * w1 + a2 * w2 + a3 * w3
                out[i + 1, f] += b0 * w0 + b1 * w1 + b2 * w2 + b3 * w3
                out[i + 2, f] += c0 * w0 + c1 * w1 + c2 * w2 + c3 * w3
                out[i + 3, f] += e0 * w0 + e1 * w1 + e2 * w2 + e3 * w3

    # Rows that are left over, one at a time.
    for i in range(count // 4 * 4, count):
        for d in range(0, width, 4):
            a0 = x[i, d]
            a1 = x[i, d + 1]
            a2 = x[i, d + 2]
            a3 = x[i, d + 3]
            for f in range(weight.shape[1]):
                low = a0 * weight[d, f] + a1 * weight[d + 1, f]
                out[i, f] += low + a2 * weight[d + 2, f] + a3 * weight[d + 3, f]


@inlined
def log_softmax(
    fields: Ints,
    ends: Ints,
    rows: Ints,
    logits: Numbers,
    bias: Floats,
    legal: npt.NDArray[np.bool_],
    channel: Ints,
    out: Floats,
) -> None:
    """Computes log-probabilities of the next token of some frames; illegal tokens get -inf.

    Args:
        fields: ``[10, M]`` the new tokens.
        ends: ``[Q]`` which of them end a frame.
        rows: ``[Q]`` where in ``out`` each result goes.
        logits: ``[Q, channels * V]`` of all three output heads.
        bias: ``[channels * V]`` of the output heads.
        legal: ``[NUM_STATES, V]`` legal tokens in each grammar state.
        channel: ``[NUM_STATES]`` the output head of each grammar state.
        out: ``[N, V]``, written.
    """
    size = legal.shape[1]
    for q in range(len(ends)):
        # The output head that this frame's grammar state selects.
        state = fields[STATE, ends[q]]
        first = channel[state] * size
        scores = logits[q, first : first + size]
        result = out[rows[q]]

        largest = np.float32(-np.inf)
        for v in range(size):
            if legal[state, v]:
                result[v] = to_float32(scores[v]) + bias[first + v]
                largest = max(largest, result[v])
            else:
                result[v] = -np.inf

        # Log-sum-exp over the legal tokens.
        total = np.float32(0.0)
        for v in range(size):
            if legal[state, v]:
                total += np.exp(result[v] - largest)
        total = largest + np.log(total)

        for v in range(size):
            result[v] -= total


@inlined
def value_head(rows: Ints, hidden: Numbers, bias: Floats, weight: Floats, output_bias: Floats, out: Floats) -> None:
    """Computes values from the critic's hidden layer.

    Args:
        rows: ``[Q]`` where in ``out`` each value goes.
        hidden: ``[Q, D]`` product of the hidden layer, without bias.
        bias: ``[D]`` its bias.
        weight: ``[D]`` weight of the output.
        output_bias: ``[1]`` bias of the output.
        out: ``[N]``, written.
    """
    for q in range(len(rows)):
        total = output_bias[0]
        for d in range(len(weight)):
            x = to_float32(hidden[q, d]) + bias[d]
            # tanh(x) = 1 - 2 / (e^(2x) + 1)
            tanh = _ONE - _TWO / (exp(x * _TWO) + _ONE)
            total += tanh * weight[d]
        out[rows[q]] = total
