"""Randomness by place: seeds and generators hashed from a key such as (split, task, level, index)."""

from __future__ import annotations

import hashlib

import numpy as np


def stream_seed(*place: object, bits: int = 64) -> int:
    """Returns the seed of a stream of random numbers by hashing its place. Seeds are never made by adding.

    Args:
        *place: What tells the stream from others, such as (seed, problem, path).
        bits: Size of the seed, a multiple of 8.
    """
    key = "/".join(map(str, place)).encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=bits // 8).digest(), "big")


def stream(*place: object) -> np.random.Generator:
    """Returns a generator seeded by its place, see ``stream_seed``."""
    return np.random.default_rng(stream_seed(*place, bits=128))
