"""Sampling that depends only on a seed and a place, not on what else is in the batch."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch as th

# Constants of SplitMix64.
_INCREMENT = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)


def uniforms(seeds: npt.NDArray[np.uint64], counts: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
    """Returns one random number in [0, 1) of each stream, at any place (SplitMix64, Steele et al. 2014).

    Args:
        seeds: ``[N]`` seeds of the streams.
        counts: ``[N]`` which number of its stream is wanted.
    """
    with np.errstate(over="ignore"):  # arithmetic modulo 2**64
        z = seeds + (counts.astype(np.uint64) + np.uint64(1)) * _INCREMENT
        z = (z ^ (z >> np.uint64(30))) * _FIRST
        z = (z ^ (z >> np.uint64(27))) * _SECOND
        z ^= z >> np.uint64(31)
    drawn: npt.NDArray[np.float64] = (z >> np.uint64(11)) * 2.0**-53
    return drawn


def sample_tokens(
    log_probs: th.Tensor, temperature: npt.NDArray[np.float32], uniform: npt.NDArray[np.float64]
) -> npt.NDArray[np.int64]:
    """Samples a token for every row by inverting its cumulative distribution.

    Args:
        log_probs: ``[N, V]``; illegal tokens have -inf.
        temperature: ``[N]`` log-probabilities are divided by it; 0 takes the most likely token.
        uniform: ``[N]`` random numbers in [0, 1).

    Returns:
        ``[N]`` token ids.
    """
    if not temperature.any():
        return log_probs.argmax(1).cpu().numpy()
    divisor = th.from_numpy(np.where(temperature > 0, temperature, 1.0)).double()[:, None]
    total = (log_probs.cpu().double() / divisor).softmax(1).cumsum(1)
    drawn = th.searchsorted(total, th.from_numpy(uniform)[:, None] * total[:, -1:], right=True).squeeze(1)
    return th.where(th.from_numpy(temperature) > 0, drawn, log_probs.argmax(1).cpu()).numpy()
