"""Sampling that depends on nothing but a seed and a place: not on what else happens to be in the batch."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt
import torch as th

_INCREMENT, _FIRST, _SECOND = (
    np.uint64(0x9E3779B97F4A7C15),
    np.uint64(0xBF58476D1CE4E5B9),
    np.uint64(0x94D049BB133111EB),
)


def key(*place: object) -> int:
    """Returns the key of a stream of random numbers by hashing its place, such as (seed, problem, path)."""
    return int.from_bytes(hashlib.blake2b("/".join(map(str, place)).encode(), digest_size=8).digest(), "big")


def uniforms(keys: npt.NDArray[np.uint64], counts: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
    """Returns number ``counts`` of each stream, in [0, 1): SplitMix64 (Steele et al. 2014) at any place at once.

    Args:
        keys: ``[N]`` streams.
        counts: ``[N]`` places in them.
    """
    with np.errstate(over="ignore"):  # it is arithmetic modulo 2**64
        z = keys + (counts.astype(np.uint64) + np.uint64(1)) * _INCREMENT
        z = (z ^ (z >> np.uint64(30))) * _FIRST
        z = (z ^ (z >> np.uint64(27))) * _SECOND
        z ^= z >> np.uint64(31)
    drawn: npt.NDArray[np.float64] = (z >> np.uint64(11)) * 2.0**-53
    return drawn


def choose(
    log_probs: th.Tensor, temperature: npt.NDArray[np.float32], uniform: npt.NDArray[np.float64]
) -> npt.NDArray[np.int64]:
    """Chooses a token for every row: the most likely one at temperature 0, otherwise by inverting the distribution.

    Args:
        log_probs: ``[N, V]``; illegal tokens have -inf.
        temperature: ``[N]`` what log-probabilities are divided by.
        uniform: ``[N]`` random numbers in [0, 1).
    """
    if not temperature.any():
        return log_probs.argmax(1).cpu().numpy()
    heat = th.from_numpy(np.where(temperature > 0, temperature, 1.0)).double()[:, None]
    total = (log_probs.cpu().double() / heat).softmax(1).cumsum(1)
    drawn = th.searchsorted(total, th.from_numpy(uniform)[:, None] * total[:, -1:], right=True).squeeze(1)
    return th.where(th.from_numpy(temperature) > 0, drawn, log_probs.argmax(1).cpu()).numpy()
