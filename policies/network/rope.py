"""Position encodings: rotary embeddings (RoPE) of queries and keys by time or by place, and sinusoids.

RoPE rotates pairs of dimensions by an angle, position times frequency, so that a score depends on the difference of two
positions. A position is a time, a place, a column or an offset: see ``frame_scan``.

Shapes: B frames, T tokens, H heads, K dimensions of a head.
"""

from __future__ import annotations

import torch as th

Rotation = tuple[th.Tensor, th.Tensor]

OFFSET_POWER = 1.2
"""Exponent of the frequencies of offsets: see ``place_frequencies``."""


def time_frequencies(width: int, device: th.device, base: float = 10_000.0) -> th.Tensor:
    """Returns ``[width / 2]`` frequencies for positions in time (Vaswani et al. 2017, section 3.5).

    A larger base stretches the wavelengths, which helps beyond the trained length (Roziere et al. 2023).
    """
    return base ** (-th.arange(0, width, 2, device=device) / width)


def place_frequencies(width: int, device: th.device, power: float = 1.3) -> th.Tensor:
    """Returns ``[width / 2]`` frequencies for places and columns and, with ``OFFSET_POWER``, for offsets.

    Attention must tell whether two places are equal or adjacent; how far apart they are otherwise does not matter. The
    mean cosine over 8 frequencies is 1 at distance 0, at most 0.15 at distances up to 8, and below 0.55 up to 128. With
    ``OFFSET_POWER`` it is below 0.55 up to 256 and below 0.7 up to 512.
    """
    return th.pi * ((th.arange(0, width, 2, device=device) + 1) / width) ** power


def sinusoids(time: th.Tensor, width: int) -> th.Tensor:
    """Returns sinusoidal embeddings of positions of any size, ``[..., width]``."""
    angles = time[..., None] * time_frequencies(width, time.device)
    return th.cat((angles.sin(), angles.cos()), -1)


def rotation(position: th.Tensor, frequencies: th.Tensor) -> Rotation:
    """Returns cosine and sine of the angles of ``[T]`` or ``[B, T]`` positions, broadcast over ``[B, H, T, K / 2]``."""
    angles = position[..., None] * frequencies
    if angles.dim() == 3:
        angles = angles[:, None]  # one angle for all heads
    return angles.cos(), angles.sin()


def rotate(x: th.Tensor, rotation: Rotation) -> th.Tensor:
    """Rotates ``x [B, H, T, K]`` (Su et al. 2021, equation 34)."""
    first, second = x.chunk(2, -1)
    cos, sin = rotation
    return th.cat((first * cos - second * sin, second * cos + first * sin), -1)


def sharpness(time: th.Tensor, trained: int) -> th.Tensor:
    """Returns the factor of the queries beyond the trained length, broadcast over ``[B, H, T, K]``.

    The weight of one key among n falls with n unless scores grow with log n (Chiang and Cholak 2022). The factor is 1
    up to the trained length; with a trained length of 16, it is log(256) / log(16) = 2 at the 256th token.
    """
    factor = (time + 1).log() / th.tensor(float(trained)).log()
    factor = factor.clamp(min=1.0)
    return factor[..., None] if time.dim() == 1 else factor[:, None, :, None]
