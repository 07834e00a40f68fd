"""Seeds and generators for named streams of random numbers, such as (split, task, level, index)."""

from __future__ import annotations

import hashlib

import numpy as np


def stream_seed(*name: object, bits: int = 64) -> int:
    """Returns the seed of a stream of random numbers, by hashing its name.

    Seeds are never made by adding: seed 1 of problem 2 and seed 2 of problem 1 would be the same stream.

    Args:
        *name: What distinguishes the stream from all others, such as (seed, problem, path).
        bits: Size of the seed, a multiple of 8.
    """
    # The separator keeps ("a", 11) and ("a1", 1) apart.
    key = "/".join(map(str, name)).encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=bits // 8).digest(), "big")


def stream(*name: object) -> np.random.Generator:
    """Returns a generator for a stream of random numbers.

    Args:
        *name: What distinguishes the stream from all others, such as (seed, problem, path).
    """
    return np.random.default_rng(stream_seed(*name, bits=128))
