"""Scalar functions of the compiled loops, in plain float32 arithmetic so that the loops vectorise.

``math.exp`` and ``math.erf`` are calls into a library: a loop with one of them runs one number at a time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from o1nano.policies.network.compiled import INLINED, inlined

_f = np.float32
_SIXTEEN = np.int32(16)


@inlined
def exp(x: Any) -> Any:
    """Returns e to the power of a float32, with a relative error below 2e-7, for x cut to -87.5 to 88."""
    x = x if x > _f(-87.5) else _f(-87.5)
    x = x if x < _f(88.0) else _f(88.0)

    # e^x = 2^n * e^r with an integer n and |r| <= ln(2) / 2. ln(2) is subtracted in two parts, which keeps r exact.
    n = np.floor(x * _f(1.44269504) + _f(0.5))
    r = x - n * _f(0.693359375) + n * _f(2.12194440e-4)

    # A polynomial in r, by Horner's rule: e^r = 1 + r + r^2 * (0.5 + r * (0.1667 + ...)).
    power = _f(1.9875691500e-4)
    power = power * r + _f(1.3981999507e-3)
    power = power * r + _f(8.3334519073e-3)
    power = power * r + _f(4.1665795894e-2)
    power = power * r + _f(1.6666665459e-1)
    power = power * r + _f(5.0000001201e-1)
    power = power * r * r + r + _f(1.0)

    # 2^n: the exponent of a float32 is stored with 127 added, above 23 bits of mantissa.
    two_to_n = np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)
    return power * two_to_n


@inlined
def normal_cdf(x: Any, bell: Any) -> Any:
    """Returns the standard normal cumulative distribution function, with an error below 1e-7.

    The upper tail is a polynomial times exp(-x^2 / 2) (Abramowitz and Stegun 1964, formula 7.1.26).

    Args:
        x: A float32.
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


@inlined
def random_bits(seed: Any, index: Any) -> Any:
    """Returns 32 random bits that depend only on a uint32 seed and a uint32 index.

    This is a hash with little bias (Wellons 2018, "lowbias32"). The backward pass draws the same bits again, so that no
    random number is stored.
    """
    bits = np.uint32(index ^ seed)
    bits = np.uint32((bits ^ (bits >> np.uint32(16))) * np.uint32(0x7FEB352D))
    bits = np.uint32((bits ^ (bits >> np.uint32(15))) * np.uint32(0x846CA68B))
    return np.uint32(bits ^ (bits >> np.uint32(16)))


def to_float32(stored: Any) -> Any:
    """Returns a stored number, a float32 or the bits of a bfloat16 as uint16, as float32. For compiled code only."""
    raise NotImplementedError


@overload(to_float32, jit_options=INLINED)  # type: ignore[arg-type]
def _to_float32(stored: Any) -> Any:
    def from_float32(stored: Any) -> Any:
        return stored

    def from_bfloat16(stored: Any) -> Any:  # the upper half of the bits of a float32
        return np.uint32(np.uint32(stored) << np.uint32(16)).view(np.float32)

    return from_float32 if isinstance(stored, types.Float) else from_bfloat16


def stored_as(out: Any, value: Any) -> Any:
    """Returns a float32 as ``out`` stores it: itself, or the bits of the nearest bfloat16. For compiled code only."""
    raise NotImplementedError


@overload(stored_as, jit_options=INLINED)  # type: ignore[arg-type]
def _stored_as(out: Any, value: Any) -> Any:
    def as_float32(out: Any, value: Any) -> Any:
        return value

    def as_bfloat16(out: Any, value: Any) -> Any:
        bits = np.float32(value).view(np.int32)
        # Add half of the last bit that is kept, minus the smallest amount if that bit is 0: ties round to even.
        half = np.int32(np.int32(np.int32(bits >> _SIXTEEN) & np.int32(1)) + np.int32(0x7FFF))
        return np.uint16(np.int32(np.int32(bits + half) >> _SIXTEEN))

    return as_float32 if isinstance(out.dtype, types.Float) else as_bfloat16
