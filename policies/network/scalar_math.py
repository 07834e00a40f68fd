"""Scalar functions that the compiled loops share, in plain float32 arithmetic so that loops of them vectorise.

``math.exp`` and ``math.erf`` are calls of a library: a loop with one of them runs one number at a time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from o1nano.policies.network.compiled import compiled

_f = np.float32
_SIXTEEN = np.int32(16)


@compiled
def exp(x: Any) -> Any:
    """Returns e to the power of a float32, with a relative error below 2e-7, for x cut to -87.5 to 88."""
    x = x if x > _f(-87.5) else _f(-87.5)
    x = x if x < _f(88.0) else _f(88.0)
    # e^x = 2^n * e^r with an integer n and |r| <= ln(2) / 2; ln(2) in two parts keeps r exact.
    n = np.floor(x * _f(1.44269504) + _f(0.5))
    r = x - n * _f(0.693359375) + n * _f(2.12194440e-4)
    power = _f(1.9875691500e-4)
    power = power * r + _f(1.3981999507e-3)
    power = power * r + _f(8.3334519073e-3)
    power = power * r + _f(4.1665795894e-2)
    power = power * r + _f(1.6666665459e-1)
    power = power * r + _f(5.0000001201e-1)
    power = power * r * r + r + _f(1.0)
    two_to_n = np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)
    return power * two_to_n


@compiled
def normal_cdf(x: Any, bell: Any) -> Any:
    """Returns the standard normal distribution function at a float32, to 1e-7.

    By Abramowitz and Stegun (1964), formula 7.1.26.

    Args:
        x: Where.
        bell: exp(-x^2 / 2), which callers need too.
    """
    t = _f(1.0) / (_f(1.0) + _f(0.3275911 * 0.5**0.5) * abs(x))
    tail = _f(1.061405429)
    tail = tail * t - _f(1.453152027)
    tail = tail * t + _f(1.421413741)
    tail = tail * t - _f(0.284496736)
    tail = tail * t + _f(0.254829592)
    tail = _f(0.5) * tail * t * bell
    return tail if x < _f(0.0) else _f(1.0) - tail


@compiled
def random_bits(seed: Any, index: Any) -> Any:
    """Returns 32 random bits that depend on nothing but a uint32 seed and a uint32 index.

    A hash with few collisions and little bias (Wellons 2018, "lowbias32"): loops draw what they need where they need
    it, and the backward pass draws the same again, so no random number is ever stored.
    """
    bits = np.uint32(index ^ seed)
    bits = np.uint32((bits ^ (bits >> np.uint32(16))) * np.uint32(0x7FEB352D))
    bits = np.uint32((bits ^ (bits >> np.uint32(15))) * np.uint32(0x846CA68B))
    return np.uint32(bits ^ (bits >> np.uint32(16)))


def to_float32(stored: Any) -> Any:
    """Reads a number that is stored as float32, or as the 16 bits of a bfloat16, from within compiled code."""
    raise NotImplementedError


@overload(to_float32, inline="always")
def _to_float32(stored: Any) -> Any:
    def from_float32(stored: Any) -> Any:
        return stored

    def from_bfloat16(stored: Any) -> Any:
        return np.uint32(np.uint32(stored) << np.uint32(16)).view(np.float32)

    return from_float32 if isinstance(stored, types.Float) else from_bfloat16


def stored_as(out: Any, value: Any) -> Any:
    """Returns a float32 as what ``out`` stores: itself, or the 16 bits of the nearest bfloat16, from compiled code."""
    raise NotImplementedError


@overload(stored_as, inline="always")
def _stored_as(out: Any, value: Any) -> Any:
    def as_float32(out: Any, value: Any) -> Any:
        return value

    def as_bfloat16(out: Any, value: Any) -> Any:
        bits = np.float32(value).view(np.int32)
        # Adding half of the last kept bit, or a little less, rounds ties to even.
        half = np.int32(np.int32(np.int32(bits >> _SIXTEEN) & np.int32(1)) + np.int32(0x7FFF))
        return np.uint16(np.int32(np.int32(bits + half) >> _SIXTEEN))

    return as_float32 if isinstance(out.dtype, types.Float) else as_bfloat16
