"""What tokens know of each other's order: rotations of queries and keys by time or by place, and sinusoids.

Glossary of shapes: B frames, T tokens, H heads, K dimensions of a head.
"""

from __future__ import annotations

import torch as th

Rotation = tuple[th.Tensor, th.Tensor]

OFFSET_POWER = 1.2


def time_frequencies(width: int, device: th.device, base: float = 10_000.0) -> th.Tensor:
    """Returns ``[width / 2]`` frequencies for positions in time (Vaswani et al. 2017, section 3.5).

    A larger base stretches the wavelengths, as is done to reach beyond the trained length (Roziere et al. 2023).
    """
    return base ** (-th.arange(0, width, 2, device=device) / width)


def place_frequencies(width: int, device: th.device, power: float = 1.3) -> th.Tensor:
    """Returns ``[width / 2]`` frequencies for places and, with their own power, for offsets.

    What matters about places is whether they are equal or next to each other, not whether they are near. The mean
    cosine of 8 frequencies is 1 at distance 0, at most 0.15 up to 8 and nowhere above 0.55 up to 128. With
    ``OFFSET_POWER`` it is nowhere above 0.55 up to 256 and 0.7 up to 512.
    """
    return th.pi * ((th.arange(0, width, 2, device=device) + 1) / width) ** power


def sinusoids(time: th.Tensor, width: int) -> th.Tensor:
    """Returns sinusoidal embeddings of positions of any size, ``[..., width]``."""
    angles = time[..., None] * time_frequencies(width, time.device)
    return th.cat((angles.sin(), angles.cos()), -1)


def rotation(position: th.Tensor, frequencies: th.Tensor) -> Rotation:
    """Returns cosine and sine of the angles of ``[T]`` or ``[B, T]`` positions, broadcast over ``[B, H, T, K / 2]``."""
    angles = position[..., None] * frequencies
    angles = angles[:, None] if angles.dim() == 3 else angles
    return angles.cos(), angles.sin()


def rotate(x: th.Tensor, rotation: Rotation) -> th.Tensor:
    """Rotates ``x [B, H, T, K]`` (Su et al. 2021, equation 34)."""
    first, second = x.chunk(2, -1)
    cos, sin = rotation
    return th.cat((first * cos - second * sin, second * cos + first * sin), -1)


def sharpness(time: th.Tensor, trained: int) -> th.Tensor:
    """Returns by how much queries are longer than in training, broadcast over ``[B, H, T, K]``.

    The weight of one key among n falls with n unless scores grow with log n (Chiang and Cholak 2022). Up to the
    trained length nothing changes.
    """
    factor = (time + 1).log() / th.tensor(float(trained)).log()
    return factor.clamp(min=1.0)[..., None] if time.dim() == 1 else factor.clamp(min=1.0)[:, None, :, None]
